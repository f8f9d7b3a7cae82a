"""Feature extractors of speech against transformers, and what they refuse."""

import json

import numpy as np
import pytest
import transformers
from PIL import Image

from zoo.processors import Processor, mel
from zoo.processors.audio import FeatureExtractor

RATE = 16000


def recordings(*sizes: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    at = [np.arange(n, dtype=np.float32) / RATE for n in sizes]
    return [
        (0.3 * np.sin(700 * t * (1 + t)) + 0.05 * rng.normal(size=t.size) + 0.1).astype(np.float32)
        for t in at
    ]


def both(tmp_path, theirs) -> FeatureExtractor:
    theirs.save_pretrained(tmp_path)
    return FeatureExtractor.from_pretrained(tmp_path)


CALLS = [
    {"padding": True},
    {"padding": True, "return_attention_mask": True},
    {"padding": "max_length", "max_length": 5000, "truncation": True},
    {"padding": True, "max_length": 3001, "truncation": True, "pad_to_multiple_of": 64,
     "return_attention_mask": True},
    {"padding": "longest", "pad_to_multiple_of": 128},
]  # fmt: skip


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("call", CALLS)
def test_samples_are_those_of_transformers(tmp_path, call, normalize):
    theirs = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize, padding_value=0.25)
    ours = both(tmp_path, theirs)
    given = recordings(4000, 2500, 3999)
    expected = theirs(given, sampling_rate=RATE, return_tensors="np", **call)
    found = ours(given, sampling_rate=RATE, return_tensors="np", **call)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, atol=1e-4)
        assert found[name].dtype == x.dtype


def test_samples_of_unequal_lengths_come_as_a_list():
    given = recordings(400, 300)
    theirs = transformers.Wav2Vec2FeatureExtractor()(given, sampling_rate=RATE)
    found = FeatureExtractor()(given, return_tensors=None)
    for ours, x in zip(found.input_values, theirs["input_values"], strict=True):
        np.testing.assert_allclose(ours, x, atol=1e-5)
    with pytest.raises(ValueError, match=r"found 2 lengths: 300, 400; pass padding=True"):
        FeatureExtractor()(given)


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize(
    "call",
    [
        {},
        {"return_attention_mask": True},
        {"padding": "longest", "truncation": False, "return_attention_mask": True},
        {"do_normalize": True},
        {"max_length": 30000},
    ],
)
def test_spectrograms_are_those_of_transformers(tmp_path, bins, call):
    theirs = transformers.WhisperFeatureExtractor(feature_size=bins, chunk_length=2)
    ours = both(tmp_path, theirs)
    given = recordings(20000, 40001)
    expected = theirs(given, sampling_rate=RATE, return_tensors="np", **call)
    found = ours(given, sampling_rate=RATE, return_tensors="np", **call)
    if "do_normalize" in call:
        expected.pop("attention_mask")  # of samples, which no model takes
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, atol=1e-4)


def test_spectrograms_are_those_of_the_numpy_path():
    theirs = transformers.WhisperFeatureExtractor(chunk_length=1)
    (x,) = recordings(RATE)
    expected = theirs._np_extract_fbank_features(x[None], "cpu")[0]
    found = FeatureExtractor("WhisperFeatureExtractor", chunk_length=1)(x).input_features[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    bank = mel.filters(80, 400, RATE)
    np.testing.assert_allclose(bank, theirs.mel_filters.T, atol=1e-12)


def test_long_recordings_are_transformed_in_blocks(monkeypatch):
    (x,) = recordings(5 * RATE)
    sizes = {"bins": 80, "fft": 400, "hop": 160, "rate": RATE}
    whole = mel.log_mel(x, **sizes)
    monkeypatch.setattr(mel, "BLOCK", 37)
    np.testing.assert_array_equal(mel.log_mel(x, **sizes), whole)


def test_padding_on_the_left_leaves_the_recording():
    given = recordings(400, 300)
    ours = FeatureExtractor(padding_side="left")(
        given, padding=True, return_attention_mask=True, return_tensors="np"
    )
    alone = FeatureExtractor()(given[1], return_tensors="np").input_values[0]
    np.testing.assert_allclose(ours.input_values[1, 100:], alone, atol=1e-6)
    np.testing.assert_array_equal(ours.attention_mask[1], np.arange(400) >= 100)


def test_settings_survive_and_are_found(tmp_path):
    first = FeatureExtractor("WhisperFeatureExtractor", feature_size=128, chunk_length=4)
    first.save_pretrained(tmp_path)
    assert Processor.from_pretrained(tmp_path).settings == first.settings
    theirs = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    assert (theirs.feature_size, theirs.n_samples) == (128, first.n_samples)


REFUSED = [
    ([], r"raw_speech: found no recordings, expected at least one"),
    (np.zeros((0,), np.float32), r"raw_speech: found no samples"),
    (Image.new("RGB", (4, 4)), r"raw_speech: found"),
    (np.zeros((2, 2, 9), np.float32), r"raw_speech: found 3 dimensions"),
    (3.5, r"raw_speech: found a float, expected the path or bytes of a sound file"),
    ([np.zeros(5, np.float32), None], r"raw_speech\[1\]: found a NoneType"),
    (np.array([1.0, np.nan]), r"raw_speech: found 1 samples that are NaN"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_is_no_recording_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor()(given)


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"sampling_rate: found 8000 Hz, expected 16000 Hz"):
        FeatureExtractor()(np.zeros(9, np.float32), sampling_rate=8000)
    with pytest.raises(ValueError, match=r"padding: found 'most', expected one of longest"):
        FeatureExtractor()(np.zeros(9, np.float32), padding="most")
    with pytest.raises(ValueError, match=r"max_length: found None"):
        FeatureExtractor()(np.zeros(9, np.float32), padding="max_length")
    with pytest.raises(ValueError, match=r"hop_length: found 0, expected a whole number above 0"):
        FeatureExtractor("WhisperFeatureExtractor", hop_length=0)
    with pytest.raises(ValueError, match=r"found hop_len, expected .*nearest is hop_length"):
        FeatureExtractor("WhisperFeatureExtractor", hop_len=3)
    with pytest.raises(ValueError, match=r"feature_extractor_type: found 'WhisperExtractor'"):
        FeatureExtractor("WhisperExtractor")
    (tmp_path / "preprocessor_config.json").write_text(
        '{"feature_extractor_type": "Wav2Vec2FeatureExtractor", "stride": 3}'
    )
    with pytest.raises(ValueError, match=r"found 1 unsupported key\(s\): stride=3"):
        FeatureExtractor.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"found 100 samples, expected more than 200"):
        FeatureExtractor("WhisperFeatureExtractor")(np.zeros(100, np.float32), padding=False)


def test_a_processor_holds_an_extractor_and_a_tokenizer(tmp_path):
    vocab = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    theirs = transformers.Wav2Vec2Processor(
        transformers.Wav2Vec2FeatureExtractor(),
        transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json")),
    )
    theirs.save_pretrained(tmp_path)
    ours = Processor.from_pretrained(tmp_path)
    (x,) = recordings(500)
    found = ours(x, text="AB A", sampling_rate=RATE, return_tensors="np")
    expected = theirs(x, sampling_rate=RATE, return_tensors="np")
    np.testing.assert_allclose(found.input_values, expected["input_values"], atol=1e-5)
    assert found.labels.tolist() == [theirs(text="AB A").input_ids]
    assert ours.batch_decode([[5, 5, 0, 6]]) == ["AB"]
    with pytest.raises(ValueError, match="found neither audio nor text"):
        ours()
