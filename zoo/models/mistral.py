"""Mistral decoders: Llama with a sliding window. Jiang et al. 2023, arXiv:2310.06825.

Checkpoints: `Mistral*`.
"""

import dataclasses

from zoo import tasks
from zoo.layers import stack
from zoo.layers.rope import DEFAULT, Rope
from zoo.models import llama
from zoo.models.llama import IGNORED, apply, cache_specs, limits
from zoo.spec import Tree

__all__ = ["IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 14336
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = 8
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 131072
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_parameters: Rope = DEFAULT
    sliding_window: int | None = 4096
    attention_dropout: float = 0.0
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    num_labels: int = 2

    def __post_init__(self):
        llama.complete(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: the window is that of all."""
        kind = "full_attention" if self.sliding_window is None else "sliding_attention"
        return (kind,) * self.num_hidden_layers


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    return llama.body_specs(c, llama.block_specs(c, bias=False, out_bias=False), layers)


TASKS = tasks.decoder("Mistral", specs, apply, answers_prefix="model")
