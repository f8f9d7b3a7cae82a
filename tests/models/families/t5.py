"""T5, mT5 and UMT5: six classes each and their switches."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matrix_rows import EMBEDDED, TEXT, Family, Row, maker

BOTH = (*TEXT, "decoder_input_ids", "decoder_attention_mask")
ENDED = ("input_ids:ended", "attention_mask")
# Narrow, because scores are not scaled: in wider models torch itself rounds by more than the bound.
TINY = {
    "vocab_size": 100, "d_model": 16, "d_kv": 3, "d_ff": 20, "num_layers": 2, "num_heads": 4,
    "relative_attention_num_buckets": 12, "relative_attention_max_distance": 20,
    "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "num_labels": 3,
}  # fmt: skip
GATED = {"feed_forward_proj": "gated-gelu"}
PLAIN = {"feed_forward_proj": "relu"}
DEEPER = {"num_decoder_layers": 3}
TARGET: Mapping[str, Any] = {"inputs": BOTH, "causal": True}


def ended(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Tokens, the last of which ends the text, as does one of those before."""
    import matrix_case as cases  # which imports the families

    x, end, kept = cases.token_ids(rng, row), row.config["eos_token_id"], cases.keep(row)
    x = np.where((x == end) & (kept == 1), end + 1, x)
    x[np.arange(len(x)), cases.LENGTH - 1 - np.argmax(kept[:, ::-1], axis=1)] = end
    x[np.arange(len(x)), np.argmax(kept, axis=1) + 1] = end
    return x


def rows(model_type: str, name: str, *, lm: Mapping[str, Mapping[str, Any]]) -> tuple[Row, ...]:
    """A row per class, and one per option of the language model."""
    one: Callable[..., Row] = maker(model_type, name, TINY)
    generator = "ForConditionalGeneration"
    return (
        one("model", "Model", main=True, **TARGET),
        one("lm", generator, main=True, decodes=True, **TARGET),
        one("encoder", "EncoderModel", main=True),
        one("sequence", "ForSequenceClassification", inputs=ENDED, main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", {"num_labels": 2}, main=True),
        *(one(f"lm-{id}", generator, changes, **TARGET) for id, changes in lm.items()),
    )


def inputs(one: Callable[..., Row]) -> tuple[Row, ...]:
    """What stands in for the ids of a source and a target."""
    vectors = ("inputs_embeds", "attention_mask", "decoder_inputs_embeds", "decoder_attention_mask")
    encoded = ("encoder_outputs", "attention_mask", "decoder_input_ids", "decoder_attention_mask")
    given = {"encoder.": "what it would return is given"}
    bare = (*TEXT, "decoder_input_ids")
    return (
        one("model-bare-target", "Model", inputs=bare, causal=True),
        one("model-embeds", "Model", inputs=vectors, causal=True, dead={"shared": EMBEDDED}),
        one("model-encoded", "Model", inputs=encoded, causal=True, dead=given),
    )


T5 = maker("t5", "T5", TINY)
T5_ROWS = (
    *rows("t5", "T5", lm={
        "gated": GATED,
        "gated-silu": {"feed_forward_proj": "gated-silu", "layer_norm_epsilon": 1e-3},
        "named": {"feed_forward_proj": "gated-gelu", "dense_act_fn": "silu"},
        "unscaled": {"tie_word_embeddings": False, **GATED},
        "near": {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 9},
    }),
    *inputs(T5),
    T5("lm-deeper-gated", "ForConditionalGeneration", DEEPER | GATED, decodes=True, **TARGET),
    T5("lm-written-by-4", "ForConditionalGeneration",
        {"n_positions": 512, "output_past": True, "is_encoder_decoder": True,
         "initializer_factor": 1.0, "feed_forward_proj": "relu",
         "task_specific_params": {"summarization": {"prefix": "summarize: ", "num_beams": 4}}},
        as_written=True, **TARGET),
)  # fmt: skip

T5_SMALL = {
    "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_ff": 2048, "d_kv": 64,
    "d_model": 512, "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1,
    "initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-6,
    "n_positions": 512, "num_heads": 8, "num_layers": 6, "output_past": True, "pad_token_id": 0,
    "relative_attention_num_buckets": 32, "vocab_size": 32128,
    "task_specific_params": {"summarization": {"prefix": "summarize: ", "num_beams": 4}},
}  # fmt: skip
T5_V1_1_SMALL = {
    "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_ff": 1024, "d_kv": 64,
    "d_model": 512, "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu", "initializer_factor": 1.0, "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-6, "num_decoder_layers": 8, "num_heads": 6, "num_layers": 8,
    "output_past": True, "pad_token_id": 0, "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False, "use_cache": True, "vocab_size": 32128,
}  # fmt: skip
VALUES = {
    "d_model": 24, "d_kv": 10, "d_ff": 60, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 8,
    "relative_attention_num_buckets": 16, "relative_attention_max_distance": 9,
    "initializer_factor": 0.5, "feed_forward_proj": "silu", "dense_act_fn": "silu",
    "scale_decoder_outputs": False, "eos_token_id": 7,
    "decoder_start_token_id": 9,
}  # fmt: skip


def family(model_type: str, rows: tuple[Row, ...], published: Mapping[str, Any]) -> Family:
    """What tests know of one of the siblings."""
    on = {"num_labels": "token", "classifier_dropout": "token", "eos_token_id": "sequence",
          "decoder_start_token_id": "sequence"}  # fmt: skip
    return Family(
        model_type=model_type, rows=rows, tiny=TINY, published=published, base=f"{model_type}-lm",
        makers={"input_ids:ended": ended},
        values=VALUES | {"is_gated_act": model_type == "t5"},
        shows={field: f"{model_type}-{row}" for field, row in on.items()},
    )  # fmt: skip


MT5_SMALL = {**T5_V1_1_SMALL, "model_type": "mt5", "architectures": ["MT5ForConditionalGeneration"],
             "tokenizer_class": "T5Tokenizer", "vocab_size": 250112}  # fmt: skip
UMT5_SMALL = {
    **T5_V1_1_SMALL, "model_type": "umt5", "architectures": ["UMT5ForConditionalGeneration"],
    "dense_act_fn": "gelu_new", "is_gated_act": True, "relative_attention_max_distance": 128,
    "scalable_attention": True, "tokenizer_class": "T5Tokenizer", "vocab_size": 256384,
}  # fmt: skip
VARIANTS = {
    "plain": PLAIN, "deeper": DEEPER, "gated-silu": {"feed_forward_proj": "gated-silu"},
    "near": {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 9},
}  # fmt: skip
FAMILIES = (
    family("t5", T5_ROWS, {
        "t5-small": ("T5ForConditionalGeneration", 60_506_624, T5_SMALL),
        "t5-v1_1-small": ("T5ForConditionalGeneration", 76_961_152, T5_V1_1_SMALL),
    }),
    family("mt5", rows("mt5", "MT5", lm=VARIANTS), {
        "mt5-small": ("MT5ForConditionalGeneration", 300_176_768, MT5_SMALL),
    }),
    family("umt5", rows("umt5", "UMT5", lm=VARIANTS), {
        "umt5-small": ("UMT5ForConditionalGeneration", 306_601_984, UMT5_SMALL),
    }),
)  # fmt: skip
