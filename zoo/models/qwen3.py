"""Qwen3 dense decoders: Qwen2 with a norm on each query and key head instead of the biases.

Yang et al. 2025, arXiv:2505.09388. Checkpoints: `Qwen3*`.
"""

import dataclasses

from zoo import tasks
from zoo.layers import stack
from zoo.layers.rope import DEFAULT, Rope
from zoo.models import llama, qwen2
from zoo.models.llama import IGNORED, apply, cache_specs, limits
from zoo.spec import Tree

__all__ = ["IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 151936
    hidden_size: int = 4096
    intermediate_size: int = 22016
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = 32
    head_dim: int | None = 128
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_parameters: Rope = DEFAULT
    attention_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    max_window_layers: int = 28
    layer_types: tuple[str, ...] | None = None
    attention_dropout: float = 0.0
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    num_labels: int = 2

    def __post_init__(self):
        qwen2.complete(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer."""
        return self.layer_types or ()


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    bias = c.attention_bias
    return llama.body_specs(c, llama.block_specs(c, bias=bias, out_bias=bias, qk_norm=True), layers)


TASKS = tasks.decoder("Qwen3", specs, apply)
