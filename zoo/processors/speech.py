"""Processors of speech models: features of recordings, and a tokenizer for their text."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from zoo.processors.audio import FeatureExtractor
from zoo.processors.features import Features
from zoo.tokenizers import Tokenizer

KINDS = ("Wav2Vec2Processor", "WhisperProcessor")


@dataclasses.dataclass(frozen=True)
class SpeechProcessor:
    """Turns recordings into the inputs of a model, and its ids into text."""

    feature_extractor: FeatureExtractor
    tokenizer: Tokenizer

    @classmethod
    def from_pretrained(
        cls, repo_or_folder: str | os.PathLike[str], **where: Any
    ) -> SpeechProcessor:
        """Read a Hub repository or a local folder; `where` as `Processor.from_pretrained` has it.

        Raises:
            FileNotFoundError: there is no feature extractor, or no tokenizer.
            ValueError: settings that are not supported.
        """
        return cls(
            FeatureExtractor.from_pretrained(repo_or_folder, **where),
            Tokenizer.from_pretrained(repo_or_folder, **where),
        )

    def __call__(
        self, audio: Any = None, text: Any = None, *, return_tensors: str = "jax", **options: Any
    ) -> Features:
        """Recordings -> features, texts -> `input_ids`, both -> features and `labels`.

        `options` are those of the feature extractor, or of the tokenizer for texts alone.

        Raises:
            ValueError: neither, or something that is none.
        """
        if audio is None and text is None:
            raise ValueError("processor: found neither audio nor text, expected one; pass it")
        if audio is None:
            return Features(self.tokenizer(text, return_tensors=return_tensors, **options))
        out = self.feature_extractor(audio, return_tensors=return_tensors, **options)
        if text is not None:
            out["labels"] = self.tokenizer(text, padding=True, return_tensors=return_tensors)[
                "input_ids"
            ]
        return out

    def replace(self, **overrides: Any) -> SpeechProcessor:
        """This processor with other settings of its feature extractor.

        Raises:
            ValueError: an unknown key, or a value that a key cannot take.
        """
        old = self.feature_extractor
        new = FeatureExtractor(old.feature_extractor_type, old.extra, **old.settings | overrides)
        return dataclasses.replace(self, feature_extractor=new)

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Ids -> text, as the tokenizer does it."""
        return self.tokenizer.decode(token_ids, **options)

    def batch_decode(self, sequences: Any, **options: Any) -> list[Any]:
        """Rows of ids -> texts, as the tokenizer does it."""
        return self.tokenizer.batch_decode(sequences, **options)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder that `from_pretrained` and transformers load."""
        self.feature_extractor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
