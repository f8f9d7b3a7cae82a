"""mT5 encoder-decoders: T5 v1.1 in many languages, without the scale before the vocabulary.

Xue et al. 2020, arXiv:2010.11934. Checkpoints: `MT5*`. As in transformers 5 nothing is scaled, tied
or not; published checkpoints are untied, where transformers 4 does not scale either.
"""

import dataclasses

from zoo.models import t5
from zoo.models.t5 import (
    ALIASES,
    IGNORED,
    INERT,
    SAME,
    apply,
    cache_specs,
    check_inputs,
    encode,
    encoder_specs,
    limits,
    specs,
)

__all__ = ["ALIASES", "IGNORED", "INERT", "SAME", "TASKS", "Config", "apply", "cache_specs",
           "check_inputs", "encode", "encoder_specs", "limits", "specs"]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 250112
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 1024
    num_layers: int = 8
    num_decoder_layers: int | None = None
    num_heads: int = 6
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "gated-gelu"
    dense_act_fn: str | None = None
    is_gated_act: bool | None = None
    classifier_dropout: float = 0.0
    eos_token_id: int | tuple[int, ...] | None = 1
    decoder_start_token_id: int | None = 0
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        t5.check(self)

    hidden_size = property(lambda c: c.d_model)
    initializer_range = property(lambda c: c.initializer_factor)
    logit_scale = property(lambda c: 1.0)


TASKS = t5.classes("MT5")
