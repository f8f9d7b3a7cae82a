"""What Whisper writes about a recording, against transformers' `generate`, on tiny models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import zoo

END, START, EN, FR, TRANSLATE, TRANSCRIBE, SILENT = range(40, 47)
TIMES = 21  # 0.00 to 0.40 s
CONFIG: dict[str, Any] = {
    "vocab_size": SILENT + 1 + TIMES, "num_mel_bins": 6, "d_model": 16, "encoder_layers": 1,
    "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "max_source_positions": 20,
    "max_target_positions": 40, "pad_token_id": END, "bos_token_id": END, "eos_token_id": END,
    "decoder_start_token_id": START,
}  # fmt: skip
FRAMES = 40
SPOKEN = {
    "is_multilingual": True, "lang_to_id": {"<|en|>": EN, "<|fr|>": FR},
    "task_to_id": {"translate": TRANSLATE, "transcribe": TRANSCRIBE},
    "no_timestamps_token_id": SILENT, "return_timestamps": False, "max_length": 30,
    "suppress_tokens": [3, 5, *range(START, SILENT)], "begin_suppress_tokens": [9, END],
    "max_initial_timestamp_index": 10,
}  # fmt: skip


def made(folder: Path, settings: dict, **config: Any) -> Path:
    torch.manual_seed(3)
    model = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(**CONFIG | config)
    )
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(float(p.ndim == 1) * 0.5, 0.5)
    model.save_pretrained(folder)
    path = folder / "generation_config.json"
    stored = json.loads(path.read_text()) | settings
    if settings:
        stored.pop("_from_model_config", None)  # or transformers would not read the rest
    path.write_text(json.dumps(stored))
    return folder


def loaded(folder: Path):
    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    return zoo.from_pretrained(folder), theirs


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    return loaded(made(tmp_path_factory.mktemp("spoken"), SPOKEN))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return loaded(made(tmp_path_factory.mktemp("plain"), {}, pad_token_id=0))


def features(seed: int, rows: int = 3, frames: int = FRAMES) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (rows, CONFIG["num_mel_bins"], frames)).astype(np.float32)


def compare(models, x: np.ndarray, **asked) -> np.ndarray:
    ours, theirs = models
    found = np.asarray(ours.generate(x, **asked))
    expected = theirs.generate(torch.from_numpy(x), **asked).numpy()
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)
    return found


CALLS = [
    {},
    {"language": ["en", "french", "<|en|>"], "task": "translate"},
    {"task": "transcribe", "max_new_tokens": 9},
    {"temperature": 0.0, "max_length": 6},
    {"return_timestamps": True},
    {"return_timestamps": True, "language": "en", "task": "translate", "max_new_tokens": 12},
    {"return_timestamps": True, "max_length": 4},
]


@pytest.mark.parametrize("asked", CALLS)
def test_ids_are_those_of_transformers(spoken, asked):
    for seed in range(2):
        found = compare(spoken, features(seed), **asked)
        assert found.shape[1] > 1
        assert not (found == START).any()


def test_a_plain_model_needs_no_settings(plain):
    found = compare(plain, features(0))
    end = int(found[0, 4])
    short = compare(plain, features(0), eos_token_id=end)
    assert end not in short
    assert not short[0, 4:].any()


def test_short_recordings_are_filled_up(spoken):
    for times in (False, True):
        compare(spoken, features(5, 2, 25), language="en", return_timestamps=times)


def test_the_file_may_name_language_task_and_times(tmp_path):
    stored = {"language": "fr", "task": "translate", "return_timestamps": True}
    compare(loaded(made(tmp_path, SPOKEN | stored)), features(6), max_new_tokens=10)


def test_old_files_force_the_start(tmp_path):
    forced = {"forced_decoder_ids": [[1, FR], [2, TRANSCRIBE], [3, SILENT]]}
    compare(loaded(made(tmp_path, {**SPOKEN, **forced})), features(7), max_new_tokens=10)


def test_a_start_of_ones_own_is_continued(spoken):
    ours, _ = spoken
    x, start = features(0), np.asarray([[START, EN, TRANSCRIBE, SILENT]] * 3, np.int32)
    whole = np.asarray(ours.generate(x, decoder_input_ids=start, max_new_tokens=8))
    said = np.asarray(ours.generate(x, language="en", task="transcribe", max_new_tokens=8))
    assert (whole[:, :4] == start).all()
    np.testing.assert_array_equal(whole[:, 4 : 4 + said.shape[1]], said)


def test_drawn_texts_come_several_to_a_recording(spoken):
    ours, _ = spoken
    asked = {"temperature": 1.0, "num_return_sequences": 2, "return_timestamps": True}
    found = [np.asarray(ours.generate(features(0), seed=seed, **asked)) for seed in (1, 1, 2)]
    assert len(found[0]) == 6
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].tolist() != found[2].tolist()


def test_what_makes_no_sense_is_refused(spoken, plain):
    ours, bare = spoken[0], plain[0]
    x = features(0)
    with pytest.raises(ValueError, match=r"\(1, 6, 41\).*at most 40.*chunk_length_s=0.4"):
        ours.generate(features(0, 1, 41))
    with pytest.raises(ValueError, match=r"found no input_features"):
        ours.generate(encoder_outputs=np.zeros((1, 20, 16), np.float32))
    with pytest.raises(ValueError, match=r"language: found 'klingon', expected one of <\|en\|>"):
        ours.generate(x, language="klingon")
    with pytest.raises(ValueError, match=r"language: found 2, expected one, or 3"):
        ours.generate(x, language=["en", "fr"])
    with pytest.raises(ValueError, match=r"task: found 'sing', expected one of"):
        ours.generate(x, task="sing")
    with pytest.raises(ValueError, match=r"this model tells no times"):
        bare.generate(x, return_timestamps=True)
    with pytest.raises(TypeError, match=r"does not take langauge"):
        ours.generate(x, langauge="en")


@pytest.mark.parametrize("name", ["language", "task", "return_timestamps"])
def test_other_models_take_no_options_of_speech(name):
    model = zoo.from_config(
        {"model_type": "gpt2", "vocab_size": 20, "n_embd": 8, "n_layer": 1, "n_head": 1},
        task="causal-lm",
    )  # fmt: skip
    with pytest.raises(TypeError, match=f"does not take {name}"):
        model.generate(np.ones((1, 2), np.int32), **{name: "en"})
