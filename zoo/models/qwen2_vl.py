"""Qwen2-VL: images and videos of any size inside a text, all at positions of three axes.

Wang et al. 2024, arXiv:2409.12191. Checkpoints: `Qwen2VL*`.
Letters: B texts, T tokens, N images, R patches, E embed, V vocab.

Functions whose `c` is not a `Config` take that of a model with another tower.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from zoo import tasks
from zoo.layers import cache as caching
from zoo.layers import linear, packed, placeholder, stack
from zoo.layers.dropout import fold
from zoo.layers.rope import MRope
from zoo.models import llama, qwen2, qwen2_vl_vision
from zoo.outputs import BaseOutput, LogitsOutput
from zoo.spec import Tree, scope

IGNORED = (r"(.*\.)?rotary(_pos)?_emb\.inv_freq",)
INERT = ("vision_start_token_id", "vision_end_token_id", "vision_token_id")
ROPE = MRope(rope_theta=1_000_000.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The decoder: Qwen2, but for its rotation."""

    vocab_size: int = 152064
    hidden_size: int = 8192
    intermediate_size: int = 29568
    num_hidden_layers: int = 80
    num_attention_heads: int = 64
    num_key_value_heads: int | None = 8
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-5
    rope_parameters: MRope = ROPE
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    max_window_layers: int = 80
    layer_types: tuple[str, ...] | None = None
    attention_dropout: float = 0.0
    pad_token_id: int | None = None

    def __post_init__(self):
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size: {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}"
            )
        qwen2.complete(self)
        if sum(self.rope_parameters.mrope_section) * 2 != self.head_dim:
            raise ValueError(
                f"rope_parameters.mrope_section: found {self.rope_parameters.mrope_section}, "
                f"expected {self.head_dim // 2} pairs together, half of a head"
            )

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer."""
        return self.layer_types or ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    text_config: TextConfig = dataclasses.field(default_factory=TextConfig)
    vision_config: qwen2_vl_vision.Config = dataclasses.field(
        default_factory=qwen2_vl_vision.Config
    )
    image_token_id: int = 151655
    video_token_id: int = 151656
    tie_word_embeddings: bool = False

    @property
    def hidden_size(self) -> int:
        """Width of the text."""
        return self.text_config.hidden_size

    @property
    def initializer_range(self) -> float:
        """Spread of initial weights."""
        return self.text_config.initializer_range


ROPE_KEYS = ("rope_theta", "rope_scaling", "rope_parameters")
TEXT_KEYS = {f.name for f in dataclasses.fields(TextConfig)} | {*ROPE_KEYS}
TOKENS = {"image_token_id", "video_token_id", *INERT}
UNREAD = {"in_chans", "spatial_patch_size"}  # in files; transformers reads other keys


def upgrade(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Reads files whose text is not an object of its own, and what they say of the tower."""
    out = {k: v for k, v in raw.items() if k not in TEXT_KEYS}
    text = raw.get("text_config")
    if text is None:
        out["text_config"] = {k: v for k, v in raw.items() if k in TEXT_KEYS}
    elif isinstance(text, Mapping):
        out["text_config"] = {k: v for k, v in text.items() if k not in TOKENS}
        if text.get("tie_word_embeddings"):
            out["tie_word_embeddings"] = True
    seen = raw.get("vision_config")
    if isinstance(seen, Mapping):
        seen = {k: v for k, v in seen.items() if k not in UNREAD}
        rope = seen.get("rope_parameters")
        if isinstance(rope, Mapping) and rope.keys() <= {"rope_theta", "rope_type"}:
            del seen["rope_parameters"]
            seen.setdefault("rope_theta", rope.get("rope_theta", qwen2_vl_vision.Config.rope_theta))
        out["vision_config"] = seen
    return {k: v for k, v in out.items() if v is not None or not k.endswith("_config")}


def limits(c: Any) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {"input_ids": c.text_config.vocab_size}


PAIRS = (  # pixels, their grids, the token that stands for them, what they are
    ("pixel_values", "image_grid_thw", "image_token_id", "image"),
    ("pixel_values_videos", "video_grid_thw", "video_token_id", "video"),
)


