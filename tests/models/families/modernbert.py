"""ModernBERT: six classes and their switches."""

from matrix_rows import EMBEDDED, TEXT, UNTIED, Family, maker

from families.decoders import ROPES
from zoo.layers.rope import Rope, Ropes

TINY = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
    "intermediate_size": 44, "max_position_embeddings": 40, "num_labels": 3, "pad_token_id": 0,
    "local_attention": 6, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2,
    "sep_token_id": 2,
}  # fmt: skip
THETAS = {
    "full_attention": {"rope_type": "default", "rope_theta": 300.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
}
one = maker("modernbert", "ModernBert", TINY)
BIASES = {
    "attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True,
}  # fmt: skip
MEAN = {"classifier_pooling": "mean"}
VECTORS = {"inputs": ("inputs_embeds", "attention_mask"), "dead": {"tok_embeddings": EMBEDDED}}
ROWS = (
        one("model", "Model", main=True),
        one("masked-lm", "ForMaskedLM", main=True),
        one("sequence", "ForSequenceClassification", main=True),
        one("choice", "ForMultipleChoice", main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", {"num_labels": 2}, main=True),
        one("masked-lm-biases", "ForMaskedLM", BIASES, main=True),
        one("masked-lm-untied", "ForMaskedLM", UNTIED),
        one("masked-lm-no-bias-untied", "ForMaskedLM", UNTIED | {"decoder_bias": False}),
        one("masked-lm-no-bias", "ForMaskedLM", {"decoder_bias": False, "hidden_activation": "relu",
            "classifier_activation": "silu", "norm_eps": 1e-3}),
        one("sequence-mean", "ForSequenceClassification", MEAN | BIASES),
        one("sequence-mean-no-mask", "ForSequenceClassification", MEAN, inputs=("input_ids",)),
        one("choice-mean", "ForMultipleChoice", MEAN),
        one("choice-no-mask", "ForMultipleChoice", inputs=("input_ids",)),
        one("model-positions", "Model", inputs=(*TEXT, "position_ids")),
        one("model-embeds", "Model", **VECTORS),
        one("model-thetas", "Model", {"rope_parameters": THETAS}),
        one("model-yarn", "Model", {"rope_parameters": THETAS | {
            "full_attention": {"rope_type": "yarn", "rope_theta": 100.0, **ROPES["yarn"]}}}),
        one("model-every-layer-global", "Model", {"global_attn_every_n_layers": 1}),
        one("model-local-first", "Model", {"layer_types": [
            "sliding_attention", "full_attention", "sliding_attention", "sliding_attention"]}),
        one("model-pairwise-mask", "Model", {"local_attention": 40},
            inputs=("input_ids", "attention_mask:pairwise")),
        one("masked-lm-written-by-4", "ForMaskedLM", TINY | {
            "num_labels": 2, "global_attn_every_n_layers": 2, "global_rope_theta": 300.0,
            "local_rope_theta": 20.0, "layer_norm_eps": 1e-5, "norm_eps": 1e-5,
            "position_embedding_type": "absolute", "deterministic_flash_attn": False,
            "gradient_checkpointing": False, "initializer_cutoff_factor": 2.0}, as_written=True),
    )  # fmt: skip
PUBLISHED = {
    "ModernBERT-base": (
        "ModernBertModel", 149_014_272,
        {"attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 50281,
         "classifier_activation": "gelu", "classifier_bias": False, "classifier_dropout": 0.0,
         "classifier_pooling": "mean", "cls_token_id": 50281, "decoder_bias": True,
         "deterministic_flash_attn": False, "embedding_dropout": 0.0, "eos_token_id": 50282,
         "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
         "gradient_checkpointing": False, "hidden_activation": "gelu", "hidden_size": 768,
         "initializer_cutoff_factor": 2.0, "initializer_range": 0.02, "intermediate_size": 1152,
         "layer_norm_eps": 1e-5, "local_attention": 128, "local_rope_theta": 10000.0,
         "max_position_embeddings": 8192, "mlp_bias": False, "mlp_dropout": 0.0,
         "model_type": "modernbert", "norm_bias": False, "norm_eps": 1e-5,
         "num_attention_heads": 12, "num_hidden_layers": 22, "pad_token_id": 50283,
         "position_embedding_type": "absolute", "sep_token_id": 50282,
         "tie_word_embeddings": True, "torch_dtype": "float32", "vocab_size": 50368},
    ),
}  # fmt: skip
SHOWN = ("classifier_dropout", "classifier_pooling", "num_labels")
FAMILIES = (
    Family(
        model_type="modernbert", rows=ROWS, tiny=TINY, published=PUBLISHED,
        base="modernbert-masked-lm",
        shows=dict.fromkeys(SHOWN, "modernbert-sequence") | {"pad_token_id": "modernbert-model"},
        values={
            "layer_types": ("sliding_attention",) * 4,
            "rope_parameters": Ropes(full_attention=Rope(rope_theta=7.0)),
        },
    ),
)  # fmt: skip
