"""DeBERTa v2 and v3: six classes and their switches."""

from matrix_rows import EMBEDDED, SHIFT, TEXT, UNTIED, Family, maker

SENTENCES = (*TEXT, "token_type_ids")
TINY = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 44, "max_position_embeddings": 40, "type_vocab_size": 3,
    "num_labels": 3, "pad_token_id": 0, "relative_attention": True, "position_buckets": 6,
    "norm_rel_ebd": "layer_norm", "pos_att_type": "p2c|c2p", "conv_kernel_size": 3,
    "conv_act": "gelu",
}  # fmt: skip
V3 = {
    "share_att_key": True, "position_biased_input": False, "type_vocab_size": 0,
    "conv_kernel_size": 0,
}  # fmt: skip
DISTANCE = {"attention.self.pos_key_proj.bias": SHIFT}
KEY = {"attention.self.key_proj.bias": SHIFT}
C2P = KEY | {"encoder.LayerNorm.bias": SHIFT}  # of the distances, which only queries see
DEAD_BIAS = {"cls.predictions.bias": "with an untied decoder, the decoder has its own"}
one = maker("deberta-v2", "DebertaV2", TINY, inputs=SENTENCES, dead=DISTANCE)
bare = maker("deberta-v2", "DebertaV2", TINY, inputs=SENTENCES)
WORDS = {"word_embeddings": EMBEDDED}
ROWS = (
        one("model", "Model", main=True),
        one("masked-lm", "ForMaskedLM", main=True),
        one("sequence", "ForSequenceClassification", main=True),
        one("choice", "ForMultipleChoice", main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", {"num_labels": 2}, main=True),
        one("masked-lm-new-head", "ForMaskedLM", {"legacy": False}),
        one("masked-lm-untied", "ForMaskedLM", UNTIED, dead=DEAD_BIAS),
        one("masked-lm-narrow", "ForMaskedLM", {"embedding_size": 20}),
        one("masked-lm-narrow-untied", "ForMaskedLM", UNTIED | {"embedding_size": 20},
            dead=DEAD_BIAS),
        bare("model-v3", "Model", V3, main=True),
        bare("model-shared-c2p", "Model", {"share_att_key": True, "pos_att_type": "c2p"},
             dead=C2P),
        bare("model-shared-p2c", "Model", {"share_att_key": True, "pos_att_type": ["p2c"]}),
        one("model-c2p", "Model", {"pos_att_type": ["c2p"]}, dead=C2P),
        bare("model-p2c", "Model", {"pos_att_type": "p2c"}),
        bare("model-absolute", "Model", {"relative_attention": False, "norm_rel_ebd": "none"},
             dead=KEY),
        one("model-no-buckets", "Model", {
            "position_buckets": -1, "max_relative_positions": 5, "norm_rel_ebd": "none"}),
        one("model-odd-buckets", "Model", {"position_buckets": 5, "max_relative_positions": 7}),
        one("model-groups", "Model", {"conv_groups": 4, "conv_kernel_size": 5,
            "conv_act": "tanh", "hidden_act": "relu", "layer_norm_eps": 1e-3}),
        one("model-no-mask", "Model", inputs=("input_ids",)),
        one("model-sigmoid", "Model", {"conv_act": "sigmoid"}),
        one("model-positions", "Model", inputs=(*SENTENCES, "position_ids")),
        one("model-embeds", "Model", inputs=("inputs_embeds", "attention_mask"), dead=WORDS),
        one("choice-embeds", "ForMultipleChoice", inputs=("inputs_embeds", "attention_mask"),
            dead=WORDS),
        one("sequence-pooler", "ForSequenceClassification", {
            "pooler_hidden_act": "tanh", "pooler_dropout": 0.2, "cls_dropout": 0.3}),
        bare("masked-lm-written-by-4", "ForMaskedLM", TINY | V3 | {
            "num_labels": 2, "max_relative_positions": -1, "attention_head_size": 8,
            "pooler_hidden_size": 32, "pooler_dropout": 0}, as_written=True),
    )  # fmt: skip
PUBLISHED = {
    "deberta-v3-base": (
        "DebertaV2Model", 183_831_552,
        {"model_type": "deberta-v2", "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
         "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
         "intermediate_size": 3072, "max_position_embeddings": 512, "relative_attention": True,
         "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True,
         "pos_att_type": "p2c|c2p", "layer_norm_eps": 1e-7, "max_relative_positions": -1,
         "position_biased_input": False, "num_attention_heads": 12, "num_hidden_layers": 12,
         "type_vocab_size": 0, "vocab_size": 128100},
    ),
}  # fmt: skip
SHOWN = ("cls_dropout", "num_labels", "pooler_dropout", "pooler_hidden_act")
FAMILIES = (
    Family(
        model_type="deberta-v2", rows=ROWS, tiny=TINY, published=PUBLISHED,
        base="deberta-v2-masked-lm",
        shows=dict.fromkeys(SHOWN, "deberta-v2-sequence") | {
            "pad_token_id": "deberta-v2-model-no-mask"},
    ),
)  # fmt: skip
