"""No field of a Config is declared and never read: changing each one changes something.

A field shows in the output of a model with other weights drawn, in the shapes of the parameters,
in what dropout does, in the initial weights, or another value of it is refused.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import matrix_case as cases
import numpy as np
import pytest
from families import BY_ID, FAMILIES
from matrix_case import error

from bridges import config as configs
from zoo import registry, spec
from zoo.forward import Forward
from zoo.layers.rope import Rope, Ropes

KEY = jax.random.key(3)
OFTEN = 0.7  # a dropout rate unlike the others
KINDS = ("use_sliding_window", "sliding_window", "max_window_layers", "num_hidden_layers",
         "global_attn_every_n_layers")  # fmt: skip
INITIAL = ("init_std", "initializer_cutoff_factor", "initializer_factor", "initializer_range",
           "layerscale_value", "rescale_prenorm_residual", "sinusoidal_pos_embds",
           "time_step_floor", "time_step_max", "time_step_min")  # fmt: skip
VALUES: dict[str, Any] = {  # what has none here is a rate of dropout
    "hidden_size": 64, "n_embd": 64, "intermediate_size": 60, "n_inner": 60,
    "num_hidden_layers": 1, "n_layer": 1, "num_attention_heads": 8, "n_head": 8,
    "num_key_value_heads": 1, "head_dim": 6, "vocab_size": 101, "type_vocab_size": 4,
    "max_position_embeddings": 14, "n_positions": 41, "hidden_act": "relu",
    "activation_function": "relu", "initializer_range": 0.5, "layer_norm_eps": 0.1,
    "layer_norm_epsilon": 0.1, "rms_norm_eps": 0.1, "rope_parameters": Rope(rope_theta=7.0),
    "sliding_window": 2, "use_sliding_window": False, "max_window_layers": 2,
    "layer_types": ("sliding_attention",) * 3, "num_labels": 4,
    "pad_token_id": 5, "position_embedding_type": "relative_key", "is_decoder": False,
    "scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True,
    "summary_type": "mean", "summary_use_proj": False, "summary_activation": "tanh",
    "summary_proj_to_labels": False, "image_size": 16, "patch_size": 3, "num_channels": 1,
    "qkv_bias": False, "encoder_stride": 2, "pooler_output_size": 20, "pooler_act": "relu",
    "attention_bias": True, "mlp_bias": True, "sinusoidal_pos_embds": True,
    "initializer_cutoff_factor": 0.5, "norm_eps": 0.1, "norm_bias": True, "decoder_bias": False,
    "classifier_bias": True, "classifier_activation": "relu", "classifier_pooling": "mean",
    "hidden_activation": "relu", "local_attention": 2, "global_attn_every_n_layers": 2,
    "embedding_size": 20, "relative_attention": False, "max_relative_positions": 9,
    "position_buckets": 8, "position_biased_input": False, "pos_att_type": ("c2p",),
    "share_att_key": True, "norm_rel_ebd": "none", "conv_kernel_size": 5, "conv_groups": 2,
    "conv_act": "relu", "pooler_hidden_act": "relu", "legacy": False,
    "activation": "relu", "dim": 64, "hidden_dim": 60, "n_layers": 1, "n_heads": 8,
}  # fmt: skip
FIELDS = [
    (model_type, field.name)
    for model_type in registry.MODULES
    for field in dataclasses.fields(registry.architecture(model_type).config)
]


@functools.cache
def forward(id: str) -> Forward:
    """Class and config of a row."""
    row = BY_ID[id]
    arch = registry.architecture(row.model_type)
    return Forward(row.model_type, row.class_name, configs.parse(arch, row.config))


@functools.cache
def changed(id: str, fields: tuple[tuple[str, Any], ...]) -> Forward:
    """The row with these fields replaced."""
    begin = forward(id)
    return begin._replace(config=dataclasses.replace(begin.config, **dict(fields)))


def shapes(now: Forward) -> Any:
    """Names and shapes of all parameters."""
    return [(s.names, s.shape) for s in spec.leaves(now.task.specs(now.config))]


def initial(now: Forward) -> Any:
    """The weights that a model begins with."""
    specs = now.task.specs(now.config)
    return spec.init(jax.random.key(0), specs, std=now.config.initializer_range)


@functools.cache
def output(id: str, now: Forward, *, kind: str = "plain") -> Any:
    """What it returns; under dropout; in half precision; or the gradient of the table of tokens."""

    def leaf(s: spec.ArraySpec) -> Any:
        x = np.asarray(cases.seeded(s.name).normal(0, 0.3, s.shape))
        x = np.exp(x) if s.name.endswith("running_var") else x
        return x.astype(s.held(jnp.bfloat16 if kind == "half" else np.float32))

    params = spec.tree_map(leaf, now.task.specs(now.config))
    given = {k: x if x.dtype.kind in "bf" else x.astype(np.int32)
             for k, x in cases.inputs(BY_ID[id]).items()}  # fmt: skip
    key = {"dropout_key": KEY} if kind == "dropout" else {}

    def run(params: Any) -> Any:
        return cases.fields(now(params, **given, **key))

    if kind != "gradient":
        return jax.jit(run)(params)
    total = jax.jit(jax.grad(lambda p: sum(x.sum() for x in run(p).values())))
    return total(params)["embed"]


def differ(x: Any, y: Any) -> bool:
    """Whether trees of arrays differ in structure, shape or by more than rounding."""
    if jax.tree.structure(x) != jax.tree.structure(y):
        return True
    pairs = list(zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))
    return any(a.shape != b.shape or error(a, b) > 1e-4 for a, b in pairs if np.any(b) or np.any(a))


def around(config: Any, name: str) -> dict[str, Any]:
    """What else is set, so that the field has something to act on."""
    others: dict[str, Any] = {}
    if name in KINDS:
        others = {"layer_types": None}  # or else the kinds that were derived before would stay
    elif name == "hidden_dropout":
        others = {"classifier_dropout": None}
    elif name == "max_position_embeddings":  # of a rotation that scales with it
        rope: Any = Rope(rope_type="dynamic", factor=2.0)
        if isinstance(several := getattr(config, "rope_parameters", None), Ropes):
            rope = dataclasses.replace(several, full_attention=rope)
        others = {"rope_parameters": rope, name: 10}
    fields = {f.name for f in dataclasses.fields(config)}
    return others if others.keys() <= fields else {}


@pytest.fixture(scope="module", autouse=True)
def _quick_compiler():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize(("model_type", "name"), FIELDS, ids=["-".join(f) for f in FIELDS])
def test_a_changed_field_shows(model_type: str, name: str):
    family = FAMILIES[model_type]
    id = family.shows.get(name, family.base)
    config = forward(id).config
    before = {**around(config, name), **family.beside.get(name, {})}
    value = {**VALUES, **family.values}.get(name, OFTEN)
    value = not config.tie_word_embeddings if name == "tie_word_embeddings" else value
    old = changed(id, tuple(before.items()))
    replaced = tuple((before | {name: value}).items())
    if name in family.bound:
        with pytest.raises(ValueError, match=name):
            changed(id, replaced)
        return
    new = changed(id, replaced)
    if name in INITIAL or name.endswith("_init_value"):  # only a new model shows these
        assert differ(initial(old), initial(new))
    elif shapes(old) == shapes(new):
        random = any(part in name for part in ("drop", "jitter", "mask_", "augment"))
        kind = "dropout" if random else "plain"
        kind = "half" if name in family.halves else kind
        kind = "gradient" if name == "pad_token_id" and "sequence" not in id else kind
        if name in family.refused:
            with pytest.raises(ValueError, match="pixel_values: found"):
                output(id, new, kind=kind)
        else:
            assert differ(output(id, old, kind=kind), output(id, new, kind=kind))
