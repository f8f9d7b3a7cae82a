"""How Whisper begins a text, and the rules by which it says when something was said.

Radford et al. 2022, arXiv:2212.04356, section 2.3. Letters: B batch, L slots for ids, V vocab,
M mel bins, F frames, P tokens of the prompt, N new tokens, R continuations of each prompt.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.generate.config import DEFAULT_NEW_TOKENS
from zoo.generate.rules import NEVER
from zoo.tokenizers.languages import CODES

TASKS = ("transcribe", "translate")
MOST = 256  # new tokens to a chunk, where nothing else is said


def generate(model: Any, arrays: Mapping[str, Any], options: Mapping[str, Any]) -> jax.Array:
    """`model.generate` of recordings of at most one chunk each, as in transformers.

    `zoo.generate.generate` calls it where no ids of the decoder are given, because the module of
    the architecture names this one as its `GENERATION`.

    Args:
      model: a `zoo.Model` of `WhisperForConditionalGeneration`.
      arrays: `input_features` [B, M, F], and a mask of it, which changes nothing.
      options: `language` (one or B codes or English names), `task`, `return_timestamps`, and what
        else `generate` takes. Tokens are drawn if `temperature` is above 0.

    Returns:
      int32 [B * R, N]: what is said, without the start of the text and its end, and padded on the
      right with `pad_token_id`.

    Raises:
      ValueError: a language, task or option that makes no sense, or more than one chunk.
    """
    c, options = model.config, dict(options)
    if "input_features" not in arrays:
        raise ValueError(
            "generate: found no input_features, expected them; or pass decoder_input_ids too"
        )
    features = np.asarray(arrays["input_features"])
    if features.ndim != 3 or features.shape[2] > c.frames:
        raise ValueError(
            f"generate: input_features has shape {features.shape}, expected [batch, "
            f"{c.num_mel_bins}, at most {c.frames}], mel bins and frames; for a longer recording "
            f"use zoo.pipeline('automatic-speech-recognition', ..., "
            f"chunk_length_s={c.frames / 100:g})"
        )
    warmth = options.pop("temperature", None)
    if warmth:
        options["temperature"] = warmth
    options["do_sample"] = bool(options.get("do_sample") if warmth is None else warmth)
    settings = _settings(model, options)
    if settings.get("max_new_tokens") is not None and options.get("max_length") is None:
        options["max_new_tokens"] = settings["max_new_tokens"]
    elif options.get("max_new_tokens") is None:
        options["max_length"] = settings.get("max_length") or DEFAULT_NEW_TOKENS
    rows = transcribe(
        model,
        features,
        language=options.pop("language", None),
        task=options.pop("task", None),
        timestamps=bool(settings.get("return_timestamps")),
        **{k: x for k, x in options.items() if k != "return_timestamps"},
    )
    pad = settings.get("pad_token_id") or 0
    ids = np.full((len(rows), max(map(len, rows))), pad, np.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return jax.device_put(ids)


def _settings(model: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What holds for a call: its options on top of what came with the model."""
    config = options.get("generation_config")
    own = {} if config is None else {**dict(config.extra), **dataclasses.asdict(config)}
    said = {k: x for k, x in {**own, **options}.items() if x is not None}
    ids = ("decoder_start_token_id", "eos_token_id", "forced_decoder_ids")
    raw = {k: model.raw_config[k] for k in ids if model.raw_config.get(k) is not None}
    return {**raw, **model.generation_settings, **said}


