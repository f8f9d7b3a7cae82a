"""Rotary position embedding, split-half convention, in every published variant.

Su et al. 2021, arXiv:2104.09864. Letters: B batch, T tokens, D head size.
"""

import dataclasses
import itertools
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.markers import op


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rope:
    """Which rotation: the keys of `rope_parameters`, spelled as in `config.json`.

    Fields that the `rope_type` does not use are None.
    """

    rope_type: str = "default"
    rope_theta: float = 10_000.0
    partial_rotary_factor: float = 1.0
    factor: float | None = None
    original_max_position_embeddings: int | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None

    def __post_init__(self):
        variant = VARIANTS.get(self.rope_type)
        if variant is None:
            raise ValueError(
                f"rope_parameters.rope_type: found {self.rope_type!r}, expected one of "
                f"{', '.join(VARIANTS)}"
            )
        given = {f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None}
        if missing := variant.required - given:
            raise ValueError(
                f"rope_parameters: rope_type {self.rope_type!r} needs {', '.join(sorted(missing))}"
            )
        if extra := given - variant.required - variant.optional - COMMON:
            raise ValueError(
                f"rope_parameters: rope_type {self.rope_type!r} has no use for "
                f"{', '.join(sorted(extra))}; remove the keys or correct the type"
            )

    @property
    def grows(self) -> bool:
        """Whether the frequencies depend on the length of the text."""
        return self.rope_type in ("dynamic", "longrope")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MRope(Rope):
    """A rotation by positions along several axes, each of which turns its share of the pairs.

    Wang et al. 2024, arXiv:2409.12191.
    """

    mrope_section: tuple[int, ...] = (16, 24, 24)


def parse(
    values: Mapping[str, Any], *, where: str = "rope_parameters", cls: type[Rope] | None = None
) -> Rope:
    """Reads a `rope_parameters` or `rope_scaling` object, as a `Rope` or the class given.

    Raises:
      ValueError: an unknown key, an unknown type, or a missing or superfluous parameter.
    """
    values = {k: v for k, v in values.items() if v is not None}
    old = values.pop("type", None)
    values.setdefault("rope_type", old or "default")
    if old == "su":  # the name of longrope in the first Phi-3 files
        values["rope_type"] = "longrope"
    cls = cls or Rope
    if issubclass(cls, MRope) and values["rope_type"] == "mrope":
        values["rope_type"] = "default"
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"{where}: unknown keys {', '.join(unknown)}")
    for key, value in values.items():
        if key in ("short_factor", "long_factor"):
            fits = isinstance(value, list | tuple) and all(_fits(key, v) for v in value)
        elif key == "mrope_section":
            fits = isinstance(value, list | tuple) and all(type(v) is int and v > 0 for v in value)
        elif key in ("rope_type", "truncate"):
            fits = isinstance(value, str if key == "rope_type" else bool)
        else:
            fits = _fits(key, value)
        if not fits:
            found = reprlib.repr(value)
            raise ValueError(
                f"{where}.{key}: found {found}, expected {_EXPECTED.get(key, POSITIVE)}"
            )
        if isinstance(value, list | tuple):
            values[key] = tuple(value) if key == "mrope_section" else tuple(map(float, value))
    return cls(**values)


POSITIVE = "a number above 0"
_EXPECTED = {
    "rope_type": "a name",
    "truncate": "true or false",
    "rope_theta": "a number above 1",
    "partial_rotary_factor": "a number above 0, at most 1",
    "original_max_position_embeddings": "a number of at least 1",
    "mrope_section": "a list of whole numbers above 0",
    "short_factor": "a list of numbers above 0",
    "long_factor": "a list of numbers above 0",
}


