"""How encoders embed a text: words, positions and types in one sum, then a norm.

Letters: B batch, T tokens, E embed.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.layers import linear, norm
from zoo.layers.cache import Cache
from zoo.layers.dropout import EMBEDDINGS, dropout, fold
from zoo.spec import Init, Tree, normal, scope


def specs(*, vocab: int, embed: int, positions: int, types: int = 0, init: Init = normal) -> Tree:
    """Tables under `embeddings`, those of positions and types only where they have rows.

    `init` draws that of positions.
    """
    tables = {
        "words": linear.embedding_specs("word_embeddings", vocab, embed),
        "norm": norm.specs("LayerNorm", embed),
    }
    for key, name, rows, drawn in (
        ("positions", "position_embeddings", positions, init),
        ("types", "token_type_embeddings", types, normal),
    ):
        if rows:
            tables[key] = linear.embedding_specs(name, rows, embed, axis=None, init=drawn)
    return scope("embeddings", tables)


def sinusoids(key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
    """The fixed positions of Vaswani et al. 2017: sines in even columns, cosines in odd ones."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    angle = rows / 10_000 ** (2 * (columns // 2) / shape[1])
    return jnp.asarray(np.where(columns % 2, np.cos(angle), np.sin(angle)), dtype)


def embed(
    p: Tree,
    x: jax.Array,
    *,
    positions: jax.Array | None,
    types: jax.Array | None = None,
    padding_idx: int | None = None,
    eps: float,
    rate: float,
    key: jax.Array | None,
) -> jax.Array:
    """Words x [B, T, E] -> [B, T, E] with what else is known of each token.

    Args:
      p: the tree of `specs`.
      x: rows of the table of words, or what stands in for them.
      positions: int [1 or B, T]; None where none are added.
      types: int [B, T]; all zero if absent. Without a table of types they are not read.
      padding_idx: the position of padding, whose row gets no gradient.
      eps: of the norm.
      rate: of dropout.
      key: of the call.
    """
    if "types" in p:
        types = jnp.zeros(x.shape[:2], jnp.int32) if types is None else types
        x = x + linear.embedding(p["types"], types)
    if positions is not None:
        rows = linear.embedding(p["positions"], positions, padding_idx=padding_idx)
        x = x + jnp.broadcast_to(rows, x.shape)
    x = norm.layer_norm(p["norm"], x, eps=eps)
    return dropout(x, fold(key, EMBEDDINGS), rate=rate)


def counted(
    ids: jax.Array | None,
    length: int,
    *,
    padding_idx: int,
    table: int,
    cache: Cache | None = None,
) -> jax.Array:
    """Positions int [1 or B, T] that count tokens from `padding_idx + 1` on.

    Padding in ids [B, T] stands at `padding_idx`; without ids every place counts. Behind a cache
    the count goes on from its tokens, where transformers goes on from its slots, padding included.

    Raises:
      ValueError: more tokens than a table of `table` positions has room for.
    """
    room = table - padding_idx - 1
    if isinstance(length, int) and length > room:
        raise ValueError(
            f"input_ids: {length} tokens, expected at most {room}: of max_position_embeddings "
            f"{table} the first {padding_idx + 1} stand for no token; truncate the text"
        )
    seen = 0 if cache is None else jnp.sum(cache.valid, axis=1, keepdims=True, dtype=jnp.int32)
    if ids is None:
        return jnp.arange(1, length + 1)[None] + seen + padding_idx
    real = (ids != padding_idx).astype(jnp.int32)
    return (jnp.cumsum(real, axis=1) + seen) * real + padding_idx
