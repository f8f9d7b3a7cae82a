"""DeBERTa v2 and v3 encoders: attention over contents and distances apart, and a convolution.

He et al. 2020, arXiv:2006.03654; He et al. 2021, arXiv:2111.09543. Checkpoints: `DebertaV2*`.
Letters: B batch, T tokens, E embed, N heads, D head size, R distances, V vocab.
"""

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo import heads, tasks
from zoo.hint import hint
from zoo.layers import activation, attention, conv1d, embed, linear, mlp, norm, relative, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import EMBEDDINGS, dropout, fold, keys
from zoo.markers import block
from zoo.outputs import BaseOutput, LogitsOutput
from zoo.spec import ArraySpec, Tree, normal, scope

# Sizes that can only be those of the heads and of the body; what the other kind of head stores.
INERT = frozenset({"attention_head_size", "pooler_hidden_size"})
IGNORED = (
    r"(.*\.)?embeddings\.(position_ids|position_embeddings\.weight)",
    r"mask_predictions\..*",
    r"(cls\.predictions|lm_predictions\.lm_head)\..*",
)
KINDS = ("c2p", "p2c")
NORMS = ("none", "layer_norm")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 128100
    hidden_size: int = 1536
    num_hidden_layers: int = 24
    num_attention_heads: int = 24
    intermediate_size: int = 6144
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 0
    embedding_size: int | None = None
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-7
    relative_attention: bool = False
    max_relative_positions: int = dataclasses.field(default=-1, metadata={"least": -1})
    position_buckets: int = dataclasses.field(default=-1, metadata={"least": -1})
    position_biased_input: bool = True
    pos_att_type: tuple[str, ...] | str | None = None
    share_att_key: bool = False
    norm_rel_ebd: str = "none"
    conv_kernel_size: int = dataclasses.field(default=0, metadata={"least": 0})
    conv_groups: int = 1
    conv_act: str = "tanh"
    pad_token_id: int | None = 0
    pooler_dropout: float = 0.0
    pooler_hidden_act: str = "gelu"
    cls_dropout: float | None = None
    legacy: bool = True
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        kinds = self.pos_att_type or ()
        if isinstance(kinds, str):
            kinds = tuple(kind.strip() for kind in kinds.lower().split("|"))
        object.__setattr__(self, "pos_att_type", kinds)
        norms = {kind.strip() for kind in self.norm_rel_ebd.lower().split("|")}
        size, n, groups = self.hidden_size, self.num_attention_heads, self.conv_groups
        window = self.conv_kernel_size
        for wrong, says in (
            (set(kinds) - set(KINDS), f"pos_att_type: found {kinds}, expected some of {KINDS}"),
            (norms - set(NORMS), f"norm_rel_ebd: found {norms}, expected some of {NORMS}"),
            (size % n, f"hidden_size: {size} is not a multiple of num_attention_heads {n}"),
            (
                window and not window % 2,
                f"conv_kernel_size: found {window}, expected an odd number, which keeps the length",
            ),
            (
                window and size % groups,
                f"conv_groups: found {groups}, expected a divisor of hidden_size {size}",
            ),
            (
                not self.legacy and self.width != size,
                f"embedding_size: found {self.width}, expected hidden_size {size} with legacy "
                f"false, whose head multiplies by the embeddings",
            ),
        ):
            if wrong:
                raise ValueError(says)
        if self.relative_attention and self.position_buckets > 0:
            relative.signed_buckets(self.position_buckets, self.longest)
        for name in ("hidden_act", "pooler_hidden_act", "conv_act"):
            activation.check(getattr(self, name), where=name)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def terms(self) -> frozenset[str]:
        """Terms of the scores beside that of contents alone."""
        return frozenset(self.pos_att_type or ())

    @property
    def width(self) -> int:
        """Width of the embeddings."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def longest(self) -> int:
        """The distance up to which distances are told apart."""
        given = self.max_relative_positions
        return self.max_position_embeddings if given < 1 else given

    @property
    def span(self) -> int:
        """Rows of distances on either side."""
        return self.position_buckets if self.position_buckets > 0 else self.longest

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: the convolution stands beside the first."""
        first = "convolved" if self.conv_kernel_size else "encoder"
        return (first,) + ("encoder",) * (self.num_hidden_layers - 1)


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs, of those that are read."""
    tables = {"input_ids": c.vocab_size}
    if c.type_vocab_size:
        tables["token_type_ids"] = c.type_vocab_size
    if c.position_biased_input:
        tables["position_ids"] = c.max_position_embeddings
    return tables


def check_inputs(c: Config, arrays: Mapping[str, Any], where: str) -> None:
    """Refuses a mask of pairs.

    Raises:
      ValueError: such a mask, which would have to blank embeddings as well.
    """
    mask, ids = arrays.get("attention_mask"), arrays.get("input_ids")
    rank = arrays["inputs_embeds"].ndim - 1 if ids is None else ids.ndim
    if mask is not None and mask.ndim != rank:
        raise ValueError(
            f"{where}: attention_mask has shape {tuple(mask.shape)}, expected {rank} dimensions: "
            f"tokens are blanked too, not only pairs; say which tokens are padding"
        )


def block_specs(c: Config, *, convolved: bool) -> Tree:
    """One layer, and beside the first the convolution."""
    size, n, d = c.hidden_size, c.num_attention_heads, c.head_dim
    names = ("self.query_proj", "self.key_proj", "self.value_proj", "output.dense")
    attn = attention.specs(
        embed=size, heads=n, kv_heads=n, head_dim=d, bias=True, out_bias=True, names=names
    )
    project = functools.partial(linear.to_heads_specs, axis="heads", bias=True)
    if c.relative_attention and not c.share_att_key:
        if "c2p" in c.terms:
            attn["distance_k"] = project("self.pos_key_proj", n, d, size)
        if "p2c" in c.terms:
            attn["distance_q"] = project("self.pos_query_proj", n, d, size)
    feed = mlp.plain_specs(
        embed=size, hidden=c.intermediate_size, names=("intermediate.dense", "output.dense")
    )
    tree = {
        "attn": scope("attention", attn),
        "attn_norm": norm.specs("attention.output.LayerNorm", size),
        "mlp": feed,
        "mlp_norm": norm.specs("output.LayerNorm", size),
    }
    tree = scope("encoder.layer.{}", tree)
    if convolved:
        beside = {
            "conv": conv1d.specs(
                "conv", size, size, c.conv_kernel_size, groups=c.conv_groups, init=normal
            ),
            "conv_norm": norm.specs("LayerNorm", size),
        }
        tree |= scope("encoder.conv", beside)
    return tree


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    size = c.hidden_size
    tables = embed.specs(
        vocab=c.vocab_size,
        embed=c.width,
        positions=c.max_position_embeddings if c.position_biased_input else 0,
        types=c.type_vocab_size,
    )
    tables["norm"] = norm.specs("embeddings.LayerNorm", size)
    if c.width != size:
        name = "embeddings.embed_proj"
        tables["project"] = linear.specs(name, size, c.width, axes=("embed", None), bias=False)
    one = {kind: block_specs(c, convolved=kind == "convolved") for kind in set(c.kinds)}
    tree = {"embed": tables, "layers": layers(c.kinds, one.__getitem__)}
    if c.relative_attention:
        tree["distances"] = ArraySpec(
            shape=(2 * c.span, size), axes=(None, "embed"), name="encoder.rel_embeddings.weight"
        )
    if "layer_norm" in c.norm_rel_ebd.lower():
        tree["distances_norm"] = norm.specs("encoder.LayerNorm", size)
    return tree


class Context(NamedTuple):
    """What all layers share during one call.

    Attributes:
      keep: bool [B, T], tokens that are not padding; None where all are.
      distances: [R, E], vectors of distances; None without relative attention.
      rows: int [T, T], which of them each query and key are apart.
    """

    keep: jax.Array | None
    distances: jax.Array | None
    rows: jax.Array | None


def attend(p: Tree, x: jax.Array, context: Context, key: jax.Array | None, c: Config) -> jax.Array:
    """x [B, T, E] -> [B, T, E]; the scale counts the terms of the scores."""
    k1, k2 = keys(key, 2)
    q, k, v = (linear.to_heads(p[name], x) for name in "qkv")
    scale = (c.head_dim * (1 + len(c.terms))) ** -0.5
    mask = bias = None
    if context.distances is not None and context.rows is not None:
        far = dropout(context.distances, k1, rate=c.hidden_dropout_prob)[None]
        of = {"c2p": p.get("distance_k", p["k"]), "p2c": p.get("distance_q", p["q"])}
        far = {kind: linear.to_heads(of[kind], far)[0] for kind in sorted(c.terms)}
        bias = scale * relative.disentangled(
            q, k, context.rows, keys=far.get("c2p"), queries=far.get("p2c")
        )
    if (keep := context.keep) is not None:
        # Padding attends to everything equally and passes no gradient on: its scores are replaced.
        mask = (keep[:, :, None] & keep[:, None, :])[:, None]
        q = jnp.where(keep[:, :, None, None], q, 0)
        bias = bias if bias is None else jnp.where(keep[:, None, :, None], bias, 0)
    rate = c.attention_probs_dropout_prob
    y = attention.attention(q, k, v, mask, bias, k2, scale=scale, rate=rate)
    return linear.from_heads(p["o"], y)


@block
def layer(
    p: Tree, x: jax.Array, context: Context, key: jax.Array | None, *, c: Config
) -> jax.Array:
    """x [B, T, E] -> [B, T, E]: norms come after each residual sum."""
    drop = functools.partial(dropout, rate=c.hidden_dropout_prob)
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_eps)
    k1, k2, k3, k4 = keys(key, 4)
    y = layer_norm(p["attn_norm"], x + drop(attend(p["attn"], x, context, k1, c), k2))
    y = layer_norm(p["mlp_norm"], y + drop(mlp.plain(p["mlp"], y, act=c.hidden_act), k3))
    if "conv" not in p:
        return y
    side = (c.conv_kernel_size - 1) // 2
    z = conv1d.conv1d(p["conv"], x, padding=(side, side), groups=c.conv_groups)
    z = activation.activation(drop(_blanked(z, context.keep), k4), name=c.conv_act)
    return _blanked(layer_norm(p["conv_norm"], y + z), context.keep)


def _blanked(x: jax.Array, keep: jax.Array | None) -> jax.Array:
    """x [B, T, E], zero where there is padding."""
    return x if keep is None else jnp.where(keep[..., None], x, 0)


def apply(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    token_type_ids: jax.Array | None = None,
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
      attention_mask: [B, T] with 1 for tokens and 0 for padding.
      token_type_ids: int [B, T], which of two sentences; read where the model has types.
      position_ids: int [B, T] or [T], the count of places if absent; read where the model has
        absolute positions. Distances are those between places, whatever is given here.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    p = params["embed"]
    x = linear.embed_text(p["words"], input_ids, inputs_embeds, padding_idx=c.pad_token_id)
    tokens, _ = caching.place(
        x.shape[1],
        attention_mask=attention_mask,
        position_ids=position_ids,
        cache=None,
        table=c.max_position_embeddings if c.position_biased_input else None,
    )
    if "positions" in p:
        x = x + jnp.broadcast_to(linear.embedding(p["positions"], tokens.positions), x.shape)
    if "types" in p:
        types = jnp.zeros(x.shape[:2], jnp.int32) if token_type_ids is None else token_type_ids
        x = x + linear.embedding(p["types"], types)
    x = linear.linear(p["project"], x) if "project" in p else x
    keep = None if tokens.valid is None else tokens.valid.astype(bool)
    x = _blanked(norm.layer_norm(p["norm"], x, eps=c.layer_norm_eps), keep)
    x = dropout(x, fold(dropout_key, EMBEDDINGS), rate=c.hidden_dropout_prob)
    x = hint(x, "batch", "length", None)

    context = Context(keep, *_distances(c, params, tokens))
    x, _, inner = stack.run(
        lambda kind, p, x, cache, i, key: (layer(p, x, context, key, c=c), None),
        c.kinds,
        params["layers"],
        x,
        key=dropout_key,
        collect=output_hidden_states,
    )
    return BaseOutput(last_hidden_state=x, hidden_states=None if inner is None else (*inner, x))


def _distances(
    c: Config, params: Tree, tokens: caching.Tokens
) -> tuple[jax.Array | None, jax.Array | None]:
    """Vectors of distances [R, E], and which of them each query and key are apart [T, T]."""
    if not c.relative_attention:
        return None, None
    far = params["distances"]
    if "distances_norm" in params:
        far = norm.layer_norm(params["distances_norm"], far, eps=c.layer_norm_eps)
    apart = tokens.slots[0, :, None] - tokens.keys[0, None, :]
    if c.position_buckets > 0:
        apart = relative.signed_bucket(apart, count=c.position_buckets, longest=c.longest)
    return far, jnp.clip(apart + c.span, 0, 2 * c.span - 1)


def lm_specs(c: Config) -> Tree:
    """The head that predicts tokens. That of v3 (`legacy` false) is always tied."""
    inner = "transform." if c.legacy else ""
    tree = heads.lm_specs(
        vocab=c.vocab_size,
        embed=c.hidden_size,
        width=c.width,
        tied=c.tie_word_embeddings or not c.legacy,
        dense=f"{inner}dense",
        layer_norm=f"{inner}LayerNorm",
        decoder="decoder",
        bias="bias",
    )
    return scope("cls.predictions" if c.legacy else "lm_predictions.lm_head", tree)


def lm(c: Config, params: Tree, body: BaseOutput, inputs: Mapping) -> LogitsOutput:
    """Token logits [B, T, V]."""
    p, words = params["head"], params["embed"]["words"]
    act, eps = c.hidden_act, c.layer_norm_eps
    return tasks.logits(body, heads.lm_logits(p, words, body.last_hidden_state, act=act, eps=eps))


def _rates(c: Config) -> tuple[float, float]:
    """Dropout before the pooler and before the classifier."""
    return c.pooler_dropout, c.hidden_dropout_prob if c.cls_dropout is None else c.cls_dropout


TIED = MappingProxyType(
    {
        "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
)
_first = functools.partial(
    heads.first,
    names=("pooler.dense", "classifier"),
    act=lambda c: c.pooler_hidden_act,
    rates=_rates,
)
HEADS = {
    "ForMaskedLM": heads.Head("fill-mask", lm_specs, lm, tied=TIED),
    "ForSequenceClassification": _first("text-classification"),
    "ForMultipleChoice": _first("multiple-choice", labels=1),
    "ForTokenClassification": heads.tokens(lambda c: c.hidden_dropout_prob),
    "ForQuestionAnswering": heads.answers(),
}
TASKS = heads.encoder("DebertaV2", specs, apply, HEADS, prefix="deberta")
