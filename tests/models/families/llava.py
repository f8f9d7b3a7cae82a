"""LLaVA: a tower of CLIP in front of decoders of several kinds."""

from typing import Any

import numpy as np
from matrix_rows import (
    BATCH,
    EMBEDDED,
    LENGTH,
    PADDED,
    PIXELS,
    SHIFT,
    TEXT,
    Arrays,
    Family,
    Row,
    maker,
    mask,
)  # fmt: skip

from families import decoders, qwen
from families.clip import IMAGES
from families.decoders import rope5
from zoo import registry

IMAGE = 95  # no text token of causality tests becomes one
TEXTS = {k: x for k, x in decoders.TINY.items() if k != "num_labels"} | {"model_type": "llama"}
SEEN = IMAGES | {"model_type": "clip_vision_model", "image_size": 8}
TINY = {"text_config": TEXTS, "vision_config": SEEN, "image_token_index": IMAGE}
HALF = "data=2,fsdp=2,tensor=2"
UPPER = {
    "vision_tower.encoder.layers.1.": "only the first layer is looked at",
    "vision_tower.post_layernorm": "inner layers are looked at",
}
KEYS = {"encoder.layers.0.self_attn.k_proj.bias": SHIFT}
POOLER = {"vision_tower.post_layernorm": UPPER["vision_tower.post_layernorm"]}
LAST = {"encoder.layers.1.self_attn.k_proj.bias": SHIFT, **POOLER}


def _many(row: Row) -> int:
    """Vectors of one image."""
    seen = row.config["vision_config"]
    patches = (seen["image_size"] // seen["patch_size"]) ** 2
    return patches + (row.config.get("vision_feature_select_strategy") == "full")


def _placed(ids: np.ndarray, many: int, places: tuple[tuple[int, int], ...]) -> np.ndarray:
    for at, start in places:
        ids[at, start : start + many] = IMAGE
    return ids


def _ids(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Two images in the first text, one in each of the next two, none in the last."""
    ids = np.where(mask() == 1, rng.integers(1, 90, (BATCH, LENGTH)), 0)
    return _placed(ids, _many(row), ((0, 0), (0, 7), (1, 7), (2, 0)))


def _vectors(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Vectors of a text, without places."""
    width = row.config["text_config"]["hidden_size"]
    return rng.normal(0, 0.3, (BATCH, LENGTH, width)).astype(np.float32)


def _pixels(rng: np.random.Generator, row: Row, count: int = 4) -> np.ndarray:
    seen = row.config["vision_config"]
    shape = (count, seen.get("num_channels", 3), seen["image_size"], seen["image_size"])
    return rng.normal(0, 1, shape).astype(np.float32)


def ragged(rng: np.random.Generator, row: Row) -> tuple[Arrays, Arrays]:
    """An image in each of the three longer prompts."""
    keep = (np.arange(LENGTH) >= np.array([0, 3, 1, 6])[:, None]).astype(np.int32)
    ids = rng.integers(1, 90, (BATCH, LENGTH)).astype(np.int32) * keep
    text = {
        "input_ids": _placed(ids, _many(row), ((0, 1), (1, 3), (2, 2))),
        "attention_mask": keep,
        "position_ids": np.maximum(np.cumsum(keep, axis=1) - 1, 0).astype(np.int32),
    }
    return text, {"pixel_values": _pixels(rng, row, 3)}


one = maker("llava", "Llava", TINY, inputs=(*TEXT, *PIXELS), dead=KEYS | UPPER, causal=True)
whole = maker("llava", "Llava", TINY, inputs=(*TEXT, *PIXELS), dead=KEYS, causal=True)


def text(**changes: Any) -> dict[str, Any]:
    """Keys of the decoder changed."""
    return {"text_config": TEXTS | changes}


OTHER = {"vocab_size": 100, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1}
NAME = "ForConditionalGeneration"
QWEN = {k: x for k, x in (qwen.TINY | qwen.WINDOW).items() if k != "num_labels"}
ROWS = (
    one("model", "Model", main=True),
    one("generation", NAME, main=True, decodes=True),
    one("tied", NAME, {"tie_word_embeddings": True}, main=True, decodes=True),
    one("no-images", NAME, inputs=TEXT, decodes=True,
        dead={"vision_tower": "no image", "multi_modal_projector": "no image"}),
    one("embeds", NAME, inputs=("inputs_embeds", "attention_mask"),
        dead={"vision_tower": "no image", "multi_modal_projector": "no image",
              "embed_tokens": EMBEDDED}),
    one("full", NAME, {"vision_feature_select_strategy": "full"}),
    whole("last", NAME, {"vision_feature_layer": -1}, dead=LAST),
    whole("several", NAME, {"vision_feature_layer": [0, -1, 1]}, dead=LAST),
    one("first", NAME, {"vision_feature_layer": 1, "projector_hidden_act": "relu"}),
    one("no-bias", NAME, {"multimodal_projector_bias": False}),
    one("pad", NAME, text(**PADDED)),
    one("mistral", NAME, text(model_type="mistral", sliding_window=4, num_key_value_heads=2),
        main=True, decodes=True, mesh=HALF),
    one("qwen2", NAME, {"text_config": QWEN | {"model_type": "qwen2", "max_window_layers": 1}},
        decodes=True),
    one("yarn", "Model", text(**rope5("yarn"))),
    one("written-by-4", NAME,
        {**TINY, "ignore_index": -100, "image_seq_length": 4, **text(rope_theta=50.0)},
        as_written=True),
)  # fmt: skip
LLAVA15 = {
    "model_type": "llava", "ignore_index": -100, "image_token_index": 32000,
    "projector_hidden_act": "gelu", "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default", "pad_token_id": 32001,
    "tie_word_embeddings": False, "torch_dtype": "float16",
    "text_config": {
        "_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-5,
        "torch_dtype": "float16", "vocab_size": 32064,
    },
    "vision_config": {
        "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
        "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24,
        "patch_size": 14, "projection_dim": 768, "vocab_size": 32000,
    },
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="llava", rows=ROWS, tiny=TINY, base="llava-generation", ragged=ragged,
        makers={"input_ids": _ids, "inputs_embeds": _vectors, "pixel_values": _pixels},
        published={
            "llava-1.5-7b": ("LlavaForConditionalGeneration", 7_063_427_072, LLAVA15),
        },
        values={
            "text_config": registry.part("llama", **OTHER),
            "vision_config": registry.part("clip_vision_model", **IMAGES | {"hidden_size": 40}),
            "image_token_index": 3, "projector_hidden_act": "relu", "vision_feature_layer": 0,
            "vision_feature_select_strategy": "full", "multimodal_projector_bias": False,
        },
    ),
)  # fmt: skip