@dataclasses.dataclass(frozen=True)
class Timestamps:
    """A rule on scores: times come in pairs, never go back, and when in doubt a time is said.

    Attributes:
      begin: tokens of the prompt.
      first: id of the time 0.
      end: id that ends a text.
      latest: the first time may be so many steps after 0, any if None.
    """

    begin: int
    first: int
    end: int
    latest: int | None = None

    def __call__(self, ids: jax.Array, scores: jax.Array, length: jax.Array) -> jax.Array:
        """Ids [B, L] of which `length` have a meaning, scores [B, V] -> scores."""
        at, token = jnp.arange(ids.shape[1])[None], jnp.arange(scores.shape[1])[None]
        time = (ids >= self.first) & (at >= self.begin) & (at < length)
        last = jnp.take_along_axis(time, jnp.full((len(ids), 1), length - 1), axis=1)
        before = jnp.take_along_axis(
            time, jnp.full((len(ids), 1), jnp.maximum(length - 2, 0)), axis=1
        )
        paired = before | (length - self.begin < 2)
        said = jnp.take_along_axis(
            ids, jnp.argmax(jnp.where(time, at, -1), axis=1)[:, None], axis=1
        )
        least = jnp.where(last & ~paired, said, said + 1)
        least = jnp.where(time.any(1, keepdims=True), least, self.first)
        is_time = token >= self.first
        never = token == self.first - 1
        never = never | (last & paired & is_time) | (last & ~paired & (token < self.end))
        never = never | (is_time & (token < least))
        starts = length == self.begin
        never = never | (starts & ~is_time)
        if self.latest is not None:
            never = never | (starts & (token > self.first + self.latest))
        scores = jnp.where(never, NEVER, scores)
        chances = jax.nn.log_softmax(scores, axis=-1)
        some = jax.nn.logsumexp(jnp.where(is_time, chances, NEVER), axis=-1, keepdims=True)
        best = jnp.max(jnp.where(is_time, NEVER, chances), axis=-1, keepdims=True)
        return jnp.where((some > best) & ~is_time, NEVER, scores)


def begin(
    model: Any,
    features: Any,
    settings: Mapping[str, Any],
    *,
    language: str | Sequence[str] | None = None,
    task: str | None = None,
    timestamps: bool = False,
) -> np.ndarray:
    """Ids int32 [B, P] that the text of features [B, M, F] begins with.

    They say the language, which is heard where it is not given, what to do (`transcribe`, or
    `translate` into English), and whether times are wanted.

    Raises:
      ValueError: a language or task that the model does not know, or a model without times.
    """
    start, count = settings.get("decoder_start_token_id"), len(features)
    if start is None:
        raise ValueError("whisper: found no decoder_start_token_id in config.json; add it")
    if settings.get("is_multilingual") is False and (language is not None or task is not None):
        raise ValueError("whisper: language and task: found one of an English-only model; drop it")
    language = settings.get("language") if language is None else language
    task = settings.get("task") if task is None else task
    rows = [[int(start)] for _ in range(count)]
    known = settings.get("lang_to_id")
    old = settings.get("forced_decoder_ids") if task is None and language is None else None
    forced = dict(old or ())
    for at in sorted(forced):
        rows = [[*row, forced[at]] for row in rows]
    if language is not None or (known and (len(rows[0]) < 2 or rows[0][1] is None)):
        spoken = _given(language, known, count) if language is not None else None
        spoken = _heard(model, features, start, known) if spoken is None else spoken
        rows = [[row[0], lang, *row[2:]] for row, lang in zip(rows, spoken, strict=True)]
    tasks = settings.get("task_to_id") or {}
    if task is not None and (task not in TASKS or task not in tasks):
        raise ValueError(
            f"whisper: task: found {task!r}, expected one of {', '.join(tasks) or 'none'}"
        )
    if task is None and language is not None and not set(rows[0]) & set(tasks.values()):
        task = "transcribe" if tasks else None
    if task is not None:
        rows = [[*(i for i in row if i not in tasks.values()), tasks[task]] for row in rows]
    silent = settings.get("no_timestamps_token_id")
    if timestamps and silent is None:
        raise ValueError(
            "whisper: timestamps: found no no_timestamps_token_id in generation_config.json, "
            "expected it; this model tells no times"
        )
    rows = [[i for i in row if i is not None and i != silent] for row in rows]
    if not timestamps and silent is not None:
        rows = [[*row, silent] for row in rows]
    return np.asarray(rows, np.int32)


def _given(language: str | Sequence[str], known: Mapping[str, int] | None, count: int) -> list[int]:
    """Ids of the languages asked for, by code or English name, one for all or one each."""
    asked = [language] * count if isinstance(language, str) else list(language)
    if len(asked) != count:
        raise ValueError(f"whisper: language: found {len(asked)}, expected one, or {count}")
    out = []
    for one in asked:
        name = str(one).lower()
        name = name if name.startswith("<|") else f"<|{CODES.get(name, name)}|>"
        if not known or name not in known:
            near = ", ".join(sorted(known or ())[:5])
            raise ValueError(
                f"whisper: language: found {one!r}, expected one of {near or 'none'}, ...; see "
                f"lang_to_id in generation_config.json"
            )
        out.append(known[name])
    return out


