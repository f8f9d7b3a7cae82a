"""Everything static about a forward pass, as one hashable value."""

import dataclasses
import functools
from typing import Any, NamedTuple

from zoo import registry
from zoo.layers import stack
from zoo.layers.pooling import Pooling, pool
from zoo.outputs import BaseOutput, Output
from zoo.spec import Tree
from zoo.tasks import Task


class Forward(NamedTuple):
    """Everything static about a forward pass: which function, with which config.

    Attributes:
      model_type: the architecture.
      class_name: the Hub class, a key of the architecture's `TASKS`.
      config: the architecture's Config.
      pooling: how to make one vector of a text, where the repository says so.
    """

    model_type: str
    class_name: str
    config: Any
    pooling: Pooling | None = None

    @property
    def architecture(self) -> registry.Architecture:
        """The architecture's module."""
        return registry.architecture(self.model_type)

    @property
    def task(self) -> Task:
        """The task of the class."""
        return self.architecture.tasks[self.class_name]

    def cache_specs(self, layers: str, batch: int, length: int, source: int | None = None) -> Tree:
        """Declarations of a cache, for layers in the form "loop" or "stacked".

        Raises:
          ValueError: the architecture does not decode, or needs a `source` length or has no use
            for one.
        """
        declare = getattr(self.architecture.module, "cache_specs", None)
        if declare is None or "cache" not in self.task.inputs:
            raise ValueError(f"init_cache: {self.class_name} does not generate and has no cache")
        crosses = self.task.crosses
        if crosses != (source is not None):
            says = "needs the length of the encoder's output" if crosses else "has no encoder"
            raise ValueError(f"init_cache: a cache of {self.class_name} {says}; see source=")
        room = {"source": source} if crosses else {}
        return declare(self.config, batch, length, layers=getattr(stack, layers), **room)

    def __call__(self, params: Tree, **inputs: Any) -> Output:
        """The pure function."""
        out = self.task.apply(self.config, params, **inputs)
        if self.pooling is None or not isinstance(out, BaseOutput):
            return out
        vector = pool(out.last_hidden_state, inputs.get("attention_mask"), how=self.pooling)
        return dataclasses.replace(out, sentence_embedding=vector)


@functools.lru_cache(maxsize=64)
def specs(forward: Forward, layers: str) -> Tree:
    """Declarations of the parameters, with layers in the form "loop" or "stacked"."""
    return forward.task.specs(forward.config, layers=getattr(stack, layers))
