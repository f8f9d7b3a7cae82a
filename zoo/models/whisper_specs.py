"""What Whisper is told by its config and what its files hold; `zoo.models.whisper` computes.

Letters: S places of the source, E embed.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.layers import activation, attention, conv1d, cross, linear, mlp, norm, stack
from zoo.layers import cache as caching
from zoo.spec import Tree, drawn, scope

STRIDE = 2  # frames to a place of the source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 51865
    num_mel_bins: int = 80
    d_model: int = 384
    encoder_layers: int = 4
    encoder_attention_heads: int = 6
    encoder_ffn_dim: int = 1536
    encoder_layerdrop: float = 0.0
    decoder_layers: int = 4
    decoder_attention_heads: int = 6
    decoder_ffn_dim: int = 1536
    decoder_layerdrop: float = 0.0
    activation_function: str = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    init_std: float = 0.02
    max_source_positions: int = 1500
    max_target_positions: int = 448
    pad_token_id: int | None = 50256
    apply_spec_augment: bool = False
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = dataclasses.field(default=2, metadata={"least": 0})
    mask_feature_prob: float = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = dataclasses.field(default=0, metadata={"least": 0})
    use_weighted_layer_sum: bool = False
    classifier_proj_size: int = 256
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        for name in ("encoder_attention_heads", "decoder_attention_heads"):
            if self.d_model % getattr(self, name):
                raise ValueError(f"{name}: {getattr(self, name)} does not divide {self.d_model}")
        activation.check(self.activation_function, where="activation_function")

    hidden_size = property(lambda c: c.d_model)
    num_hidden_layers = property(lambda c: c.encoder_layers)
    initializer_range = property(lambda c: c.init_std)

    @property
    def frames(self) -> int:
        """Frames of a recording, no more and no less."""
        return STRIDE * self.max_source_positions

    def heads(self, part: str) -> int:
        """Of the `encoder` or `decoder`."""
        return self.encoder_attention_heads if part == "encoder" else self.decoder_attention_heads

    def kinds(self, part: str) -> tuple[str, ...]:
        """Kind of each layer of the `encoder` or `decoder`: all alike."""
        return (part,) * (self.encoder_layers if part == "encoder" else self.decoder_layers)


def sinusoids(key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
    """Positions [S, E] as sines and cosines: those that training leaves as they are."""
    half = shape[1] // 2
    rates = np.exp(-math.log(10000) / (half - 1) * np.arange(half, dtype=np.float32))
    angles = np.arange(shape[0], dtype=np.float32)[:, None] * rates
    return jnp.asarray(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), dtype)


def attention_specs(c: Config, part: str, name: str) -> Tree:
    """Projections; that of the keys has no bias."""
    heads = c.heads(part)
    tree = attention.specs(
        embed=c.d_model,
        heads=heads,
        kv_heads=heads,
        head_dim=c.d_model // heads,
        bias=True,
        out_bias=True,
        names=("q_proj", "k_proj", "v_proj", "out_proj"),
    )
    return scope(name, tree | {"k": {"weight": tree["k"]["weight"]}})


def block_specs(c: Config, part: str) -> Tree:
    """One layer of the `encoder` or `decoder`."""
    hidden = c.encoder_ffn_dim if part == "encoder" else c.decoder_ffn_dim
    tree = {
        "attn_norm": norm.specs("self_attn_layer_norm", c.d_model),
        "attn": attention_specs(c, part, "self_attn"),
        "mlp_norm": norm.specs("final_layer_norm", c.d_model),
        "mlp": mlp.plain_specs(embed=c.d_model, hidden=hidden, names=("fc1", "fc2")),
    }
    if part == "decoder":
        tree["cross_norm"] = norm.specs("encoder_attn_layer_norm", c.d_model)
        tree["cross"] = attention_specs(c, part, "encoder_attn")
    return tree


def stack_specs(c: Config, part: str, layers: stack.Build) -> Tree:
    """What the `encoder` and the `decoder` both have."""
    one = scope("layers.{}", block_specs(c, part))
    places = c.max_source_positions if part == "encoder" else c.max_target_positions
    return {
        "positions": linear.embedding_specs("embed_positions", places, c.d_model, axis=None),
        "layers": layers(c.kinds(part), lambda kind: one),
        "norm": norm.specs("layer_norm", c.d_model),
    }


def encoder_specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the encoder."""
    tree = stack_specs(c, "encoder", layers)
    tree["positions"] = drawn(sinusoids, tree["positions"])
    tree["convs"] = (
        conv1d.specs("conv1", c.d_model, c.num_mel_bins, 3),
        conv1d.specs("conv2", c.d_model, c.d_model, 3),
    )
    return {"encoder": scope("encoder", tree)}


def decoder_specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the decoder."""
    embed = linear.embedding_specs("decoder.embed_tokens", c.vocab_size, c.d_model)
    return {"embed": embed, "decoder": scope("decoder", stack_specs(c, "decoder", layers))}


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the encoder and the decoder."""
    return encoder_specs(c, layers=layers) | decoder_specs(c, layers=layers)


def cache_specs(
    c: Config,
    batch: int,
    length: int,
    *,
    layers: stack.Build = stack.loop,
    source: int | None = None,
) -> caching.Cache:
    """Room for `length` tokens and, behind an encoder, for its output of length `source`."""
    heads, kinds = c.decoder_attention_heads, c.kinds("decoder")
    sizes: Any = {"kv_heads": heads, "head_dim": c.d_model // heads, "layers": layers}
    own = attention.cache_specs(kinds, batch=batch, length=length, **sizes)
    return own if source is None else cross.cache_specs(own, kinds, source=source, **sizes)
