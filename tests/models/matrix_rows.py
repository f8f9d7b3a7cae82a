"""Rows of the matrix: one per architecture class and config variant, each tiny.

Sizes differ from each other wherever they can, so that a wrong axis does not go unseen; those
that a mesh splits divide by four.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

TEXT = ("input_ids", "attention_mask")
GPT2_CHOICES = ("input_ids", "attention_mask", "mc_token_ids")
GPT2_ONE = ("flat_ids", "attention_mask")
PIXELS = ("pixel_values",)

BERT = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 44, "max_position_embeddings": 40, "type_vocab_size": 3,
    "num_labels": 3, "pad_token_id": 0,
}  # fmt: skip
GPT2 = {
    "vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "num_labels": 3,
    "bos_token_id": 1, "eos_token_id": 99,
}  # fmt: skip
LLAMA = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "intermediate_size": 44, "max_position_embeddings": 40,
    "num_labels": 3, "bos_token_id": 1, "eos_token_id": 99,
}  # fmt: skip
QWEN3 = LLAMA | {"head_dim": 12}
VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 44,
    "image_size": 12, "patch_size": 4, "encoder_stride": 4, "num_channels": 3, "num_labels": 3,
}  # fmt: skip
TINY = {
    "bert": BERT,
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": LLAMA | {"num_key_value_heads": 2},
    "qwen2": LLAMA | {"num_key_value_heads": 2},
    "qwen3": QWEN3 | {"num_key_value_heads": 2},
    "vit": VIT,
}
CAUSAL = frozenset({"gpt2", "llama", "mistral", "qwen2", "qwen3"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One model that transformers and the zoo both know.

    Attributes:
      id: shown by pytest.
      model_type: the architecture.
      class_name: the Hub class.
      config: keys of the config.
      inputs: names of the inputs that are given.
      flags: inputs that are the same for all.
      as_written: the file is `config` itself, not what transformers writes, to read old spellings.
      main: every property is tested; for other rows what they concern, and gradients only by
        `make test-long`.
      causal: no output depends on a later token.
      decodes: cached decoding is tested.
      grows: the rotation depends on the length of the text, so that a cache, whose keys keep
        theirs, is not the whole text run again; transformers has the same.
      dead: parts of names of tensors without a gradient, and why.
    """

    id: str
    model_type: str
    class_name: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...] = TEXT
    flags: tuple[tuple[str, Any], ...] = ()
    as_written: bool = False
    main: bool = False
    causal: bool = False
    decodes: bool = False
    grows: bool = False
    dead: Mapping[str, str] = dataclasses.field(default_factory=dict)


SHIFT = "a shift of all scores of one query: softmax does not see it"
DEAD = {
    "bert": {"attention.self.key.bias": SHIFT},
    "gpt2": {"attn.c_attn.bias:key": SHIFT},
    "vit": {"attention.attention.key.bias": SHIFT},
}


def row(id: str, model_type: str, class_name: str, changes: Mapping = {}, **options: Any) -> Row:
    """A row on the tiny config of its architecture; `dead` adds to the architecture's own."""
    config = {**TINY[model_type], **changes}
    shared = DEAD.get(model_type, {}) if config.get("qkv_bias", True) else {}
    dead = shared | options.pop("dead", {})
    options.setdefault("causal", model_type in CAUSAL)
    options.setdefault("inputs", PIXELS if model_type == "vit" else TEXT)
    return Row(
        id=f"{model_type}-{id}", model_type=model_type, class_name=class_name, config=config,
        dead=dead, **options,
    )  # fmt: skip


SENTENCES = (*TEXT, "token_type_ids")
PADDED = {"pad_token_id": 0}
UNTIED = {"tie_word_embeddings": False}
TIED = {"tie_word_embeddings": True}


