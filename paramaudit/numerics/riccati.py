"""Covariances and the gain a Kalman filter settles at."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from torch import Tensor


def triangular_factor(covariance: Tensor, name: str) -> Tensor:
    """The lower triangular L with non-negative diagonal and ``L L^T`` the covariance ``(d, d)``.

    A singular covariance has one too, unlike with Cholesky's algorithm: it is read off the QR
    factorisation of the symmetric root.

    Raises:
        ValueError: when the matrix is not symmetric, or has a negative eigenvalue.
    """
    wide = covariance.detach().double()
    scale = float(wide.abs().max())
    slack = 1e3 * torch.finfo(covariance.dtype).eps * scale
    if float((wide - wide.mT).abs().max()) > slack:
        raise ValueError(f"{name} is not symmetric")
    values, vectors = torch.linalg.eigh(wide)
    if float(values.min()) < -slack:
        raise ValueError(f"{name} has a negative eigenvalue")
    root = vectors * values.clamp_min(0).sqrt()
    upper = torch.linalg.qr(root.mT).R
    signs = torch.where(upper.diagonal() < 0, -1.0, 1.0).to(upper)
    factor: Tensor = (upper * signs.unsqueeze(-1)).mT.to(covariance.dtype)
    return factor


def steady_gain(transition: Tensor, observation: Tensor, process: Tensor, noise: Tensor) -> Tensor:
    """The gain ``(d, m)`` that the Kalman filter of these constants converges to.

    It is ``P H^T (H P H^T + R)^-1``, with P the stabilising solution of the discrete algebraic Riccati
    equation, solved in float64.

    Args:
        transition: F, ``(d, d)``.
        observation: H, ``(m, d)``.
        process: Q, ``(d, d)``.
        noise: R, ``(m, m)``.

    Raises:
        numpy.linalg.LinAlgError: when there is no such solution, e.g. a growing state that is not observed.

    Source:
        Anderson and Moore, Optimal Filtering (1979), 4.4.
    """
    f, h, q, r = (t.detach().cpu().double().numpy() for t in (transition, observation, process, noise))
    predicted = scipy.linalg.solve_discrete_are(f.T, h.T, q, r)
    gain = np.linalg.solve(h @ predicted @ h.T + r, h @ predicted).T
    return torch.from_numpy(np.ascontiguousarray(gain)).to(transition)