def check_inputs(c: Any, arrays: Mapping[str, Any], where: str) -> None:
    """Compares patches, grids and places in the text.

    Raises:
      ValueError: one without the other, a grid that cannot be merged, or other counts.
    """
    see = c.vision_config
    width = see.in_channels * see.temporal_patch_size * see.patch_size**2
    for pixels, grids, token, what in PAIRS:
        if pixels not in arrays and grids not in arrays:
            continue
        if missing := [name for name in (pixels, grids) if name not in arrays]:
            raise ValueError(f"{where}: found no {missing[0]}, expected it beside {what}s")
        if see.out != c.hidden_size:  # so by default
            raise ValueError(
                f"{where}: vision_config gives vectors of width {see.out}, expected hidden_size "
                f"{c.hidden_size} of the text; correct the config"
            )
        x, grid = arrays[pixels], arrays[grids]
        if x.shape[1] != width:
            raise ValueError(
                f"{where}: {pixels} has shape {tuple(x.shape)}, expected patches of {width} values"
            )
        if grid.shape[1] != 3:
            raise ValueError(f"{where}: {grids} has shape {tuple(grid.shape)}, expected [N, 3]")
        if isinstance(grid, Tracer):
            continue
        grid = np.asarray(grid)
        if (grid < 1).any() or (grid[:, 1:] % see.spatial_merge_size).any():
            raise ValueError(
                f"{where}: {grids} holds {grid.tolist()}, expected time, rows and columns above 0, "
                f"the last two multiples of spatial_merge_size {see.spatial_merge_size}"
            )
        count = int(grid.prod(axis=1).sum())
        if count != x.shape[0]:
            raise ValueError(
                f"{where}: {pixels} holds {x.shape[0]} patches, but {grids} speaks of {count}; "
                f"pass what one processor call returned"
            )
        vectors = count // see.spatial_merge_size**2
        placeholder.check(
            arrays.get("input_ids"), getattr(c, token), vectors, what=what, where=where
        )


def specs_around(vision: Callable[..., Tree], text: str) -> Callable[..., Tree]:
    """Every parameter of the body with a tower, the decoder called `text` in files."""

    def specs(c: Any, *, layers: stack.Build = stack.loop) -> Tree:
        one = llama.block_specs(c.text_config, bias=True, out_bias=False)
        return {
            "vision": scope("visual", vision(c.vision_config, layers=layers)),
            "text": scope(text, llama.body_specs(c.text_config, one, layers)),
        }

    return specs


def cache_specs(
    c: Any, batch: int, length: int, *, layers: stack.Build = stack.loop
) -> caching.Cache:
    """Keys and values of `length` tokens, and how far positions are from slots."""
    cache = llama.cache_specs(c.text_config, batch, length, layers=layers)
    shift = dataclasses.replace(cache.length, shape=(batch,), axes=("batch",))
    return dataclasses.replace(cache, shift=shift)


def places_of(
    c: Any,
    ids: jax.Array,
    *,
    mask: jax.Array | None,
    types: jax.Array | None,
    grids: tuple[jax.Array | None, ...],
    seconds: jax.Array | None = None,
    start: jax.Array | None = None,
) -> jax.Array:
    """Positions int [3, B, T] of ids [B, T] with images and videos of these grids.

    `types` int [B, T] tells text (0), images (1) and videos (2) where the ids do not; `seconds`
    float [N] is the time from frame to frame of each video.
    """
    told = jnp.where(ids == c.image_token_id, 1, jnp.where(ids == c.video_token_id, 2, 0))
    rate = getattr(c.vision_config, "tokens_per_second", None)
    interval = None
    if rate is not None and grids[1] is not None:
        each = jnp.ones(grids[1].shape[0]) if seconds is None else seconds
        interval = rate * each.astype(jnp.float32)
    return packed.positions(
        told if types is None else types,
        mask,
        grids,
        merge=c.vision_config.spatial_merge_size,
        intervals=(None, interval),
        start=start,
    )


def positions(c: Any, inputs: Mapping[str, Any]) -> jax.Array:
    """Positions int [3, B, T] of a prompt that is to be continued."""
    mask = jnp.asarray(inputs["attention_mask"])
    grids = tuple(inputs.get(name) for _, name, *_ in PAIRS)
    if all(grid is None for grid in grids):
        count = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
        return jnp.broadcast_to(count, (3, *count.shape))
    arrays = {k: None if x is None else jnp.asarray(x) for k, x in inputs.items()}
    return places_of(
        c,
        jnp.asarray(inputs["input_ids"]),
        mask=mask,
        types=arrays.get("mm_token_type_ids"),
        grids=tuple(None if grid is None else jnp.asarray(grid) for grid in grids),
        seconds=arrays.get("second_per_grid_ts"),
    )


