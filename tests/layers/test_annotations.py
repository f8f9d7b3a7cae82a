"""The shapes that annotations of layers state are those that arrays have, in every architecture."""

import subprocess
import sys

CODE = """
import jax
import numpy as np
from jaxtyping import install_import_hook

with install_import_hook("zoo.layers", "beartype.beartype"):
    import zoo
    from zoo.layers import linear

text = dict(vocab_size=31, hidden_size=16, num_hidden_layers=2, num_attention_heads=4)
gated = dict(intermediate_size=24, num_key_value_heads=2)
yarn = dict(rope_type="yarn", rope_theta=1e4, factor=2.0, original_max_position_embeddings=8)
coder = dict(layers=2, attention_heads=4, ffn_dim=24)
configs = {
    "bart": dict(vocab_size=31, d_model=16, **{f"{part}_{key}": x for key, x in coder.items()
                                               for part in ("encoder", "decoder")}),
    "bert": dict(text, intermediate_size=24, position_embedding_type="relative_key_query"),
    "deberta-v2": dict(text, intermediate_size=24, relative_attention=True, position_buckets=4,
                       pos_att_type="c2p|p2c", conv_kernel_size=3),
    "distilbert": text,
    "bloom": text,
    "gemma2": dict(text, **gated, head_dim=6, sliding_window=3),
    "gemma3_text": dict(text, **gated, head_dim=6, sliding_window=3, sliding_window_pattern=2),
    "gpt_neox": dict(text, intermediate_size=24, rotary_pct=0.5),
    "gpt2": text,
    "llama": dict(text, **gated, rope_parameters=yarn),
    "mamba2": dict(vocab_size=31, hidden_size=16, num_hidden_layers=2, state_size=6, num_heads=4,
                   head_dim=8, n_groups=2),
    "mistral": dict(text, **gated, sliding_window=3),
    "modernbert": dict(text, intermediate_size=24, local_attention=4, pad_token_id=0),
    "mpnet": dict(text, intermediate_size=24),
    "phi3": dict(text, **gated, pad_token_id=0),
    "qwen2": dict(text, **gated),
    "qwen3": dict(text, **gated, head_dim=6),
    "roberta": dict(text, intermediate_size=24),
    "t5": dict(vocab_size=31, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=4),
    "umt5": dict(vocab_size=31, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=4),
    "vit": dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
                image_size=8, patch_size=4),
}
for model_type, config in configs.items():
    for layers in ("loop", "stacked"):
        model = zoo.from_config({"model_type": model_type, **config}, layers=layers)
        ids = np.arange(14, dtype=np.int32).reshape(2, 7)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        if model_type == "vit":
            given = {"pixel_values": np.ones((2, 3, 8, 8), np.float32)}
        if model.forward.task.crosses:
            given["decoder_input_ids"] = ids[:, :5]
        drops = "dropout_key" in model.forward.task.inputs
        key = {"dropout_key": jax.random.key(0)} if drops else {}
        run = lambda p, given: model.apply(p, **given, **key)
        out = jax.eval_shape(run, model.params, given)
        assert out.last_hidden_state.shape[0] == 2

try:
    linear.to_heads({"weight": np.ones((2, 3, 4), np.float32)}, np.ones((5, 4), np.float32))
except Exception as error:
    print(type(error).__name__)
"""


def test_annotations_hold():
    """Checked in a process of its own, because the hook has to come before the first import."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "TypeCheckError"
