"""BERT encoders. Devlin et al. 2018, arXiv:1810.04805. Checkpoints: `Bert*`.

Letters: B batch, T tokens, E embed, N heads, D head size, V vocab, C labels.
"""

import dataclasses
import functools
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.hint import hint
from zoo.layers import activation, attention, linear, mlp, norm, relative, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import EMBEDDINGS, dropout, fold, keys
from zoo.layers.mask import Mask
from zoo.markers import block
from zoo.outputs import BaseOutput, LogitsOutput, PreTrainingOutput
from zoo.spec import ArraySpec, Tree, scope, zeros

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
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size: {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}"
            )
        if self.position_embedding_type not in POSITIONS:
            raise ValueError(
                f"position_embedding_type: found {self.position_embedding_type!r}, expected one of "
                f"{', '.join(POSITIONS)}"
            )
        activation.check(self.hidden_act, where="hidden_act")

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.num_hidden_layers


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    tables = {"input_ids": c.vocab_size, "token_type_ids": c.type_vocab_size}
    return tables | {"position_ids": c.max_position_embeddings}


POSITIONS = ("absolute", "relative_key", "relative_key_query")


def block_specs(c: Config) -> Tree:
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
    if c.position_embedding_type != "absolute":
        name = "self.distance_embedding"
        attn["distance"] = relative.specs(name, c.max_position_embeddings, c.head_dim)
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
    embed = linear.embedding_specs
    one = scope("encoder.layer.{}", block_specs(c))
    tree = {
        "embed": scope(
            "embeddings",
            {
                "words": embed("word_embeddings", c.vocab_size, c.hidden_size),
                "positions": embed(
                    "position_embeddings", c.max_position_embeddings, c.hidden_size, axis=None
                ),
                "types": embed(
                    "token_type_embeddings", c.type_vocab_size, c.hidden_size, axis=None
                ),
                "norm": norm.specs("LayerNorm", c.hidden_size),
            },
        ),
        "layers": layers(c.kinds, lambda kind: one),
    }
    if pooler:
        size = c.hidden_size
        tree["pooler"] = linear.specs("pooler.dense", size, size, axes=(None, "embed"))
    return tree


