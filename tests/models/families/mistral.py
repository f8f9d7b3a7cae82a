"""Mistral: windows."""

from matrix_rows import Family

from families import decoders
from families.decoders import decoder, makers, rope5, shows

TINY = decoders.TINY | {"num_key_value_heads": 2}
_, lm = makers("mistral", "Mistral", TINY)
ROWS = (
    *decoder("mistral", "Mistral", TINY),
    lm("window", {"sliding_window": 4}, main=True, decodes=True),
    lm(
        "window-of-one",
        {"sliding_window": 1},
        decodes=True,
        generates=False,  # transformers' cache of a window of one keeps all tokens
        dead=dict.fromkeys(
            ("q_proj", "k_proj"), "a token that sees only itself does so whatever the score"
        ),
    ),
    lm("no-window", {"sliding_window": None}, decodes=True),
    lm("head-larger", {"head_dim": 12}),
    lm("head-absent", {"head_dim": None}, as_written=True),
    lm("yarn", rope5("yarn")),
)
PUBLISHED = {
    "Mistral-7B-v0.1": (
        "MistralForCausalLM", 7_241_732_096,
        {"model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
         "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 8, "hidden_act": "silu", "max_position_embeddings": 32768,
         "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 4096,
         "tie_word_embeddings": False},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="mistral", rows=ROWS, tiny=TINY, published=PUBLISHED,
        base="mistral-causal-lm-window", shows=shows("mistral"),
    ),
)  # fmt: skip
