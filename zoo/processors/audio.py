"""The feature extractors of wav2vec 2.0 and Whisper: recordings in, samples or spectrograms out.

Settings and results are those of transformers' feature extractors; the README of this package names
the differences.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.processors import files, mel
from zoo.processors.audio_load import waveform
from zoo.processors.features import Features, tensors

SECTION = "feature_extractor"
COMMON: dict[str, Any] = {
    "sampling_rate": 16000, "padding_value": 0.0, "padding_side": "right",
    "return_attention_mask": False, "feature_size": 1,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "Wav2Vec2FeatureExtractor": {**COMMON, "do_normalize": True},
    "WhisperFeatureExtractor": {
        **COMMON, "feature_size": 80, "do_normalize": False, "hop_length": 160, "n_fft": 400,
        "chunk_length": 30, "dither": 0.0,
    },
}  # fmt: skip
MODELS = {"wav2vec2": "Wav2Vec2FeatureExtractor", "whisper": "WhisperFeatureExtractor"}
INERT = frozenset(
    """
    auto_map feature_extractor_type mel_filters n_samples nb_max_frames processor_class
    return_tensors transformers_version
    """.split()
)
SWITCHES = ("do_normalize", "return_attention_mask")
PADDING = {True: "longest", False: "do_not_pad", None: "do_not_pad"}
STRATEGIES = ("longest", "max_length", "do_not_pad")


class FeatureExtractor:
    """Turns recordings into `input_values` or `input_features`.

    Attributes:
      feature_extractor_type: a key of `KINDS`.
      settings: the keys of preprocessor_config.json; each is an attribute too.
      extra: keys of the file that change nothing here.
    """

    def __init__(
        self,
        feature_extractor_type: str = "Wav2Vec2FeatureExtractor",
        extra: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> None:
        """Settings that are not given take the default of the type.

        Raises:
          ValueError: an unknown type or key, or a value that a key cannot take.
        """
        if feature_extractor_type not in KINDS:
            near = difflib.get_close_matches(str(feature_extractor_type), KINDS, 1) or list(KINDS)
            raise ValueError(
                f"feature_extractor_type: found {feature_extractor_type!r}, expected a supported "
                f"one; nearest: {', '.join(near)}"
            )
        given = {key: value for key, value in keys.items() if value is not None}
        self.feature_extractor_type = feature_extractor_type
        self.settings = {**KINDS[feature_extractor_type], **given}
        self.extra = dict(extra or {})
        _check(self.settings, KINDS[feature_extractor_type], feature_extractor_type)

    def __getattr__(self, name: str) -> Any:
        """A key of the settings."""
        settings = self.__dict__.get("settings", {})
        if name in settings:
            return settings[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        """The type and its settings."""
        return f"{self.feature_extractor_type}({self.settings})"

    @property
    def spectral(self) -> bool:
        """Whether spectrograms come out, rather than samples."""
        return self.feature_extractor_type == "WhisperFeatureExtractor"

    @property
    def model_input_names(self) -> tuple[str, ...]:
        """Names of what comes out."""
        return ("input_features",) if self.spectral else ("input_values", "attention_mask")

    @property
    def n_samples(self) -> int:
        """Samples of a whole chunk."""
        return self.settings["chunk_length"] * self.settings["sampling_rate"]

    @classmethod
    def from_pretrained(
        cls, repo_or_folder: str | os.PathLike[str], **options: Any
    ) -> FeatureExtractor:
        """Read the settings of a Hub repository or a local folder.

        Args:
            repo_or_folder: a repository id, or a folder with a preprocessor_config.json or a
                processor_config.json that nests `feature_extractor`.
            **options: `revision`, `token`, `cache_dir` and `local_files_only` as for images; other
                keys replace those of the file.

        Raises:
            FileNotFoundError: there is no such folder, or it has no settings.
            ValueError: settings that are not supported; all strange keys are named.
        """
        where = {k: options.pop(k) for k in files.WHERE if k in options}
        path = files.folder(repo_or_folder, **where)
        values = files.read(path, SECTION)
        if not values:
            raise FileNotFoundError(
                f"{path}: found neither {files.PLAIN} nor {files.NESTED} with {SECTION!r}; "
                "pass the folder or repository of a speech model"
            )
        name = values.get("feature_extractor_type") or MODELS.get(str(files.model_type(path)))
        name = name or "Wav2Vec2FeatureExtractor"
        known = KINDS.get(name, COMMON)
        extra = {key: value for key, value in values.items() if key not in known}
        strange = {k: v for k, v in extra.items() if k not in INERT and v is not None}
        if strange and name in KINDS:
            shown = ", ".join(f"{key}={strange[key]!r}" for key in sorted(strange)[:3])
            raise ValueError(
                f"{path}: found {len(strange)} unsupported key(s): {shown}; expected only "
                f"{', '.join(known)}; remove what does not matter to the result"
            )
        extra.pop("feature_extractor_type", None)
        return cls(name, extra, **{k: v for k, v in values.items() if k in known} | options)

    def to_dict(self) -> dict[str, Any]:
        """The contents of a preprocessor_config.json that transformers reads alike."""
        name = self.feature_extractor_type
        return {**self.extra, **self.settings, "feature_extractor_type": name}

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write preprocessor_config.json into a folder, made if it is missing; return its path."""
        return files.write(Path(folder), SECTION, self.to_dict())

    def __call__(
        self,
        raw_speech: Any,
        *,
        sampling_rate: int | None = None,
        padding: bool | str | None = None,
        max_length: int | None = None,
        truncation: bool | None = None,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        do_normalize: bool | None = None,
        return_tensors: str | None = "jax",
    ) -> Features:
        """Turn recordings into the input of a model.

        Args:
            raw_speech: whatever `audio_load.waveform` takes, an array [B, T], or a list of them.
            sampling_rate: that of arrays, in Hz, to be sure that it is the model's.
            padding: True or "longest", "max_length", False or "do_not_pad"; None is "max_length"
                for spectrograms and "do_not_pad" for samples.
            max_length: samples to pad and to cut to; one chunk for spectrograms if None.
            truncation: cut what is longer than `max_length`; None cuts for spectrograms only.
            pad_to_multiple_of: round the padded length up.
            return_attention_mask: int32 [B, T] with 1 for what was recorded; None as the settings
                say.
            do_normalize: mean 0 and deviation 1; None as the settings say.
            return_tensors: "jax" or "np" for one array, None for a list of numpy arrays.

        Raises:
            ValueError: no recording, or something that is not one, another sampling rate, or
                lengths that cannot be stacked.
            FileNotFoundError: there is no such file.
        """
        rate = self.settings["sampling_rate"]
        if sampling_rate is not None and sampling_rate != rate:
            raise ValueError(
                f"sampling_rate: found {sampling_rate} Hz, expected {rate} Hz, that of the model; "
                "pass a dict of 'array' and 'sampling_rate' to have it resampled"
            )
        items = _items(raw_speech)
        rows = [waveform(x, where, sampling_rate=rate) for where, x in items]
        how = PADDING.get(padding, padding) if padding is not None else None
        how = how or ("max_length" if self.spectral else "do_not_pad")
        if how not in STRATEGIES:
            raise ValueError(f"padding: found {padding!r}, expected one of {', '.join(STRATEGIES)}")
        if self.spectral:
            max_length = max_length or self.n_samples
        cut = self.spectral if truncation is None else truncation
        rows, lengths = self._fitted(rows, how, max_length, cut, pad_to_multiple_of)
        asked = self.settings["return_attention_mask"]
        masked = asked if return_attention_mask is None else return_attention_mask
        if self.settings["do_normalize"] if do_normalize is None else do_normalize:
            known = (masked or self.spectral) and how != "do_not_pad"
            rows = [
                self._level(x, n if known else x.size) for x, n in zip(rows, lengths, strict=True)
            ]
        if self.spectral:
            return self._spectra(rows, lengths, masked, return_tensors)
        out = Features(input_values=_stacked(rows, return_tensors))
        if masked:
            masks = [self._mask(x.size, n) for x, n in zip(rows, lengths, strict=True)]
            out["attention_mask"] = _stacked(masks, return_tensors)
        return out

    def _fitted(
        self,
        rows: list[np.ndarray],
        how: str,
        max_length: int | None,
        cut: bool,
        multiple: int | None,
    ) -> tuple[list[np.ndarray], list[int]]:
        """Rows cut and padded, and how long each was in between."""
        if max_length is None and (cut or how == "max_length"):
            raise ValueError(
                "max_length: found None, expected a number of samples to pad or cut to; pass it"
            )

        def up(count: int) -> int:
            return count if multiple is None else -(-count // multiple) * multiple

        if cut and max_length is not None:
            rows = [x[: up(max_length)] for x in rows]
        lengths = [x.size for x in rows]
        if how == "do_not_pad":
            return rows, lengths
        room = up(max(lengths) if how == "longest" else max_length or 0)
        return [self._padded(x, room - x.size) for x in rows], lengths

    def _padded(self, x: np.ndarray, more: int) -> np.ndarray:
        if more <= 0:
            return x
        sides = (0, more) if self.settings["padding_side"] == "right" else (more, 0)
        return np.pad(x, sides, constant_values=self.settings["padding_value"])

    def _heard(self, size: int, length: int) -> slice:
        right = self.settings["padding_side"] == "right"
        return slice(0, length) if right else slice(size - length, size)

    def _mask(self, size: int, length: int) -> np.ndarray:
        mask = np.zeros(size, np.int32)
        mask[self._heard(size, length)] = 1
        return mask

    def _level(self, x: np.ndarray, length: int) -> np.ndarray:
        """Mean 0 and deviation 1 of what was recorded; the rest is padding again."""
        at = self._heard(x.size, length)
        heard = x[at]
        out = np.full_like(x, self.settings["padding_value"])
        out[at] = (heard - heard.mean()) / np.sqrt(heard.var() + 1e-7)
        return out

    def _spectra(
        self, rows: list[np.ndarray], lengths: list[int], masked: bool, kind: str | None
    ) -> Features:
        s = self.settings
        found = [
            mel.log_mel(
                x,
                bins=s["feature_size"],
                fft=s["n_fft"],
                hop=s["hop_length"],
                rate=s["sampling_rate"],
                dither=s["dither"],
            )
            for x in rows
        ]
        out = Features(input_features=_stacked(found, kind))
        if masked:
            hop = s["hop_length"]
            masks = [
                self._mask(x.size, n)[::hop][: y.shape[1]]
                for x, n, y in zip(rows, lengths, found, strict=True)
            ]
            out["attention_mask"] = _stacked(masks, kind)
        return out


def _items(given: Any) -> list[tuple[str, Any]]:
    """One recording or several, each with its place."""
    rank = getattr(given, "ndim", None)
    whole = isinstance(given, Mapping | str | bytes | bytearray | memoryview | os.PathLike)
    if whole or (not isinstance(given, list | tuple) and (rank is None or rank < 2)):
        return [("raw_speech", given)]  # if it is none, `waveform` says so
    if rank is not None and rank > 2:
        raise ValueError(
            f"raw_speech: found {rank} dimensions, expected [batch, time]; average "
            "the channels first"
        )
    if not len(given):
        raise ValueError("raw_speech: found no recordings, expected at least one; pass some")
    if rank is None and isinstance(given[0], int | float | np.number):
        return [("raw_speech", np.asarray(given, np.float32))]
    return [(f"raw_speech[{i}]", _floats(x)) for i, x in enumerate(given)]


def _floats(x: Any) -> Any:
    return np.asarray(x, np.float32) if isinstance(x, list | tuple) else x


def _stacked(rows: list[np.ndarray], kind: str | None) -> Any:
    """Rows as `return_tensors` names them."""
    shapes = {x.shape for x in rows}
    if kind is not None and len(shapes) > 1:
        shown = ", ".join(str(shape[-1]) for shape in sorted(shapes)[:3])
        raise ValueError(
            f"raw_speech: found {len(shapes)} lengths: {shown}; pass padding=True, or "
            "return_tensors=None for a list"
        )
    return tensors(rows if kind is None else np.stack(rows), kind)


def _check(settings: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    """Raises ValueError for unknown keys and for values that make no sense."""
    if strange := sorted(settings.keys() - known.keys()):
        near = difflib.get_close_matches(strange[0], known, 1)
        hint = f"; nearest is {near[0]}" if near else ""
        raise ValueError(f"{where}: found {strange[0]}, expected one of {', '.join(known)}{hint}")
    for key, value in settings.items():
        if key in SWITCHES:
            fits, wanted = isinstance(value, bool), "true or false"
        elif key == "padding_side":
            fits, wanted = value in ("left", "right"), "'left' or 'right'"
        elif key in ("padding_value", "dither"):
            fits, wanted = isinstance(value, int | float), "a number"
        else:
            fits = isinstance(value, int) and not isinstance(value, bool) and value > 0
            wanted = "a whole number above 0"
        if not fits:
            raise ValueError(f"{where}.{key}: found {value!r}, expected {wanted}")
