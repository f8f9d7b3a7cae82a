"""`model.generate`: token for token as transformers, compiled per bucket, refused clearly."""

import json
import warnings
from typing import Any

import jax
import matrix_case as cases
import numpy as np
import pytest
import torch

import sharding
import zoo
from zoo.generate import GenerationConfig, loop

IDS = cases.seeded("generate").integers(1, 99, (3, 9)).astype(np.int32)
KEEP = (np.arange(9) >= np.array([0, 4, 1])[:, None]).astype(np.int32)
PROMPT = {"input_ids": IDS * KEEP, "attention_mask": KEEP}
NO_END = {"eos_token_id": None, "pad_token_id": 0}


@pytest.fixture(scope="module", params=["gpt2-lm", "llama-causal-lm-gqa"])
def one(request) -> cases.Case:
    return cases.case(request.param, 0.3)


@pytest.fixture(scope="module")
def llama() -> zoo.Model:
    return cases.case("llama-causal-lm-gqa", 0.3).model


def theirs(one: cases.Case, **options: Any) -> np.ndarray:
    settings = one.reference.generation_config
    settings.eos_token_id = settings.pad_token_id = None
    prompt = {name: torch.from_numpy(x).long() for name, x in PROMPT.items()}
    with warnings.catch_warnings(action="ignore"):  # it recommends to give a length
        found = one.reference.generate(**prompt, **{**NO_END, "do_sample": False, **options})
    return found.numpy()


def new(model: zoo.Model, **options: Any) -> np.ndarray:
    return np.asarray(model.generate(**PROMPT, **{**NO_END, **options}))[:, 9:]


@pytest.fixture(scope="module")
def plain(one) -> np.ndarray:
    """What follows without any rule."""
    return theirs(one, max_new_tokens=9)[:, 9:]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.7},
        {"repetition_penalty": 0.6, "no_repeat_ngram_size": 3},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2},
        {"eos_token_id": "likely"},
        {"eos_token_id": "likely", "min_new_tokens": 6},
        {"eos_token_id": "likely", "min_length": 12},
        {"eos_token_id": "first"},
        {"suppress_tokens": "likely"},
        {"begin_suppress_tokens": "likely"},
        {"forced_eos_token_id": 7},
        {"forced_eos_token_id": 7, "eos_token_id": "likely"},
        {"max_new_tokens": 1},
        {"max_new_tokens": None, "max_length": 14},
        {"max_new_tokens": None},
    ],
    ids=lambda options: "-".join(f"{k}={v}" for k, v in options.items()) or "greedy",
)
def test_greedy_is_that_of_transformers(one, plain, options):
    named = {"likely": [int(plain[0, 2]), int(plain[1, 4])], "first": int(plain[0, 0])}
    given = {k: named.get(x, x) if isinstance(x, str) else x for k, x in options.items()}
    given = {"max_new_tokens": 9, **given}
    expected = theirs(one, **given)
    found = np.asarray(one.model.generate(**PROMPT, **{**NO_END, **given}))
    np.testing.assert_array_equal(found, expected)


def test_a_program_serves_every_prompt_length_of_a_bucket(llama):
    for length in (2, 3, 7, 9):
        llama.generate(IDS[:, :length], max_new_tokens=7, **NO_END)
    counts = loop.fill._cache_size(), loop.advance._cache_size()
    for length in (1, 2, 5, 8, 9):
        for count in (1, 4, 7):
            llama.generate(IDS[:, :length], max_new_tokens=count, **NO_END)
    assert (loop.fill._cache_size(), loop.advance._cache_size()) == counts


def test_nothing_else_is_compiled_for_another_length(llama):
    llama.generate(IDS[:, :2], max_new_tokens=7, **NO_END)
    found: list[str] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        llama.generate(IDS[:, :6], max_new_tokens=5, **NO_END)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not found


def test_the_cache_is_written_in_place(llama):
    cache = llama.init_cache(3, 16)
    names = loop.Names("input_ids", "attention_mask", "position_ids")
    inputs = {**PROMPT, "position_ids": np.zeros_like(IDS)}
    static = {"forward": llama.forward, "names": names, "flags": (), "placement": None}
    filled = loop.fill(llama.params, cache, inputs, **static)
    assert all(x.is_deleted() for x in jax.tree.leaves(cache.layers))
    assert int(filled.length) == 9


def test_a_stream_is_the_text_token_by_token(llama):
    whole = new(llama, max_new_tokens=6)
    pieces: list[np.ndarray] = []
    streamed = new(llama, max_new_tokens=6, streamer=pieces.append)
    np.testing.assert_array_equal(streamed, whole)
    np.testing.assert_array_equal(np.stack(pieces, axis=1), whole)