def cache_specs(
    c: Config, batch: int, length: int, *, layers: stack.Build = stack.loop
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
    c: Config,
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
    embed = params["embed"]
    x = linear.embed_text(embed["words"], input_ids, inputs_embeds, padding_idx=c.pad_token_id)
    tokens, advanced = caching.place(
        x.shape[1],
        attention_mask=attention_mask,
        position_ids=position_ids,
        cache=cache,
        table=c.max_position_embeddings,
    )
    if token_type_ids is None:
        token_type_ids = jnp.zeros(x.shape[:2], jnp.int32)
    x = x + linear.embedding(embed["types"], token_type_ids)
    if c.position_embedding_type == "absolute":
        x = x + jnp.broadcast_to(linear.embedding(embed["positions"], tokens.positions), x.shape)
    x = norm.layer_norm(embed["norm"], x, eps=c.layer_norm_eps)
    x = dropout(x, fold(dropout_key, EMBEDDINGS), rate=c.hidden_dropout_prob)
    x = hint(x, "batch", "length", None)

    mask = Mask(valid=tokens.valid, queries=tokens.slots, keys=tokens.keys, causal=c.is_decoder)
    context = attention.Context(mask=mask.array(), start=tokens.start)
    x, kept, inner = stack.run(
        lambda kind, p, x, cache, i, key: layer(p, x, cache, context, key, c=c),
        c.kinds,
        params["layers"],
        x,
        cache=cache and cache.layers,
        key=dropout_key,
        collect=output_hidden_states,
    )
    pooled = jnp.tanh(linear.linear(params["pooler"], x[:, 0])) if "pooler" in params else None
    return BaseOutput(
        last_hidden_state=x,
        pooler_output=pooled,
        cache=advanced and dataclasses.replace(advanced, layers=kept),
        hidden_states=None if inner is None else (*inner, x),
    )


def lm_specs(c: Config) -> Tree:
    """The head that predicts tokens; its matrix is that of the embeddings when they are tied."""
    tree = {
        "transform": linear.specs(
            "transform.dense", c.hidden_size, c.hidden_size, axes=(None, "embed")
        ),
        "norm": norm.specs("transform.LayerNorm", c.hidden_size),
        "bias": ArraySpec(shape=(c.vocab_size,), axes=("vocab",), init=zeros, name="bias"),
    }
    if not c.tie_word_embeddings:
        decoder = linear.specs("decoder", c.vocab_size, c.hidden_size, axes=("vocab", "embed"))
        tree |= {"decoder": decoder}
    return scope("cls.predictions", tree)


def lm_logits(c: Config, params: Tree, x: jax.Array) -> jax.Array:
    """x [B, T, E] -> logits [B, T, V]."""
    p = params["head"]
    p = p.get("lm", p)
    x = activation.activation(linear.linear(p["transform"], x), name=c.hidden_act)
    x = norm.layer_norm(p["norm"], x, eps=c.layer_norm_eps)
    decoder = p.get("decoder") or params["embed"]["words"] | {"bias": p["bias"]}
    return linear.linear(decoder, x)


def lm(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Token logits [B, T, V]."""
    return tasks.logits(body, lm_logits(c, params, body.last_hidden_state))


def next_sentence_specs(c: Config) -> Tree:
    """Whether the second sentence follows the first."""
    return linear.specs("cls.seq_relationship", 2, c.hidden_size, axes=(None, "embed"))


def next_sentence(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Logits [B, 2]: it follows, it does not."""
    return tasks.logits(body, linear.linear(params["head"], body["pooler_output"]))


def pretraining(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> PreTrainingOutput:
    """Both objectives of pre-training."""
    return PreTrainingOutput(
        prediction_logits=lm_logits(c, params, body.last_hidden_state),
        seq_relationship_logits=linear.linear(params["head"]["next"], body["pooler_output"]),
        hidden_states=body.hidden_states,
    )


def classifier_specs(c: Config, labels: int | None = None) -> Tree:
    """A linear classifier."""
    size = c.num_labels if labels is None else labels
    return linear.specs("classifier", size, c.hidden_size, axes=(None, "embed"))


def classifier(c: Config, params: Tree, x: jax.Array, inputs: Any) -> jax.Array:
    """Dropout and the linear classifier."""
    rate = c.hidden_dropout_prob if c.classifier_dropout is None else c.classifier_dropout
    return tasks.classify(params["head"], x, inputs, rate=rate)


def sequence(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Logits [B, C] from the pooled text."""
    return tasks.logits(body, classifier(c, params, body["pooler_output"], inputs))


def token(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Logits [B, T, C]."""
    return tasks.logits(body, classifier(c, params, body.last_hidden_state, inputs))


def choice_apply(c: Config, params: Tree, **inputs: Any) -> LogitsOutput:
    """Inputs [B, choices, T] -> logits [B, choices].

    Raises:
      ValueError: inputs without an axis of choices.
    """
    ranks = {"input_ids": 3, "inputs_embeds": 4}
    main, rank = next((x, r) for n, r in ranks.items() if (x := inputs.get(n)) is not None)
    if main.ndim != rank:
        raise ValueError(
            f"BertForMultipleChoice: found inputs of shape {tuple(main.shape)}, expected an axis "
            f"of choices after the batch; add one of size 1"
        )
    batch, choices = main.shape[:2]

    def flat(name: str, x: Any) -> Any:
        if getattr(x, "ndim", 0) < 3 or not name.endswith(("_ids", "_mask", "_embeds")):
            return x
        return x.reshape(batch * choices, *x.shape[2:])

    body = apply(c, params, **{name: flat(name, x) for name, x in inputs.items()})
    scores = classifier(c, params, body["pooler_output"], inputs)
    return tasks.logits(body, scores.reshape(batch, choices))


def _headed(name: str, head_specs: Any, head: Any, *, pooler: bool) -> tasks.Task:
    body_specs = functools.partial(specs, pooler=pooler)
    return tasks.headed(name, body_specs, apply, prefix="bert", head_specs=head_specs, head=head)


_TIED = MappingProxyType(
    {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
)

TASKS = {
    "BertModel": tasks.bare(specs, apply),
    "BertForMaskedLM": _headed("fill-mask", lm_specs, lm, pooler=False)._replace(tied=_TIED),
    "BertLMHeadModel": _headed("causal-lm", lm_specs, lm, pooler=False)._replace(tied=_TIED),
    "BertForPreTraining": _headed(
        "pretraining",
        lambda c: {"lm": lm_specs(c), "next": next_sentence_specs(c)},
        pretraining,
        pooler=True,
    )._replace(tied=_TIED),
    "BertForNextSentencePrediction": _headed(
        "next-sentence", next_sentence_specs, next_sentence, pooler=True
    ),
    "BertForSequenceClassification": _headed(
        "text-classification", classifier_specs, sequence, pooler=True
    ),
    "BertForMultipleChoice": _headed(
        "multiple-choice", lambda c: classifier_specs(c, 1), sequence, pooler=True
    )._replace(apply=choice_apply),
    "BertForTokenClassification": _headed(
        "token-classification", classifier_specs, token, pooler=False
    ),
    "BertForQuestionAnswering": _headed(
        "question-answering",
        lambda c: linear.specs("qa_outputs", c.num_labels, c.hidden_size, axes=(None, "embed")),
        lambda c, params, body, inputs: tasks.spans(params["head"], body),
        pooler=False,
    ),
}