def _heard(model: Any, features: Any, start: int, known: Mapping[str, int] | None) -> list[int]:
    """Ids of the likeliest languages."""
    ids = np.asarray(sorted((known or {}).values()))
    first = np.full((len(features), 1), start, np.int32)
    logits = np.asarray(model(input_features=features, decoder_input_ids=first).logits[:, -1])
    return [int(i) for i in ids[logits[:, ids].argmax(-1)]]


def transcribe(
    model: Any,
    features: np.ndarray,
    *,
    language: str | Sequence[str] | None = None,
    task: str | None = None,
    timestamps: bool = False,
    **options: Any,
) -> list[list[int]]:
    """Features [B, M, F] of one chunk each -> the ids that Whisper writes, times among them.

    Where it stops at a time and the recording goes on, it listens again from there, as in
    transformers. `options` are those of `generate`.

    Raises:
      ValueError: a language, task or option that makes no sense.
    """
    c, settings = model.config, _settings(model, options)
    frames = features.shape[2]
    features = np.pad(features, ((0, 0), (0, 0), (0, c.frames - frames)))
    asked = {"language": language, "task": task, "timestamps": timestamps}
    prompt = begin(model, features, settings, **asked)
    times = settings.get("num_return_sequences") or 1
    if times > 1 and settings.get("do_sample"):
        options["num_return_sequences"] = 1
        features, prompt = (np.repeat(x, times, axis=0) for x in (features, prompt))
    silent, pad = settings.get("no_timestamps_token_id"), settings.get("pad_token_id")
    first = c.vocab_size + 1 if silent is None else silent + 1
    ends = settings.get("eos_token_id")
    ends = [ends] if isinstance(ends, int) else list(ends or ())
    length, table = prompt.shape[1], c.max_target_positions
    if options.get("max_new_tokens") is None and options.get("max_length") is None:
        options["max_new_tokens"] = min(MOST, table - length)
    rules = tuple(options.pop("logits_processor", ()))
    if timestamps:
        latest = settings.get("max_initial_timestamp_index")
        rules = (Timestamps(length, first, ends[0], latest), *rules)
    step = c.frames // c.max_source_positions
    seek, out = np.zeros(len(features), int), [[] for _ in features]
    while (seek < frames).any():
        heard = np.zeros_like(features)
        for i, at in enumerate(np.minimum(seek, frames)):
            heard[i, :, : c.frames - at] = features[i, :, at:]
        if options.get("max_length") is not None:  # as in transformers it grows with every piece
            more = min(table // 2 - 1, length)
            options["max_length"] = min(options["max_length"] + more, table)
        ids = model.generate(
            input_features=heard, decoder_input_ids=prompt, logits_processor=rules, **options
        )
        for i, row in enumerate(np.asarray(ids)[:, length:].tolist()):
            if seek[i] < frames:
                kept, places = finished(_cut(row, ends, pad), first)
                out[i] += kept
                seek[i] = frames if places is None else seek[i] + max(places, 1) * step
    return out


def _cut(row: list[int], ends: Sequence[int], pad: int | None) -> list[int]:
    """Ids before the end of a text.

    As in transformers, padding is taken off by its count in the whole row, so that a text that is
    padded and holds the id of padding in its middle loses its last tokens.
    """
    if pad is not None and row[-1] == pad:
        row = row[: len(row) - row.count(pad) + (pad in ends)]
    return row[:-1] if row and row[-1] in ends else row


def finished(ids: list[int], first: int) -> tuple[list[int], int | None]:
    """Ids of segments that have ended, and the place where the last of them did.

    None where the whole chunk has been written down. Segments end where two times follow each
    other; a text that ends with a single time has nothing after it.
    """
    times = [token >= first for token in ids]
    pairs = [i + 1 for i in range(len(ids) - 1) if times[i] and times[i + 1]]
    if not pairs or times[-2:] == [False, True]:
        return ids, None
    last = pairs[-1] + 1  # with the time that the next segment begins at
    return ids[:last], ids[last - 2] - first
