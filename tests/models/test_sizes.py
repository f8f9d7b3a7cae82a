"""Published models have as many parameters as published, told from their configs alone."""

import pytest

from bridges import config as configs
from zoo import registry, spec

QWEN3 = {
    "model_type": "qwen3", "vocab_size": 151936, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000,
    "attention_bias": False, "use_sliding_window": False, "sliding_window": None,
}  # fmt: skip
PUBLISHED = {
    "bert-base-uncased": (
        "BertModel", 109_482_240,
        {"model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12,
         "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
         "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "type_vocab_size": 2,
         "position_embedding_type": "absolute", "pad_token_id": 0, "use_cache": True,
         "gradient_checkpointing": False, "transformers_version": "4.6.0.dev0"},
    ),
    "gpt2": (
        "GPT2LMHeadModel", 124_439_808,
        {"model_type": "gpt2", "activation_function": "gelu_new", "n_ctx": 1024, "n_embd": 768,
         "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257,
         "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1,
         "summary_type": "cls_index", "summary_use_proj": True, "summary_activation": None,
         "summary_proj_to_labels": True, "summary_first_dropout": 0.1, "bos_token_id": 50256,
         "eos_token_id": 50256,
         "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}},
    ),
    "Llama-3.1-8B": (
        "LlamaForCausalLM", 8_030_261_248,
        {"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
         "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 8, "hidden_act": "silu", "max_position_embeddings": 131072,
         "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "attention_bias": False,
         "mlp_bias": False, "pretraining_tp": 1, "tie_word_embeddings": False,
         "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 8192, "rope_type": "llama3"}},
    ),
    "Mistral-7B-v0.1": (
        "MistralForCausalLM", 7_241_732_096,
        {"model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
         "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 8, "hidden_act": "silu", "max_position_embeddings": 32768,
         "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 4096,
         "tie_word_embeddings": False},
    ),
    "Qwen2.5-7B": (
        "Qwen2ForCausalLM", 7_615_616_512,
        {"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584,
         "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
         "num_key_value_heads": 4, "hidden_act": "silu", "max_position_embeddings": 131072,
         "max_window_layers": 28, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
         "sliding_window": 131072, "use_sliding_window": False, "use_mrope": False,
         "tie_word_embeddings": False},
    ),
    "Qwen3-0.6B": (
        "Qwen3ForCausalLM", 596_049_920,
        QWEN3 | {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
                 "num_attention_heads": 16, "num_key_value_heads": 8, "max_window_layers": 28,
                 "tie_word_embeddings": True},
    ),
    "Qwen3-8B": (
        "Qwen3ForCausalLM", 8_190_735_360,
        QWEN3 | {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
                 "num_attention_heads": 32, "num_key_value_heads": 8, "max_window_layers": 36,
                 "tie_word_embeddings": False},
    ),
    "vit-base-patch16-224": (
        "ViTForImageClassification", 86_567_656,
        {"model_type": "vit", "hidden_size": 768, "num_hidden_layers": 12,
         "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
         "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "image_size": 224,
         "patch_size": 16, "num_channels": 3, "layer_norm_eps": 1e-12, "qkv_bias": True,
         "encoder_stride": 16, "id2label": {str(i): f"LABEL_{i}" for i in range(1000)}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_a_published_size(name: str):
    class_name, count, raw = PUBLISHED[name]
    arch = registry.architecture(raw["model_type"])
    specs = arch.tasks[class_name].specs(configs.parse(arch, raw))
    assert spec.count(specs) == count
