"""Activations by the names that `config.json` uses.

JAX and PyTorch disagree on the default gelu, and published configs spell about twenty variants:
each name here computes what it computes in transformers.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.markers import op


def _gelu(x: jax.Array) -> jax.Array:
    """Hendrycks and Gimpel 2016, arXiv:1606.08415.

    By erf, as in PyTorch: `jax.nn.gelu` takes erfc, which costs more than twice as much on CPU.
    """
    return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


def _gelu_fast(x: jax.Array) -> jax.Array:
    return 0.5 * x * (1 + jnp.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x)))


def _laplace(x: jax.Array) -> jax.Array:
    """Ma et al. 2022, arXiv:2209.10655, with mu = sqrt(1/2) and sigma = sqrt(1/(4 pi))."""
    return 0.5 * (1 + jax.lax.erf((x - 0.707107) / (0.282095 * math.sqrt(2))))


def _sqrtsoftplus(x: jax.Array) -> jax.Array:
    tiny = jnp.finfo(x.dtype).tiny  # the root has no slope at zero
    return jnp.sqrt(jnp.maximum(jax.nn.softplus(x), jnp.asarray(tiny, x.dtype)))


GELU_TANH = functools.partial(jax.nn.gelu, approximate=True)

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": _gelu,
    "gelu_10": lambda x: jnp.clip(_gelu(x), -10, 10),
    "gelu_accurate": GELU_TANH,
    "gelu_fast": _gelu_fast,
    "gelu_new": GELU_TANH,
    "gelu_python": _gelu,
    "gelu_python_tanh": GELU_TANH,
    "gelu_pytorch_tanh": GELU_TANH,
    "hardswish": jax.nn.hard_swish,
    "laplace": _laplace,
    "leaky_relu": jax.nn.leaky_relu,
    "linear": lambda x: x,
    "mish": jax.nn.mish,
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "relu6": jax.nn.relu6,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "sqrtsoftplus": _sqrtsoftplus,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}


def check(name: str, *, where: str) -> str:
    """Returns `name`.

    Raises:
      ValueError: no activation of this name.
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"{where}: activation {name!r} is not known; expected one of {known}")
    return name


def capped(x: jax.Array, cap: float) -> jax.Array:
    """Bends numbers smoothly into (-cap, cap). Team Gemma 2024, arXiv:2408.00118."""
    return cap * jnp.tanh(x / cap)


@op("activation")
def activation(x: Float[Array, "*shape"], *, name: str) -> Float[Array, "*shape"]:
    """Applies the activation that `config.json` calls `name`, element by element, in float32."""
    return ACTIVATIONS[name](x.astype(jnp.float32)).astype(x.dtype)


def finite(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Sums in float16 held below its largest number, as T5 and BART need; others as they are."""
    if x.dtype != jnp.float16:
        return x
    largest = jnp.finfo(x.dtype).max
    bound = jnp.where(jnp.isinf(x).any(), largest - 1000, largest)
    return jnp.clip(x, -bound, bound)
