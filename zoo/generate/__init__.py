"""Text from a model: settings, rules on scores, and a loop that stays on the device."""

from zoo.generate.config import GenerationConfig
from zoo.generate.run import generate

__all__ = ["GenerationConfig", "generate"]
