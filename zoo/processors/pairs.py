"""Processors of texts with images: a tokenizer and an image processor that know of each other.

Where a text holds places for images, each is written as often as the model makes vectors of it.
Results are those of transformers' processors of the same name.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo.processors import files
from zoo.processors.features import Features, tensors
from zoo.processors.image import SECTION, ImageProcessor
from zoo.processors.load import flatten
from zoo.processors.patches import NAMES, PatchProcessor
from zoo.tokenizers import Tokenizer

CHAT = "chat_template.json"


class Kind(NamedTuple):
    """What one published class does.

    Attributes:
        place: the token that stands for an image in a text, "" where none does.
        counts: `(processor, images) -> vectors of each image`.
        video: the token that stands for a video.
        keys: of processor_config.json, and their values where it has none.
    """

    place: str = ""
    counts: Callable[[ImageTextProcessor, Mapping[str, Any]], list[int]] = lambda p, x: []
    video: str = ""
    keys: Mapping[str, Any] = {}


def _of_tower(p: ImageTextProcessor, images: Mapping[str, Any]) -> list[int]:
    """Vectors of each image of a tower: patches, its own tokens, less what is not looked at."""
    side, extra = p.settings["patch_size"], p.settings["num_additional_image_tokens"]
    if side is None:
        raise ValueError(
            f"{files.NESTED}: patch_size: found none, expected that of the vision tower; set it"
        )
    first = p.settings["vision_feature_select_strategy"] == "default"
    return [
        (x.shape[-2] // side) * (x.shape[-1] // side) + extra - first
        for x in images["pixel_values"]
    ]


def _of_grids(p: ImageTextProcessor, images: Mapping[str, Any]) -> list[int]:
    """Vectors of each grid: its patches, merged."""
    merged = p.image_processor.merge_size**2
    return [int(np.prod(grid)) // merged for grid in np.asarray(images["image_grid_thw"])]


_PACKED = Kind("<|image_pad|>", _of_grids, "<|video_pad|>")
KINDS = {
    "CLIPProcessor": Kind(),
    "LlavaProcessor": Kind(
        "<image>",
        _of_tower,
        keys={
            "patch_size": None,
            "vision_feature_select_strategy": None,
            "num_additional_image_tokens": 0,
        },
    ),
    "Qwen2VLProcessor": _PACKED,
    "Qwen2_5_VLProcessor": _PACKED,
}


@dataclasses.dataclass(frozen=True)
class ImageTextProcessor:
    """Turns texts and images into the inputs of a model.

    Attributes:
        name: the published class.
        tokenizer: of texts.
        image_processor: of images.
        settings: keys of processor_config.json.
        chat_template: of conversations, where it is not the tokenizer's.
    """

    name: str
    tokenizer: Tokenizer
    image_processor: Any
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    chat_template: str | None = None

    def __post_init__(self):
        if self.name not in KINDS:
            raise ValueError(
                f"processor_class: found {self.name!r}, expected one of {', '.join(KINDS)}"
            )
        kept = {**self.kind.keys, **{k: v for k, v in self.settings.items() if v is not None}}
        object.__setattr__(self, "settings", kept)

    @property
    def kind(self) -> Kind:
        """What the class does."""
        return KINDS[self.name]

    @property
    def image_token(self) -> str:
        """The token that stands for an image in a text."""
        return self.settings.get("image_token") or self.kind.place

    @classmethod
    def from_pretrained(
        cls, repo_or_folder: str | os.PathLike[str], **where: Any
    ) -> ImageTextProcessor:
        """Read a Hub repository or a local folder; `where` as `Processor.from_pretrained` has it.

        Raises:
            FileNotFoundError: there is no such folder, or it lacks a tokenizer or settings.
            ValueError: settings that are not supported.
        """
        path = files.folder(repo_or_folder, **where)
        tokenizer = Tokenizer.from_pretrained(repo_or_folder, **where)
        own = files.read_json(path / files.NESTED) if (path / files.NESTED).is_file() else {}
        images = files.read(path, SECTION)
        name = files.processor_class(path)
        if name is None:
            raise FileNotFoundError(
                f"{path}: found no processor_class in {files.NESTED} or {files.PLAIN}; pass the "
                "folder of a model of texts and images"
            )
        packed = images.get("image_processor_type", NAMES[0] if "merge_size" in images else "")
        packed = packed.removesuffix("Fast").removesuffix("Pil") in NAMES
        chat = own.get("chat_template")
        if chat is None and (path / CHAT).is_file():
            chat = files.read_json(path / CHAT).get("chat_template")
        keys = {"image_token", *(KINDS[name].keys if name in KINDS else ())}
        reader = PatchProcessor if packed else ImageProcessor
        return cls(
            name,
            tokenizer,
            reader.from_pretrained(path),
            {k: own[k] for k in keys if k in own},
            chat,
        )

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write tokenizer, settings and template where transformers finds them; return the path."""
        path = Path(folder)
        self.tokenizer.save_pretrained(path)
        self.image_processor.save_pretrained(path)
        whole = {
            **self.settings,
            SECTION: self.image_processor.to_dict(),
            "processor_class": self.name,
        }
        files.write_json(path / files.NESTED, {k: v for k, v in whole.items() if v is not None})
        if self.chat_template is not None:
            (path / "chat_template.jinja").write_text(self.chat_template, encoding="utf-8")
        return path / files.NESTED

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        *,
        return_tensors: str | None = "jax",
        image_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Features:
        """Turn texts and images into arrays.

        Args:
            images: as the image processor takes them, in the order of their places in the texts.
            text: one text or several.
            return_tensors: "jax" or "np"; None for lists of ids.
            image_options: of the image processor.
            **options: of the tokenizer, such as `padding=True`.

        Raises:
            ValueError: neither texts nor images, no image at all, or not as many images as places.
        """
        if text is None and images is None:
            raise ValueError("processor: found neither images nor text, expected at least one")
        out: dict[str, Any] = {}
        if images is not None:
            out |= self.image_processor(images, return_tensors="np", **(image_options or {}))
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            if not texts or not all(isinstance(one, str) for one in texts):
                raise ValueError(f"text: found {text!r}, expected a text or several")
            if self.image_token:
                texts = self._expanded(texts, out, images)
            out = self._encoded(texts, options, return_tensors) | out
        arrays = {k: isinstance(x, np.ndarray) for k, x in out.items()}
        return Features(
            {k: tensors(x, return_tensors or "np") if arrays[k] else x for k, x in out.items()}
        )

    def _encoded(
        self, texts: list[str], options: Mapping[str, Any], kind: str | None
    ) -> dict[str, Any]:
        found = dict(self.tokenizer(texts, **options))
        if self.kind.video:
            number = {self.tokenizer.convert_tokens_to_ids(self.image_token): 1}
            number[self.tokenizer.convert_tokens_to_ids(self.kind.video)] = 2
            found["mm_token_type_ids"] = [
                [number.get(i, 0) for i in row] for row in found["input_ids"]
            ]
        if kind is None:
            return found
        lengths = {len(row) for row in found["input_ids"]}
        if len(lengths) > 1:
            raise ValueError(
                f"text: found texts of {len(lengths)} lengths, expected one; pass padding=True, or "
                "return_tensors=None for lists"
            )
        return {name: np.asarray(rows, np.int32) for name, rows in found.items()}

    def _expanded(self, texts: list[str], seen: Mapping[str, Any], images: Any) -> list[str]:
        """Texts with every place written as often as its image has vectors."""
        places = sum(one.count(self.image_token) for one in texts)
        given = 0 if images is None else len(list(flatten(images)))
        if places != given:
            raise ValueError(
                f"text: found {places} places {self.image_token} for {given} images, expected as "
                "many of each"
            )
        counts = iter(self.kind.counts(self, seen) if given else ())

        def one(text: str) -> str:
            first, *rest = text.split(self.image_token)
            return first + "".join(self.image_token * next(counts) + part for part in rest)

        return [one(text) for text in texts]

    def apply_chat_template(
        self,
        conversation: Any,
        *,
        chat_template: str | None = None,
        tokenize: bool = False,
        return_tensors: str | None = "jax",
        image_options: Mapping[str, Any] | None = None,
        tokenizer_options: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Any:
        """Messages -> a text, or with `tokenize=True` the inputs of the model, images included.

        A message's content is a text, or a list of `{"type": "text", "text": ...}` and
        `{"type": "image", "image": ...}`, an image being what the image processor takes.

        Raises:
            ValueError: no template, or a conversation that it refuses.
        """
        several = bool(conversation) and not isinstance(conversation[0], Mapping)
        images: list[Any] = []
        plain = _without_images(conversation, images)
        template = chat_template or self.chat_template
        rendered = self.tokenizer.apply_chat_template(
            plain, chat_template=template, tokenize=False, **variables
        )
        if not tokenize:
            return rendered
        options = {"padding": several, **(tokenizer_options or {})}
        first = rendered[0] if several else rendered
        begin = self.tokenizer.special_tokens_map.get("bos_token")
        if begin and first.startswith(begin):
            options.setdefault("add_special_tokens", False)
        return self(
            images=images or None,
            text=rendered,
            return_tensors=return_tensors,
            image_options=image_options,
            **options,
        )

    def replace(self, **overrides: Any) -> ImageTextProcessor:
        """Return this processor with other values for some keys of its image processor."""
        return dataclasses.replace(self, image_processor=self.image_processor.replace(**overrides))

    def decode(self, ids: Any, **options: Any) -> str:
        """Ids -> text, as the tokenizer does it."""
        return self.tokenizer.decode(ids, **options)

    def batch_decode(self, ids: Any, **options: Any) -> list[str]:
        """Rows of ids -> texts."""
        return self.tokenizer.batch_decode(ids, **options)


SOURCES = ("image", "path", "url")


def _without_images(value: Any, images: list[Any]) -> Any:
    """Messages that a template can take; what they hold as images is appended to `images`."""
    if isinstance(value, list | tuple):
        return [_without_images(item, images) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("type") == "image":
        found = [value[key] for key in SOURCES if value.get(key) is not None]
        images += found[:1]
        return {"type": "image"}
    return {k: _without_images(v, images) if k == "content" else v for k, v in value.items()}
