"""BERT encoders. Devlin et al. 2018, arXiv:1810.04805. Checkpoints: `Bert*`.

Letters: B batch, T tokens, E embed, N heads, D head size, V vocab, C labels.
"""

import dataclasses
import functools
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from zoo import heads, tasks
from zoo.hint import hint
from zoo.layers import activation, attention, embed, linear, mlp, norm, relative, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import dropout, keys
from zoo.layers.mask import Mask
from zoo.markers import block
from zoo.outputs import BaseOutput, LogitsOutput, PreTrainingOutput
from zoo.spec import Tree, scope

IGNORED = (r"(.*\.)?embeddings\.(position_ids|token_type_ids)",)


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
    pad_token_id: int | None = 0
    position_embedding_type: str = "absolute"
    is_decoder: bool = False
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        check(self)
        if self.position_embedding_type not in POSITIONS:
            raise ValueError(
                f"position_embedding_type: found {self.position_embedding_type!r}, expected one of "
                f"{', '.join(POSITIONS)}"
            )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.num_hidden_layers


def check(c: Any) -> None:
    """Checks sizes and names.

    Raises:
      ValueError: heads that do not divide, or an unknown activation.
    """
    if c.hidden_size % c.num_attention_heads:
        raise ValueError(
            f"hidden_size: {c.hidden_size} is not a multiple of num_attention_heads "
            f"{c.num_attention_heads}"
        )
    activation.check(c.hidden_act, where="hidden_act")


def limits(c: Any) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    tables = {"input_ids": c.vocab_size, "token_type_ids": c.type_vocab_size}
    return tables | {"position_ids": c.max_position_embeddings}


POSITIONS = ("absolute", "relative_key", "relative_key_query")


def block_specs(c: Any) -> Tree:
    """One layer."""
    attn = attention.specs(
        embed=c.hidden_size,
        heads=c.num_attention_heads,
        kv_heads=c.num_attention_heads,
        head_dim=c.head_dim,
        bias=True,
        out_bias=True,
        names=("self.query", "self.key", "self.value", "output.dense"),
    )
    names = ("intermediate.dense", "output.dense")
    return {
        "attn": scope("attention", attn),
        "attn_norm": norm.specs("attention.output.LayerNorm", c.hidden_size),
        "mlp": mlp.plain_specs(embed=c.hidden_size, hidden=c.intermediate_size, names=names),
        "mlp_norm": norm.specs("output.LayerNorm", c.hidden_size),
    }


def specs(c: Config, *, layers: stack.Build = stack.loop, pooler: bool = True) -> Tree:
    """Every parameter of the body.

    Files of models with relative positions hold the table of absolute ones too, unused.
    """
    one = block_specs(c)
    if c.position_embedding_type != "absolute":
        name = "attention.self.distance_embedding"
        one["attn"]["distance"] = relative.specs(name, c.max_position_embeddings, c.head_dim)
    return body_specs(c, one, layers, pooler=pooler)


def body_specs(c: Any, one: Tree, layers: stack.Build, *, pooler: bool) -> Tree:
    """Every parameter of a body whose layers are all declared as `one`."""
    size = c.hidden_size
    tree = {
        "embed": embed.specs(
            vocab=c.vocab_size,
            embed=size,
            positions=c.max_position_embeddings,
            types=c.type_vocab_size,
        ),
        "layers": layers(c.kinds, lambda kind: scope("encoder.layer.{}", one)),
    }
    if pooler:
        tree["pooler"] = linear.specs("pooler.dense", size, size, axes=(None, "embed"))
    return tree


def cache_specs(
    c: Any, batch: int, length: int, *, layers: stack.Build = stack.loop
) -> caching.Cache:
    """Keys and values of `length` tokens in every layer, for BERT as a decoder."""
    return attention.cache_specs(
        c.kinds,
        batch=batch,
        length=length,
        kv_heads=c.num_attention_heads,
        head_dim=c.head_dim,
        layers=layers,
    )


@block
def layer(
    p: Tree,
    x: jax.Array,
    cache: attention.KVCache | None,
    context: attention.Context,
    key: jax.Array | None,
    *,
    c: Any,
) -> tuple[jax.Array, attention.KVCache | None]:
    """x [B, T, E] -> (x [B, T, E], cache): norms come after each residual sum."""
    drop = functools.partial(dropout, rate=c.hidden_dropout_prob)
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_eps)
    k1, k2, k3 = keys(key, 3)

    def bias(q: jax.Array, k: jax.Array) -> jax.Array:
        keys_too = c.position_embedding_type == "relative_key_query"
        scores = relative.scores(p["attn"]["distance"], q, k, context.start, keys_too=keys_too)
        return scores * c.head_dim**-0.5

    y, cache = attention.attend(
        p["attn"],
        x,
        cache,
        context,
        k1,
        rate=c.attention_probs_dropout_prob,
        bias=bias if "distance" in p["attn"] else None,
    )
    x = layer_norm(p["attn_norm"], x + drop(y, k2))
    y = mlp.plain(p["mlp"], x, act=c.hidden_act)
    return layer_norm(p["mlp_norm"], x + drop(y, k3)), cache


