"""BERT: nine classes and their switches."""

from matrix_rows import EMBEDDED, SHIFT, TEXT, UNTIED, Family, maker

SENTENCES = (*TEXT, "token_type_ids")
TINY = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 44, "max_position_embeddings": 40, "type_vocab_size": 3,
    "num_labels": 3, "pad_token_id": 0,
}  # fmt: skip
one = maker("bert", "Bert", TINY, inputs=SENTENCES, dead={"attention.self.key.bias": SHIFT})
DEAD_BIAS = {"cls.predictions.bias": "with an untied decoder, the decoder has its own"}
WORDS = {"word_embeddings": EMBEDDED}
ROWS = (
        one("model", "Model", main=True),
        one("masked-lm", "ForMaskedLM", main=True),
        one("lm-head", "LMHeadModel", {"is_decoder": True}, main=True, causal=True, decodes=True),
        one("pretraining", "ForPreTraining", main=True),
        one("next-sentence", "ForNextSentencePrediction", main=True),
        one("sequence", "ForSequenceClassification", main=True),
        one("choice", "ForMultipleChoice", main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", {"num_labels": 2}, main=True),
        one("sequence-one-label", "ForSequenceClassification", {"num_labels": 1}),
        one("token-five-labels", "ForTokenClassification", {"num_labels": 5}),
        one("masked-lm-untied", "ForMaskedLM", UNTIED, dead=DEAD_BIAS, main=True),
        one("pretraining-untied", "ForPreTraining", UNTIED, dead=DEAD_BIAS),
        one("model-decoder", "Model", {"is_decoder": True}, causal=True),
        one("model-relu-eps", "Model", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
        one("model-no-types", "Model", inputs=TEXT),
        one("model-no-pad", "Model", {"pad_token_id": None}),
        one("model-positions", "Model", inputs=(*SENTENCES, "position_ids")),
        one("model-embeds", "Model", inputs=("inputs_embeds", "attention_mask"),
            dead=WORDS),
        one("choice-embeds", "ForMultipleChoice", inputs=("inputs_embeds", "attention_mask"),
            dead=WORDS),
        one("model-one-head", "Model", {"num_attention_heads": 1, "num_hidden_layers": 1}),
        one("model-pairwise-mask", "Model", inputs=("input_ids", "attention_mask:pairwise")),
    )  # fmt: skip
PUBLISHED = {
    "bert-base-uncased": (
        "BertModel", 109_482_240,
        {"model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12,
         "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
         "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "type_vocab_size": 2,
         "position_embedding_type": "absolute", "pad_token_id": 0, "use_cache": True,
         "gradient_checkpointing": False, "transformers_version": "4.6.0.dev0"},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="bert", rows=ROWS, tiny=TINY, published=PUBLISHED, base="bert-lm-head",
        shows={"classifier_dropout": "bert-token", "num_labels": "bert-token",
               "pad_token_id": "bert-model"},
        values={"pad_token_id": None},
    ),
)  # fmt: skip
