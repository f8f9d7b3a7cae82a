"""UMT5 encoder-decoders: mT5 whose every layer has relative positions of its own.

Chung et al. 2023, arXiv:2304.09151. Checkpoints: `UMT5*`. As in transformers 5 the decoder's states
are always scaled before the vocabulary, which no choice of the likeliest token sees.
"""

import dataclasses
import functools

from zoo.models import t5
from zoo.models.t5 import ALIASES, IGNORED, SAME, apply, cache_specs, check_inputs, encode, limits

__all__ = ["ALIASES", "IGNORED", "INERT", "SAME", "TASKS", "Config", "apply", "cache_specs",
           "check_inputs", "encode", "encoder_specs", "limits", "specs"]  # fmt: skip

INERT = t5.INERT | {"scalable_attention"}


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
    logit_scale = property(lambda c: c.d_model**-0.5)


specs = functools.partial(t5.specs, biased=True)
encoder_specs = functools.partial(t5.encoder_specs, biased=True)
TASKS = t5.classes("UMT5", biased=True)
