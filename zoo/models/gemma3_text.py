"""Gemma 3 text decoders: Gemma 2 with norms of heads, five windows to one layer that sees all.

Team Gemma 2025, arXiv:2503.19786. Checkpoints: `Gemma3Text*`, `Gemma3ForCausalLM`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from zoo import tasks
from zoo.layers import stack
from zoo.layers.rope import Rope, Ropes
from zoo.models import gemma2, llama
from zoo.models.llama import IGNORED, cache_specs, limits
from zoo.spec import Tree

__all__ = ["IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]

PERIOD, THETAS = 6, {"full_attention": 1e6, "sliding_attention": 1e4}
INERT = (*gemma2.INERT, "attn_logit_softcapping")  # read, but not applied, by transformers
ROPES = Ropes(**{kind: Rope(rope_theta=theta) for kind, theta in THETAS.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 262208
    hidden_size: int = 2304
    intermediate_size: int = 9216
    num_hidden_layers: int = 26
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 256
    hidden_activation: str = "gelu_pytorch_tanh"
    max_position_embeddings: int = 131072
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_parameters: Ropes = ROPES
    attention_bias: bool = False
    attention_dropout: float = 0.0
    query_pre_attn_scalar: int | float = 256
    sliding_window: int = 4096
    layer_types: tuple[str, ...] | None = None
    final_logit_softcapping: float | None = None
    use_bidirectional_attention: bool | None = False
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        gemma2.complete(self, period=PERIOD)

    attn_logit_softcapping = None

    @property
    def hidden_act(self) -> str:
        """The activation, by the name that other decoders use."""
        return self.hidden_activation

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer."""
        return self.layer_types or ()

    @property
    def windows(self) -> dict[str, int | None]:
        """How far each kind of layer sees: in both directions, half as far in each."""
        both = self.sliding_window // 2 + 1
        near = both if self.use_bidirectional_attention else self.sliding_window
        return {"full_attention": None, "sliding_attention": near}


def upgrade(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrites a period of layers as `layer_types`, and two thetas as a rotation per kind."""
    raw = dict(raw)
    raw.pop("_sliding_window_pattern", None)
    period, count = raw.pop("sliding_window_pattern", None), raw.get("num_hidden_layers", 26)
    if raw.get("layer_types") is None and type(period) is type(count) is int and period > 0:
        kinds = ("sliding_attention", "full_attention")
        raw["layer_types"] = [kinds[not (i + 1) % period] for i in range(min(count, 2000))]
    if raw.get("rope_parameters") is not None:
        return raw
    sets = {kind: {"rope_theta": theta} for kind, theta in THETAS.items()}
    for kind, key in zip(THETAS, ("rope_theta", "rope_local_base_freq"), strict=True):
        if (theta := raw.pop(key, None)) is not None:
            sets[kind]["rope_theta"] = theta
    scaling = raw.pop("rope_scaling", None)
    if isinstance(scaling, Mapping):
        sets["full_attention"] |= scaling
    return raw | {"rope_parameters": sets}


def check_inputs(c: Config, arrays: Mapping[str, Any], where: str) -> None:
    """Checks inputs.

    Raises:
      ValueError: a cache for a model whose tokens see later ones.
    """
    if c.use_bidirectional_attention and "cache" in arrays:
        raise ValueError(
            f"{where}: found a cache, but with use_bidirectional_attention tokens see later ones; "
            f"pass the whole text without a cache"
        )


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    return llama.body_specs(c, gemma2.block_specs(c, qk_norm=True), layers, from_one=True)


apply = llama.through(
    gemma2.layer, embed=gemma2.embed, causal=lambda c: not c.use_bidirectional_attention
)
_HEADS = tasks.decoder(
    "Gemma3", specs, apply, answers_prefix=None, cap=lambda c: c.final_logit_softcapping
)
TASKS = {
    "Gemma3TextModel": _HEADS["Gemma3Model"],
    "Gemma3ForCausalLM": _HEADS["Gemma3ForCausalLM"],
    "Gemma3TextForSequenceClassification": _HEADS["Gemma3ForSequenceClassification"],
}
