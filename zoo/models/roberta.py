"""RoBERTa encoders: BERT whose positions count from the padding token.

Liu et al. 2019, arXiv:1907.11692. Checkpoints: `Roberta*`.
Letters: B batch, T tokens, E embed, V vocab.
"""

import dataclasses
import functools
from types import MappingProxyType
from typing import Any

import jax

from zoo import heads, tasks
from zoo.layers import cache as caching
from zoo.layers import embed, linear, stack
from zoo.models import bert
from zoo.models.bert import IGNORED, cache_specs, classifier_rate, limits
from zoo.outputs import BaseOutput, LogitsOutput
from zoo.spec import Tree, scope

__all__ = ["HEADS", "IGNORED", "TASKS", "Config", "apply", "cache_specs", "limits", "specs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 50265
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


def specs(c: Any, *, layers: stack.Build = stack.loop, pooler: bool = True) -> Tree:
    """Every parameter of the body."""
    return bert.body_specs(c, bert.block_specs(c), layers, pooler=pooler)


def apply(
    c: Any,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    token_type_ids: jax.Array | None = None,
    position_ids: jax.Array | None = None,
    inputs_embeds: jax.Array | None = None,
    cache: caching.Cache | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of tokens and, where the tree holds a pooler, of the whole text.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_ids: int [B, T].
      attention_mask: [B, T] with 1 for tokens and 0 for padding, or [B, T, T].
      token_type_ids: int [B, T], which of two sentences; all zero if absent.
      position_ids: int [B, T] or [T]; the count of tokens from `pad_token_id + 1` on if absent.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      cache: what an earlier call returned, for RoBERTa as a decoder.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    p, pad = params["embed"], c.pad_token_id
    x = linear.embed_text(p["words"], input_ids, inputs_embeds, padding_idx=pad)
    if position_ids is None:
        position_ids = embed.counted(
            input_ids, x.shape[1], padding_idx=pad, table=c.max_position_embeddings, cache=cache
        )
    tokens, advanced = caching.place(
        x.shape[1], attention_mask=attention_mask, position_ids=position_ids, cache=cache
    )
    x = embed.embed(
        p,
        x,
        positions=tokens.positions,
        types=token_type_ids,
        padding_idx=pad,
        eps=c.layer_norm_eps,
        rate=c.hidden_dropout_prob,
        key=dropout_key,
    )
    return bert.encode(
        c,
        params,
        x,
        tokens,
        advanced,
        causal=c.is_decoder,
        collect=output_hidden_states,
        key=dropout_key,
    )


def lm_specs(c: Any) -> Tree:
    """The head that predicts tokens."""
    tree = heads.lm_specs(
        vocab=c.vocab_size,
        embed=c.hidden_size,
        tied=c.tie_word_embeddings,
        dense="dense",
        layer_norm="layer_norm",
        decoder="decoder",
        bias="bias",
    )
    return scope("lm_head", tree)


def lm(c: Any, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Token logits [B, T, V]; the activation is gelu, whatever that of the layers."""
    p, words = params["head"], params["embed"]["words"]
    values = heads.lm_logits(p, words, body.last_hidden_state, act="gelu", eps=c.layer_norm_eps)
    return tasks.logits(body, values)


def tied(prefix: str) -> MappingProxyType[str, str]:
    """What files of tied models repeat, with the body under `prefix`."""
    return MappingProxyType(
        {
            "lm_head.decoder.weight": f"{prefix}.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        }
    )


def sequence_rates(c: Any) -> tuple[float, float]:
    """Dropout before both layers of the head of whole texts."""
    return classifier_rate(c), classifier_rate(c)


SEQUENCE = ("classifier.dense", "classifier.out_proj")
HEADS = {
    "ForMaskedLM": heads.Head("fill-mask", lm_specs, lm, tied=tied("roberta")),
    "ForCausalLM": heads.Head("causal-lm", lm_specs, lm, tied=tied("roberta")),
    "ForSequenceClassification": heads.first(
        "text-classification", SEQUENCE, act=lambda c: "tanh", rates=sequence_rates
    ),
    "ForMultipleChoice": heads.pooled("multiple-choice", lambda c: c.hidden_dropout_prob, labels=1),
    "ForTokenClassification": heads.tokens(classifier_rate),
    "ForQuestionAnswering": heads.answers(),
}
UNPOOLED = functools.partial(specs, pooler=False)
TASKS = heads.encoder("Roberta", specs, apply, HEADS, prefix="roberta", unpooled=UNPOOLED)
