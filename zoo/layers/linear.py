"""Linear maps and embeddings. Weights keep the checkpoint's `(out, in)` order.

Letters: B batch, T tokens, E embed, N heads, D head size.
"""

import jax
import jax.numpy as jnp

from zoo.markers import op
from zoo.spec import ArraySpec, Init, Part, Tree, normal, scope, zeros


def specs(
    name: str,
    out: int,
    inp: int,
    *,
    axes: tuple[str | None, str | None],
    bias: bool = True,
    init: Init = normal,
    conv1d: bool = False,
) -> Tree:
    """`{name}.weight` `(out, in)` and, on request, `{name}.bias`.

    `conv1d` says that the checkpoint holds the transpose, as GPT-2's Conv1D does.
    """
    weight = ArraySpec(
        shape=(out, inp),
        axes=axes,
        init=init,
        name="weight",
        store="i o -> o i" if conv1d else None,
    )
    tree = {"weight": weight}
    if bias:
        tree["bias"] = ArraySpec(shape=(out,), axes=axes[:1], init=zeros, name="bias")
    return scope(name, tree)


def to_heads_specs(
    name: str,
    heads: int,
    head_dim: int,
    embed: int,
    *,
    axis: str,
    bias: bool,
    conv1d: bool = False,
    part: Part | None = None,
) -> Tree:
    """A projection onto heads: `weight` `(heads, head_dim, embed)`, `bias` `(heads, head_dim)`.

    `part` names axis `n` (heads) of a fused tensor that several projections share.
    """
    tree = {
        "weight": ArraySpec(
            shape=(heads, head_dim, embed),
            axes=(axis, "head_dim", "embed"),
            name="weight",
            store="e (n d) -> n d e" if conv1d else "(n d) e -> n d e",
            part=part,
        )
    }
    if bias:
        tree["bias"] = ArraySpec(
            shape=(heads, head_dim),
            axes=(axis, "head_dim"),
            init=zeros,
            name="bias",
            store="(n d) -> n d",
            part=part,
        )
    return scope(name, tree)


def from_heads_specs(
    name: str,
    embed: int,
    heads: int,
    head_dim: int,
    *,
    bias: bool,
    conv1d: bool = False,
    init: Init = normal,
) -> Tree:
    """A projection from heads back to the residual width: `weight` `(embed, heads, head_dim)`."""
    tree = {
        "weight": ArraySpec(
            shape=(embed, heads, head_dim),
            axes=("embed", "heads", "head_dim"),
            init=init,
            name="weight",
            store="(n d) e -> e n d" if conv1d else "e (n d) -> e n d",
        )
    }
    if bias:
        tree["bias"] = ArraySpec(shape=(embed,), axes=("embed",), init=zeros, name="bias")
    return scope(name, tree)


def embedding_specs(name: str, vocab: int, embed: int, *, axis: str | None = "vocab") -> Tree:
    """`{name}.weight` `(vocab, embed)`."""
    weight = ArraySpec(shape=(vocab, embed), axes=(axis, "embed"), name="weight")
    return scope(name, {"weight": weight})


def _biased(y: jax.Array, p: Tree) -> jax.Array:
    return y + jnp.broadcast_to(p["bias"], y.shape) if "bias" in p else y


@op("linear")
def linear(p: Tree, x: jax.Array) -> jax.Array:
    """x [..., in] -> [..., out]; adds a bias exactly when the tree holds one."""
    return _biased(jnp.einsum("...i,oi->...o", x, p["weight"]), p)


@op("linear_to_heads")
def to_heads(p: Tree, x: jax.Array) -> jax.Array:
    """x [B, T, E] -> [B, T, N, D]."""
    return _biased(jnp.einsum("bte,nde->btnd", x, p["weight"]), p)


@op("linear_from_heads")
def from_heads(p: Tree, x: jax.Array) -> jax.Array:
    """x [B, T, N, D] -> [B, T, E]."""
    return _biased(jnp.einsum("btnd,end->bte", x, p["weight"]), p)


@op("embedding")
def embedding(p: Tree, ids: jax.Array, *, padding_idx: int | None = None) -> jax.Array:
    """Ids int [...] -> rows [..., E].

    The row `padding_idx` receives no gradient, as in PyTorch. Ids outside the table are clamped:
    a compiled program cannot raise, so `Model` checks concrete ids before it runs one.
    """
    x = jnp.take(p["weight"], ids, axis=0, mode="clip")
    if padding_idx is None:
        return x
    return jnp.where((ids == padding_idx)[..., None], jax.lax.stop_gradient(x), x)


def embed_text(
    p: Tree,
    ids: jax.Array | None,
    vectors: jax.Array | None,
    *,
    padding_idx: int | None = None,
) -> jax.Array:
    """Ids int [B, T], or the vectors that stand in for them -> [B, T, E].

    Raises:
      ValueError: neither or both are given.
    """
    if (ids is None) == (vectors is None):
        raise ValueError("input_ids and inputs_embeds: expected exactly one of them")
    return vectors if ids is None else embedding(p, ids, padding_idx=padding_idx)  # pyright: ignore[reportReturnType]