def through(look: Callable[..., jax.Array]) -> Callable[..., BaseOutput]:
    """The whole body around a tower, called as `look`."""

    def apply(
        c: Any,
        params: Tree,
        *,
        input_ids: jax.Array | None = None,
        attention_mask: jax.Array | None = None,
        position_ids: jax.Array | None = None,
        inputs_embeds: jax.Array | None = None,
        pixel_values: jax.Array | None = None,
        pixel_values_videos: jax.Array | None = None,
        image_grid_thw: jax.Array | None = None,
        video_grid_thw: jax.Array | None = None,
        second_per_grid_ts: jax.Array | None = None,
        mm_token_type_ids: jax.Array | None = None,
        cache: caching.Cache | None = None,
        output_hidden_states: bool = False,
        dropout_key: jax.Array | None = None,
    ) -> BaseOutput:
        """Vectors of tokens and images that have seen what came before them.

        Args:
          c: the architecture.
          params: the tree that `specs` declares.
          input_ids: int [B, T], with `image_token_id` once for every vector of an image.
          attention_mask: [B, T] with 1 for tokens and 0 for padding on either side.
          position_ids: int [3, B, T] in time, down and across, or [B, T]; from the grids if absent.
          inputs_embeds: [B, T, E] in place of `input_ids`.
          pixel_values: [R, C * pixels], patches of all images in the order of their places.
          pixel_values_videos: the same of videos, whose place is `video_token_id`.
          image_grid_thw: int [N, 3], patches of each image in time, down and across.
          video_grid_thw: the same of each video.
          second_per_grid_ts: float [N], seconds from frame to frame of each video.
          mm_token_type_ids: int [B, T], 0 text, 1 image, 2 video; from `input_ids` if absent.
          cache: of `cache_specs`, or what an earlier call returned.
          output_hidden_states: return the output of every layer of the decoder too.
          dropout_key: switches dropout on.
        """
        text, p = c.text_config, params["text"]
        x = linear.embed_text(p["embed"], input_ids, inputs_embeds, padding_idx=text.pad_token_id)
        given = (pixel_values, image_grid_thw), (pixel_values_videos, video_grid_thw)
        for (pixels, grid), token in zip(given, (c.image_token_id, c.video_token_id), strict=True):
            if pixels is not None:
                vectors = look(c.vision_config, params["vision"], pixels, grid)
                at = placeholder.find(input_ids, x, p["embed"]["weight"], token)
                x = placeholder.fill(x, at, vectors)
        grids = image_grid_thw, video_grid_thw
        seen = input_ids is not None and any(grid is not None for grid in grids)
        if position_ids is None and seen:
            position_ids = places_of(
                c,
                input_ids,  # pyright: ignore[reportArgumentType]
                mask=attention_mask,
                types=mm_token_type_ids,
                grids=grids,
                seconds=second_per_grid_ts,
                start=None if cache is None else cache.length + cache.shift,
            )
        return llama.apply(
            text,
            p,
            inputs_embeds=x,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            output_hidden_states=output_hidden_states,
            dropout_key=fold(dropout_key, 0),
        )

    return apply


def head_specs(c: Any) -> Tree:
    """An output matrix of its own, unless that of the embeddings serves."""
    return {} if c.tie_word_embeddings else tasks.lm_head_specs(c.text_config)


def head(c: Any, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Logits [B, T, V] of the next token."""
    p = params["text"]["embed"] if c.tie_word_embeddings else params["head"]
    return tasks.logits(body, linear.linear(p, body.last_hidden_state))


def classes(
    name: str, vision: Callable[..., Tree], apply: Callable[..., BaseOutput], *, without: str = ""
) -> dict[str, tasks.Task]:
    """The bare model and the one that generates; the input `without` is not theirs.

    They write the decoder under different names, and read each other's and those of older files.
    """
    shared: dict[str, Any] = {
        "inputs": tuple(n for n in tasks.inputs_of(apply) if n != without),
        "needs": (("input_ids", "inputs_embeds"),),
        "ranks": MappingProxyType(
            {"position_ids": 3, **dict.fromkeys(("image_grid_thw", "video_grid_thw"), 2)}
            | dict.fromkeys(("pixel_values", "pixel_values_videos"), 2)
        ),
    }
    bare = tasks.bare(specs_around(vision, "language_model"), apply)
    whole = tasks.headed(
        "image-text-to-text",
        specs_around(vision, "model"),
        apply,
        prefix="",
        head_specs=head_specs,
        head=head,
    )
    return {
        f"{name}Model": bare._replace(
            renamed=(
                (r"^model\.(?=language_model\.|visual\.)", ""),
                (r"^model\.", "language_model."),
            ),
            **shared,
        ),
        f"{name}ForConditionalGeneration": whole._replace(
            renamed=(
                (r"^model\.visual\.", "visual."),
                (r"^(model\.)?language_model\.", "model."),
            ),
            tied=MappingProxyType({"lm_head.weight": "model.embed_tokens.weight"}),
            **shared,
        ),
    }


apply = through(qwen2_vl_vision.look)
TASKS = classes("Qwen2VL", qwen2_vl_vision.specs, apply, without="second_per_grid_ts")
