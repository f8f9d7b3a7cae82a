"""Text that follows a text."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.pipelines import rows as batches
from zoo.pipelines.generation import Pieces, Writer, WritingOptions
from zoo.pipelines.rows import Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(WritingOptions):
    """Options of text generation, with those of `GenerationConfig`.

    Attributes:
      return_full_text: with the prompt in front.
      add_special_tokens: begin the prompt as the tokenizer does.
    """

    return_full_text: bool = True
    add_special_tokens: bool = True


class TextGeneration(Writer):
    """`"a text"` -> `[{"generated_text"}]`; a list of texts -> a list of those.

    A chat, `[{"role": ..., "content": ...}, ...]`, is answered with the chat and one more message,
    by the tokenizer's chat template.
    """

    task, serves = "text-generation", "causal-lm"
    takes = Options
    expects = "a text or a chat"

    def single(self, inputs: Any) -> bool:
        """Whether this is one text or one chat."""
        return isinstance(inputs, str) or is_chat(inputs)

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """One row: the prompt's tokens."""
        if is_chat(item):
            row = self.text.apply_chat_template(
                list(item),
                add_generation_prompt=item[-1]["role"] != "assistant",
                continue_final_message=item[-1]["role"] == "assistant",
            )
        else:
            special = options.add_special_tokens
            row = self.encode(item, options=options, where=where, add_special_tokens=special)
        return [Row({"input_ids": row["input_ids"]})]

    def forward(self, rows: Sequence[Row], size: int, options: Options) -> list[dict[str, Any]]:
        """The new tokens of each row."""
        limits = {self.new_tokens(row.length, options) for row in rows}
        if len(limits) > 1:  # rows near the end of the model's positions run by themselves
            return [self.forward([row], 1, options)[0] for row in rows]
        arrays = self.prompts(rows)
        piece = None
        if options.on_text:
            prompt = rows[0].inputs["input_ids"]
            text = functools.partial(self.continuation, prompt, options=options)
            piece = Pieces(text, options.on_text)
        new = self.written(arrays, options, limit=limits.pop(), piece=piece)
        if piece is not None:
            piece.close()
        return [{"tokens": tokens} for tokens in new]

    def prompts(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Prompts padded on the left."""
        longest = max(row.length for row in rows)
        return batches.tokens(rows, length=longest, batch=len(rows), pad=self.pad_id, left=True)

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """The continuations, behind their prompt where that is asked."""
        row, out = seen[0]
        prompt = list(row.inputs["input_ids"])
        return [self._one(item, prompt, tokens, options) for tokens in out["tokens"]]

    def _one(
        self, item: Any, prompt: list[int], tokens: list[int], options: Options
    ) -> dict[str, Any]:
        if options.return_tensors:
            return {"generated_token_ids": [*prompt, *tokens]}
        text = self.continuation(prompt, tokens, options=options)
        if not options.return_full_text:
            return {"generated_text": text}
        if isinstance(item, str):
            return {"generated_text": item + text}
        chat = list(item)
        if chat[-1]["role"] == "assistant":
            chat[-1] = {**chat[-1], "content": chat[-1]["content"] + text}
        else:
            chat.append({"role": "assistant", "content": text})
        return {"generated_text": chat}

    def continuation(self, prompt: Sequence[int], new: Sequence[int], *, options: Options) -> str:
        """Text of the new tokens; the end of the prompt decides whether a space comes first."""
        tail = list(prompt[-8:])
        skip = options.skip_special_tokens
        before = self.text.decode(tail, skip_special_tokens=skip)
        whole = self.text.decode([*tail, *new], skip_special_tokens=skip)
        if whole.startswith(before):
            return whole[len(before) :]
        return self.text.decode(list(new), skip_special_tokens=skip)


def is_chat(x: Any) -> bool:
    """Whether something is a list of messages with a role and a content."""
    return (
        isinstance(x, list | tuple)
        and len(x) > 0
        and all(isinstance(m, Mapping) and {"role", "content"} <= m.keys() for m in x)
    )
