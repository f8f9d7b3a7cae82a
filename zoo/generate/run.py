"""`model.generate`: from a prompt to the tokens that follow it.

The loop runs on the device, in programs that are compiled once per number of rows and of cache
slots. Letters: B batch, P tokens of the prompt, N new tokens, R continuations of each prompt.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from zoo import hint, spec
from zoo import inputs as checks
from zoo.forward import Forward, specs
from zoo.generate import loop, rules
from zoo.generate.buckets import bucket, padded, room
from zoo.generate.config import DEFAULT_NEW_TOKENS, GenerationConfig, combine
from zoo.generate.prompt import DECODER, Prompt, prompt, rounded
from zoo.layers.rope import Rope, Ropes
from zoo.spec import Tree

GENERATES = ("causal-lm", "seq2seq-lm", "image-text-to-text", "automatic-speech-recognition")
NOT_INPUTS = ("cache", "dropout_key", "output_hidden_states")


@runtime_checkable
class Streamer(Protocol):
    """What transformers' streamers look like: the prompt and then every token are `put`."""

    def put(self, value: np.ndarray) -> Any:
        """Takes ids, [B, P] first and [B] then."""
        ...

    def end(self) -> Any:
        """Nothing follows."""
        ...


def generate(
    model: Any,
    inputs: Any = None,
    *,
    generation_config: GenerationConfig | None = None,
    streamer: Streamer | Callable[[np.ndarray], Any] | None = None,
    logits_processor: Sequence[rules.Rule] = (),
    seed: int = 0,
    **given: Any,
) -> jax.Array:
    """Continues texts: greedily, or by drawing tokens.

    Args:
      model: a `zoo.Model` of a class that generates.
      inputs: the main input, such as `input_ids` [B, P] padded on the left.
      generation_config: settings in place of those that came with the model.
      streamer: called with the B tokens of every step as they come; or an object with `put` and
        `end`, which is given the prompt first, as in transformers.
      logits_processor: pure functions `(ids [B, L], scores [B, V], length) -> scores`; only the
        first `length` ids have a meaning. A program is compiled for each, so pass the same objects.
      seed: of what is drawn.
      **given: inputs of the model, and settings of `GenerationConfig`.

    Returns:
      int32 [B * R, P + N]: prompts with their continuations; rows that end early are filled up with
      `pad_token_id`. Behind an encoder, the decoder's ids, which begin with its start; where the
      module of the architecture names another as `GENERATION` and no decoder's ids are given, what
      `generate(model, arrays, options)` of that module returns, such as `zoo.generate.whisper`.

    Raises:
      TypeError: neither an input of the model nor a setting.
      ValueError: a model that does not generate, a setting that is not supported yet, an input that
        does not fit, or more tokens than the model has positions.
    """
    forward = model.forward
    takes = set(forward.task.inputs) - set(NOT_INPUTS)
    if forward.task.name not in GENERATES or "cache" not in forward.task.inputs:
        raise ValueError(
            f"generate: {forward.class_name} does not generate; load the checkpoint with task= one "
            f"of {', '.join(GENERATES)}"
        )
    arrays = {k: x for k, x in given.items() if k in takes and x is not None}
    if inputs is not None:
        arrays[forward.task.groups[0][0]] = inputs
    changes = {k: x for k, x in given.items() if k not in takes}
    own = getattr(forward.architecture.module, "GENERATION", None)
    if own and forward.task.crosses and not any(k.startswith(DECODER) for k in arrays):
        changes |= {"generation_config": generation_config, "streamer": streamer}
        changes |= {"logits_processor": logits_processor, "seed": seed}
        return importlib.import_module(own).generate(model, arrays, changes)
    stored = {} if generation_config is not None else model.generation_settings
    config = generation_config.replace(**changes) if generation_config else combine(stored, changes)
    arrays = _checked(model, config, arrays)
    begin = prompt(forward, config, arrays)
    limit = _limit(forward, config, begin)
    state, begin = _started(model, config, begin, limit, seed)
    tokens = _run(model, config, state, begin, limit, tuple(logits_processor), streamer)
    return jax.device_put(tokens)  # jnp.asarray would compile a program for every length


