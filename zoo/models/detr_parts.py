"""Parts of DETR: what it sees of an image, its layers, its heads.

Letters: B batch, C channels, H height, W width, T queries, S = H * W places of a map, E embed.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo.layers import attention, conv, grid, linear, mlp, norm
from zoo.layers.dropout import dropout, keys
from zoo.markers import block
from zoo.models import resnet
from zoo.outputs import DetectionModelOutput
from zoo.spec import Tree, scope

EPS = 1e-5


class Seen(NamedTuple):
    """An image as the encoder sees it.

    Attributes:
      maps: of the backbone, [B, H, W, C], the finest first.
      places: the last one projected, [B, H, W, E].
      valid: bool [B, H, W], which of them are no padding.
      positions: [B, H, W, E].
    """

    maps: tuple[jax.Array, ...]
    places: jax.Array
    valid: jax.Array
    positions: jax.Array


def see(
    c: Any,
    params: Tree,
    pixels: jax.Array | None,
    pixel_mask: jax.Array | None,
    vectors: jax.Array | None,
) -> Seen:
    """Maps of an image and where their places are, or vectors [B, S, E] as a square map.

    Positions count pixels that are no padding, except those of vectors, which count all.
    """
    if vectors is None:
        made, _ = resnet.maps(c.body, params["backbone"], pixels)  # pyright: ignore
        maps = tuple(made[i] for i in c.body.outputs)
        places = conv.conv(params["project"], maps[-1])
    else:
        side = int(vectors.shape[1] ** 0.5)
        maps, places = (), vectors.reshape(vectors.shape[0], side, side, -1)
    sides = (places.shape[1], places.shape[2])
    valid = every = jnp.ones(places.shape[:3], bool)
    if pixel_mask is not None:
        valid = grid.resize(pixel_mask.astype(bool), sides)
    if "positions" in params:
        positions = jnp.broadcast_to(grid.learned(params["positions"], sides), places.shape)
    else:
        positions = grid.sines(valid if vectors is None else every, c.d_model)
    return Seen(maps, places, valid, positions.astype(places.dtype))


def block_specs(c: Any, *, heads: int, mlp_size: int, crosses: bool) -> Tree:
    """One layer of the encoder, or of the decoder, which `crosses` over to the encoder's output."""
    attn = functools.partial(
        attention.specs,
        embed=c.d_model,
        heads=heads,
        kv_heads=heads,
        head_dim=c.d_model // heads,
        bias=True,
        out_bias=True,
        names=("q_proj", "k_proj", "v_proj", "out_proj"),
    )
    tree = {
        "attn": scope("self_attn", attn()),
        "attn_norm": norm.specs("self_attn_layer_norm", c.d_model),
        "mlp": mlp.plain_specs(embed=c.d_model, hidden=mlp_size, names=("fc1", "fc2")),
        "mlp_norm": norm.specs("final_layer_norm", c.d_model),
    }
    if crosses:
        tree["cross"] = scope("encoder_attn", attn())
        tree["cross_norm"] = norm.specs("encoder_attn_layer_norm", c.d_model)
    return tree


class Source(NamedTuple):
    """What there is to look at: vectors of keys and values [B, S, E], and positions of the keys."""

    x: jax.Array
    positions: jax.Array
    mask: jax.Array | None


def look(
    p: Tree,
    x: jax.Array,
    positions: jax.Array,
    source: Source,
    key: jax.Array | None,
    *,
    rate: float,
) -> jax.Array:
    """Attention of x [B, T, E] to a source; positions are part of queries and keys alone."""
    q = linear.to_heads(p["q"], x + positions)
    k = linear.to_heads(p["k"], source.x + source.positions)
    v = linear.to_heads(p["v"], source.x)
    scale = q.shape[-1] ** -0.5
    y = attention.attention(q, k, v, source.mask, None, key, scale=scale, rate=rate)
    return linear.from_heads(p["o"], y)


@block
def layer(
    p: Tree,
    x: jax.Array,
    positions: jax.Array,
    mask: jax.Array | None,
    source: Source | None,
    key: jax.Array | None,
    *,
    c: Any,
) -> jax.Array:
    """x [B, T, E] -> [B, T, E]: norms come after each sublayer; a decoder also sees a source."""
    drop = functools.partial(dropout, rate=c.dropout)
    layer_norm = functools.partial(norm.layer_norm, eps=EPS)
    k1, k2, k3, k4, k5, k6 = keys(key, 6)
    y = look(p["attn"], x, positions, Source(x, positions, mask), k1, rate=c.attention_dropout)
    x = layer_norm(p["attn_norm"], x + drop(y, k2))
    if source is not None:
        y = look(p["cross"], x, positions, source, k3, rate=c.attention_dropout)
        x = layer_norm(p["cross_norm"], x + drop(y, k4))
    y = mlp.plain(p["mlp"], x, k5, act=c.activation_function, rate=c.activation_dropout)
    return layer_norm(p["mlp_norm"], x + drop(y, k6))


def heads_specs(c: Any) -> Tree:
    """Classes, one more for no object, and three maps to a box."""
    size = c.d_model
    box = [
        linear.specs(f"bbox_predictor.layers.{i}", out, size, axes=(None, "embed"))
        for i, out in enumerate((size, size, 4))
    ]
    classes = linear.specs("class_labels_classifier", c.num_labels + 1, size, axes=(None, "embed"))
    return {"classes": classes, "box": tuple(box)}


def predict(p: Tree, x: jax.Array) -> dict[str, jax.Array]:
    """Vectors [..., E] -> logits [..., C + 1] and boxes [..., 4]."""
    first, second, third = p["box"]
    y = jax.nn.relu(linear.linear(second, jax.nn.relu(linear.linear(first, x))))
    boxes = jax.nn.sigmoid(linear.linear(third, y))
    return {"logits": linear.linear(p["classes"], x), "pred_boxes": boxes}


def detected(p: Tree, body: DetectionModelOutput, auxiliary: bool) -> dict[str, Any]:
    """Fields of a detection."""
    x = body.last_hidden_state
    found: dict[str, Any] = predict(p, x)
    if auxiliary and body.intermediate_hidden_states is not None:
        earlier = body.intermediate_hidden_states[:-1]
        found["auxiliary_outputs"] = tuple(predict(p, y) for y in earlier)
    return found | {
        "last_hidden_state": x,
        "decoder_hidden_states": body.decoder_hidden_states,
        "encoder_last_hidden_state": body.encoder_last_hidden_state,
        "encoder_hidden_states": body.encoder_hidden_states,
    }
