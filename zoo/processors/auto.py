"""Which processor a repository needs. A further processor is one row of `ROWS`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zoo.processors import files


class Row(NamedTuple):
    """One processor: where processor_config.json nests it, how to tell its settings, its class."""

    section: str
    keys: frozenset[str]
    home: str
    types: tuple[str, ...] = ()  # the classes that a row is for; any that is none of another row's

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Whether these are settings of this processor."""
        name = values.get("image_processor_type") or values.get("feature_extractor_type")
        return bool(self.keys & values.keys()) and (not self.types or name in self.types)


ROWS = (
    Row("feature_extractor", frozenset({"sampling_rate"}), "zoo.processors.audio:FeatureExtractor"),
    Row(
        "image_processor",
        frozenset({"image_processor_type", "feature_extractor_type"}),
        "zoo.processors.detection:DetectionProcessor",
        ("DetrImageProcessor", "DetrImageProcessorFast", "DetrFeatureExtractor"),
    ),
    Row(
        "image_processor",
        frozenset({"image_mean", "do_resize", "do_normalize", "size", "image_processor_type"}),
        "zoo.processors.image:ImageProcessor",
    ),
)


class Processor:
    """Finds the processor of a repository, as transformers' AutoProcessor does."""

    @staticmethod
    def from_pretrained(
        repo_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Any:
        """Return the processor that a Hub repository or a local folder describes.

        Args:
            repo_or_folder: a repository id or a folder.
            revision: a branch, tag or commit.
            token: the access token of a private repository.
            cache_dir: where downloads are kept.
            local_files_only: never reach the network.
            **overrides: keys of that processor which replace those of the file.

        Raises:
            FileNotFoundError: there is no such folder, or it describes no processor.
            ValueError: a processor that is not supported.
        """
        where: dict[str, Any] = {
            "revision": revision,
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
        }
        path = files.folder(repo_or_folder, **where)
        if pair := _pair(repo_or_folder, path, where):
            return pair.replace(**overrides) if overrides else pair
        found: list[str] = []
        for row in ROWS:
            values = files.read(path, row.section)
            if row.fits(values):
                module, _, name = row.home.partition(":")
                kind = getattr(importlib.import_module(module), name)
                return kind.from_pretrained(path, **overrides)
            found += [key for key in values if key not in found]
        if not found:
            raise FileNotFoundError(
                f"{path}: found no {files.PLAIN} and no {files.NESTED} with "
                f"{' or '.join(row.section for row in ROWS)}; pass the folder of an image model"
            )
        raise ValueError(
            f"{path}: found the settings {', '.join(sorted(found)[:3])} of a processor that is not "
            f"supported; expected one of {', '.join(row.section for row in ROWS)}"
        )


def _pair(repo: str | os.PathLike[str], path: Path, where: dict[str, Any]) -> Any:
    """The processor of texts with images or sound that a folder names, if it has a tokenizer."""
    name = files.processor_class(path)
    if name is None:
        return None
    from zoo.processors import pairs, speech

    kinds = dict.fromkeys(pairs.KINDS, pairs.ImageTextProcessor)
    kinds |= dict.fromkeys(speech.KINDS, speech.SpeechProcessor)
    if name not in kinds:
        return None
    try:
        return kinds[name].from_pretrained(repo, **where)
    except FileNotFoundError:
        return None
