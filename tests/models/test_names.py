"""Files whose names are not exactly the model's: bare bodies, other heads, old spellings, ties."""

import json
import logging
import re
from pathlib import Path

import jax
import matrix_case as cases
import numpy as np
import pytest
from families import BY_ID
from matrix_case import error
from safetensors.numpy import save_file

import zoo


@pytest.fixture(scope="module", autouse=True)
def _quick_compiler():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def rewritten(tmp_path: Path, id: str, change, **keys) -> Path:
    """The folder of a row with other tensors and other keys in the config."""
    source = cases.case(id, 0.3).folder
    raw = json.loads((source / "config.json").read_text()) | keys
    (tmp_path / "config.json").write_text(json.dumps(raw))
    save_file(change(dict(cases.stored(source))), tmp_path / "model.safetensors")
    return tmp_path


def given(id: str) -> dict[str, np.ndarray]:
    return cases.inputs(BY_ID[id])


@pytest.mark.parametrize(
    ("bare", "task", "head"),
    [
        ("bert-model", "fill-mask", "cls.predictions"),
        ("gpt2-model", "question-answering", "qa_outputs"),
        ("llama-model", "causal-lm", "lm_head"),
        ("vit-model", "image-classification", "classifier"),
    ],
)
def test_a_bare_body_loads_under_a_head_that_is_drawn(bare: str, task: str, head: str, caplog):
    folder = cases.case(bare, 0.3).folder
    with caplog.at_level(logging.INFO, "zoo"):
        model = zoo.from_pretrained(folder, task=task)
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 1
    assert head in said[0]
    assert "drawn at random" in said[0]
    body = zoo.from_pretrained(folder)
    ours = model.apply(model.params, **given(bare), output_hidden_states=True)
    theirs = body.apply(body.params, **given(bare), output_hidden_states=True)
    for x, y in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        np.testing.assert_array_equal(x, y)


