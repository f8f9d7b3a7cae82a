"""RoBERTa and XLM-RoBERTa: seven classes and their switches."""

from collections.abc import Callable

from matrix_rows import EMBEDDED, SHIFT, TEXT, UNTIED, Family, Row, maker

SENTENCES = (*TEXT, "token_type_ids")
TINY = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 44, "max_position_embeddings": 40, "type_vocab_size": 2,
    "num_labels": 3, "pad_token_id": 1,
}  # fmt: skip
DEAD_BIAS = {"lm_head.bias": "with an untied decoder, the decoder has its own"}
VECTORS = {"inputs": ("inputs_embeds", "attention_mask"), "dead": {"word_embeddings": EMBEDDED}}
DECODER = {"is_decoder": True}


def classes(one: Callable[..., Row]) -> tuple[Row, ...]:
    """One row per class."""
    return (
        one("model", "Model", main=True),
        one("masked-lm", "ForMaskedLM", main=True),
        one("causal-lm", "ForCausalLM", DECODER, main=True, causal=True, decodes=True),
        one("sequence", "ForSequenceClassification", main=True),
        one("choice", "ForMultipleChoice", main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", {"num_labels": 2}, main=True),
    )


one = maker("roberta", "Roberta", TINY, dead={"attention.self.key.bias": SHIFT})
ROWS = (
        *classes(one),
        one("masked-lm-untied", "ForMaskedLM", UNTIED, dead=DEAD_BIAS),
        one("masked-lm-relu-eps", "ForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
        one("model-types", "Model", {"type_vocab_size": 3}, inputs=SENTENCES),
        one("model-pad", "Model", {"pad_token_id": 6}),
        one("model-pad-zero", "Model", {"pad_token_id": 0}),
        one("model-positions", "Model", inputs=(*TEXT, "position_ids")),
        one("model-embeds", "Model", **VECTORS),
        one("choice-embeds", "ForMultipleChoice", **VECTORS),
        one("causal-lm-untied", "ForCausalLM", DECODER | UNTIED, dead=DEAD_BIAS, causal=True,
            decodes=True),
        one("model-one-head", "Model", {"num_attention_heads": 1, "num_hidden_layers": 1}),
        one("model-pairwise-mask", "Model", inputs=("input_ids", "attention_mask:pairwise")),
        one("token-written-by-4", "ForTokenClassification", TINY | {
            "num_labels": 2, "classifier_dropout": None, "position_embedding_type": "absolute",
            "use_cache": True, "gradient_checkpointing": False}, as_written=True),
    )  # fmt: skip
xlm = maker("xlm-roberta", "XLMRoberta", TINY, dead={"attention.self.key.bias": SHIFT})
XLM_ROWS = (
        *classes(xlm),
        xlm("masked-lm-untied", "ForMaskedLM", UNTIED, dead=DEAD_BIAS),
        xlm("model-types-pad", "Model", {"type_vocab_size": 3, "pad_token_id": 4},
            inputs=SENTENCES),
        xlm("model-embeds", "Model", **VECTORS),
        xlm("masked-lm-written-by-4", "ForMaskedLM", TINY | {
            "output_past": True, "position_embedding_type": "absolute"}, as_written=True),
    )  # fmt: skip
BASE = {
    "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "eos_token_id": 2,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768,
    "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-5,
    "max_position_embeddings": 514, "num_attention_heads": 12, "num_hidden_layers": 12,
    "pad_token_id": 1, "type_vocab_size": 1,
}  # fmt: skip
PUBLISHED = {
    "roberta-base": (
        "RobertaModel", 124_645_632, {"model_type": "roberta", "vocab_size": 50265, **BASE},
    ),
}  # fmt: skip
XLM_PUBLISHED = {
    "xlm-roberta-base": (
        "XLMRobertaModel", 278_043_648,
        {"model_type": "xlm-roberta", "vocab_size": 250002, "output_past": True, **BASE},
    ),
}  # fmt: skip


def family(model_type: str, rows: tuple[Row, ...], published: dict) -> Family:
    """What tests know of either."""
    return Family(
        model_type=model_type, rows=rows, tiny=TINY, published=published,
        base=f"{model_type}-causal-lm",
        shows={"classifier_dropout": f"{model_type}-token", "num_labels": f"{model_type}-token",
               "pad_token_id": f"{model_type}-model"},
        values={"max_position_embeddings": 15},
    )  # fmt: skip


FAMILIES = (
    family("roberta", ROWS, PUBLISHED),
    family("xlm-roberta", XLM_ROWS, XLM_PUBLISHED),
)