def _fits(key: str, value: Any) -> bool:
    """Whether a value is a number of the size that the key allows."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    low = 1 if key in ("rope_theta", "original_max_position_embeddings") else 0
    high = 1 if key == "partial_rotary_factor" else 1e30
    return low < value <= high or (value == low and key.startswith(("original", "mscale", "beta")))


class Frequencies(NamedTuple):
    """Angles per position, float32 [D / 2], and the factor on cosines and sines."""

    freq: Any
    scale: float


def _powers(theta: Any, dim: int) -> np.ndarray:
    """theta ** (2i / dim), rounded to float32 as PyTorch rounds it."""
    exponent = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    return (np.float64(theta) ** exponent).astype(np.float32)


def _default(rope: Rope, dim: int, longest: jax.Array, trained: int) -> Frequencies:
    return Frequencies(1 / _powers(rope.rope_theta, dim), 1.0)


def _linear(rope: Rope, dim: int, longest: jax.Array, trained: int) -> Frequencies:
    """Position interpolation. Chen et al. 2023, arXiv:2306.15595."""
    return Frequencies(1 / _powers(rope.rope_theta, dim) / np.float32(rope.factor), 1.0)


def _dynamic(rope: Rope, dim: int, longest: jax.Array, trained: int) -> Frequencies:
    """NTK scaling that grows with the text: theta depends on the longest position seen."""
    if dim < 3:
        raise ValueError(f"rope_parameters: 'dynamic' needs more than {dim} rotated dimensions")
    factor = rope.factor or 1.0
    ratio = jnp.maximum(longest, trained).astype(jnp.float32) / trained
    theta = rope.rope_theta * (factor * ratio - (factor - 1)) ** (dim / (dim - 2))
    exponent = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    grown = 1 / theta**exponent
    return Frequencies(jnp.where(longest > trained, grown, 1 / _powers(rope.rope_theta, dim)), 1.0)


def _yarn(rope: Rope, dim: int, longest: jax.Array, trained: int) -> Frequencies:
    """Interpolates low frequencies, keeps high ones. Peng et al. 2023, arXiv:2309.00071."""
    original = rope.original_max_position_embeddings or trained
    factor = rope.factor or trained / original

    def temperature(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    scale = rope.attention_factor
    if scale is None and rope.mscale and rope.mscale_all_dim:
        scale = temperature(rope.mscale) / temperature(rope.mscale_all_dim)
    elif scale is None:
        scale = temperature(1.0)

    def dimension(turns: float) -> float:
        """The (fractional) dimension that turns this often within the original context."""
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.rope_theta))

    low, high = dimension(rope.beta_fast or 32.0), dimension(rope.beta_slow or 1.0)
    if rope.truncate is not False:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    high += 0.001 if low == high else 0
    ramp = np.clip((np.arange(dim // 2, dtype=np.float32) - low) / (high - low), 0, 1)
    powers = _powers(rope.rope_theta, dim)
    freq = ramp / (np.float32(factor) * powers) + (1 - ramp) / powers
    return Frequencies(freq.astype(np.float32), scale)


def _longrope(rope: Rope, dim: int, longest: jax.Array, trained: int) -> Frequencies:
    """Searched factors per frequency, one set beyond the original context.

    Ding et al. 2024, arXiv:2402.13753.
    """
    original = rope.original_max_position_embeddings or trained
    factor = rope.factor or trained / original
    scale = rope.attention_factor
    if scale is None:
        scale = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    powers = _powers(rope.rope_theta, dim)
    short, long = (np.asarray(f, np.float32) for f in (rope.short_factor, rope.long_factor))
    if not len(short) == len(long) == len(powers):
        raise ValueError(
            f"rope_parameters: short_factor has {len(short)} and long_factor {len(long)} values, "
            f"expected {len(powers)}, half the rotated head size"
        )
    chosen = jnp.where(longest > original, 1 / (long * powers), 1 / (short * powers))
    return Frequencies(chosen, scale)


def _llama3(rope: Rope, dim: int, longest: jax.Array, trained: int) -> Frequencies:
    """Stretches long wavelengths only. Grattafiori et al. 2024, arXiv:2407.21783."""
    freq = 1 / _powers(rope.rope_theta, dim)
    low, high = rope.low_freq_factor or 1.0, rope.high_freq_factor or 4.0
    turns = (rope.original_max_position_embeddings or trained) * freq / np.float32(2 * math.pi)
    blend = np.clip((turns - low) / (high - low), 0, 1).astype(np.float32)
    return Frequencies((1 - blend) * freq / np.float32(rope.factor) + blend * freq, 1.0)


class Variant(NamedTuple):
    """One `rope_type`: its frequencies and the parameters it takes."""

    frequencies: Callable[[Rope, int, jax.Array, int], Frequencies]
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


COMMON = frozenset(
    "rope_type rope_theta partial_rotary_factor original_max_position_embeddings "
    "mrope_section".split()
)
VARIANTS: dict[str, Variant] = {
    "default": Variant(_default),
    "linear": Variant(_linear, frozenset({"factor"})),
    "dynamic": Variant(_dynamic, frozenset({"factor"})),
    "yarn": Variant(
        _yarn,
        optional=frozenset(
            "factor attention_factor beta_fast beta_slow mscale mscale_all_dim truncate".split()
        ),
    ),
    "longrope": Variant(
        _longrope,
        frozenset({"short_factor", "long_factor"}),
        frozenset({"factor", "attention_factor"}),
    ),
    "llama3": Variant(_llama3, frozenset({"factor", "low_freq_factor", "high_freq_factor"})),
}


DEFAULT = Rope()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ropes:
    """A rotation for each kind of layer, as `rope_parameters` nests them."""

    full_attention: Rope = DEFAULT
    sliding_attention: Rope = DEFAULT

    @property
    def grows(self) -> bool:
        """Whether frequencies of any kind of layer depend on the length of the text."""
        return self.full_attention.grows or self.sliding_attention.grows


class Rotation(NamedTuple):
    """Cosines and sines of every position, float32 [B, T, 1, D / 2]."""

    cos: jax.Array
    sin: jax.Array


def rotation(rope: Rope, positions: jax.Array, *, head_dim: int, trained: int) -> Rotation:
    """Positions int [B, T], or [A, B, T] along the axes of an `MRope` -> the rotation of each.

    `trained` is `max_position_embeddings`. Types that depend on the length of the text take it
    from the largest position of the whole batch.
    """
    if positions.ndim == 3:
        along = [rotation(rope, x, head_dim=head_dim, trained=trained) for x in positions]
        return _sections(along, getattr(rope, "mrope_section", ()))
    dim = int(head_dim * rope.partial_rotary_factor)
    variant = VARIANTS[rope.rope_type]
    freq, scale = variant.frequencies(rope, dim, jnp.max(positions) + 1, trained)
    angle = positions[..., None, None].astype(jnp.float32) * jnp.asarray(freq).reshape(1, 1, 1, -1)
    return Rotation(jnp.cos(angle) * scale, jnp.sin(angle) * scale)


def _sections(along: Sequence[Rotation], sizes: Sequence[int]) -> Rotation:
    """One rotation whose n-th section of pairs is that of the n-th axis, in turn."""
    ends = list(itertools.accumulate(sizes))

    def joined(parts: Sequence[jax.Array]) -> jax.Array:
        pieces = [
            parts[i % len(parts)][..., end - size : end]
            for i, (size, end) in enumerate(zip(sizes, ends, strict=True))
        ]
        return jnp.concatenate(pieces, axis=-1)

    return Rotation(joined([r.cos for r in along]), joined([r.sin for r in along]))


def axial(rope: Rope, positions: jax.Array, *, head_dim: int) -> Rotation:
    """Positions int [A, B, T] -> a rotation of whose pairs each axis turns an equal share."""
    share = head_dim // positions.shape[0]
    along = [rotation(rope, x, head_dim=share, trained=1) for x in positions]
    return Rotation(
        jnp.concatenate([r.cos for r in along], axis=-1),
        jnp.concatenate([r.sin for r in along], axis=-1),
    )


@op("rope")
def rotate(x: Float[Array, "b t n d"], rotation: Rotation) -> Float[Array, "b t n d"]:
    """x [B, T, heads, D] -> same, each head rotated by its position.

    Only the first dimensions are rotated where the rotation covers fewer than D.
    """
    cos, sin = rotation.cos.astype(x.dtype), rotation.sin.astype(x.dtype)
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cos, sin = jnp.broadcast_to(cos, a.shape), jnp.broadcast_to(sin, a.shape)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)
