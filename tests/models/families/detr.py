"""DETR: three classes and their switches."""

import numpy as np
from matrix_rows import BATCH, SHIFT, Family, Row, maker

from zoo.registry import part

BODY = {
    "embedding_size": 8, "hidden_sizes": (16, 16, 32, 32), "depths": (1, 1, 1, 1),
    "layer_type": "bottleneck", "out_features": ("stage2", "stage3", "stage4"),
}  # fmt: skip
RESNET = {"model_type": "resnet", **{k: list(v) if isinstance(v, tuple) else v
                                     for k, v in BODY.items()}}  # fmt: skip
TINY = {
    "backbone_config": RESNET, "use_timm_backbone": False, "d_model": 32, "encoder_layers": 2,
    "decoder_layers": 2, "encoder_attention_heads": 8, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 20, "decoder_ffn_dim": 24, "num_queries": 5, "num_labels": 3,
}  # fmt: skip
KEYS = {"attn.k_proj.bias": SHIFT}
ALIKE = "objects begin as zeros, so that the values of the first layer are all its bias"
ZEROS = {
    f"decoder.layers.0.self_attn.{name}": ALIKE for name in ("q_proj", "k_proj", "v_proj.weight")
}
SIDES = 70, 99


def pixels(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Images whose maps have a few places, faint ones: attention to larger ones is saturated."""
    return rng.normal(0, 0.1, (BATCH, 3, *SIDES)).astype(np.float32)


def padded(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Images of several sizes, each in the corner of its own."""
    down, across = np.array([70, 40, 70, 33]), np.array([99, 99, 50, 64])
    rows = np.arange(SIDES[0])[None, :, None] < down[:, None, None]
    return (rows & (np.arange(SIDES[1])[None, None] < across[:, None, None])).astype(np.int32)


def some_queries(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Objects of which two are hidden from the others."""
    return np.array([[1, 1, 1, 0, 1], [1, 0, 1, 1, 1]] * 2)


def vectors(rng: np.random.Generator, row: Row, count: int = 5) -> np.ndarray:
    """A vector for each of `count` objects or places."""
    return rng.normal(0, 0.3, (BATCH, count, row.config["d_model"])).astype(np.float32)


MAKERS = {
    "pixel_values": pixels, "pixel_mask": padded, "decoder_attention_mask": some_queries,
    "decoder_inputs_embeds": vectors, "inputs_embeds": lambda rng, row: vectors(rng, row, 9),
}  # fmt: skip
MASKED = ("pixel_values", "pixel_mask")
one = maker("detr", "Detr", TINY, inputs=MASKED, dead={**KEYS, **ZEROS})
given = maker("detr", "Detr", TINY, dead=KEYS)
ONE = "a norm of one channel takes it away again"
SHIFTED = {f"mask_head.lay{i}.bias": ONE for i in (3, 4, 5)}
LEARNED = {"position_embedding_type": "learned"}
WHOLE = {**RESNET, "out_features": ["stage1", "stage2", "stage3", "stage4"]}
BYPASSED = {"backbone": "vectors take the place of maps", "input_projection": "likewise"}
ROWS = (
        one("model", "Model", main=True),
        one("object", "ForObjectDetection", LEARNED, main=True),
        one("segmentation", "ForSegmentation", main=True, dead=SHIFTED),
        one("object-unpadded", "ForObjectDetection", {"activation_function": "gelu"},
            inputs=("pixel_values",)),
        one("model-auxiliary", "Model", {"auxiliary_loss": True, "decoder_layers": 3}),
        given("model-queries", "Model", inputs=("pixel_values", "decoder_attention_mask",
            "decoder_inputs_embeds")),
        one("model-vectors", "Model", inputs=("inputs_embeds",), dead=BYPASSED),
        one("segmentation-four-maps", "ForSegmentation", {"backbone_config": WHOLE},
            inputs=("pixel_values",), dead=SHIFTED),
    )  # fmt: skip
LABELS = {"id2label": {str(i): f"LABEL_{i}" for i in range(91)}}
LARGE = {
    "model_type": "detr", "backbone": "resnet50", "use_timm_backbone": True, "d_model": 256,
    "backbone_config": None, "num_queries": 100, "encoder_layers": 6, "encoder_ffn_dim": 2048,
    "encoder_attention_heads": 8, "decoder_layers": 6, "decoder_ffn_dim": 2048,
    "decoder_attention_heads": 8, "is_encoder_decoder": True, "activation_function": "relu",
    "init_std": 0.02, "init_xavier_std": 1.0, "scale_embedding": False, "auxiliary_loss": False,
    "position_embedding_type": "sine", "dilation": False, "num_hidden_layers": 6,
    "max_position_embeddings": 1024, "classifier_dropout": 0.0, **LABELS,
}  # fmt: skip
PUBLISHED = {"detr-resnet-50": ("DetrForObjectDetection", 41_524_768, LARGE)}
FAMILIES = (
    Family(
        model_type="detr", rows=ROWS, tiny=TINY, makers=MAKERS, published=PUBLISHED,
        base="detr-object", bound=("dilation",),
        shows={"auxiliary_loss": "detr-model-auxiliary"},
        values={"backbone_config": part("resnet", **{**BODY, "depths": (1, 1, 1, 2)}),
                "backbone": "resnet18", "use_timm_backbone": False, "num_queries": 6,
                "encoder_layers": 1, "encoder_ffn_dim": 24, "encoder_attention_heads": 4,
                "decoder_layers": 1, "decoder_ffn_dim": 20, "decoder_attention_heads": 8,
                "d_model": 64, "auxiliary_loss": False, "position_embedding_type": "sine",
                "dilation": True, "activation_function": "gelu"},
        beside={name: {"backbone_config": None, "use_timm_backbone": True}
                for name in ("backbone", "use_timm_backbone", "num_channels", "dilation")},
    ),
)  # fmt: skip
