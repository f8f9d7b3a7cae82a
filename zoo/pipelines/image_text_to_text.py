"""Text that follows a text with images in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.model import Model
from zoo.pipelines.rows import Row
from zoo.pipelines.text_generation import Options, TextGeneration, is_chat
from zoo.processors import ImageTextProcessor


class ImageTextToText(TextGeneration):
    """`{"images": ..., "text": ...}` -> `[{"input_text", "generated_text"}]`.

    The text holds a place for each image, in the form that the model's processor has for it. A
    chat, whose messages hold `{"type": "image", "image": ...}`, needs none: its template writes
    them.
    """

    task = serves = "image-text-to-text"
    expects = "a text, a chat, or images and a text"
    pairs = True

    def __init__(
        self, model: Model, *, processor: ImageTextProcessor | None = None, **options: Any
    ):
        """Binds a model to the processor of its texts and images; see `Pipeline`."""
        if options.get("tokenizer") is None and processor is not None:
            options["tokenizer"] = processor.tokenizer
        super().__init__(model, **options)
        self.processor = processor

    def __call__(
        self, inputs: Any = None, *, images: Any = None, text: Any = None, **options: Any
    ) -> Any:
        """Answers one input or several, or `images` and a `text` about them.

        Raises:
          TypeError: an unknown option.
          ValueError: an input that cannot be answered.
        """
        if inputs is None:
            inputs = text if images is None else {"images": images, "text": text}
        return super().__call__(inputs, **options)

    def single(self, inputs: Any) -> bool:
        """Whether this is one text, one chat, or one text with images."""
        return isinstance(inputs, Mapping) or super().single(inputs)

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """One row: the prompt's tokens, and images."""
        if self.processor is None:
            raise ValueError(
                f"{self.task}: the model came without a processor of texts and images; pass "
                f"processor=, an ImageTextProcessor or the folder or repository of one"
            )
        if is_chat(item):
            last = item[-1]["role"] == "assistant"
            found = self.processor.apply_chat_template(
                list(item),
                add_generation_prompt=not last,
                continue_final_message=last,
                tokenize=True,
                return_tensors="np",
            )
        else:
            given = item if isinstance(item, Mapping) else {"text": item}
            if unknown := sorted(given.keys() - {"images", "text"}):
                raise ValueError(f"{where}: found {', '.join(unknown)}, expected images and text")
            if not isinstance(given.get("text"), str):
                found = type(given.get("text")).__name__
                raise ValueError(f"{where}: text: found {found}, expected a string")
            found = self.processor(
                images=given.get("images"), text=given["text"], return_tensors="np"
            )
        tokens = found.pop("input_ids")[0]
        takes = self.model.forward.task.inputs
        beside = {k: x for k, x in found.items() if k in takes and k not in OF_TOKENS}
        self.check_length(len(tokens), where)
        return [Row({"input_ids": tokens.tolist(), **beside})]

    def prompts(self, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        """Prompts padded on the left, and the images of all of them in their order."""
        names = {name for row in rows for name in row.inputs} - {"input_ids"}
        joined = {
            name: np.concatenate([row.inputs[name] for row in rows if name in row.inputs])
            for name in sorted(names)
        }
        return super().prompts(rows) | joined

    def _one(
        self, item: Any, prompt: list[int], tokens: list[int], options: Options
    ) -> dict[str, Any]:
        said = item["text"] if isinstance(item, Mapping) else item
        return {"input_text": said, **super()._one(said, prompt, tokens, options)}


OF_TOKENS = ("attention_mask", "mm_token_type_ids")  # follow from the ids
