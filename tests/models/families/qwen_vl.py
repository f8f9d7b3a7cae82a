"""Qwen2-VL and Qwen2.5-VL: images and videos of several sizes among texts of several lengths."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matrix_rows import BATCH, EMBEDDED, LENGTH, TEXT, Arrays, Family, Maker, Row, maker, mask

from families import decoders, qwen
from zoo.models import qwen2_5_vl, qwen2_vl, qwen2_vl_vision

IMAGE, VIDEO = 95, 96  # no text token of causality tests becomes one
IMAGES = np.array([[1, 2, 8], [1, 2, 4], [1, 4, 2]])
VIDEOS = np.array([[2, 2, 4], [1, 2, 2]])
PLACES = ((0, 0, 4, IMAGE), (0, 8, 4, VIDEO), (1, 7, 2, IMAGE), (2, 2, 2, IMAGE), (3, 8, 1, VIDEO))
FIRST = ((0, 1, 4, IMAGE), (1, 4, 2, IMAGE), (2, 3, 2, VIDEO))  # in prompts
ROPE = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 2, 1]}
}
TEXTS = {
    **{k: x for k, x in decoders.TINY.items() if k != "num_labels"}, **ROPE,
    "num_key_value_heads": 2,
}  # fmt: skip
SEEN = {
    "depth": 2, "num_heads": 4, "in_channels": 3, "patch_size": 2, "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}  # fmt: skip
SEEN2: dict[str, Any] = SEEN | {"embed_dim": 48, "hidden_size": 32, "mlp_ratio": 2}
SEEN25: dict[str, Any] = SEEN | {
    "hidden_size": 48, "out_hidden_size": 32, "intermediate_size": 44, "window_size": 4,
    "fullatt_block_indexes": [1], "tokens_per_second": 3,
}  # fmt: skip
TOKENS = {"image_token_id": IMAGE, "video_token_id": VIDEO}
TINY2 = {"text_config": TEXTS, "vision_config": SEEN2, **TOKENS}
TINY25 = {"text_config": TEXTS, "vision_config": SEEN25, **TOKENS}
BLIND = {"visual": "no image"}
GIVEN = (
    *TEXT, "mm_token_type_ids", "pixel_values", "image_grid_thw", "pixel_values_videos",
    "video_grid_thw",
)  # fmt: skip
NAME = "ForConditionalGeneration"


def _written(ids: np.ndarray, places: tuple[tuple[int, int, int, int], ...]) -> np.ndarray:
    for at, start, many, token in places:
        ids[at, start : start + many] = token
    return ids


def _ids(rng: np.random.Generator, row: Row) -> np.ndarray:
    ids = np.where(mask() == 1, rng.integers(1, 90, (BATCH, LENGTH)), 0)
    return _written(ids, PLACES)


def _types(places: Any = PLACES) -> np.ndarray:
    ids = _written(np.zeros((BATCH, LENGTH), int), places)
    return (ids == IMAGE) + 2 * (ids == VIDEO)


def _patches(grids: np.ndarray) -> Maker:
    def make(rng: np.random.Generator, row: Row) -> np.ndarray:
        seen = row.config["vision_config"]
        width = seen["in_channels"] * seen["temporal_patch_size"] * seen["patch_size"] ** 2
        return rng.normal(0, 1, (grids.prod(1).sum(), width)).astype(np.float32)

    return make


def _vectors(rng: np.random.Generator, row: Row) -> np.ndarray:
    return rng.normal(0, 0.3, (BATCH, LENGTH, TEXTS["hidden_size"])).astype(np.float32)


def ragged(rng: np.random.Generator, row: Row) -> tuple[Arrays, Arrays]:
    """Images in two prompts, a video in another."""
    keep = (np.arange(LENGTH) >= np.array([0, 3, 1, 6])[:, None]).astype(np.int32)
    ids = rng.integers(1, 90, (BATCH, LENGTH)).astype(np.int32) * keep
    images, videos = IMAGES[:2], np.array([[2, 2, 2]])
    text = {
        "input_ids": _written(ids, FIRST),
        "attention_mask": keep,
        "mm_token_type_ids": _types(FIRST).astype(np.int32),
    }
    beside = {
        "pixel_values": _patches(images)(rng, row),
        "image_grid_thw": images.astype(np.int32),
        "pixel_values_videos": _patches(videos)(rng, row),
        "video_grid_thw": videos.astype(np.int32),
    }
    return text, beside


MAKERS: dict[str, Maker] = {
    "input_ids": _ids,
    "inputs_embeds": _vectors,
    "mm_token_type_ids": lambda rng, row: _types(),
    "pixel_values": _patches(IMAGES),
    "pixel_values_videos": _patches(VIDEOS),
    "image_grid_thw": lambda rng, row: IMAGES,
    "video_grid_thw": lambda rng, row: VIDEOS,
    "second_per_grid_ts": lambda rng, row: np.array([0.7, 2.0], np.float32),
    "position_ids:planes": lambda rng, row: rng.integers(0, 30, (3, BATCH, LENGTH)),
    "position_ids:plain": lambda rng, row: rng.integers(0, 30, (BATCH, LENGTH)),
}


def rows(model_type: str, name: str, tiny: Mapping[str, Any]) -> tuple[Row, ...]:
    """What both have."""
    one = maker(model_type, name, tiny, inputs=GIVEN, causal=True, mesh="data=2,fsdp=2,tensor=2")
    seen = tiny["vision_config"]

    def text(**changes: Any) -> dict[str, Any]:
        return {"text_config": TEXTS | changes}

    def vision(**changes: Any) -> dict[str, Any]:
        return {"vision_config": seen | changes}

    mrope = {"type": "mrope", "mrope_section": [2, 1, 1]}
    flat = {k: x for k, x in TEXTS.items() if k != "rope_parameters"}
    flat |= {"rope_theta": 50.0, "rope_scaling": mrope, "vision_start_token_id": 94}
    old = {"in_chans": 3, "spatial_patch_size": 2, "model_type": model_type}
    return (
        one("model", "Model", main=True),
        one("generation", NAME, main=True, decodes=True),
        one("tied", NAME, {"tie_word_embeddings": True}, decodes=True),
        one("text", NAME, inputs=TEXT, dead=BLIND),
        one("embeds", NAME, inputs=("inputs_embeds", "attention_mask"),
            dead=BLIND | {"embed_tokens": EMBEDDED}),
        one("no-mask", NAME, inputs=tuple(n for n in GIVEN if n != "attention_mask")),
        one("planes", NAME, inputs=(*GIVEN, "position_ids:planes")),
        one("plain-positions", NAME, inputs=(*GIVEN, "position_ids:plain")),
        one("sections", NAME, text(rope_parameters={**ROPE["rope_parameters"],
                                                    "mrope_section": [2, 1, 1]})),
        one("window", NAME, text(**qwen.WINDOW, max_window_layers=1), decodes=True),
        one("pad", NAME, text(pad_token_id=0)),
        one("eps", NAME, text(rms_norm_eps=1e-3, hidden_act="gelu")),
        one("grey", NAME, vision(in_channels=1, num_heads=2, temporal_patch_size=1)),
        one("act", NAME, vision(hidden_act="relu", depth=3)),
        one("flat", NAME, {**flat, **vision(**old), **TOKENS, "text_config": None},
            as_written=True),
    )  # fmt: skip


one = maker(
    "qwen2_5_vl", "Qwen2_5_VL", TINY25, inputs=GIVEN, causal=True,
    mesh="data=2,fsdp=2,tensor=2",
)  # fmt: skip
ROWS25 = (
    *rows("qwen2_5_vl", "Qwen2_5_VL", TINY25),
    one("seconds", NAME, inputs=(*GIVEN, "second_per_grid_ts"), main=True),
    one("windows", NAME, {"vision_config": SEEN25 | {"window_size": 8}}),
    one("no-frames", NAME, {"vision_config": SEEN25 | {"fullatt_block_indexes": []}}),
    one("rate", NAME, {"vision_config": SEEN25 | {"tokens_per_second": 7}}),
)
FLAT = {
    "vision_start_token_id": 151652, "vision_end_token_id": 151653, "vision_token_id": 151654,
    "image_token_id": 151655, "video_token_id": 151656, "hidden_act": "silu",
    "initializer_range": 0.02, "max_position_embeddings": 32768, "max_window_layers": 28,
    "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "sliding_window": 32768,
    "use_sliding_window": False, "tie_word_embeddings": False, "attention_dropout": 0.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
}  # fmt: skip
SMALL = FLAT | {
    "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
    "num_hidden_layers": 28, "num_key_value_heads": 2, "vocab_size": 151936,
    "tie_word_embeddings": True,
}  # fmt: skip
LARGE = FLAT | {
    "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
    "num_hidden_layers": 28, "num_key_value_heads": 4, "vocab_size": 152064,
}  # fmt: skip
PUBLISHED2 = {
    "Qwen2-VL-2B": (
        "Qwen2VLForConditionalGeneration", 2_208_985_600,
        {"model_type": "qwen2_vl", **SMALL,
         "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16,
                           "in_chans": 3, "hidden_size": 1536, "patch_size": 14,
                           "spatial_merge_size": 2, "spatial_patch_size": 14,
                           "temporal_patch_size": 2}},
    ),
}  # fmt: skip
PUBLISHED25 = {
    "Qwen2.5-VL-7B": (
        "Qwen2_5_VLForConditionalGeneration", 8_292_166_656,
        {"model_type": "qwen2_5_vl", **LARGE,
         "vision_config": {"depth": 32, "hidden_act": "silu", "hidden_size": 1280,
                           "intermediate_size": 3420, "num_heads": 16, "in_chans": 3,
                           "out_hidden_size": 3584, "patch_size": 14, "spatial_merge_size": 2,
                           "spatial_patch_size": 14, "window_size": 112,
                           "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2,
                           "temporal_patch_size": 2}},
    ),
}  # fmt: skip
TEXT_VALUE = qwen2_vl.TextConfig(
    vocab_size=100, hidden_size=32, intermediate_size=44, num_hidden_layers=1,
    num_attention_heads=4, num_key_value_heads=2,
    rope_parameters=qwen2_vl.MRope(mrope_section=(1, 2, 1)),
)  # fmt: skip
FAMILIES = (
    Family(
        model_type="qwen2_vl", rows=rows("qwen2_vl", "Qwen2VL", TINY2), tiny=TINY2, makers=MAKERS,
        published=PUBLISHED2, base="qwen2_vl-generation", ragged=ragged,
        values={
            "text_config": TEXT_VALUE, "image_token_id": 3, "video_token_id": 3,
            "vision_config": qwen2_vl_vision.Config(**{**SEEN2, "depth": 1}),
        },
    ),
    Family(
        model_type="qwen2_5_vl", rows=ROWS25, tiny=TINY25, makers=MAKERS, published=PUBLISHED25,
        base="qwen2_5_vl-generation", ragged=ragged,
        values={
            "text_config": TEXT_VALUE, "image_token_id": 3, "video_token_id": 3,
            "vision_config": qwen2_5_vl.VisionConfig(
                **SEEN25 | {"depth": 1, "fullatt_block_indexes": (1,)}
            ),
        },
    ),
)  # fmt: skip