def test_a_streamer_of_transformers_is_given_the_prompt_first(llama):
    class Recorder:
        def __init__(self):
            self.seen: list[Any] = []

        def put(self, value):
            self.seen.append(np.asarray(value))

        def end(self):
            self.seen.append("end")

    recorder = Recorder()
    found = llama.generate(IDS[:1], max_new_tokens=3, streamer=recorder, **NO_END)
    np.testing.assert_array_equal(recorder.seen[0], IDS[:1])
    np.testing.assert_array_equal(np.concatenate(recorder.seen[1:-1]), np.asarray(found)[0, 9:])
    assert recorder.seen[-1] == "end"


def test_a_stream_ends_when_all_rows_have(llama):
    first = int(new(llama, max_new_tokens=1)[0, 0])
    pieces: list[np.ndarray] = []
    given = {"max_new_tokens": 6, "eos_token_id": first, "pad_token_id": 0}
    llama.generate(IDS[:1] * KEEP[:1], streamer=pieces.append, **given)
    assert len(pieces) == 1


def test_drawing_depends_on_the_seed_only(llama):
    options = {"max_new_tokens": 8, "do_sample": True, "temperature": 2.0, "top_k": 0}
    one, same, other = (new(llama, seed=seed, **options) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "options", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"temperature": 1e-4}]
)
def test_drawing_from_one_token_is_greedy(llama, options):
    drawn = new(llama, max_new_tokens=6, do_sample=True, **options)
    np.testing.assert_array_equal(drawn, new(llama, max_new_tokens=6))


def test_several_continuations_stand_below_each_other(llama):
    options = {"max_new_tokens": 4, "do_sample": True, "num_return_sequences": 2}
    found = np.asarray(llama.generate(**PROMPT, **NO_END, **options))
    assert found.shape == (6, 13)
    np.testing.assert_array_equal(found[:, :9], np.repeat(PROMPT["input_ids"], 2, axis=0))
    greedy = np.asarray(llama.generate(**PROMPT, **NO_END, **options, top_k=1))
    np.testing.assert_array_equal(greedy[::2], greedy[1::2])
    np.testing.assert_array_equal(greedy[::2, 9:], new(llama, max_new_tokens=4))


def test_frequencies_of_drawn_tokens_are_their_probabilities(llama):
    logits = np.asarray(llama(**{k: x[:1] for k, x in PROMPT.items()}).logits[0, -1], np.float64)
    count = 4000
    drawn = llama.generate(
        IDS[:1] * KEEP[:1], max_new_tokens=1, do_sample=True, top_k=5, temperature=20.0,
        num_return_sequences=count, **NO_END,
    )  # fmt: skip
    best = np.argsort(-logits)[:5]
    weights = np.exp(logits[best] / 20 - logits[best].max() / 20)
    shares = np.array([(np.asarray(drawn)[:, -1] == i).mean() for i in best])
    np.testing.assert_allclose(shares.sum(), 1.0)
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=4 * 0.5 / count**0.5)


def test_a_rule_of_ones_own(llama):
    def never_even(ids, scores, length):
        return jax.numpy.where(jax.numpy.arange(scores.shape[-1])[None] % 2 == 0, -np.inf, scores)

    assert (new(llama, max_new_tokens=5, logits_processor=[never_even]) % 2 == 1).all()


def test_padding_is_guessed_as_transformers_does(llama):
    given = {"eos_token_id": None, "pad_token_id": 0, "max_new_tokens": 4}
    found = llama.generate(PROMPT["input_ids"], **given)
    np.testing.assert_array_equal(found, llama.generate(**PROMPT, **given))


def folder_with(tmp_path, **settings: Any):
    source = cases.case("llama-causal-lm-gqa", 0.3).folder
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    return zoo.from_pretrained(tmp_path)


def test_settings_come_with_the_model(tmp_path, llama):
    text = new(llama, max_new_tokens=5)[0].tolist()
    at = next(i for i, token in enumerate(text) if i > 0 and token not in text[:i])
    settings = {"eos_token_id": [text[at], 101], "max_new_tokens": 5, "pad_token_id": 4}
    model = folder_with(tmp_path, **settings)
    found = np.asarray(model.generate(**{k: x[:1] for k, x in PROMPT.items()}))
    assert found[0, 9:].tolist() == text[: at + 1]
    assert new(model, max_new_tokens=2).shape == (3, 2)


