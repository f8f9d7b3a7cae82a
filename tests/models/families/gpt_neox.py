"""GPT-NeoX: heads that each hold their query, key and value, rotated in part."""

from matrix_rows import EMBEDDED, PADDED, TEXT, TIED, Family

from families import decoders
from families.decoders import makers, rope5, shows

TINY = {k: v for k, v in decoders.TINY.items() if k != "num_key_value_heads"} | {
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
}  # fmt: skip
one, lm = makers("gpt_neox", "GPTNeoX", TINY)
ROWS = (
    one("model", "Model", main=True),
    one("causal-lm", "ForCausalLM", main=True, decodes=True),
    one("sequence", "ForSequenceClassification", PADDED, main=True),
    one("token", "ForTokenClassification", main=True),
    one("question", "ForQuestionAnswering", main=True),
    lm("one-after-another", {"use_parallel_residual": False}, main=True, decodes=True),
    lm("no-bias", {"attention_bias": False}, decodes=True),
    lm("tied", TIED, decodes=True),
    lm("quarter", {"rope_parameters": {"rope_type": "default"}}, decodes=True),
    lm("whole", rope5("default", partial_rotary_factor=1.0)),
    lm("linear", rope5("linear", partial_rotary_factor=0.75)),
    lm("eps", {"layer_norm_eps": 1e-2, "hidden_act": "gelu_new"}),
    lm("positions", inputs=(*TEXT, "position_ids")),
    lm("embeds", inputs=("inputs_embeds", "attention_mask"), dead={"embed_in": EMBEDDED}),
    lm("written-by-4", {"rope_parameters": None, "rotary_pct": 0.5, "rotary_emb_base": 50},
       as_written=True),
    lm("scaled-written-by-4",
       {"rope_parameters": None, "rotary_pct": 1.0, "rotary_emb_base": 50,
        "rope_scaling": {"type": "linear", "factor": 3.0}}, as_written=True),
    one("sequence-one-label", "ForSequenceClassification", PADDED | {"num_labels": 1}),
    one("sequence-no-pad", "ForSequenceClassification", inputs=("input_ids:single",)),
)  # fmt: skip
PUBLISHED = {
    "pythia-70m": (
        "GPTNeoXForCausalLM", 70_426_624,
        {"model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 512,
         "initializer_range": 0.02, "intermediate_size": 2048, "layer_norm_eps": 1e-5,
         "max_position_embeddings": 2048, "num_attention_heads": 8, "num_hidden_layers": 6,
         "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False,
         "use_parallel_residual": True, "vocab_size": 50304},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="gpt_neox", rows=ROWS, tiny=TINY, published=PUBLISHED, base="gpt_neox-causal-lm",
        shows=shows("gpt_neox") | {"hidden_dropout": "gpt_neox-causal-lm"},
        values={"use_parallel_residual": False, "attention_bias": False},
    ),
)  # fmt: skip
