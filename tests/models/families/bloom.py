"""BLOOM: biases by distance, heads that each hold their query, key and value."""

from matrix_rows import EMBEDDED, PADDED, SHIFT, UNTIED, Family, maker

TINY = {
    "vocab_size": 100, "hidden_size": 32, "n_layer": 2, "n_head": 4, "num_labels": 3,
    "bos_token_id": 1, "eos_token_id": 99,
}  # fmt: skip
KEYS = {"query_key_value.bias:key": SHIFT}
one = maker("bloom", "Bloom", TINY, causal=True, dead=KEYS)
POST = {"apply_residual_connection_post_layernorm": True}


def lm(id: str, changes: dict | None = None, **options):
    """A row of the language model."""
    return one(f"causal-lm-{id}", "ForCausalLM", changes or {}, **options)


ROWS = (
    one("model", "Model", main=True),
    one("causal-lm", "ForCausalLM", main=True, decodes=True),
    one("sequence", "ForSequenceClassification", PADDED, main=True),
    one("token", "ForTokenClassification", main=True),
    one("question", "ForQuestionAnswering", main=True),
    lm("residual-after-norm", POST, main=True, decodes=True),
    lm("untied", UNTIED, decodes=True),
    lm("six-heads", {"n_head": 6, "hidden_size": 36}, decodes=True),
    lm("one-head", {"n_head": 1}, decodes=True),
    lm("eps", {"layer_norm_epsilon": 1e-2}),
    lm("no-mask", inputs=("input_ids",)),
    lm("embeds", UNTIED, inputs=("inputs_embeds", "attention_mask"),
       dead={"word_embeddings.weight": EMBEDDED}),
    lm("slow-but-exact", {"slow_but_exact": True, "pretraining_tp": 1}),
    lm("written-by-4",
       {"n_head": 8, "num_attention_heads": 8, "n_embed": 32, "offset_alibi": 100,
        "seq_length": 40, "masked_softmax_fusion": True, "bias_dropout_fusion": True,
        "skip_bias_add": True, "skip_bias_add_qkv": False, "attention_softmax_in_fp32": True,
        "unk_token_id": 0, "n_inner": None}, as_written=True),
    one("sequence-one-label", "ForSequenceClassification", PADDED | {"num_labels": 1}),
    one("sequence-no-pad", "ForSequenceClassification", inputs=("input_ids:single",)),
)  # fmt: skip
PUBLISHED = {
    "bloom-560m": (
        "BloomForCausalLM", 559_214_592,
        {"model_type": "bloom", "apply_residual_connection_post_layernorm": False,
         "attention_dropout": 0.0, "attention_softmax_in_fp32": True, "bias_dropout_fusion": True,
         "hidden_dropout": 0.0, "initializer_range": 0.02, "layer_norm_epsilon": 1e-5,
         "masked_softmax_fusion": True, "n_embed": 1024, "n_inner": None, "n_layer": 24,
         "num_attention_heads": 16, "offset_alibi": 100, "pad_token_id": 3, "pretraining_tp": 1,
         "seq_length": 2048, "skip_bias_add": True, "skip_bias_add_qkv": False,
         "unk_token_id": 0, "vocab_size": 250880},
    ),
}  # fmt: skip
TOKEN = dict.fromkeys(("classifier_dropout", "num_labels"), "bloom-token")
FAMILIES = (
    Family(
        model_type="bloom", rows=ROWS, tiny=TINY, published=PUBLISHED, base="bloom-causal-lm",
        shows=TOKEN | {"pad_token_id": "bloom-sequence"},
        values=POST,
    ),
)  # fmt: skip