def _checked(model: Any, c: GenerationConfig, arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays that the model takes; a text that begins with nothing begins with `bos_token_id`."""
    forward = model.forward
    if "inputs_embeds" in arrays and not forward.task.crosses:
        raise ValueError("generate: inputs_embeds is not supported yet; pass input_ids")
    if not arrays and c.bos_token_id is not None and forward.task.groups[0][0] == "input_ids":
        arrays["input_ids"] = np.full((1, 1), c.bos_token_id, np.int32)
    start = {}
    if forward.task.crosses and "decoder_input_ids" not in arrays:
        rows = next((len(x) for x in arrays.values() if hasattr(x, "__len__")), 1)
        start = {"decoder_input_ids": np.zeros((rows, 1), np.int32)}
    if "encoder_outputs" in arrays:
        said = arrays["encoder_outputs"]
        arrays["encoder_outputs"] = getattr(said, "last_hidden_state", said)
    checked, flags = checks.check(forward, model.layers, {**arrays, **start})
    return {k: x for k, x in (checked | flags).items() if k not in start}


def _limit(forward: Forward, c: GenerationConfig, begin: Prompt) -> int:
    """The length of prompt and continuation at which every row ends.

    Raises:
      ValueError: the prompt is that long already, or the model has no positions for so many.
    """
    length = begin.ids.shape[1]
    table = forward.architecture.module.limits(forward.config).get(
        "position_ids" if begin.names.ids == "input_ids" else "decoder_position_ids"
    )
    if c.max_new_tokens is not None:
        limit = length + c.max_new_tokens
    elif c.max_length is not None:
        limit = c.max_length
    else:
        longest = table or getattr(forward.config, "max_position_embeddings", None)
        limit = length + DEFAULT_NEW_TOKENS
        limit = limit if longest is None else max(min(limit, longest), length + 1)
    if limit <= length:
        raise ValueError(
            f"generate: max_length: found {limit}, but the prompt has {length} tokens already; "
            f"pass max_new_tokens"
        )
    used = begin.longest + limit - length - 1  # the last token is never looked at
    if table is not None and used > table:
        raise ValueError(
            f"generate: {begin.names.ids}: {begin.longest} tokens and {limit - length} new ones, "
            f"expected at most {table + 1} together; shorten the text or lower max_new_tokens"
        )
    return limit


def _started(
    model: Any, c: GenerationConfig, begin: Prompt, limit: int, seed: int
) -> tuple[loop.State, Prompt]:
    """A state whose cache holds all of the prompt but its last token."""
    forward, length, times = model.forward, begin.ids.shape[1], c.num_return_sequences or 1
    flags = {k: x for k, x in begin.beside.items() if isinstance(x, bool)}
    begin = begin._replace(beside={k: x for k, x in begin.beside.items() if k not in flags})
    static = {
        "forward": forward, "names": begin.names, "flags": tuple(sorted(flags.items())),
        "placement": hint.current(),
    }  # fmt: skip
    crosses = forward.task.crosses
    new = limit - length
    if crosses:  # a decoder's positions count from its first slot, so nothing stands before it
        table = forward.architecture.module.limits(forward.config).get("position_ids")
        source = rounded(begin.beside, table)
        slots, piece = bucket(length + new), length - 1
        seen = _outputs(model, begin, source).encoder_last_hidden_state.shape[1]
        cache = model.init_cache(len(begin.ids), slots, source=seen)
        cache = loop.look(model.params, cache, source, begin.ids[:, :1], **static)
    else:
        source = {}
        slots, piece = room(length - 1, new)
        rope = getattr(forward.config, "rope_parameters", None)
        whole = begin.beside or (isinstance(rope, Rope | Ropes) and rope.grows)
        piece = padded(length - 1, piece) if whole else piece
        cache = model.init_cache(len(begin.ids), slots)
    for inputs in _pieces(begin, piece):
        cache = loop.fill(model.params, cache, inputs, **static)
    penalised = c.repetition_penalty not in (None, 1)
    vocab = _outputs(model, begin, source).logits.shape[-1] if penalised else 0
    if times > 1:
        cache = _repeated(model, cache, times)
        begin = begin.repeated(times)
    ids = np.zeros((len(begin.ids), slots + 1), np.int32)
    ids[:, :length] = begin.ids
    tokens = None
    if penalised:
        tokens = np.zeros((len(ids), vocab), bool)
        rows = np.broadcast_to(np.arange(len(ids))[:, None], begin.ids.shape)
        tokens[rows[begin.mask == 1], begin.ids[begin.mask == 1]] = True
    last = None if begin.positions is None else jax.device_put(begin.positions[..., -1:])
    state = loop.State(
        ids=jax.device_put(ids),
        length=jax.device_put(np.int32(length)),
        positions=last,
        done=jax.device_put(np.zeros(len(ids), bool)),
        seen=None if tokens is None else jax.device_put(tokens),
        key=jax.random.key(seed),
        cache=cache,
    )
    return state, begin


def _pieces(begin: Prompt, size: int) -> list[dict[str, Any]]:
    """All of the prompt but its last token, in pieces of one size, padded on the left."""
    total = begin.ids.shape[1] - 1
    if total == 0:
        return []
    more = padded(total, size) - total
    batch, length = begin.ids.shape
    crosses = begin.names.ids != "input_ids"
    named = {begin.names.ids: begin.ids, begin.names.mask: begin.mask}
    if begin.names.positions is not None and begin.positions is not None:
        named[begin.names.positions] = begin.positions
    whole = {}
    for name, x in {} if crosses else begin.beside.items():
        along = getattr(x, "shape", ())[:2] == (batch, length)
        (named if along else whole)[name] = np.asarray(x) if along else x
    wide = {
        name: np.pad(x[..., :-1], ((0, 0),) * (x.ndim - 1) + ((more, 0),))
        for name, x in named.items()
    }
    if crosses and begin.mask.all():
        wide.pop(begin.names.mask)
    return [
        {name: x[..., at : at + size] for name, x in wide.items()} | whole
        for at in range(0, total + more, size)
    ]


def _repeated(model: Any, cache: Tree, times: int) -> Tree:
    """Every row of a cache so many times in a row."""
    rows, length = cache.valid.shape
    source = None if cache.source is None else cache.source.shape[1]
    declared = model.forward.cache_specs(model.layers, rows, length, source)

    def repeat(s: spec.ArraySpec, x: jax.Array) -> jax.Array:
        return jnp.repeat(x, times, axis=s.axes.index("batch")) if "batch" in s.axes else x

    return spec.tree_map(repeat, declared, cache)


def _run(
    model: Any,
    c: GenerationConfig,
    state: loop.State,
    begin: Prompt,
    limit: int,
    own: tuple[rules.Rule, ...],
    streamer: Any,
) -> np.ndarray:
    """Ids [B, P + N]; with a streamer in steps of one token, of the same program."""
    numbers = rules.numbers(c, begin=begin.ids.shape[1], limit=limit)
    advance = functools.partial(
        loop.advance,
        forward=model.forward,
        names=begin.names,
        plan=rules.plan(c, own),
        placement=hint.current(),
    )
    if streamer is None:
        state = advance(model.params, state, numbers, np.int32(limit))
        return np.asarray(state.ids)[:, : int(state.length)]
    put = streamer.put if isinstance(streamer, Streamer) else streamer
    if isinstance(streamer, Streamer):
        put(begin.ids)
    for length in range(begin.ids.shape[1], limit):
        state = advance(model.params, state, numbers, np.int32(length + 1))
        put(np.asarray(state.ids)[:, length])
        if np.asarray(state.done).all():
            break
    if isinstance(streamer, Streamer):
        streamer.end()
    return np.asarray(state.ids)[:, : int(state.length)]


def _outputs(model: Any, begin: Prompt, source: Mapping[str, Any]) -> Any:
    """Shapes of what the model returns for a source and one token."""
    arrays = {**source, begin.names.ids: begin.ids[:, :1]}
    return _shapes(model.forward, model.layers, _abstract(arrays))


def _abstract(arrays: Mapping[str, Any]) -> tuple:
    return tuple(
        sorted((name, tuple(x.shape), jnp.dtype(x.dtype).name) for name, x in arrays.items())
    )


@functools.lru_cache(maxsize=64)
def _shapes(forward: Forward, layers: str, arrays: tuple) -> Any:
    params = spec.abstract(specs(forward, layers))
    some = {name: jax.ShapeDtypeStruct(*x) for name, *x in arrays}
    return jax.eval_shape(lambda p, x: forward(p, **x), params, some)
