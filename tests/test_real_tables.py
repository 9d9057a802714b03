"""Position tables as the models of transformers make them at construction, seen in their state dicts alone.

pip install transformers && python -m pytest -m real tests/test_real_tables.py
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from paramaudit import audit
from paramaudit.records import Loaded, Tier

pytestmark = pytest.mark.real
SMALL = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}


@pytest.fixture(scope="module")
def library() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformers")


def built(library: Any, name: str) -> torch.nn.Module:
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    if name == "Whisper":
        config = library.WhisperConfig(d_model=128, vocab_size=300, pad_token_id=0, **SMALL, **heads)
    elif name == "Marian":
        config = library.MarianConfig(d_model=128, vocab_size=300, pad_token_id=299, **SMALL, **heads)
    elif name == "RoFormer":
        config = library.RoFormerConfig(
            hidden_size=128, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, vocab_size=300
        )
    else:
        config = library.InformerConfig(prediction_length=12, context_length=48, d_model=64, **SMALL)
    return getattr(library, f"{name}Model")(config)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Whisper", "Marian", "RoFormer", "Informer"])
def test_the_position_table_is_found_to_the_last_bit(name: str, library: Any) -> None:
    tensors = built(library, name).state_dict()
    found = audit.scan_loaded(Loaded(name, "state-dict", tensors=tensors), audit.Options(), lambda _: None)
    tables = [f for f in found.audit.findings if f.operator == "sinusoid"]
    assert {"encoder.embed_positions.weight"} <= {t for f in tables for t in f.tensors}
    for finding in tables:
        assert finding.tier is Tier.EXACT
        assert finding.arguments["base"] == 10000.0
        assert finding.parameters_after == 0
