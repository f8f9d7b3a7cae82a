"""Linear maps and embeddings, in the memory order of the checkpoint.

A matrix is `weight` `(out, in)`, as nearly all checkpoints store it, or `weight_io` `(in, out)`, as
GPT-2's Conv1D does. Each function takes either. Letters: B batch, T tokens, E embed, N heads, D
head size.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

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
    part: Part | None = None,
) -> Tree:
    """`{name}.weight` `(out, in)`, or `(in, out)` with `conv1d`, and on request `{name}.bias`.

    `part` names axis `o` of a fused tensor `(out, in)` that several maps share.
    """
    shape, order = ((inp, out), axes[::-1]) if conv1d else ((out, inp), axes)
    store = ("o i -> o i", "o -> o") if part else (None, None)
    weight = ArraySpec(shape=shape, axes=order, init=init, name="weight", store=store[0], part=part)
    return scope(name, _tree(weight, conv1d, bias and (out,), axes[:1], store[1], part))


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

    With `conv1d` the order is `(embed, heads, head_dim)`. `part` is that of a fused tensor which
    several projections share: of its axis `n` where all heads of one precede those of the next, of
    `d` where each head's own stand together, or of an axis between these where they are as large.
    """
    shape, axes = (heads, head_dim), (axis, "head_dim")
    out = "(n d)" if part is None or part.axis in "nd" else f"(n {part.axis} d)"
    weight = ArraySpec(
        shape=(embed, *shape) if conv1d else (*shape, embed),
        axes=("embed", *axes) if conv1d else (*axes, "embed"),
        name="weight",
        store=f"e {out} -> e n d" if conv1d else f"{out} e -> n d e",
        part=part,
    )
    return scope(name, _tree(weight, conv1d, bias and shape, axes, f"{out} -> n d", part))


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
    """A projection from heads back to the residual width: `weight` `(embed, heads, head_dim)`.

    With `conv1d` the order is `(heads, head_dim, embed)`.
    """
    weight = ArraySpec(
        shape=(heads, head_dim, embed) if conv1d else (embed, heads, head_dim),
        axes=("heads", "head_dim", "embed") if conv1d else ("embed", "heads", "head_dim"),
        init=init,
        name="weight",
        store="(n d) e -> n d e" if conv1d else "e (n d) -> e n d",
    )
    return scope(name, _tree(weight, conv1d, bias and (embed,), ("embed",)))


def _tree(
    weight: ArraySpec,
    conv1d: bool,
    bias: tuple[int, ...] | bool,
    axes: tuple[str | None, ...],
    store: str | None = None,
    part: Part | None = None,
) -> Tree:
    """A weight under the key that tells its order, and a bias of the shape given, if any."""
    tree = {"weight_io" if conv1d else "weight": weight}
    if isinstance(bias, tuple):
        tree["bias"] = ArraySpec(
            shape=bias, axes=axes, init=zeros, name="bias", store=store, part=part
        )
    return tree


def embedding_specs(
    name: str, vocab: int, embed: int, *, axis: str | None = "vocab", init: Init = normal
) -> Tree:
    """`{name}.weight` `(vocab, embed)`."""
    weight = ArraySpec(shape=(vocab, embed), axes=(axis, "embed"), init=init, name="weight")
    return scope(name, {"weight": weight})


def _product(p: Tree, x: jax.Array) -> jax.Array:
    """x [..., in] -> [..., out], the weight's other axes taken together as `out`.

    XLA on CPU multiplies by a matrix twice as fast as by an array of three axes.
    """
    if "weight_io" in p:
        w = p["weight_io"]
        return jnp.einsum("...i,io->...o", x, w.reshape(x.shape[-1], -1))
    return jnp.einsum("...i,oi->...o", x, p["weight"].reshape(-1, x.shape[-1]))


def _biased(y: jax.Array, p: Tree) -> jax.Array:
    return y + jnp.broadcast_to(p["bias"], y.shape) if "bias" in p else y


@op("linear")
def linear(p: Tree, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
    """x [..., in] -> [..., out]; adds a bias exactly when the tree holds one."""
    return _biased(_product(p, x), p)


@op("linear_to_heads")
def to_heads(p: Tree, x: Float[Array, "b t e"]) -> Float[Array, "b t n d"]:
    """x [B, T, E] -> [B, T, N, D]."""
    w = p["weight_io"] if "weight_io" in p else p["weight"]
    heads = w.shape[1:] if "weight_io" in p else w.shape[:-1]
    return _biased(_product(p, x).reshape(*x.shape[:-1], *heads), p)


@op("linear_from_heads")
def from_heads(p: Tree, x: Float[Array, "b t n d"]) -> Float[Array, "b t e"]:
    """x [B, T, N, D] -> [B, T, E]."""
    return _biased(_product(p, x.reshape(*x.shape[:-2], -1)), p)


@op("embedding")
def embedding(
    p: Tree, ids: Integer[Array, "..."], *, padding_idx: int | None = None
) -> Float[Array, "... e"]:
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