def test_drawn_heads_depend_on_the_seed_only():
    folder = cases.case("llama-model", 0.3).folder
    load = lambda seed: zoo.from_pretrained(folder, task="causal-lm", seed=seed).params  # noqa: E731
    a, b, c = (jax.tree.leaves(load(seed)["head"]) for seed in (0, 0, 1))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not any(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


@pytest.mark.parametrize(
    ("headed", "unused"),
    [
        ("bert-pretraining", "cls."),
        ("gpt2-sequence", "score.weight"),
        ("llama-causal-lm", "lm_head.weight"),
        ("llama-question", "qa_outputs"),
        ("vit-image", "classifier"),
    ],
)
def test_a_headed_checkpoint_loads_as_a_bare_body(headed: str, unused: str, caplog):
    one = cases.case(headed, 0.3)
    with caplog.at_level(logging.INFO, "zoo"):
        model = zoo.from_pretrained(one.folder, task="feature-extraction")
    said = " ".join(r.getMessage() for r in caplog.records)
    assert unused in said
    assert "not used by" in said
    out = model.apply(model.params, **given(headed), output_hidden_states=True)
    reference = cases.refer(one.row, one.reference, given(headed), output_hidden_states=True)
    for x, y in zip(out.hidden_states, reference.hidden_states, strict=True):
        assert error(x, y.detach()) <= 1e-5


def test_norms_under_their_old_names(tmp_path: Path):
    def older(tensors):
        pairs = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
        for new, old in pairs:
            tensors = {name.replace(new, old): x for name, x in tensors.items()}
        return tensors

    one = cases.case("bert-masked-lm", 0.3)
    old = zoo.from_pretrained(rewritten(tmp_path, "bert-masked-lm", older))
    for x, y in zip(jax.tree.leaves(old.params), jax.tree.leaves(one.model.params), strict=True):
        np.testing.assert_array_equal(x, y)


def test_buffers_of_old_files_are_passed_over(tmp_path: Path, caplog):
    def older(tensors):
        return tensors | {
            "transformer.h.0.attn.bias": np.ones((1, 1, 40, 40), np.float32),
            "transformer.h.1.attn.masked_bias": np.array(-1e4, np.float32),
        }

    with caplog.at_level(logging.INFO, "zoo"):
        zoo.from_pretrained(rewritten(tmp_path, "gpt2-lm", older))
    assert not caplog.records


TIED = [
    ("llama-causal-lm-tied", "lm_head.weight", "model.embed_tokens.weight"),
    ("gpt2-lm", "lm_head.weight", "transformer.wte.weight"),
    ("bert-masked-lm", "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
]


@pytest.mark.parametrize(("id", "alias", "home"), TIED, ids=[t[0] for t in TIED])
def test_a_repeated_tie_is_ignored_when_equal(id: str, alias: str, home: str, tmp_path, caplog):
    folder = rewritten(tmp_path, id, lambda x: x | {alias: x[home].copy()})
    with caplog.at_level(logging.INFO, "zoo"):
        model = zoo.from_pretrained(folder)
    assert not [r for r in caplog.records if r.levelno == logging.WARNING]
    assert model.config.tie_word_embeddings
    saved = cases.stored(model.save_pretrained(tmp_path / "saved"))
    assert alias not in saved


@pytest.mark.parametrize(("id", "alias", "home"), TIED, ids=[t[0] for t in TIED])
def test_a_repeated_tie_that_differs_unties_as_in_transformers(id, alias, home, tmp_path, caplog):
    row = BY_ID[id]
    folder = rewritten(tmp_path, id, lambda x: x | {alias: x[home][::-1].copy()})
    with caplog.at_level(logging.INFO, "zoo"):
        model = zoo.from_pretrained(folder)
    assert any("differ, so they are not tied" in r.getMessage() for r in caplog.records)
    assert not model.config.tie_word_embeddings
    reference = type(cases.case(id, 0.3).reference).from_pretrained(
        folder, attn_implementation="eager"
    )
    ours = model.apply(model.params, **given(id))
    assert error(ours.logits, cases.refer(row, reference, given(id)).logits.detach()) <= 1e-5
    again = zoo.from_pretrained(model.save_pretrained(tmp_path / "saved"))
    assert not again.config.tie_word_embeddings
    assert again.num_params == model.num_params


@pytest.mark.parametrize(("id", "alias", "home"), TIED, ids=[t[0] for t in TIED])
def test_a_tie_known_by_its_other_name_only(id: str, alias: str, home: str, tmp_path: Path):
    def only(tensors):
        return {alias if name == home else name: x for name, x in tensors.items()}

    model = zoo.from_pretrained(rewritten(tmp_path, id, only))
    one = cases.case(id, 0.3)
    for x, y in zip(jax.tree.leaves(model.params), jax.tree.leaves(one.model.params), strict=True):
        np.testing.assert_array_equal(x, y)


def test_missing_and_unknown_tensors_are_counted_and_named(tmp_path: Path):
    def damaged(tensors):
        del tensors["model.layers.1.mlp.up_proj.weight"]
        return tensors | {"model.layers.1.mlp.sideways_proj.weight": np.ones((2, 2), np.float32)}

    with pytest.raises(KeyError) as caught:
        zoo.from_pretrained(rewritten(tmp_path, "llama-causal-lm", damaged))
    said = str(caught.value)
    assert "1 tensors missing, first: model.layers.1.mlp.up_proj.weight" in said
    assert "sideways_proj" in said


def test_half_of_a_head_is_missing_not_new(tmp_path: Path):
    def halved(tensors):
        del tensors["classifier.bias"]
        return tensors

    with pytest.raises(KeyError, match=r"missing, first: classifier\.bias"):
        zoo.from_pretrained(rewritten(tmp_path, "bert-sequence", halved))


def test_another_number_of_labels_is_a_wrong_shape(tmp_path: Path):
    labels = {str(i): f"L{i}" for i in range(5)}
    folder = rewritten(
        tmp_path, "bert-sequence", dict, id2label=labels, label2id={v: i for i, v in labels.items()}
    )
    with pytest.raises(ValueError, match=r"classifier\.weight: found shape \[3, 32\], expected"):
        zoo.from_pretrained(folder)


def test_weight_norms_in_the_old_spelling_load_and_are_saved_in_the_new(tmp_path):
    old = {"original0": "weight_g", "original1": "weight_v"}

    def change(tensors):
        return {
            name.replace(f"parametrizations.weight.{last}", old[last])
            if (last := name.rpartition(".")[2]) in old
            else name: x
            for name, x in tensors.items()
        }

    folder = rewritten(tmp_path, "wav2vec2-model", change)
    assert any(name.endswith("weight_g") for name in cases.stored(folder))
    saved = zoo.from_pretrained(folder).save_pretrained(cases.folder("renamed"))
    before = cases.stored(cases.case("wav2vec2-model", 0.3).folder)
    after = cases.stored(saved)
    assert after.keys() == before.keys()
    assert all(cases.same(after[name], x) for name, x in before.items())


SPELLINGS = [  # id, patterns of today's names, and what other files call these tensors
    ("llava-generation", ((r"^vision_tower\.", "vision_tower.vision_model."),)),
    (
        "llava-generation",
        (
            (r"^language_model\.lm_head", "lm_head"),
            (r"^language_model\.model", "model.language_model"),
            (r"^(vision_tower|multi_modal)", r"model.\1"),
        ),
    ),
    ("llava-model", ((r"^language_model\.model", "language_model"),)),
    ("llava-tied", ((r"^language_model\.model", "model.language_model"),)),
    ("qwen2_vl-tied", ((r"^model\.", "model.language_model."), (r"^visual", "model.visual"))),
    ("qwen2_5_vl-model", ((r"^", "model."),)),
    ("qwen2_5_vl-model", ((r"^language_model", "model"),)),
]


@pytest.mark.parametrize(("id", "patterns"), SPELLINGS)
def test_names_of_other_files_are_understood(id: str, patterns, tmp_path: Path):
    def renamed(tensors):
        for old, new in patterns:
            tensors = {re.sub(old, new, name): x for name, x in tensors.items()}
        return tensors

    model = zoo.from_pretrained(rewritten(tmp_path, id, renamed))
    one = cases.case(id, 0.3)
    assert cases.stored(tmp_path).keys() != cases.stored(one.folder).keys()
    for x, y in zip(jax.tree.leaves(model.params), jax.tree.leaves(one.model.params), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_missing_tensor_is_missing_under_every_spelling(tmp_path: Path):
    def damaged(tensors):
        del tensors["language_model.model.norm.weight"]
        return tensors

    with pytest.raises(KeyError, match=r"1 tensors missing, first: language_model\.model\.norm"):
        zoo.from_pretrained(rewritten(tmp_path, "llava-generation", damaged))
