"""How Whisper begins a text, and the rules by which it says when something was said.

Radford et al. 2022, arXiv:2212.04356, section 2.3. Letters: B batch, L slots for ids, V vocab,
M mel bins, F frames.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.generate.rules import NEVER
from zoo.tokenizers.languages import CODES

TASKS = ("transcribe", "translate")
MOST = 256  # new tokens, where nothing else is said


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
    settings, count = model.generation_settings, len(features)
    start = settings.get("decoder_start_token_id", model.raw_config.get("decoder_start_token_id"))
    if start is None:
        raise ValueError("whisper: found no decoder_start_token_id in config.json; add it")
    if settings.get("is_multilingual") is False and (language is not None or task is not None):
        raise ValueError("whisper: language and task: found one of an English-only model; drop it")
    rows = [[int(start)] for _ in range(count)]
    known = settings.get("lang_to_id")
    forced = dict(settings.get("forced_decoder_ids") or model.raw_config.get("forced_decoder_ids")
                  or ()) if task is None and language is None else {}  # fmt: skip
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
    prompt = begin(model, features, language=language, task=task, timestamps=timestamps)
    settings, c = model.generation_settings, model.config
    silent = settings.get("no_timestamps_token_id")
    first = c.vocab_size + 1 if silent is None else silent + 1
    ends = settings.get("eos_token_id", model.raw_config.get("eos_token_id"))
    ends = [ends] if isinstance(ends, int) else list(ends or ())
    if "max_new_tokens" not in options and "max_length" not in options:
        options["max_new_tokens"] = min(MOST, c.max_target_positions - prompt.shape[1])
    rules = ()
    if timestamps:
        latest = settings.get("max_initial_timestamp_index")
        rules = (Timestamps(prompt.shape[1], first, ends[0], latest),)
    step = c.frames // c.max_source_positions
    seek, out = np.zeros(len(features), int), [[] for _ in features]
    while (seek < c.frames).any():
        heard = np.zeros_like(features)
        for i, at in enumerate(seek):
            heard[i, :, : c.frames - at] = features[i, :, at:]
        ids = model.generate(
            input_features=heard, decoder_input_ids=prompt, logits_processor=rules, **options
        )
        for i, row in enumerate(np.asarray(ids)[:, prompt.shape[1] :].tolist()):
            if seek[i] < c.frames:
                stop = next((n for n, token in enumerate(row) if token in ends), len(row))
                kept, places = finished(row[:stop], first)
                out[i] += kept
                seek[i] = c.frames if places is None else seek[i] + max(places, 1) * step
    return out


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
