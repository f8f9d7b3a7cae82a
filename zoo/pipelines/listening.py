"""What pipelines of recordings share: samples, rows of them, batches."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from zoo.pipelines import rows as batches
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline, bucket
from zoo.processors import FeatureExtractor
from zoo.processors.audio_load import EXPECTED, waveform


class Listener(Pipeline):
    """A pipeline whose inputs are recordings."""

    expects = EXPECTED

    @property
    def extractor(self) -> FeatureExtractor:
        """The feature extractor.

        Raises:
          ValueError: there is none.
        """
        if self.feature_extractor is None:
            raise ValueError(
                f"{self.task}: the model came without a feature extractor; pass "
                f"feature_extractor=, a FeatureExtractor or the folder or repository of one"
            )
        return self.feature_extractor

    @property
    def exact(self) -> bool:
        """Whether padding would change results: norms over time see it."""
        return getattr(self.model.config, "feat_extract_norm", None) == "group"

    def single(self, inputs: Any) -> bool:
        """Whether this is one recording."""
        if isinstance(inputs, str | bytes | bytearray | memoryview | PathLike | Mapping):
            return True
        return hasattr(inputs, "shape") and len(inputs.shape) <= 2

    def samples(self, item: Any, where: str) -> np.ndarray:
        """Samples [S] of a recording at the model's rate.

        Raises:
          ValueError: no recording.
          FileNotFoundError: there is no such file.
        """
        return waveform(item, where, sampling_rate=self.extractor.sampling_rate)

    def row(self, samples: np.ndarray, where: str, info: Any = None) -> Row:
        """What the model hears of samples [S].

        Raises:
          ValueError: too few of them.
        """
        features = self.extractor(samples, return_tensors="np")
        name = "input_features" if self.extractor.spectral else "input_values"
        if name not in self.model.forward.task.inputs:
            raise ValueError(
                f"{self.task}: the feature extractor makes {name}, expected one for "
                f"{self.model.forward.class_name}; pass feature_extractor="
            )
        frames = getattr(self.model.config, "frames", None)
        if name == "input_values" and frames and frames(samples.size) < 1:
            raise ValueError(
                f"{where}: found {samples.size} samples, expected enough for one frame; pass a "
                f"longer recording"
            )
        return Row({name: features[name][0]}, info)

    def arrays(self, rows: Sequence[Row], size: int) -> dict[str, np.ndarray]:
        """The model's inputs of some rows, padded."""
        batch = batches.places(len(rows), size)
        if "input_features" in rows[0].inputs:
            return batches.spectra(rows, batch=batch)
        longest = max(row.length for row in rows)
        length = longest if self.exact else bucket(longest)
        return batches.samples(rows, length=length, batch=batch)