def bert() -> list[Row]:
    """Nine classes and their switches."""

    def one(id: str, class_name: str, changes: Mapping = {}, **options: Any) -> Row:
        options.setdefault("inputs", SENTENCES)
        return row(id, "bert", f"Bert{class_name}", changes, **options)

    dead_bias = {"cls.predictions.bias": "with an untied decoder, the decoder has its own"}
    return [
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
        one("masked-lm-untied", "ForMaskedLM", UNTIED, dead=dead_bias, main=True),
        one("pretraining-untied", "ForPreTraining", UNTIED, dead=dead_bias),
        one("model-decoder", "Model", {"is_decoder": True}, causal=True),
        one("model-relu-eps", "Model", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
        one("model-no-types", "Model", inputs=TEXT),
        one("model-no-pad", "Model", {"pad_token_id": None}),
        one("model-positions", "Model", inputs=(*SENTENCES, "position_ids")),
        one("model-embeds", "Model", inputs=("inputs_embeds", "attention_mask"),
            dead={"word_embeddings": "the inputs are embedded already"}),
        one("choice-embeds", "ForMultipleChoice", inputs=("inputs_embeds", "attention_mask"),
            dead={"word_embeddings": "the inputs are embedded already"}),
        one("model-one-head", "Model", {"num_attention_heads": 1, "num_hidden_layers": 1}),
        one("model-pairwise-mask", "Model", inputs=("input_ids", "pairwise_mask")),
    ]  # fmt: skip


def gpt2() -> list[Row]:
    """Six classes and their switches."""

    def one(id: str, class_name: str, changes: Mapping = {}, **options: Any) -> Row:
        return row(id, "gpt2", f"GPT2{class_name}", changes, **options)

    def heads(id: str, inputs: tuple = GPT2_CHOICES, **changes: Any) -> Row:
        return one(f"double-heads-{id}", "DoubleHeadsModel", changes, inputs=inputs)

    def lm(id: str, changes: Mapping = {}, **options: Any) -> Row:
        return one(f"lm-{id}", "LMHeadModel", changes, **options)

    return [
        one("model", "Model", main=True),
        one("lm", "LMHeadModel", main=True, decodes=True),
        one("double-heads", "DoubleHeadsModel", inputs=GPT2_CHOICES, main=True),
        one("sequence", "ForSequenceClassification", PADDED, main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", main=True),
        lm("inner", {"n_inner": 52}),
        lm("unscaled", {"scale_attn_weights": False}),
        lm("by-layer", {"scale_attn_by_inverse_layer_idx": True}, decodes=True),
        lm("unscaled-by-layer",
           {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True}),
        lm("upcast", {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True}),
        lm("gelu-eps", {"activation_function": "gelu", "layer_norm_epsilon": 1e-3}),
        lm("untied", UNTIED, decodes=True),
        lm("types", inputs=(*TEXT, "token_type_ids")),
        lm("positions", inputs=(*TEXT, "position_ids")),
        lm("embeds", inputs=("inputs_embeds", "attention_mask")),
        lm("written-by-4", {"n_ctx": 40, "n_inner": None, "summary_type": "cls_index",
                            "summary_use_proj": True, "model_max_length": 40}, as_written=True),
        heads("last-token", inputs=TEXT),
        # Given choices, transformers takes these three over the choices instead of the tokens.
        heads("last", inputs=GPT2_ONE, summary_type="last"),
        heads("first", inputs=GPT2_ONE, summary_type="first"),
        heads("mean", inputs=GPT2_ONE, summary_type="mean"),
        heads("one-choice", inputs=(*GPT2_ONE, "mc_token_ids")),
        heads("bare", summary_use_proj=False, summary_activation="tanh"),
        heads("wide", summary_proj_to_labels=False),
        heads("tanh-untied", summary_activation="tanh", tie_word_embeddings=False),
        heads("types", inputs=(*GPT2_CHOICES, "token_type_ids")),
        one("sequence-one-label", "ForSequenceClassification", PADDED | {"num_labels": 1}),
        one("sequence-no-pad", "ForSequenceClassification", inputs=("single_ids",)),
        one("sequence-embeds", "ForSequenceClassification", PADDED,
            inputs=("inputs_embeds", "attention_mask"),
            dead={"wte": "the inputs are embedded already"}),
        one("token-rates", "ForTokenClassification",
            {"classifier_dropout": 0.2, "num_labels": 5}),
    ]  # fmt: skip


ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 3.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 10},
    "longrope": {
        "short_factor": [1.0, 1.25, 1.5, 2.0], "long_factor": [2.0, 3.0, 4.5, 6.0], "factor": 4.0,
        "original_max_position_embeddings": 10,
    },
    "llama3": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}  # fmt: skip


