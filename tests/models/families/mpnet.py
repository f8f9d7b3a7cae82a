"""MPNet: six classes and their switches."""

from matrix_rows import EMBEDDED, SHIFT, TEXT, UNTIED, Family, maker

TINY = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 44, "max_position_embeddings": 40, "num_labels": 3, "pad_token_id": 1,
    "relative_attention_num_buckets": 32,
}  # fmt: skip
one = maker("mpnet", "MPNet", TINY, dead={"attention.attn.k.bias": SHIFT})
DEAD_BIAS = {"lm_head.bias": "with an untied decoder, the decoder has its own"}
VECTORS = {"inputs": ("inputs_embeds", "attention_mask"), "dead": {"word_embeddings": EMBEDDED}}
ROWS = (
        one("model", "Model", main=True),
        one("masked-lm", "ForMaskedLM", main=True),
        one("sequence", "ForSequenceClassification", main=True),
        one("choice", "ForMultipleChoice", main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", {"num_labels": 2}, main=True),
        one("masked-lm-untied", "ForMaskedLM", UNTIED, dead=DEAD_BIAS),
        one("masked-lm-relu-eps", "ForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
        one("model-more-buckets", "Model", {"relative_attention_num_buckets": 37}),
        one("model-pad-zero", "Model", {"pad_token_id": 0}),  # position and id of padding stay 1
        one("model-positions", "Model", inputs=(*TEXT, "position_ids")),
        one("model-embeds", "Model", **VECTORS),
        one("choice-embeds", "ForMultipleChoice", **VECTORS),
        one("model-one-head", "Model", {"num_attention_heads": 1, "num_hidden_layers": 1}),
        one("model-written-by-4", "Model", TINY | {
            "num_labels": 2, "gradient_checkpointing": False}, as_written=True),
    )  # fmt: skip
PUBLISHED = {
    "all-mpnet-base-v2": (
        "MPNetModel", 109_486_464,
        {"attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "eos_token_id": 2,
         "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768,
         "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-5,
         "max_position_embeddings": 514, "model_type": "mpnet", "num_attention_heads": 12,
         "num_hidden_layers": 12, "pad_token_id": 1, "relative_attention_num_buckets": 32,
         "transformers_version": "4.8.2", "vocab_size": 30527},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="mpnet", rows=ROWS, tiny=TINY, published=PUBLISHED, base="mpnet-masked-lm",
        shows={"num_labels": "mpnet-token"},
        values={"relative_attention_num_buckets": 40, "max_position_embeddings": 15},
    ),
)  # fmt: skip
