"""Text that follows a text. Greedy: always the likeliest token."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo.pipelines import scores
from zoo.pipelines.greedy import greedy
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline, TextOptions

log = logging.getLogger("zoo")

MAX_NEW_TOKENS = 256
# Arguments of transformers' generation with the values at which decoding is greedy.
GREEDY = {
    "do_sample": (False, None),
    "num_beams": (1, None),
    "num_return_sequences": (1, None),
    "repetition_penalty": (1, 1.0, None),
    "no_repeat_ngram_size": (0, None),
    "use_cache": (True, None),
}
UNUSED_WHEN_GREEDY = ("temperature", "top_k", "top_p", "min_p", "typical_p")
CHANGING = ("do_sample", "num_beams", "repetition_penalty", "no_repeat_ngram_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TextOptions):
    """Options of text generation.

    Attributes:
      max_new_tokens: how many tokens at most; 256, or what the model has room for, if None.
      return_full_text: with the prompt in front.
      return_tensors: ids (`generated_token_ids`) in place of text.
      skip_special_tokens: leave the end of text and the like out.
      add_special_tokens: begin the prompt as the tokenizer does.
      eos_token_id: one id or several that end the text; as the repository says if None.
      on_text: called with every new piece of text of a single prompt as it comes.
    """

    max_new_tokens: int | None = None
    return_full_text: bool = True
    return_tensors: bool = False
    skip_special_tokens: bool = True
    add_special_tokens: bool = True
    eos_token_id: int | Sequence[int] | None = None
    on_text: Callable[[str], None] | None = None

    def __post_init__(self):
        super().__post_init__()
        scores.check_count("max_new_tokens", self.max_new_tokens, optional=True)
        given = self.eos_token_id
        ids = (given,) if given is None or isinstance(given, int) else tuple(given)
        for one in ids:
            scores.check_count("eos_token_id", one, optional=True, least=0)
        object.__setattr__(self, "eos_token_id", ids[0] if len(ids) == 1 else ids)


class TextGeneration(Pipeline):
    """`"a text"` -> `[{"generated_text"}]`; a list of texts -> a list of those.

    A chat, `[{"role": ..., "content": ...}, ...]`, is answered with the chat and one more message,
    by the tokenizer's chat template.
    """

    task, serves = "text-generation", "causal-lm"
    takes = Options
    expects = "a text or a chat"

    def __init__(self, model: Any, **options: Any):
        """Binds a language model; see `Pipeline`."""
        super().__init__(model, **options)
        self.generation = self.companion("generation_config.json")
        asked = [
            f"{name}={self.generation[name]!r}"
            for name in CHANGING
            if self.generation.get(name) not in GREEDY[name]
        ]
        if asked:
            log.warning(
                "text-generation: generation_config.json asks for %s; decoding is greedy all the "
                "same", ", ".join(asked),
            )  # fmt: skip

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Continues one text or chat, several, or an iterable of them.

        Raises:
          TypeError: an unknown option.
          ValueError: an option that would need more than greedy decoding.
        """
        streamed = options.get("on_text") or self.options.on_text
        if streamed and not self.single(inputs):
            raise ValueError("on_text: found several inputs, expected one text or chat")
        return super().__call__(inputs, **options)

    @classmethod
    def choose(cls, options: Any, given: Mapping[str, Any]) -> Any:
        """Options with some of them replaced.

        Raises:
          TypeError: an unknown option.
          ValueError: one that would need more than greedy decoding.
        """
        return super().choose(options, _plain(given))

    def single(self, inputs: Any) -> bool:
        """Whether this is one text or one chat."""
        return isinstance(inputs, str) or _is_chat(inputs)

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """One row: the prompt's tokens."""
        if _is_chat(item):
            row = self.text.apply_chat_template(
                list(item),
                add_generation_prompt=item[-1]["role"] != "assistant",
                continue_final_message=item[-1]["role"] == "assistant",
            )
        else:
            special = options.add_special_tokens
            row = self.encode(item, options=options, where=where, add_special_tokens=special)
        self._new_tokens(len(row["input_ids"]), options, where)
        return [Row({"input_ids": row["input_ids"]})]

    def forward(self, rows: Sequence[Row], size: int, options: Options) -> list[dict[str, Any]]:
        """The new tokens of each row."""
        prompts = [list(row.inputs["input_ids"]) for row in rows]
        limits = [self._new_tokens(len(prompt), options, "inputs") for prompt in prompts]
        if min(limits) < max(
            limits
        ):  # rows near the end of the model's positions run by themselves
            return [self.forward([row], 1, options)[0] for row in rows]
        piece = None
        if options.on_text:
            piece = Pieces(self, prompts[0], options)
        new = greedy(
            self.model,
            prompts,
            max_new_tokens=limits[0],
            eos=self._eos(options),
            pad=self.pad_id,
            on_tokens=piece,
        )
        if piece is not None:
            piece.close()
        return [{"tokens": tokens} for tokens in new]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """The continuation, behind its prompt where that is asked."""
        row, out = seen[0]
        if options.return_tensors:
            return [{"generated_token_ids": [*row.inputs["input_ids"], *out["tokens"]]}]
        text = self.continuation(row.inputs["input_ids"], out["tokens"], options)
        if not options.return_full_text:
            return [{"generated_text": text}]
        if isinstance(item, str):
            return [{"generated_text": item + text}]
        chat = list(item)
        if chat[-1]["role"] == "assistant":
            chat[-1] = {**chat[-1], "content": chat[-1]["content"] + text}
        else:
            chat.append({"role": "assistant", "content": text})
        return [{"generated_text": chat}]

    def continuation(self, prompt: Sequence[int], new: Sequence[int], options: Options) -> str:
        """Text of the new tokens; the end of the prompt decides whether a space comes first."""
        tail = list(prompt[-8:])
        skip = options.skip_special_tokens
        before = self.text.decode(tail, skip_special_tokens=skip)
        whole = self.text.decode([*tail, *new], skip_special_tokens=skip)
        if whole.startswith(before):
            return whole[len(before) :]
        return self.text.decode(list(new), skip_special_tokens=skip)

    def _new_tokens(self, prompt: int, options: Options, where: str) -> int:
        """How many tokens to make after a prompt.

        Raises:
          ValueError: the model has no positions for so many.
        """
        room = self.room
        if room is None:
            return options.max_new_tokens or MAX_NEW_TOKENS
        if options.max_new_tokens is None and prompt < room:
            return min(MAX_NEW_TOKENS, room - prompt)
        if prompt + (options.max_new_tokens or 1) > room:
            raise ValueError(
                f"{where}: {prompt} tokens and {options.max_new_tokens or 1} new ones, expected at "
                f"most {room} together; shorten the text or lower max_new_tokens"
            )
        return options.max_new_tokens or MAX_NEW_TOKENS

    def _eos(self, options: Options) -> tuple[int, ...]:
        places = (
            options.eos_token_id,
            self.generation.get("eos_token_id"),
            self.config.get("eos_token_id"),
            self.text.eos_token_id,
        )
        found = next((i for i in places if i is not None), ())
        return (found,) if isinstance(found, int) else tuple(found)