def test_what_a_file_asks_for_and_is_not_supported_can_be_replaced(tmp_path):
    model = folder_with(tmp_path, num_beams=4, max_length=12, my_own_key=[1, 2])
    with pytest.raises(ValueError, match=r"num_beams: generation_config.json asks for 4, which is"):
        model.generate(**PROMPT)
    assert np.asarray(model.generate(**PROMPT, num_beams=1)).shape == (3, 12)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"num_beams": 2}, ValueError, "num_beams: found 2, which is not supported yet; pass num"),
        ({"stop_strings": ["a"]}, ValueError, "stop_strings: found .* not supported yet; pass sto"),
        ({"penalty_alpha": 0.6}, ValueError, "penalty_alpha: found 0.6, which is not supported"),
        ({"max_new_token": 2}, TypeError, "does not take max_new_token; nearest is max_new_tokens"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens: found 0, expected a whole number of"),
        ({"max_new_tokens": 1.5}, ValueError, "max_new_tokens: found 1.5, expected a whole number"),
        ({"temperature": 0.0}, ValueError, "temperature: found 0.0, expected a number above 0"),
        ({"top_p": 1.2}, ValueError, "top_p: found 1.2, expected a number from 0 to 1"),
        ({"top_k": -1}, ValueError, "top_k: found -1, expected a whole number of at least 0"),
        ({"do_sample": 1}, ValueError, "do_sample: found 1, expected True or False"),
        ({"eos_token_id": "end"}, ValueError, "eos_token_id: found 'end', expected ids of tokens"),
        (
            {"num_return_sequences": 2},
            ValueError,
            "num_return_sequences: found 2 without do_sample",
        ),
        ({"max_length": 9}, ValueError, "max_length: found 9, but the prompt has 9 tokens already"),
        ({"attention_mask": KEEP[:, ::-1]}, ValueError, "row 1 ends in padding, expected padding "),
        ({"input_ids": IDS + 100}, ValueError, r"input_ids holds \d+, expected 0 to 99; is this"),
        ({"input_ids": IDS[:0]}, ValueError, r"input_ids has shape \(0, 9\), expected no empty"),
        ({"pixel_values": IDS}, TypeError, "generate: does not take pixel_values"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_what_cannot_be_meant_is_refused(llama, options, error, match):
    with pytest.raises(error, match=match):
        llama.generate(**{**PROMPT, **options})


def test_a_prompt_beyond_the_position_table_is_refused():
    model = cases.case("gpt2-lm", 0.3).model
    with pytest.raises(ValueError, match="9 tokens and 40 new ones, expected at most 41 together"):
        model.generate(IDS, max_new_tokens=40)
    assert model.generate(IDS, max_new_tokens=32, **NO_END).shape == (3, 41)


def test_a_model_that_does_not_generate_says_so():
    with pytest.raises(ValueError, match="BertModel does not generate; load the checkpoint with"):
        cases.case("bert-model", 0.3).model.generate(IDS)


def test_a_text_that_begins_with_nothing_begins_with_bos(llama):
    found = np.asarray(llama.generate(bos_token_id=5, max_new_tokens=2, eos_token_id=None))
    assert found.shape == (1, 3)
    assert found[0, 0] == 5


def test_settings_as_an_object(llama):
    settings = GenerationConfig(max_new_tokens=3, pad_token_id=0)
    found = llama.generate(**PROMPT, generation_config=settings)
    np.testing.assert_array_equal(np.asarray(found)[:, 9:], new(llama, max_new_tokens=3))
    assert settings.replace(max_new_tokens=4).max_new_tokens == 4


@pytest.mark.parametrize("id", ["llama-causal-lm-gqa", "qwen3-causal-lm-window-upper-layers"])
def test_stacked_layers_write_the_same(id: str):
    folder = cases.case(id, 0.3).folder
    loop_, stacked = (zoo.from_pretrained(folder, layers=form) for form in ("loop", "stacked"))
    options = {"max_new_tokens": 6, "num_return_sequences": 2, "do_sample": True, "top_k": 1}
    np.testing.assert_array_equal(new(stacked, **options), new(loop_, **options))


def test_a_model_spread_over_devices_writes_the_same(llama):
    mesh = sharding.mesh("data=2,fsdp=2,tensor=2")
    model = zoo.from_pretrained(cases.case("llama-causal-lm-gqa", 0.3).folder, mesh=mesh)
    batch = {name: np.concatenate([x, x[:1]]) for name, x in PROMPT.items()}
    alone = llama.generate(**batch, **NO_END, max_new_tokens=6)
    with sharding.placing(mesh):
        spread = model.generate(**batch, **NO_END, max_new_tokens=6)
    np.testing.assert_array_equal(spread, alone)
