"""What the decoders that descend from Llama share: sizes, ropes, rows.

A module without families of its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

from matrix_rows import EMBEDDED, PADDED, TEXT, TIED, Family, Row, maker

FAMILIES: tuple[Family, ...] = ()
TINY = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "intermediate_size": 44, "max_position_embeddings": 40,
    "num_labels": 3, "bos_token_id": 1, "eos_token_id": 99,
}  # fmt: skip
ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 3.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 10},
    "longrope": {
        "short_factor": [1.0, 1.25, 1.5, 2.0], "long_factor": [2.0, 3.0, 4.5, 6.0], "factor": 4.0,
        "original_max_position_embeddings": 10,
    },
    "llama3": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}  # fmt: skip


def rope5(kind: str, **changes: Any) -> dict[str, Any]:
    """The spelling of transformers 5."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **ROPES[kind], **changes}}


def rope4(kind: str, *, key: str = "rope_type", **changes: Any) -> dict[str, Any]:
    """The spelling of transformers 4."""
    return {"rope_theta": 100.0, "rope_scaling": {key: kind, **ROPES[kind], **changes}}


# The first Phi-3 files: the original length stands outside, and no factor is given.
OUTSIDE = {
    "rope_theta": 100.0,
    "original_max_position_embeddings": 10,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": ROPES["longrope"]["short_factor"],
        "long_factor": ROPES["longrope"]["long_factor"],
    },
}


def makers(
    model_type: str, name: str, tiny: Mapping[str, Any]
) -> tuple[Callable[..., Row], Callable[..., Row]]:
    """Functions that make a row, and a row of the language model."""
    one = maker(model_type, name, tiny, causal=True)

    def lm(id: str, changes: Mapping = {}, **options: Any) -> Row:
        return one(f"causal-lm-{id}", "ForCausalLM", changes, **options)

    return one, lm


def decoder(model_type: str, name: str, tiny: Mapping[str, Any]) -> tuple[Row, ...]:
    """Five classes and the switches that all decoders share."""
    one, lm = makers(model_type, name, tiny)
    return (
        one("model", "Model", main=True),
        one("causal-lm", "ForCausalLM", main=True, decodes=True),
        one("sequence", "ForSequenceClassification", PADDED, main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", main=True),
        lm("mqa", {"num_key_value_heads": 1}, decodes=True),
        lm("tied", TIED, main=True, decodes=True),
        lm("pad", PADDED),
        lm("positions", inputs=(*TEXT, "position_ids")),
        lm("embeds", inputs=("inputs_embeds", "attention_mask"),
           dead={"embed_tokens": EMBEDDED}),
        lm("eps", {"rms_norm_eps": 1e-3, "hidden_act": "gelu_pytorch_tanh"}),
        lm("written-by-4", rope4("linear"), as_written=True),
    )  # fmt: skip


def shows(model_type: str) -> dict[str, str]:
    """Rows on which fields show that the language model does not read."""
    token = dict.fromkeys(
        ("classifier_dropout", "hidden_dropout", "num_labels"), f"{model_type}-token"
    )
    return token | {"pad_token_id": f"{model_type}-sequence"}
