"""Qwen2 and Qwen2.5 decoders: Llama with biases on q, k and v, and windows in some layers.

Yang et al. 2024, arXiv:2407.10671. Checkpoints: `Qwen2*`.
"""

import dataclasses
from typing import Any

from zoo import tasks
from zoo.layers import stack
from zoo.layers.rope import DEFAULT, Rope
from zoo.models import llama
from zoo.models.llama import IGNORED, apply, cache_specs, limits
from zoo.spec import Tree

__all__ = ["IGNORED", "TASKS", "Config", "apply", "cache_specs", "complete", "limits", "specs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 151936
    hidden_size: int = 4096
    intermediate_size: int = 22016
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = 32
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_parameters: Rope = DEFAULT
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
        complete(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer."""
        return self.layer_types or ()


def complete(config: Any) -> None:
    """Fills in sizes and the kind of each layer, and checks them.

    Raises:
      ValueError: `layer_types` of another length, or of kinds that these models do not have.
    """
    c: Any = config
    llama.complete(c)
    if not c.use_sliding_window:
        object.__setattr__(c, "sliding_window", None)
    kinds = c.layer_types
    if kinds is None:
        windowed = c.num_hidden_layers if c.sliding_window is None else c.max_window_layers
        kinds = tuple(
            "sliding_attention" if i >= windowed else "full_attention"
            for i in range(c.num_hidden_layers)
        )
        object.__setattr__(c, "layer_types", kinds)
    llama.check_kinds(c)


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    return llama.body_specs(c, llama.block_specs(c, bias=True, out_bias=False), layers)


TASKS = tasks.decoder("Qwen2", specs, apply)
