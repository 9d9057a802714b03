"""A model of 153,300,000 parameters in which it is known what every part really computes.

`build` is the factory: `paramaudit scan examples/red_heart/model.py:build`.
"""

import red_heart_weights as weights
import torch
from red_heart_dsp import EmotionDspSimulator, TransformBank, relu_net
from red_heart_learned import Backbone, Context, Mixture, mlp
from red_heart_truth import truth
from torch import Tensor, nn


class RedHeart(nn.Module):
    """Learned parts, hidden formulas, waste and traps, wired into one program."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(32_003, 768)
        self.unified_backbone = Backbone()
        self.emotion_head = mlp(768, 961, 961, 7)
        self.memory_head = mlp(768, 1086, 768)
        self.reasoning_head = mlp(768, 960, 960, 10)
        self.optimization_head = mlp(768, 958, 958, 16)
        self.bentham_calculator = mlp(768, 2048, 2048, 1242, 10)
        self.fusion_network = mlp(811, 640, 494, 7)
        self.synergy_head = mlp(768, 955, 955, 25)
        self.moe_system = Mixture()
        self.context = Context()
        self.emotion_dsp_simulator = EmotionDspSimulator()
        self.dynamic_kalman_filter = relu_net(14, 696, 696, 7)
        self.transform_bank = TransformBank()
        self.io_adapter = nn.Linear(390, 768)

    def forward(self, tokens: Tensor, frame: Tensor, embedding: Tensor, state: Tensor) -> dict[str, Tensor]:
        """Runs every part.

        Args:
            tokens: (batch, tokens), below 32,003, at most 499 of them.
            frame: (batch, 256), samples of about unit size.
            embedding: (batch, 768).
            state: (batch, 7), the filter's last estimate.

        Returns:
            23 tensors by name, the batch first in each.
        """
        dsp = self.emotion_dsp_simulator(frame, embedding)
        bank = self.transform_bank(frame)
        adapted = self.io_adapter(
            torch.cat(
                [
                    dsp["resonance"],
                    bank["dct"][:, :128],
                    bank["dwt"][:, :64],
                    bank["hilbert"][:, :32],
                    bank["mel"][:, :31],
                    dsp["emotions"],
                ],
                dim=-1,
            )
        )
        features = self.unified_backbone(self.token_embedding(tokens)) + adapted
        context = self.context(embedding)
        heads = {
            "emotion": self.emotion_head(features),
            "memory": self.memory_head(features),
            "reasoning": self.reasoning_head(features),
            "optimization": self.optimization_head(features),
            "bentham": self.bentham_calculator(features),
        }
        return {
            "features": features,
            **heads,
            "fusion": self.fusion_network(torch.cat(list(heads.values()), dim=-1)),
            "synergy": self.synergy_head(features + context["context"]),
            "moe": self.moe_system(features),
            "kalman": self.dynamic_kalman_filter(torch.cat([state, heads["emotion"]], dim=-1)),
            **context,
            **dsp,
            **bank,
        }


@torch.no_grad()
def build(seed: int = 0) -> tuple[RedHeart, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The model in eval mode, float32, and example inputs; both depend on the seed alone."""
    with torch.device("meta"):  # no initialiser runs, so no time is lost and no global random state is used
        model = RedHeart()
    model = model.to(torch.float32).to_empty(device="cpu")
    exact = truth(seed)
    finished = [
        *weights.hide_simulator(model.emotion_dsp_simulator, exact),
        *weights.hide_transforms(model.transform_bank, exact),
        *weights.hide_kalman(model.dynamic_kalman_filter, exact),
    ]
    weights.fill_learned(model, finished, seed)
    weights.quiet_spectrum(model.emotion_dsp_simulator.resonance_engine.pattern_matcher)
    weights.quiet_spectrum(model.emotion_dsp_simulator.synthesiser)
    return model.eval(), example_inputs(seed)


def example_inputs(seed: int = 0, batch: int = 2, tokens: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random tokens, frame, embedding and state, from a stream that the weights do not use."""
    generator = torch.Generator().manual_seed(seed + 0x5EED)
    return (
        torch.randint(32_003, (batch, tokens), generator=generator),
        torch.randn(batch, 256, generator=generator),
        torch.randn(batch, 768, generator=generator),
        torch.randn(batch, 7, generator=generator),
    )
