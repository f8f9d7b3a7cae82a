"""CLIP: each tower alone and both together, and the switches of each."""

from typing import Any

import numpy as np
from matrix_rows import BATCH, LENGTH, PIXELS, SHIFT, TEXT, Family, Row, maker, mask

from zoo import registry

TEXTS = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 44, "projection_dim": 24,
    "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 20,
    "eos_token_id": 7,
}  # fmt: skip
IMAGES = {
    "hidden_size": 32, "intermediate_size": 52, "projection_dim": 20, "num_hidden_layers": 2,
    "num_attention_heads": 4, "image_size": 12, "patch_size": 4,
}  # fmt: skip
BOTH = {"text_config": TEXTS, "vision_config": IMAGES, "projection_dim": 28, "num_labels": 3}
IMAGES_OF_BOTH = 2  # not as many as texts
KEYS = {"k_proj.bias": SHIFT}
POOLER = {"post_layernorm": "only the pooled vector goes through it"}
LARGER = {"inputs": ("pixel_values:larger",), "flags": (("interpolate_pos_encoding", True),)}
SMALLER = LARGER | {"inputs": ("pixel_values:smaller",)}


def ended(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Tokens that end somewhere in most rows, in one of them twice, in one never."""
    config = row.config.get("text_config", row.config)
    ids = rng.integers(8, config["vocab_size"], (BATCH, LENGTH))
    ids[[0, 0, 1, 2], [9, 11, 12, 7]] = 7
    return np.where(mask() == 1, ids, 1)


def several(down: int = 0, across: int = 0) -> Any:
    """Images beside texts."""

    def make(rng: np.random.Generator, row: Row) -> np.ndarray:
        side = row.config["vision_config"]["image_size"]
        channels = row.config["vision_config"].get("num_channels", 3)
        shape = (IMAGES_OF_BOTH, channels, side + down, side + across)
        return rng.normal(0, 1, shape).astype(np.float32)

    return make


text = maker("clip_text_model", "CLIPText", TEXTS, dead=KEYS, causal=True)
vision = maker("clip_vision_model", "CLIPVision", IMAGES, dead=KEYS, inputs=PIXELS)
both = maker("clip", "CLIP", BOTH, dead=KEYS, inputs=(*TEXT, *PIXELS), causal=True)


def part(name: str, **changes: Any) -> dict[str, Any]:
    """Keys of one tower changed."""
    return {f"{name}_config": {**BOTH[f"{name}_config"], **changes}}


TEXT_ROWS = (
    text("model", "Model", main=True),
    text("projection", "ModelWithProjection", main=True),
    text("highest", "Model", {"eos_token_id": 2}),
    text("projection-highest", "ModelWithProjection", {"eos_token_id": 2}),
    text("positions", "Model", inputs=(*TEXT, "position_ids:within")),
    text("gelu", "Model", {"hidden_act": "gelu", "layer_norm_eps": 1e-3}),
    text("wide", "ModelWithProjection", {"projection_dim": 40, "num_attention_heads": 2},
         mesh="data=2,fsdp=2,tensor=2"),
    text("written-by-4", "Model", {**TEXTS, "dropout": 0.0, "initializer_factor": 1.0},
         as_written=True),
)  # fmt: skip
VISION_ROWS = (
    vision("model", "Model", main=True),
    vision("projection", "ModelWithProjection", main=True),
    vision("larger", "Model", **LARGER),
    vision("smaller", "Model", **SMALLER),
    vision("projection-larger", "ModelWithProjection", **LARGER),
    vision("gelu", "Model", {"hidden_act": "gelu", "layer_norm_eps": 1e-3}),
    vision("grey", "Model", {"num_channels": 1, "num_attention_heads": 8}),
    vision("margin", "Model", {"image_size": 14, "patch_size": 3}),
    vision("written-by-4", "Model", {**IMAGES, "dropout": 0.0}, as_written=True),
)
ROWS = (
    both("model", "Model", main=True),
    both("image", "ForImageClassification", main=True, inputs=PIXELS, dead=POOLER),
    both("no-mask", "Model", inputs=("input_ids", *PIXELS)),
    both("positions", "Model", inputs=(*TEXT, *PIXELS, "position_ids:within")),
    both("highest", "Model", part("text", eos_token_id=2)),
    both("gelu", "Model", part("text", hidden_act="gelu") | part("vision", hidden_act="gelu")),
    both("eps", "Model", part("text", layer_norm_eps=1e-3) | part("vision", layer_norm_eps=1e-2)),
    both("widths", "Model", part("text", hidden_size=40) | part("vision", hidden_size=64)),
    both("larger", "Model", **LARGER | {"inputs": (*TEXT, "pixel_values:larger")}),
    both("image-larger", "ForImageClassification", **LARGER, dead=POOLER),
    both("image-five-labels", "ForImageClassification", {"num_labels": 5}, inputs=PIXELS,
         dead=POOLER),
    both("written-by-4", "Model",
         {"text_config": {**TEXTS, "hidden_size": 64, "model_type": "clip_text_model"},
          "text_config_dict": TEXTS, "vision_config": {"image_size": 12},
          "vision_config_dict": IMAGES},
         as_written=True),
)  # fmt: skip
WITHIN = {
    "input_ids": ended,
    "position_ids:within": lambda rng, row: rng.integers(0, 20, (BATCH, LENGTH)),
}
B32 = {"text_config": {"model_type": "clip_text_model"},
       "vision_config": {"model_type": "clip_vision_model"}}  # fmt: skip
L14_TEXT = {
    "model_type": "clip_text_model", "hidden_size": 768, "intermediate_size": 3072,
    "num_attention_heads": 12, "num_hidden_layers": 12, "projection_dim": 768, "vocab_size": 49408,
    "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "eos_token_id": 2, "dropout": 0.0, "initializer_factor": 1.0,
}  # fmt: skip
L14_VISION = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
    "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "image_size": 224,
    "projection_dim": 768, "dropout": 0.0,
}  # fmt: skip
PUBLISHED = {
    "clip-vit-base-patch32": ("CLIPModel", 151_277_313, {"model_type": "clip", **B32}),
    "clip-vit-large-patch14": (
        "CLIPModel", 427_616_513,
        {"model_type": "clip", "projection_dim": 768, "text_config": L14_TEXT,
         "vision_config": L14_VISION},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="clip_text_model", rows=TEXT_ROWS, tiny=TEXTS, makers=WITHIN,
        published={"clip-vit-large-patch14 texts": ("CLIPTextModel", 123_060_480, L14_TEXT)},
        base="clip_text_model-model", values={"eos_token_id": 2, "max_position_embeddings": 21},
        shows={"projection_dim": "clip_text_model-projection"},
    ),
    Family(
        model_type="clip_vision_model", rows=VISION_ROWS, tiny=IMAGES,
        published={"clip-vit-large-patch14 images": ("CLIPVisionModel", 303_179_776, L14_VISION)},
        base="clip_vision_model-model", refused=("image_size", "num_channels"),
        shows={"projection_dim": "clip_vision_model-projection"},
    ),
    Family(
        model_type="clip", rows=ROWS, tiny=BOTH, published=PUBLISHED, base="clip-model",
        makers=WITHIN | {"pixel_values": several(), "pixel_values:larger": several(9, 4)},
        shows={"num_labels": "clip-image"},
        values={
            "projection_dim": 30, "logit_scale_init_value": 1.0,
            "text_config": registry.part("clip_text_model", **TEXTS | {"num_hidden_layers": 1}),
            "vision_config": registry.part("clip_vision_model", **IMAGES | {"hidden_size": 40}),
        },
    ),
)  # fmt: skip
