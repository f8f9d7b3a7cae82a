"""What a model is called with: arrays of any kind in, arrays of JAX out, or a clear refusal.

Shapes and dtypes are checked under `jax.jit` as well; values only where they are known.
"""

import difflib
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from zoo.forward import Forward
from zoo.layers import cache as caching
from zoo.outputs import Output
from zoo.spec import Tree, abstract

FLAGS = ("output_hidden_states", "interpolate_pos_encoding")
RANKS = {
    "input_ids": 2,
    "inputs_embeds": 3,
    "pixel_values": 4,
    "input_features": 3,
    "input_values": 2,
    "decoder_input_ids": 2,
    "decoder_inputs_embeds": 3,
    "encoder_outputs": 3,
    "encoder_hidden_states": 3,
}
FLOATS = (
    "inputs_embeds",
    "decoder_inputs_embeds",
    "encoder_hidden_states",
    "pixel_values",
    "pixel_values_videos",
    "input_features",
    "input_values",
)
TREES = ("cache", "dropout_key", "encoder_outputs")
DECODER = "decoder_"
TARGETS = {"decoder_input_ids", "decoder_inputs_embeds"}


def check(
    forward: Forward, layers: str, inputs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, bool]]:
    """Splits inputs into arrays and flags, and refuses what cannot be meant.

    Flags are the names of `FLAGS` and whatever is a plain True or False: they are static.

    Raises:
      TypeError: an input that the model does not take.
      ValueError: none or two of the main inputs, another shape or dtype, numbers out of range, a
        cache of another model or too short.
    """
    where, takes = forward.class_name, forward.task.inputs
    if unknown := sorted(inputs.keys() - set(takes)):
        near = difflib.get_close_matches(unknown[0], takes, n=1)
        hint = f"nearest is {near[0]}; " if near else ""
        raise TypeError(
            f"{where}: does not take {', '.join(unknown)}; {hint}it takes {', '.join(takes)}"
        )
    flags = {k: bool(v) for k, v in inputs.items() if k in FLAGS or isinstance(v, bool)}
    given = {k: v for k, v in inputs.items() if v is not None and k not in flags}
    _check_main(forward, given, where)
    if "encoder_outputs" in given:
        given["encoder_outputs"] = _encoded(given["encoder_outputs"], where)
    arrays = {k: v if k in TREES else _array(v, f"{where}: {k}") for k, v in given.items()}
    for name, x in arrays.items():
        _check_dtype(name, x, where)
        _check_shape(forward, name, x, where)
    tokens = {prefix: _tokens(arrays, prefix) for prefix in ("", DECODER)}
    for prefix, shape in tokens.items():
        if shape is not None:
            _check_tokens(forward, arrays, prefix, shape, where)
    _check_rows(tokens, where)
    if own := getattr(forward.architecture.module, "check_inputs", None):
        own(forward.config, arrays, where)
    _check_values(forward, arrays, where)
    if "cache" in arrays:
        new = tokens[DECODER] or tokens[""]
        _check_cache(forward, layers, arrays["cache"], new and new[:2], where)
    return arrays, flags


def _array(x: Any, where: str) -> Any:
    """An array of a dtype that JAX has: int32 for wider integers, float32 for float64."""
    if isinstance(x, jax.Array):
        return x
    try:
        x = np.asarray(_detached(x))
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        if isinstance(error, jax.errors.JAXTypeError):
            raise
        found = "rows of different lengths" if isinstance(x, list | tuple) else type(x).__name__
        raise ValueError(f"{where}: found {found}, expected an array; pad the rows") from None
    if x.dtype.kind not in "biuf" and x.dtype.name != "bfloat16":
        raise ValueError(f"{where}: found {x.dtype}, expected numbers; encode them first")
    if x.dtype.kind in "iu" and x.dtype.itemsize >= 4 and x.dtype != np.int32:
        if x.size and (x.min() < -(2**31) or x.max() >= 2**31):
            raise ValueError(f"{where}: holds numbers beyond 32 bits; is this the right array?")
        return x.astype(np.int32)
    return x.astype(np.float32) if x.dtype == np.float64 else x


def _encoded(x: Any, where: str) -> Any:
    """What an encoder returned: an output of the zoo as it is, of anything else its last state."""
    if isinstance(x, Output) and "last_hidden_state" in x:
        return x
    x = x[0] if isinstance(x, tuple | list) and x else getattr(x, "last_hidden_state", x)
    return _array(x, f"{where}: encoder_outputs")


def _detached(x: Any) -> Any:
    """A tensor of torch as numpy; anything else as it is. Torch is not imported for that."""
    if type(x).__module__.partition(".")[0] != "torch" or not hasattr(x, "detach"):
        return x
    x = x.detach().cpu()
    return (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()


def _check_main(forward: Forward, given: Mapping[str, Any], where: str) -> None:
    for group in forward.task.groups:
        found = [name for name in group if name in given]
        if not found and "cache" in given and given.keys() & TARGETS:
            continue  # the cache holds what the encoder said
        if len(found) != 1:
            wanted = " or ".join(group)
            said = " and ".join(found) or ("neither" if len(group) > 1 else "nothing")
            raise ValueError(f"{where}: found {said}, expected {wanted}; pass one of them")


def _check_dtype(name: str, x: Any, where: str) -> None:
    if name == "dropout_key" and not isinstance(x, jax.Array):
        raise ValueError(
            f"{where}: dropout_key: found {type(x).__name__}, expected jax.random.key(seed)"
        )
    if name in FLOATS and not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"{where}: {name} has dtype {x.dtype}, expected floats; "
            + ("let the processor scale the images" if name == "pixel_values" else "cast it")
        )
    if name.endswith("_ids") and not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f"{where}: {name} has dtype {x.dtype}, expected integers; cast it")


