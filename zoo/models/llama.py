"""Llama 1 to 3 decoders, and what the decoders that descend from them share.

Touvron et al. 2023, arXiv:2302.13971 and arXiv:2307.09288; Grattafiori et al. 2024,
arXiv:2407.21783. Checkpoints: `Llama*`. Letters: B batch, T new tokens, S keys, E embed, V vocab.

Functions whose `c` is not a `Config` take that of any decoder with the fields they read.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax

from zoo import tasks
from zoo.hint import hint
from zoo.layers import activation, attention, linear, mlp, norm, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import EMBEDDINGS, fold
from zoo.layers.rope import DEFAULT, Rope, Ropes, rotation
from zoo.markers import block
from zoo.outputs import BaseOutput
from zoo.spec import Tree, scope

IGNORED = (r"(.*\.)?rotary_emb\.inv_freq",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_parameters: Rope = DEFAULT
    attention_bias: bool = False
    attention_dropout: float = 0.0
    mlp_bias: bool = False
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    num_labels: int = 2

    def __post_init__(self):
        complete(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all see the whole text."""
        return ("full_attention",) * self.num_hidden_layers


def limits(c: Any) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {"input_ids": c.vocab_size}


def complete(c: Any, *, partial: bool = False) -> None:
    """Fills in the sizes that follow from others, and checks them.

    Raises:
      ValueError: heads that do not divide, dimensions that cannot be rotated in pairs, a rotation
        of a part of each head where it is not `partial`, or an unknown activation.
    """
    if c.num_key_value_heads is None:
        object.__setattr__(c, "num_key_value_heads", c.num_attention_heads)
    if c.head_dim is None:
        if c.hidden_size % c.num_attention_heads:
            raise ValueError(
                f"hidden_size: {c.hidden_size} is not a multiple of num_attention_heads "
                f"{c.num_attention_heads}; set head_dim"
            )
        object.__setattr__(c, "head_dim", c.hidden_size // c.num_attention_heads)
    if c.num_attention_heads % c.num_key_value_heads:
        raise ValueError(
            f"num_attention_heads: {c.num_attention_heads} is not a multiple of "
            f"num_key_value_heads {c.num_key_value_heads}"
        )
    for rope in ropes(c).values():
        if not partial and rope.partial_rotary_factor != 1:
            raise ValueError(
                f"partial_rotary_factor: found {rope.partial_rotary_factor}, expected 1: "
                f"whole heads are rotated here, and transformers ignores the key"
            )
        if (turned := int((c.head_dim or 0) * rope.partial_rotary_factor)) % 2 or not turned:
            part = f" times partial_rotary_factor {rope.partial_rotary_factor}" if partial else ""
            raise ValueError(
                f"head_dim: found {c.head_dim}{part}, expected an even number: dimensions to "
                f"rotate in pairs"
            )
    if hasattr(c, "hidden_act"):
        activation.check(c.hidden_act, where="hidden_act")


def block_specs(
    c: Any, *, bias: bool, out_bias: bool, mlp_bias: bool = False, qk_norm: bool = False
) -> Tree:
    """One layer."""
    attn = attention.specs(
        embed=c.hidden_size,
        heads=c.num_attention_heads,
        kv_heads=c.num_key_value_heads,
        head_dim=c.head_dim,
        bias=bias,
        out_bias=out_bias,
        qk_norm=qk_norm,
    )
    gated = mlp.gated_specs(embed=c.hidden_size, hidden=c.intermediate_size, bias=mlp_bias)
    return {
        "attn_norm": norm.specs("input_layernorm", c.hidden_size, bias=False),
        "attn": scope("self_attn", attn),
        "mlp_norm": norm.specs("post_attention_layernorm", c.hidden_size, bias=False),
        "mlp": scope("mlp", gated),
    }


def body_specs(
    c: Any,
    one: Tree | Callable[[str], Tree],
    layers: stack.Build,
    *,
    from_one: bool = False,
) -> Tree:
    """Every parameter of a body whose layers are all declared as `one`, or by their kind."""
    of = one if callable(one) else lambda kind: one
    return {
        "embed": linear.embedding_specs("embed_tokens", c.vocab_size, c.hidden_size),
        "layers": layers(c.kinds, lambda kind: scope("layers.{}", of(kind))),
        "norm": norm.specs("norm", c.hidden_size, bias=False, from_one=from_one),
    }


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    bias = c.attention_bias
    return body_specs(c, block_specs(c, bias=bias, out_bias=bias, mlp_bias=c.mlp_bias), layers)


def cache_specs(
    c: Any, batch: int, length: int, *, layers: stack.Build = stack.loop
) -> caching.Cache:
    """Keys and values of `length` tokens in every layer, or of those in its window."""
    return attention.cache_specs(
        c.kinds,
        batch=batch,
        length=length,
        kv_heads=c.num_key_value_heads,
        head_dim=c.head_dim,
        layers=layers,
        windows=windows(c),
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
    """x [B, T, E] -> (x [B, T, E], cache)."""
    rms_norm = functools.partial(norm.rms_norm, eps=c.rms_norm_eps)
    y, cache = attention.attend(
        p["attn"],
        rms_norm(p["attn_norm"], x),
        cache,
        context,
        key,
        eps=c.rms_norm_eps,
        rate=c.attention_dropout,
    )
    x = x + y
    return x + mlp.gated(p["mlp"], rms_norm(p["mlp_norm"], x), act=c.hidden_act), cache


def check_kinds(c: Any) -> None:
    """Checks `layer_types`.

    Raises:
      ValueError: another number than of layers, or kinds that these models do not have.
    """
    if len(c.layer_types) != c.num_hidden_layers:
        raise ValueError(
            f"layer_types: found {len(c.layer_types)} kinds, expected num_hidden_layers "
            f"{c.num_hidden_layers}"
        )
    if unknown := sorted(set(c.layer_types) - windows(c).keys()):
        raise ValueError(
            f"layer_types: found {', '.join(unknown)}, expected {', '.join(windows(c))}"
        )


def windows(c: Any) -> dict[str, int | None]:
    """How far each kind of layer sees; a config whose kinds are others has its own `windows`."""
    kinds = {"full_attention": None, "sliding_attention": getattr(c, "sliding_window", None)}
    return getattr(c, "windows", kinds)


def ropes(c: Any) -> dict[str, Rope]:
    """How each kind of layer rotates."""
    rope = c.rope_parameters
    return {k: getattr(rope, k) if isinstance(rope, Ropes) else rope for k in windows(c)}


def embed(
    c: Any, p: Tree, ids: jax.Array | None, vectors: jax.Array | None, key: jax.Array | None
) -> jax.Array:
    """Ids int [B, T], or the vectors that stand in for them -> x [B, T, E]."""
    return linear.embed_text(p, ids, vectors, padding_idx=c.pad_token_id)


def last(c: Any, p: Tree, x: jax.Array) -> jax.Array:
    """The norm after the last layer."""
    return norm.rms_norm(p, x, eps=c.rms_norm_eps)


def through(
    layer: Callable,
    *,
    embed: Callable = embed,
    last: Callable = last,
    causal: Callable[[Any], bool] = lambda c: True,
) -> Callable[..., BaseOutput]:
    """The whole body of a decoder around layers of its own.

    `layer`, `embed` and `last` are called as those of this file; `causal(c)` says whether tokens
    see only what came before them.
    """

    def apply(
        c: Any,
        params: Tree,
        *,
        input_ids: jax.Array | None = None,
        attention_mask: jax.Array | None = None,
        position_ids: jax.Array | None = None,
        inputs_embeds: jax.Array | None = None,
        cache: caching.Cache | None = None,
        output_hidden_states: bool = False,
        dropout_key: jax.Array | None = None,
    ) -> BaseOutput:
        """Vectors of tokens that have seen what came before them.

        Args:
          c: the architecture.
          params: the tree that `specs` declares.
          input_ids: int [B, T].
          attention_mask: [B, T] with 1 for tokens and 0 for padding on either side, or [B, T, S].
          position_ids: int [B, T] or [T]; the count of slots if absent.
          inputs_embeds: [B, T, E] in place of `input_ids`.
          cache: of `cache_specs`, or what an earlier call returned.
          output_hidden_states: return the output of every layer too.
          dropout_key: switches dropout on.
        """
        key = fold(dropout_key, EMBEDDINGS)
        x = hint(embed(c, params["embed"], input_ids, inputs_embeds, key), "batch", "length", None)
        tokens, advanced = caching.place(
            x.shape[1], attention_mask=attention_mask, position_ids=position_ids, cache=cache
        )

        def context(kind: str) -> attention.Context:
            turns = rotation(
                ropes(c)[kind],
                tokens.positions,
                head_dim=c.head_dim,
                trained=c.max_position_embeddings,
            )
            return attention.context(
                tokens, causal=causal(c), window=windows(c)[kind], rotation=turns
            )

        contexts = {kind: context(kind) for kind in sorted(set(c.kinds))}
        return stack.body(
            lambda kind, p, x, cache, i, key: layer(p, x, cache, contexts[kind], key, c=c),
            c.kinds,
            params["layers"],
            x,
            last=functools.partial(last, c, params["norm"]),
            cache=advanced,
            key=dropout_key,
            collect=output_hidden_states,
        )

    return apply


apply = through(layer)
TASKS = tasks.decoder("Llama", specs, apply)
