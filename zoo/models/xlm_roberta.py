"""XLM-RoBERTa encoders: RoBERTa for a hundred languages. Conneau et al. 2019, arXiv:1911.02116.

Checkpoints: `XLMRoberta*`.
"""

import dataclasses

from zoo import heads
from zoo.models import bert
from zoo.models.roberta import HEADS, IGNORED, UNPOOLED, apply, cache_specs, limits, specs

__all__ = ["IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = dataclasses.field(default=1, metadata={"least": 0})
    is_decoder: bool = False
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        bert.check(self)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.num_hidden_layers


TASKS = heads.encoder("XLMRoberta", specs, apply, HEADS, prefix="roberta", unpooled=UNPOOLED)