def _check_shape(forward: Forward, name: str, x: Any, where: str) -> None:
    if name == "encoder_outputs":
        x = getattr(x, "last_hidden_state", x)
    rank = forward.task.ranks.get(name, RANKS.get(name))
    if rank is None or name == "position_ids":
        return
    several = forward.task.name == "multiple-choice" and x.ndim == rank + 1
    if x.ndim != rank and not several:
        raise ValueError(
            f"{where}: {name} has shape {tuple(x.shape)}, expected {rank} dimensions, the batch "
            f"first; add or remove an axis"
        )
    if 0 in x.shape:
        raise ValueError(
            f"{where}: {name} has shape {tuple(x.shape)}, expected no empty axis; pass something"
        )
    width = getattr(forward.config, "hidden_size", None)
    wide = name.endswith(("inputs_embeds", "encoder_outputs"))
    if wide and width is not None and x.shape[-1] != width:
        raise ValueError(
            f"{where}: {name} has width {x.shape[-1]}, expected hidden_size {width}; are these "
            f"vectors of this model?"
        )


def _tokens(arrays: Mapping[str, Any], prefix: str) -> tuple[int, ...] | None:
    """Shape [B, T] or [B, choices, T] of the text of the encoder or decoder, if there is one."""
    if (ids := arrays.get(f"{prefix}input_ids")) is not None:
        return tuple(ids.shape)
    vectors = arrays.get(f"{prefix}inputs_embeds")
    if vectors is None and not prefix:
        vectors = arrays.get("encoder_outputs")
        vectors = getattr(vectors, "last_hidden_state", vectors)
    return None if vectors is None else tuple(vectors.shape[:-1])


def _check_rows(tokens: Mapping[str, tuple[int, ...] | None], where: str) -> None:
    source, target = tokens[""], tokens[DECODER]
    if source is not None and target is not None and source[0] != target[0]:
        raise ValueError(
            f"{where}: found {target[0]} rows for the decoder, expected {source[0]} as for the "
            f"encoder; pass a target for each source"
        )


def _check_tokens(
    forward: Forward, arrays: Mapping[str, Any], prefix: str, shape: tuple[int, ...], where: str
) -> None:
    """Shapes beside the tokens [B, T], or [B, choices, T]."""
    mask = f"{prefix}attention_mask"
    planes = [(3, *shape)] if forward.task.ranks.get("position_ids") == 3 else []
    wanted = {
        f"{prefix}token_type_ids": (shape,),
        f"{prefix}position_ids": (shape, shape[-1:], (1, *shape[1:]), *planes),
        mask: (shape, (*shape, shape[-1])),
        f"{prefix}mc_token_ids": (shape[:-1],),
    }
    for name, shapes in wanted.items():
        if name in arrays and tuple(arrays[name].shape) not in shapes:
            raise ValueError(
                f"{where}: {name} has shape {tuple(arrays[name].shape)}, expected {shapes[0]} "
                f"beside tokens of shape {shape}; make both together"
            )
    if "cache" in arrays and mask in arrays and arrays[mask].ndim != 2:
        raise ValueError(
            f"{where}: {mask} has shape {tuple(arrays[mask].shape)}, expected "
            f"{shape}: with a cache it speaks of the new tokens; leave the others to the cache"
        )


def _check_values(forward: Forward, arrays: Mapping[str, Any], where: str) -> None:
    limits = forward.architecture.module.limits(forward.config)
    for name, limit in limits.items():
        x = arrays.get(name)
        if x is None or isinstance(x, Tracer):
            continue
        low, high = int(np.min(x)), int(np.max(x))
        if low < 0 or high >= limit:
            raise ValueError(
                f"{where}: {name} holds {low if low < 0 else high}, expected 0 to {limit - 1}; "
                f"is this the model's own tokenizer?"
            )


@functools.lru_cache(maxsize=64)
def _cache_shapes(
    forward: Forward, layers: str, batch: int, length: int, source: int | None
) -> Tree:
    return abstract(forward.cache_specs(layers, batch, length, source))


def _shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: tuple(x.shape), tree)


def _check_cache(
    forward: Forward, layers: str, cache: Any, shape: tuple[int, ...] | None, where: str
) -> None:
    """A cache against the tokens [B, T] that are to enter it."""
    if not isinstance(cache, caching.Cache):
        raise ValueError(
            f"{where}: cache: found {type(cache).__name__}, expected what init_cache returned, or "
            f"an earlier call"
        )
    rows, room = cache.valid.shape
    if shape is not None and rows != shape[0]:
        raise ValueError(
            f"{where}: {shape[0]} rows do not fit a cache of {rows}; make another with init_cache"
        )
    source = None if cache.source is None else cache.source.shape[1]
    wanted = _cache_shapes(forward, layers, rows, room, source)
    if _shapes(cache) != _shapes(wanted):
        raise ValueError(
            f"{where}: found a cache of another model, expected one of {forward.model_type} with "
            f"these sizes and layers; make it with this model's init_cache"
        )
    used = 0 if isinstance(cache.length, Tracer) else int(cache.length)
    if shape is not None and used + shape[1] > room:
        raise ValueError(
            f"{where}: {shape[1]} tokens do not fit a cache of {room} of which {used} are taken; "
            f"make a longer one with init_cache"
        )