class Pieces:
    """Hands on the text of one row as it grows, never half a character."""

    def __init__(self, pipe: TextGeneration, prompt: Sequence[int], options: Options):
        """Start behind a prompt."""
        self.pipe, self.prompt, self.options = pipe, prompt, options
        self.tokens: list[int] = []
        self.shown = 0

    def __call__(self, tokens: list[int]) -> None:
        """Take the next token and hand on what is complete."""
        self.tokens.append(tokens[0])
        text = self.pipe.continuation(self.prompt, self.tokens, self.options)
        if not text.endswith("\ufffd"):
            self._show(text)

    def close(self) -> None:
        """Hand on what is left."""
        self._show(self.pipe.continuation(self.prompt, self.tokens, self.options))

    def _show(self, text: str) -> None:
        if len(text) > self.shown and self.options.on_text:
            self.options.on_text(text[self.shown :])
            self.shown = len(text)


def _is_chat(x: Any) -> bool:
    return (
        isinstance(x, list | tuple)
        and len(x) > 0
        and all(isinstance(m, Mapping) and {"role", "content"} <= m.keys() for m in x)
    )


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options without those that ask for what greedy decoding is anyway.

    Raises:
      ValueError: one that asks for something else.
    """
    out = dict(options)
    for name, values in GREEDY.items():
        if name in out and not any(out[name] is v or out[name] == v for v in values):
            raise ValueError(f"{name}: {out[name]!r} is not supported, decoding is greedy; drop it")
        out.pop(name, None)
    for name in UNUSED_WHEN_GREEDY:
        if out.get(name) is not None:
            raise ValueError(f"{name}: is for sampling, decoding is greedy; drop it")
        out.pop(name, None)
    return out
