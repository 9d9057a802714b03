"""A bias that the next call subtracts again.

What it finds:    biases of linear and convolutional layers whose only readers are normalisations over
                  positions (instance norm, batch norm by the batch's statistics, group norm with one
                  channel per group, layer norm over the image) or softmaxes over positions.
Why it matters:   the mean of a channel takes the bias with it, and a softmax does not change when all its
                  scores do by the same number: the bias is dead. Before a softmax it is called
                  ``shift-invariant-bias``.
Proof:            (x + b) - mean(x + b) = x - mean(x), the variance likewise;  softmax(s + b 1) = softmax(s).
Swap safety:      the bias must be one number along everything that is averaged: a layer norm over the
                  features or one group of several channels keeps it. Only affine calls that treat all
                  positions alike may stand between. Running statistics take the bias in, and keep it.
Source:           Ulyanov, Vedaldi, Lempitsky: Instance Normalization (2016), equation 4; Ioffe, Szegedy:
                  Batch Normalization (2015), section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from functools import partial

from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.affine import Region, region
from paramaudit.graph.layout import Dims, batch, feature
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.replay import replayed
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft

_CONVOLUTIONS = {"aten::conv1d": 1, "aten::conv2d": 2, "aten::conv3d": 3}
_TRANSPOSED = {
    "aten::conv_transpose1d": 1,
    "aten::conv_transpose2d": 2,
    "aten::conv_transpose3d": 3,
}
_SOFTMAX = ("aten::softmax", "aten::_softmax", "aten::log_softmax", "aten::_log_softmax")

_PLACES = 11
"""Over a single place a norm returns its own rounding, which shows nothing."""


def find(draft: Draft) -> Iterator[Match]:
    """Layers whose bias nobody sees."""
    constant, unsafe = facts.constants(draft.graph), facts.stale(draft.graph)
    for node in draft.graph.nodes:
        layout = _layout(node)
        bias = facts.argument(node, 2, "bias") if layout is not None else None
        source = node.args[0] if bias is not None else None
        if layout is None or bias is None or not isinstance(source, fx.Node) or not draft.alone(bias):
            continue
        found = region(node, constant, layout, unsafe)
        readers = _readers(found, constant) if found is not None else None
        if found is None or not readers:
            continue
        softmax = all(facts.name(r) in _SOFTMAX for r in readers)
        yield Match(
            module_path(node),
            readers,
            (source, *_beside(found, readers)),
            partial(_build, node=node, readers=readers),
            "a softmax ignores what is added to all its scores"
            if softmax
            else "the normalisation after it subtracts its bias again",
            tensors=(bias,),
            arguments={"rewrite": "shift-invariant-bias"} if softmax else {},
            least=_PLACES,
        )


def _layout(node: fx.Node) -> Dims | None:
    """The dimensions of a layer's output: its channels are the features, all others are positions."""
    sizes = shape(node)
    rank = {**_CONVOLUTIONS, **_TRANSPOSED}.get(facts.name(node))
    if facts.name(node) == "aten::linear":
        rank = 0
    if rank is None or not sizes or len(sizes) <= rank:
        return None
    channels = len(sizes) - 1 - rank
    if not isinstance(sizes[channels], int):
        return None
    return tuple(feature(s) if i == channels else batch(s) for i, s in enumerate(sizes))


def _readers(found: Region, constant: Set[fx.Node]) -> tuple[fx.Node, ...] | None:
    """Everything that reads the region, when none of it sees a number that is added along positions."""
    readers: dict[fx.Node, None] = {}
    for node, dims in found.layouts.items():
        for user in node.users:
            if user in found.layouts or facts.name(user) == "aten::sym_size":
                continue
            if user.op == "output" or user.args[0] is not node or not _blind(user, dims):
                return None
            if any(i is not node and i not in constant for i in user.all_input_nodes):
                return None
            readers[user] = None
    return tuple(sorted(readers))


def _blind(node: fx.Node, dims: Dims) -> bool:
    """Whether a call subtracts what is the same along the dimensions that it averages over."""
    axes = _averaged(node, len(dims))
    return bool(axes) and not any(atom.feature for axis in axes for atom in dims[axis])


def _averaged(node: fx.Node, rank: int) -> tuple[int, ...]:
    """The dimensions of the first argument over which a call subtracts the mean, or sums to 1."""
    given, call = facts.bound(node), facts.name(node)
    if call in _SOFTMAX:
        return (given["dim"] % rank,)
    if call == "aten::layer_norm":
        return tuple(range(rank - len(given["normalized_shape"]), rank))
    if call == "aten::group_norm":
        one = (shape(node) or ())[1] == given["num_groups"]
        return tuple(range(2 if one else 1, rank))
    if given.get("running_mean") is not None or given.get("running_var") is not None:
        return ()
    if call == "aten::instance_norm" and given["use_input_stats"]:
        return tuple(range(2, rank))
    if call == "aten::batch_norm" and given["training"]:
        return (0, *range(2, rank))
    return ()


def _beside(found: Region, readers: tuple[fx.Node, ...]) -> tuple[fx.Node, ...]:
    """Other tensors whose sizes the calls between a layer and its readers ask for."""
    sized: dict[fx.Node, None] = {}
    stack, seen = list(readers), {found.anchor}
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        if facts.name(current) == "aten::sym_size":
            sized.update(dict.fromkeys(i for i in current.all_input_nodes if i not in found.layouts))
        else:
            stack.extend(current.all_input_nodes)
    return tuple(sorted(sized))


def _build(draft: Draft, node: fx.Node, readers: tuple[fx.Node, ...]) -> list[fx.Node]:
    with draft.graph.inserting_before(node):
        plain = draft.again(node, *node.args[:2], None, *node.args[3:])
    done = {node: plain}
    return [replayed(draft, reader, done) for reader in readers]


REWRITE = Rewrite("bias-before-norm", find)
