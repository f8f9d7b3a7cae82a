"""ModernBERT encoders: rotated, gated, and two layers in three that see only their surroundings.

Warner et al. 2024, arXiv:2412.13663. Checkpoints: `ModernBert*`. Letters: B batch, T tokens,
E embed, V vocab, C labels.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax

from zoo import heads, tasks
from zoo.hint import hint
from zoo.layers import activation, attention, linear, mlp, norm, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import EMBEDDINGS, HEAD, dropout, fold, keys
from zoo.layers.mask import Mask
from zoo.layers.pooling import Pooling, pool
from zoo.layers.rope import Rope, Ropes, rotation
from zoo.markers import block
from zoo.outputs import BaseOutput, LogitsOutput, Output
from zoo.spec import Init, Part, Tree, normal, scope, tree_map, truncated_normal

INERT = frozenset(
    "deterministic_flash_attn layer_norm_eps reference_compile repad_logits_with_grad "
    "sparse_pred_ignore_index sparse_prediction".split()
)
THETAS = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}
POOLINGS = ("cls", "mean")
ROPES = Ropes(
    full_attention=Rope(rope_theta=160_000.0), sliding_attention=Rope(rope_theta=10_000.0)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 50368
    hidden_size: int = 768
    intermediate_size: int = 1152
    num_hidden_layers: int = 22
    num_attention_heads: int = 12
    hidden_activation: str = "gelu"
    max_position_embeddings: int = 8192
    initializer_range: float = 0.02
    initializer_cutoff_factor: float = 2.0
    norm_eps: float = 1e-5
    norm_bias: bool = False
    pad_token_id: int | None = 50283
    attention_bias: bool = False
    attention_dropout: float = 0.0
    layer_types: tuple[str, ...] | None = None
    global_attn_every_n_layers: int = 3
    rope_parameters: Ropes = ROPES
    local_attention: int = 128
    embedding_dropout: float = 0.0
    mlp_bias: bool = False
    mlp_dropout: float = 0.0
    decoder_bias: bool = True
    classifier_pooling: str = "cls"
    classifier_dropout: float = 0.0
    classifier_bias: bool = False
    classifier_activation: str = "gelu"
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        if self.hidden_size % self.num_attention_heads or self.head_dim % 2:
            raise ValueError(
                f"hidden_size: {self.hidden_size} does not split into num_attention_heads "
                f"{self.num_attention_heads} of an even size, to be rotated in pairs"
            )
        if self.classifier_pooling not in POOLINGS:
            raise ValueError(
                f"classifier_pooling: found {self.classifier_pooling!r}, expected one of "
                f"{', '.join(POOLINGS)}"
            )
        activation.check(self.hidden_activation, where="hidden_activation")
        activation.check(self.classifier_activation, where="classifier_activation")
        if self.layer_types is None:
            every = self.global_attn_every_n_layers
            kinds = ("sliding_attention" if i % every else "full_attention"
                     for i in range(self.num_hidden_layers))  # fmt: skip
            object.__setattr__(self, "layer_types", tuple(kinds))
        kinds = self.layer_types or ()
        if len(kinds) != self.num_hidden_layers or not set(kinds) <= THETAS.keys():
            raise ValueError(
                f"layer_types: found {len(kinds)} of {', '.join(sorted(set(kinds)))}, expected "
                f"num_hidden_layers {self.num_hidden_layers} of {', '.join(THETAS)}"
            )
        for kind in THETAS:
            share = getattr(self.rope_parameters, kind).partial_rotary_factor
            if share != 1:
                raise ValueError(
                    f"rope_parameters.{kind}.partial_rotary_factor: found {share}, expected 1: "
                    f"whole heads are rotated here"
                )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer; the first has no norm before its attention."""
        first, *others = self.layer_types or ("",)
        return (f"{first}:first", *others)