def apply(
    c: Config,
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
      position_ids: int [B, T] or [T], the count of tokens if absent.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      cache: what an earlier call returned, for BERT as a decoder.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    p = params["embed"]
    x = linear.embed_text(p["words"], input_ids, inputs_embeds, padding_idx=c.pad_token_id)
    tokens, advanced = caching.place(
        x.shape[1],
        attention_mask=attention_mask,
        position_ids=position_ids,
        cache=cache,
        table=c.max_position_embeddings,
    )
    x = embed.embed(
        p,
        x,
        positions=tokens.positions if c.position_embedding_type == "absolute" else None,
        types=token_type_ids,
        eps=c.layer_norm_eps,
        rate=c.hidden_dropout_prob,
        key=dropout_key,
    )
    return encode(
        c,
        params,
        x,
        tokens,
        advanced,
        causal=c.is_decoder,
        collect=output_hidden_states,
        key=dropout_key,
    )


def encode(
    c: Any,
    params: Tree,
    x: jax.Array,
    tokens: caching.Tokens,
    advanced: caching.Cache | None,
    *,
    causal: bool,
    bias: jax.Array | None = None,
    collect: bool,
    key: jax.Array | None,
) -> BaseOutput:
    """What comes after the embeddings x [B, T, E]: the layers and the pooler.

    `bias` is added to the scores of every layer; `collect` returns the output of each.
    """
    x = hint(x, "batch", "length", None)
    mask = Mask(valid=tokens.valid, queries=tokens.slots, keys=tokens.keys, causal=causal)
    context = attention.Context(mask=mask.array(), start=tokens.start, bias=bias)
    x, kept, inner = stack.run(
        lambda kind, p, x, cache, i, key: layer(p, x, cache, context, key, c=c),
        c.kinds,
        params["layers"],
        x,
        cache=advanced and advanced.layers,
        key=key,
        collect=collect,
    )
    pooled = jnp.tanh(linear.linear(params["pooler"], x[:, 0])) if "pooler" in params else None
    return BaseOutput(
        last_hidden_state=x,
        pooler_output=pooled,
        cache=advanced and dataclasses.replace(advanced, layers=kept),
        hidden_states=None if inner is None else (*inner, x),
    )


def lm_specs(c: Config) -> Tree:
    """The head that predicts tokens."""
    tree = heads.lm_specs(
        vocab=c.vocab_size,
        embed=c.hidden_size,
        tied=c.tie_word_embeddings,
        dense="transform.dense",
        layer_norm="transform.LayerNorm",
        decoder="decoder",
        bias="bias",
    )
    return scope("cls.predictions", tree)


def lm_logits(c: Config, params: Tree, x: jax.Array) -> jax.Array:
    """x [B, T, E] -> logits [B, T, V]."""
    p = params["head"]
    words = params["embed"]["words"]
    return heads.lm_logits(p.get("lm", p), words, x, act=c.hidden_act, eps=c.layer_norm_eps)


def lm(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Token logits [B, T, V]."""
    return tasks.logits(body, lm_logits(c, params, body.last_hidden_state))


def next_sentence_specs(c: Config) -> Tree:
    """Whether the second sentence follows the first."""
    return linear.specs("cls.seq_relationship", 2, c.hidden_size, axes=(None, "embed"))


def next_sentence(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Logits [B, 2]: it follows, it does not."""
    return tasks.logits(body, linear.linear(params["head"], body["pooler_output"]))


def pretraining_specs(c: Config) -> Tree:
    """Both heads of pre-training."""
    return {"lm": lm_specs(c), "next": next_sentence_specs(c)}


def pretraining(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> PreTrainingOutput:
    """Both objectives of pre-training."""
    return PreTrainingOutput(
        prediction_logits=lm_logits(c, params, body.last_hidden_state),
        seq_relationship_logits=linear.linear(params["head"]["next"], body["pooler_output"]),
        hidden_states=body.hidden_states,
    )


def classifier_rate(c: Any) -> float:
    """Dropout before a classifier."""
    return c.hidden_dropout_prob if c.classifier_dropout is None else c.classifier_dropout


TIED = MappingProxyType(
    {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
)
HEADS = {
    "ForMaskedLM": heads.Head("fill-mask", lm_specs, lm, tied=TIED),
    "LMHeadModel": heads.Head("causal-lm", lm_specs, lm, tied=TIED),
    "ForPreTraining": heads.Head(
        "pretraining", pretraining_specs, pretraining, pooled=True, tied=TIED
    ),
    "ForNextSentencePrediction": heads.Head(
        "next-sentence", next_sentence_specs, next_sentence, pooled=True
    ),
    "ForSequenceClassification": heads.pooled("text-classification", classifier_rate),
    "ForMultipleChoice": heads.pooled("multiple-choice", classifier_rate, labels=1),
    "ForTokenClassification": heads.tokens(classifier_rate),
    "ForQuestionAnswering": heads.answers(),
}
TASKS = heads.encoder(
    "Bert",
    specs,
    apply,
    HEADS,
    prefix="bert",
    unpooled=functools.partial(specs, pooler=False),
)
