"""One vector from many. Reimers and Gurevych 2019, arXiv:1908.10084.

Letters: B batch, T tokens, E embed.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pooling:
    """How a repository of sentence-transformers makes one vector of a text.

    Attributes:
      modes: of `MODES`; several are concatenated.
      normalize: scale the vector to length one.
    """

    modes: tuple[str, ...] = ("mean",)
    normalize: bool = False


def pool(
    x: Float[Array, "b t e"], attention_mask: jax.Array | None, *, how: Pooling
) -> Float[Array, "b m"]:
    """x [B, T, E] -> [B, modes * E], over the tokens where `attention_mask` [B, T] is 1."""
    mask = jnp.ones(x.shape[:2], x.dtype)
    if attention_mask is not None:
        mask = attention_mask.astype(x.dtype)
    wide = jnp.broadcast_to(mask[..., None], x.shape)
    count = jnp.maximum(mask.sum(1, keepdims=True), 1e-9)

    def one(mode: str) -> jax.Array:
        if mode == "cls":
            first = jnp.argmax(mask, axis=1)
            return jnp.take_along_axis(x, first[:, None, None], axis=1)[:, 0]
        if mode == "lasttoken":
            last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
            return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
        if mode == "max":
            return jnp.where(wide > 0, x, jnp.full_like(x, -1e9)).max(1)
        if mode == "weightedmean":
            weight = wide * jnp.arange(1, x.shape[1] + 1, dtype=x.dtype)[None, :, None]
            return (x * weight).sum(1) / jnp.maximum(weight.sum(1), 1e-9)
        total = (x * wide).sum(1)
        divisor = jnp.sqrt(count) if mode == "mean_sqrt_len_tokens" else count
        return total / jnp.broadcast_to(divisor, total.shape)

    y = jnp.concatenate([one(mode) for mode in how.modes], axis=-1)
    if how.normalize:
        length = jnp.sqrt(jnp.sum(y * y, -1, keepdims=True))
        y = y / jnp.maximum(length, 1e-12)
    return y
