"""Scanned stacks of layers are the loop over layers: outputs, inner states, gradients, caches."""

import jax
import jax.numpy as jnp
import matrix_case as cases
import numpy as np
import pytest
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st
from matrix_case import error

import zoo
from bridges import checkpoint
from zoo.layers import stack

KINDS = ["sliding_attention", "full_attention"] * 2 + ["full_attention"]
CLASSES = {
    "bert": ("BertLMHeadModel", {"is_decoder": True, "num_hidden_layers": 3}),
    "bloom": ("BloomForCausalLM", {"n_layer": 3}),
    "deberta-v2": ("DebertaV2ForTokenClassification", {"num_hidden_layers": 4}),
    "gemma3_text": ("Gemma3ForCausalLM", {"num_hidden_layers": 5, "sliding_window_pattern": 2}),
    "gpt2": ("GPT2LMHeadModel", {"n_layer": 3, "scale_attn_by_inverse_layer_idx": True}),
    "llama": ("LlamaForCausalLM", {"num_hidden_layers": 3}),
    "mamba2": ("Mamba2ForCausalLM", {"num_hidden_layers": 3}),
    "mistral": ("MistralForCausalLM", {"num_hidden_layers": 3, "sliding_window": 4}),
    "modernbert": ("ModernBertForTokenClassification", {"num_hidden_layers": 7}),
    "qwen3": (
        "Qwen3ForCausalLM",
        {
            "num_hidden_layers": 5,
            "layer_types": KINDS,
            "use_sliding_window": True,
            "sliding_window": 4,
        },
    ),
    "vit": ("ViTForImageClassification", {"num_hidden_layers": 3}),
}
DECODERS = [name for name in CLASSES if name not in ("deberta-v2", "modernbert", "vit")]


@pytest.fixture(scope="module", autouse=True)
def _quick_compiler():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """By architecture, the same weights as a loop and stacked."""

    def pair(model_type: str) -> tuple[zoo.Model, zoo.Model]:
        class_name, changes = CLASSES[model_type]
        config = {
            **FAMILIES[model_type].tiny,
            **changes,
            "model_type": model_type,
            "architectures": [class_name],
        }
        drawn = zoo.from_config(config | {"initializer_range": 0.3})
        folder = drawn.save_pretrained(tmp_path_factory.mktemp(model_type) / "model")
        return zoo.from_pretrained(folder), zoo.from_pretrained(folder, layers="stacked")

    made = {}

    def get(model_type: str) -> tuple[zoo.Model, zoo.Model]:
        if model_type not in made:
            made[model_type] = pair(model_type)
        return made[model_type]

    return get


def inputs(model_type: str) -> dict:
    rng = np.random.default_rng(0)
    if model_type == "vit":
        return {"pixel_values": rng.normal(size=(2, 3, 12, 12)).astype(np.float32)}
    mask = np.ones((2, 9), np.int32)
    mask[1, :3] = 0
    return {"input_ids": rng.integers(0, 99, (2, 9), np.int32), "attention_mask": mask}


@pytest.mark.parametrize("model_type", CLASSES)
def test_outputs_and_inner_states(pairs, model_type: str):
    loop, stacked = pairs(model_type)
    one, two = (m(**inputs(model_type), output_hidden_states=True) for m in (loop, stacked))
    assert error(two.logits, one.logits) <= 1e-5
    assert len(one.hidden_states) == len(two.hidden_states)
    for x, y in zip(one.hidden_states, two.hidden_states, strict=True):
        assert error(y, x) <= 1e-5


@pytest.mark.parametrize("model_type", CLASSES)
def test_gradients_and_dropout(pairs, model_type: str):
    given = inputs(model_type)

    def gradient(model: zoo.Model) -> dict:
        drops = "dropout_key" in model.forward.task.inputs
        key = {"dropout_key": jax.random.key(0)} if drops else {}

        def loss(params):
            out = model.apply(params, **given, **key).logits
            return jnp.vdot(out, cases.weight("logits", out.shape))

        grads = jax.jit(jax.grad(loss))(model.params)
        return {n: make() for n, _, make in checkpoint.tensors(model.specs, grads)}

    one, two = (gradient(model) for model in pairs(model_type))
    assert one.keys() == two.keys()
    largest = max(np.abs(x).max() for x in one.values())
    for name, x in one.items():
        assert np.abs(two[name] - x).max() <= 1e-5 * max(np.abs(x).max(), 1e-2 * largest), name


@pytest.mark.parametrize("model_type", DECODERS)
def test_caches(pairs, model_type: str):
    given = inputs(model_type)
    ids, mask = given["input_ids"], given["attention_mask"]
    model = pairs(model_type)[1]
    whole = model(**given).logits
    cache = model.init_cache(2, 12)
    out = model(input_ids=ids[:, :5], attention_mask=mask[:, :5], cache=cache)
    pieces = [out.logits]
    for t in range(5, 9):
        out = model(input_ids=ids[:, t : t + 1], cache=out.cache)
        pieces.append(out.logits)
    stepped = np.concatenate(pieces, axis=1)[mask == 1]
    assert error(stepped, np.asarray(whole)[mask == 1]) <= 1e-5


@pytest.mark.parametrize("model_type", CLASSES)
def test_files(pairs, model_type: str, tmp_path):
    loop, stacked = pairs(model_type)
    one, two = (m.save_pretrained(tmp_path / str(i)) for i, m in enumerate((loop, stacked)))
    name = "model.safetensors"
    assert (one / name).read_bytes() == (two / name).read_bytes()


def test_initial_weights_do_not_depend_on_stacking():
    config = {
        **FAMILIES["llama"].tiny,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
    }
    loop, stacked = (zoo.from_config(config, layers=layers) for layers in ("loop", "stacked"))
    for i, layer in enumerate(loop.params["layers"]):
        of = jax.tree.map(lambda x, i=i: x[i], stacked.params["layers"].runs[0][0])
        for x, y in zip(jax.tree.leaves(layer), jax.tree.leaves(of), strict=True):
            np.testing.assert_array_equal(x, y)


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_a_plan_says_every_layer_once_in_order(kinds):
    runs = stack.plan(kinds)
    again = [kind for run in runs for _ in range(run.repeats) for kind in run.period]
    assert again == kinds
    numbers = sorted(n for run in runs for i in range(len(run.period)) for n in run.numbers(i))
    assert numbers == list(range(len(kinds)))
    for run in runs:
        for i, kind in enumerate(run.period):
            assert all(kinds[n] == kind for n in run.numbers(i))
        assert run.first == run.numbers(0)[0]


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=4), st.integers(1, 5))
def test_a_repeated_period_is_one_run(period, repeats):
    runs = stack.plan(period * repeats)
    assert runs[0].repeats * len(runs[0].period) == len(period) * repeats or repeats == 1