def rope5(kind: str, **changes: Any) -> dict[str, Any]:
    """The spelling of transformers 5."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **ROPES[kind], **changes}}


def rope4(kind: str, *, key: str = "rope_type", **changes: Any) -> dict[str, Any]:
    """The spelling of transformers 4."""
    return {"rope_theta": 100.0, "rope_scaling": {key: kind, **ROPES[kind], **changes}}


# The first Phi-3 files: the original length stands outside, and no factor is given.
OUTSIDE = {
    "rope_theta": 100.0,
    "original_max_position_embeddings": 10,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": ROPES["longrope"]["short_factor"],
        "long_factor": ROPES["longrope"]["long_factor"],
    },
}


def decoder(model_type: str, name: str) -> list[Row]:
    """Five classes and the switches that all decoders share."""

    def one(id: str, class_name: str, changes: Mapping = {}, **options: Any) -> Row:
        return row(id, model_type, f"{name}{class_name}", changes, **options)

    def lm(id: str, changes: Mapping = {}, **options: Any) -> Row:
        return one(f"causal-lm-{id}", "ForCausalLM", changes, **options)

    return [
        one("model", "Model", main=True),
        one("causal-lm", "ForCausalLM", main=True, decodes=True),
        one("sequence", "ForSequenceClassification", PADDED, main=True),
        one("token", "ForTokenClassification", main=True),
        one("question", "ForQuestionAnswering", main=True),
        lm("mqa", {"num_key_value_heads": 1}, decodes=True),
        lm("tied", TIED, main=True, decodes=True),
        lm("pad", PADDED),
        lm("positions", inputs=(*TEXT, "position_ids")),
        lm("embeds", inputs=("inputs_embeds", "attention_mask"),
           dead={"embed_tokens": "the inputs are embedded already"}),
        lm("eps", {"rms_norm_eps": 1e-3, "hidden_act": "gelu_pytorch_tanh"}),
        lm("written-by-4", rope4("linear"), as_written=True),
    ]  # fmt: skip


def llama() -> list[Row]:
    """Llama: every rope type in both spellings, biases, head sizes."""

    def lm(id: str, changes: Mapping = {}, **options: Any) -> Row:
        return row(f"causal-lm-{id}", "llama", "LlamaForCausalLM", changes, **options)

    short = {"max_position_embeddings": 10}
    theta = {"rope_theta": 100.0}
    return [
        *decoder("llama", "Llama"),
        lm("gqa", {"num_key_value_heads": 2}, main=True, decodes=True),
        lm("head-larger", {"head_dim": 12}, decodes=True),
        lm("head-smaller", {"head_dim": 6, "num_key_value_heads": 2}),
        lm("attention-bias", {"attention_bias": True}, decodes=True),
        lm("mlp-bias", {"mlp_bias": True}),
        lm("both-biases-tied", {"attention_bias": True, "mlp_bias": True, **TIED}, main=True),
        lm("theta", rope5("default")),
        lm("theta-written-by-4", theta, as_written=True),
        lm("linear", rope5("linear"), decodes=True),
        lm("linear-type-written-by-4", rope4("linear", key="type"), as_written=True),
        lm("dynamic-within", rope5("dynamic")),
        lm("dynamic-beyond", short | rope5("dynamic"), decodes=True, grows=True),
        lm("dynamic-beyond-written-by-4", short | rope4("dynamic", key="type"), as_written=True),
        lm("yarn", rope5("yarn"), decodes=True),
        lm("yarn-untruncated", rope5("yarn", truncate=False)),
        lm("yarn-attention-factor", rope5("yarn", attention_factor=0.8)),
        lm("yarn-mscale", rope5("yarn", mscale=0.7, mscale_all_dim=1.1)),
        lm("yarn-beta", rope5("yarn", beta_fast=4.0, beta_slow=0.5, truncate=False)),
        lm("yarn-written-by-4", rope4("yarn", mscale=0.7, mscale_all_dim=1.1), as_written=True),
        lm("yarn-bare", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, as_written=True),
        lm("longrope-beyond", rope5("longrope"), decodes=True, grows=True),
        lm("longrope-within", rope5("longrope", original_max_position_embeddings=20)),
        lm("longrope-attention-factor", rope5("longrope", attention_factor=1.3)),
        lm("longrope-outside", OUTSIDE, as_written=True),
        lm("longrope-written-by-4", rope4("longrope", key="type"), as_written=True),
        lm("llama3", rope5("llama3"), decodes=True),
        lm("llama3-written-by-4", rope4("llama3"), as_written=True),
        row("sequence-one-label", "llama", "LlamaForSequenceClassification",
            PADDED | {"num_labels": 1}),
        row("sequence-no-pad", "llama", "LlamaForSequenceClassification", inputs=("single_ids",)),
        row("token-five-labels", "llama", "LlamaForTokenClassification", {"num_labels": 5}),
    ]  # fmt: skip


def mistral() -> list[Row]:
    """Mistral: windows."""

    def lm(id: str, changes: Mapping = {}, **options: Any) -> Row:
        return row(f"causal-lm-{id}", "mistral", "MistralForCausalLM", changes, **options)

    return [
        *decoder("mistral", "Mistral"),
        lm("window", {"sliding_window": 4}, main=True, decodes=True),
        lm(
            "window-of-one",
            {"sliding_window": 1},
            dead=dict.fromkeys(
                ("q_proj", "k_proj"), "a token that sees only itself does so whatever the score"
            ),
        ),
        lm("no-window", {"sliding_window": None}, decodes=True),
        lm("head-larger", {"head_dim": 12}),
        lm("head-absent", {"head_dim": None}, as_written=True),
        lm("yarn", rope5("yarn")),
    ]


def qwen(model_type: str, name: str) -> list[Row]:
    """Qwen2 and Qwen3: windows in some layers."""

    def lm(id: str, changes: Mapping = {}, **options: Any) -> Row:
        return row(f"causal-lm-{id}", model_type, f"{name}ForCausalLM", changes, **options)

    window = {"use_sliding_window": True, "sliding_window": 4, "num_hidden_layers": 3}
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    return [
        *decoder(model_type, name),
        lm("window-upper-layers", window | {"max_window_layers": 1}, main=True, decodes=True),
        lm("window-all-layers", window | {"max_window_layers": 0}),
        lm("window-no-layer", window | {"max_window_layers": 3}),
        lm("window-unused", window | {"use_sliding_window": False, "max_window_layers": 0}),
        lm("layer-types", window | {"layer_types": kinds, "max_window_layers": 2}, decodes=True),
        lm("window-written-by-4", window | {"max_window_layers": 1, "rope_theta": 100.0},
           as_written=True),
        lm("yarn-written-by-4", rope4("yarn", key="type"), as_written=True),
        lm("yarn", rope5("yarn")),
    ]  # fmt: skip


def qwen3() -> list[Row]:
    """Qwen3: norms of heads, and biases on request."""

    def lm(id: str, changes: Mapping = {}, **options: Any) -> Row:
        return row(f"causal-lm-{id}", "qwen3", "Qwen3ForCausalLM", changes, **options)

    return [
        *qwen("qwen3", "Qwen3"),
        lm("bias", {"attention_bias": True}, main=True, decodes=True),
        lm("head-smaller", {"head_dim": 4}),
    ]


def vit() -> list[Row]:
    """Three classes and their switches."""

    def one(id: str, class_name: str, changes: Mapping = {}, **options: Any) -> Row:
        return row(id, "vit", f"ViT{class_name}", changes, **options)

    wide = {"image_size": [12, 20], "patch_size": [3, 5]}
    hidden = ("pixel_values", "bool_masked_pos")
    interpolated = {"flags": (("interpolate_pos_encoding", True),)}
    unmasked = {"mask_token": "no patch is masked"}
    return [
        one("model", "Model", main=True),
        one("image", "ForImageClassification", main=True),
        one("masked-image", "ForMaskedImageModeling", inputs=hidden, main=True),
        one("masked-image-whole", "ForMaskedImageModeling", dead=unmasked),
        one("masked-image-stride", "ForMaskedImageModeling", {"encoder_stride": 2}, dead=unmasked),
        one("model-wide", "Model", wide),
        one("model-wide-image", "Model", {"image_size": [12, 20]}),
        one("model-no-qkv-bias", "Model", {"qkv_bias": False}),
        one("model-larger", "Model", inputs=("larger_pixels",), **interpolated),
        one("model-smaller", "Model", inputs=("smaller_pixels",), **interpolated),
        one("model-same", "Model", **interpolated),
        one("model-masked", "Model", inputs=("pixel_values", "patch_mask")),
        one("model-pooler", "Model", {"pooler_output_size": 20, "pooler_act": "relu"}),
        one("model-eps", "Model", {"layer_norm_eps": 1e-3, "hidden_act": "quick_gelu"}),
        one("image-grey", "ForImageClassification", {"num_channels": 1}),
        one("image-one-label", "ForImageClassification", {"num_labels": 1}),
        one("image-five-labels", "ForImageClassification", {"num_labels": 5}),
        one("image-larger", "ForImageClassification", inputs=("larger_pixels",), **interpolated),
        one("masked-image-grey", "ForMaskedImageModeling", {"num_channels": 1}, inputs=hidden),
    ]  # fmt: skip


ROWS = (
    *bert(), *gpt2(), *llama(), *mistral(), *qwen("qwen2", "Qwen2"), *qwen3(), *vit(),
)  # fmt: skip