def upgrade(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Thetas beside `rope_parameters`, and one scaling for all layers, as transformers 4 wrote."""
    scaling, given = raw.get("rope_scaling") or {}, raw.get("rope_parameters") or {}
    if not isinstance(scaling, dict) or not isinstance(given, dict):
        return raw
    old = {*THETAS.values(), "rope_scaling", "rope_parameters"}
    sets = {kind: dict(one) if isinstance(one, dict) else one for kind, one in given.items()}
    for kind, key in THETAS.items():
        theta = raw.get(key)
        if theta is None and key in raw:  # a local theta of null meant the global one
            theta = raw.get("global_rope_theta")
        one = sets.get(kind) or {}
        if isinstance(one, dict):
            sets[kind] = ({} if theta is None else {"rope_theta": theta}) | one | scaling
    kept = {key: value for key, value in raw.items() if key not in old}
    return kept | {"rope_parameters": sets}


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {"input_ids": c.vocab_size}


def drawn(c: Config, specs: Tree, *, scale: float = 1.0) -> Tree:
    """Weights of a normal distribution instead drawn from one that is cut off on both sides."""
    init: Init = truncated_normal(c.initializer_cutoff_factor, scale)
    return tree_map(lambda s: dataclasses.replace(s, init=init) if s.init is normal else s, specs)


def _inner(c: Config) -> float:
    """Scale of the weights that feed the residual stream."""
    return 1 / math.sqrt(2 * c.num_hidden_layers)


def block_specs(c: Config, *, first: bool) -> Tree:
    """One layer. `attn.Wqkv` is a single tensor that q, k and v share, `mlp.Wi` one of two."""
    heads, embed = c.num_attention_heads, c.hidden_size

    def fused(i: int, axis: str) -> Tree:
        part = Part(axis="n", start=i * heads, total=3 * heads)
        return linear.to_heads_specs(
            "Wqkv", heads, c.head_dim, embed, axis=axis, bias=c.attention_bias, part=part
        )

    attn = {"q": fused(0, "heads"), "k": fused(1, "kv_heads"), "v": fused(2, "kv_heads")}
    out = linear.from_heads_specs("Wo", embed, heads, c.head_dim, bias=c.attention_bias)
    feed = mlp.fused_specs(
        embed=embed, hidden=c.intermediate_size, bias=c.mlp_bias, names=("Wi", "Wo")
    )
    feed = drawn(c, feed) | {"down": drawn(c, feed["down"], scale=_inner(c))}
    tree = {
        "attn": scope("attn", drawn(c, attn) | {"o": drawn(c, out, scale=_inner(c))}),
        "mlp_norm": norm.specs("mlp_norm", embed, bias=c.norm_bias),
        "mlp": scope("mlp", feed),
    }
    if not first:
        tree["attn_norm"] = norm.specs("attn_norm", embed, bias=c.norm_bias)
    return tree


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    embed = {
        "words": drawn(c, linear.embedding_specs("tok_embeddings", c.vocab_size, c.hidden_size)),
        "norm": norm.specs("norm", c.hidden_size, bias=c.norm_bias),
    }
    one = {first: scope("layers.{}", block_specs(c, first=first)) for first in (True, False)}
    return {
        "embed": scope("embeddings", embed),
        "layers": layers(c.kinds, lambda kind: one[kind.endswith(":first")]),
        "norm": norm.specs("final_norm", c.hidden_size, bias=c.norm_bias),
    }


@block
def layer(
    p: Tree, x: jax.Array, context: attention.Context, key: jax.Array | None, *, c: Config
) -> jax.Array:
    """x [B, T, E] -> [B, T, E]."""
    layer_norm = functools.partial(norm.layer_norm, eps=c.norm_eps)
    k1, k2, k3 = keys(key, 3)
    y = layer_norm(p["attn_norm"], x) if "attn_norm" in p else x
    y, _ = attention.attend(p["attn"], y, None, context, k1, rate=c.attention_dropout)
    x = x + dropout(y, k2, rate=c.attention_dropout)
    y = layer_norm(p["mlp_norm"], x)
    return x + mlp.gated(p["mlp"], y, k3, act=c.hidden_activation, rate=c.mlp_dropout)


def apply(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    position_ids: jax.Array | None = None,
    inputs_embeds: jax.Array | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of tokens.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_ids: int [B, T].
      attention_mask: [B, T] with 1 for tokens and 0 for padding, or [B, T, T].
      position_ids: int [B, T] or [T], the count of places if absent. How far a local layer sees
        is counted in places, whatever is given here.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    p = params["embed"]
    x = linear.embed_text(p["words"], input_ids, inputs_embeds, padding_idx=c.pad_token_id)
    x = norm.layer_norm(p["norm"], x, eps=c.norm_eps)
    x = dropout(x, fold(dropout_key, EMBEDDINGS), rate=c.embedding_dropout)
    x = hint(x, "batch", "length", None)
    tokens, _ = caching.place(
        x.shape[1], attention_mask=attention_mask, position_ids=position_ids, cache=None
    )
    windows = {"full_attention": None, "sliding_attention": c.local_attention // 2 + 1}

    def context(kind: str) -> attention.Context:
        mask = Mask(
            valid=tokens.valid, queries=tokens.slots, keys=tokens.keys, window=windows[kind]
        )
        turns = rotation(
            getattr(c.rope_parameters, kind),
            tokens.positions,
            head_dim=c.head_dim,
            trained=c.max_position_embeddings,
        )
        return attention.Context(mask=mask.array(), rotation=turns)

    contexts = {kind: context(kind.removesuffix(":first")) for kind in sorted(set(c.kinds))}
    x, _, inner = stack.run(
        lambda kind, p, x, cache, i, key: (layer(p, x, contexts[kind], key, c=c), None),
        c.kinds,
        params["layers"],
        x,
        key=dropout_key,
        collect=output_hidden_states,
    )
    x = norm.layer_norm(params["norm"], x, eps=c.norm_eps)
    return BaseOutput(last_hidden_state=x, hidden_states=None if inner is None else (*inner, x))


def lm_specs(c: Config) -> Tree:
    """The head that predicts tokens."""
    tree = heads.lm_specs(
        vocab=c.vocab_size,
        embed=c.hidden_size,
        tied=c.tie_word_embeddings,
        dense="head.dense",
        layer_norm="head.norm",
        decoder="decoder",
        bias="decoder.bias" if c.decoder_bias else None,
        dense_bias=c.classifier_bias,
        norm_bias=c.norm_bias,
    )
    return drawn(c, tree, scale=_inner(c))


def lm(c: Config, params: Tree, body: BaseOutput, inputs: Mapping) -> LogitsOutput:
    """Token logits [B, T, V]."""
    p, words = params["head"], params["embed"]["words"]
    act, eps = c.classifier_activation, c.norm_eps
    return tasks.logits(body, heads.lm_logits(p, words, body.last_hidden_state, act=act, eps=eps))


def classifier(task: str, *, labels: int | None = None) -> heads.Head:
    """A layer, its norm and a linear classifier over the vectors that the task is about."""

    def specs(c: Config) -> Tree:
        size = c.hidden_size
        dense = linear.specs("head.dense", size, size, axes=(None, "embed"), bias=c.classifier_bias)
        out = heads.classifier_specs(labels=labels)(c)
        scale = size**-0.5 / c.initializer_range if c.initializer_range else 0.0
        return {
            "dense": drawn(c, dense, scale=_inner(c)),
            "norm": norm.specs("head.norm", size, bias=c.norm_bias),
            "out": drawn(c, out, scale=scale),
        }

    def apply(c: Config, params: Tree, body: BaseOutput, inputs: Mapping) -> Output:
        p = params["head"]
        x = _pooled(c, task, body.last_hidden_state, inputs.get("attention_mask"))
        x = activation.activation(linear.linear(p["dense"], x), name=c.classifier_activation)
        x = norm.layer_norm(p["norm"], x, eps=c.norm_eps)
        x = dropout(x, fold(inputs.get("dropout_key"), HEAD), rate=c.classifier_dropout)
        values = linear.linear(p["out"], x)
        answers = task == "question-answering"
        return tasks.spans(body, values) if answers else tasks.logits(body, values)

    return heads.Head(task, specs, apply)


def _pooled(c: Config, task: str, x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """x [B, T, E] -> [B, E] for tasks about whole texts.

    As in transformers, a text is classified by its first place, be it padding, and a choice by its
    first token.
    """
    if task in ("token-classification", "question-answering"):
        return x
    if c.classifier_pooling == "cls" and task == "text-classification":
        return x[:, 0]
    return pool(x, mask, how=Pooling(modes=(c.classifier_pooling,)))


HEADS = {
    "ForMaskedLM": heads.Head(
        "fill-mask",
        lm_specs,
        lm,
        tied=MappingProxyType({"decoder.weight": "model.embeddings.tok_embeddings.weight"}),
    ),
    "ForSequenceClassification": classifier("text-classification"),
    "ForTokenClassification": classifier("token-classification"),
    "ForQuestionAnswering": classifier("question-answering"),
    "ForMultipleChoice": classifier("multiple-choice", labels=1),
}
TASKS = heads.encoder("ModernBert", specs, apply, HEADS, prefix="model")
