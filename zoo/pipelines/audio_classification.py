"""Labels of a recording."""

from collections.abc import Sequence
from typing import Any

from zoo.pipelines import scores
from zoo.pipelines.image_classification import Options
from zoo.pipelines.listening import Listener
from zoo.pipelines.rows import Row


class AudioClassification(Listener):
    """A recording -> `[{"label", "score"}]`, the best first."""

    task = serves = "audio-classification"
    takes = Options

    def rows(self, item: Any, options: Any, where: str) -> list[Row]:
        """One row of samples or of a spectrogram."""
        return [self.row(self.samples(item, where), where)]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """Labels with their scores."""
        logits = seen[0][1]["logits"]
        how = scores.function_for(self.config, len(logits), options.function_to_apply)
        return scores.ranked(scores.apply(how, logits), self.model.id2label, options.top_k)
