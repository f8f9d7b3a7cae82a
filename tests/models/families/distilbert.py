"""DistilBERT: six classes and their switches."""

from matrix_rows import EMBEDDED, SHIFT, TEXT, UNTIED, Family, maker

TINY = {
    "vocab_size": 100, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 44,
    "max_position_embeddings": 40, "num_labels": 3, "pad_token_id": 0,
}  # fmt: skip
one = maker("distilbert", "DistilBert", TINY, dead={"attention.k_lin.bias": SHIFT})
VECTORS = {"inputs": ("inputs_embeds", "attention_mask"), "dead": {"word_embeddings": EMBEDDED}}
ROWS = (
        one("model", "Model", main=True),
        one("masked-lm", "ForMaskedLM", main=True),
        one("sequence", "ForSequenceClassification", main=True),
        one("choice", "ForMultipleChoice", main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", {"num_labels": 2}, main=True),
        one("masked-lm-untied", "ForMaskedLM", UNTIED),
        one("masked-lm-relu", "ForMaskedLM", {"activation": "relu"}),
        one("model-pad", "Model", {"pad_token_id": 4}),
        one("model-no-pad", "Model", {"pad_token_id": None}),
        one("model-sinusoidal", "Model", {"sinusoidal_pos_embds": True}),
        one("model-positions", "Model", inputs=(*TEXT, "position_ids")),
        one("model-embeds", "Model", **VECTORS),
        one("choice-embeds", "ForMultipleChoice", **VECTORS),
        one("model-one-head", "Model", {"n_heads": 1, "n_layers": 1}),
        one("masked-lm-written-by-4", "ForMaskedLM", TINY | {
            "num_labels": 2, "tie_weights_": True, "output_past": True,
            "sinusoidal_pos_embds": False}, as_written=True),
    )  # fmt: skip
PUBLISHED = {
    "distilbert-base-uncased": (
        "DistilBertModel", 66_362_880,
        {"activation": "gelu", "attention_dropout": 0.1, "dim": 768, "dropout": 0.1,
         "hidden_dim": 3072, "initializer_range": 0.02, "max_position_embeddings": 512,
         "model_type": "distilbert", "n_heads": 12, "n_layers": 6, "pad_token_id": 0,
         "qa_dropout": 0.1, "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": False,
         "tie_weights_": True, "transformers_version": "4.10.0.dev0", "vocab_size": 30522},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="distilbert", rows=ROWS, tiny=TINY, published=PUBLISHED,
        base="distilbert-masked-lm",
        shows={"num_labels": "distilbert-token", "pad_token_id": "distilbert-model",
               "seq_classif_dropout": "distilbert-sequence", "qa_dropout": "distilbert-question"},
    ),
)  # fmt: skip
