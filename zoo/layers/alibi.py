"""Attention with linear biases: the nearer a key, the more it weighs.

Press et al. 2021, arXiv:2108.12409. Letters: B batch, S keys, N heads.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def slopes(heads: int) -> np.ndarray:
    """float32 [N]: a geometric series, and beyond a power of two every second of the next one."""
    power = 2 ** math.floor(math.log2(heads))

    def series(size: int, exponents: range) -> np.ndarray:
        base = np.float32(2 ** -(8 / size))
        return base ** np.asarray(exponents, np.float32)

    more = series(2 * power, range(1, 1 + 2 * (heads - power), 2))
    return np.concatenate([series(power, range(1, 1 + power)), more])


def bias(valid: jax.Array | None, size: int, heads: int) -> Float[Array, "#b n 1 s"]:
    """Keys that are not padding [B, S], or `size` of them -> what is added to scaled scores.

    It depends on the key alone: softmax does not see what all keys of a query share. Padding is not
    counted.
    """
    if valid is None or valid.ndim != 2:
        places = jnp.arange(size, dtype=jnp.float32)[None]
    else:
        real = valid.astype(jnp.int32)
        places = ((jnp.cumsum(real, axis=-1) - 1) * real).astype(jnp.float32)
    return places[:, None, None, :] * slopes(heads)[None, :, None, None]
