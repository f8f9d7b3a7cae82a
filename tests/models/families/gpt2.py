"""GPT-2: six classes and their switches."""

from collections.abc import Mapping
from typing import Any

from matrix_rows import EMBEDDED, PADDED, SHIFT, TEXT, UNTIED, Family, Row, maker

CHOICES = ("input_ids", "attention_mask", "mc_token_ids")
FLAT = ("input_ids:flat", "attention_mask:flat")
TINY = {
    "vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "num_labels": 3,
    "bos_token_id": 1, "eos_token_id": 99,
}  # fmt: skip
one = maker("gpt2", "GPT2", TINY, causal=True, dead={"attn.c_attn.bias:key": SHIFT})


def heads(id: str, inputs: tuple[str, ...] = CHOICES, **changes: Any) -> Row:
    """One of the class with two heads."""
    return one(f"double-heads-{id}", "DoubleHeadsModel", changes, inputs=inputs)


def lm(id: str, changes: Mapping = {}, **options: Any) -> Row:
    """One of the language model."""
    return one(f"lm-{id}", "LMHeadModel", changes, **options)


ROWS = (
        one("model", "Model", main=True),
        one("lm", "LMHeadModel", main=True, decodes=True),
        one("double-heads", "DoubleHeadsModel", inputs=CHOICES, main=True),
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
        heads("last", inputs=FLAT, summary_type="last"),
        heads("first", inputs=FLAT, summary_type="first"),
        heads("mean", inputs=FLAT, summary_type="mean"),
        heads("one-choice", inputs=(*FLAT, "mc_token_ids:flat")),
        heads("bare", summary_use_proj=False, summary_activation="tanh"),
        heads("wide", summary_proj_to_labels=False),
        heads("tanh-untied", summary_activation="tanh", tie_word_embeddings=False),
        heads("types", inputs=(*CHOICES, "token_type_ids")),
        one("sequence-one-label", "ForSequenceClassification", PADDED | {"num_labels": 1}),
        one("sequence-no-pad", "ForSequenceClassification", inputs=("input_ids:single",)),
        one("sequence-embeds", "ForSequenceClassification", PADDED,
            inputs=("inputs_embeds", "attention_mask"),
            dead={"wte": EMBEDDED}),
        one("token-rates", "ForTokenClassification",
            {"classifier_dropout": 0.2, "num_labels": 5}),
    )  # fmt: skip
PUBLISHED = {
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
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="gpt2", rows=ROWS, tiny=TINY, published=PUBLISHED, base="gpt2-lm",
        shows={
            "classifier_dropout": "gpt2-token", "hidden_dropout": "gpt2-token",
            "num_labels": "gpt2-token", "pad_token_id": "gpt2-sequence",
        } | dict.fromkeys(
            ("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
             "summary_first_dropout"),
            "gpt2-double-heads",
        ),
    ),
)  # fmt: skip
