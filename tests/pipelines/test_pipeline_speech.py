"""Speech recognition and labels of recordings against transformers' pipelines, on tiny models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

import zoo
from zoo.pipelines.whisper import read

RATE = 16000
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLU'"]
SPEECH = {
    "vocab_size": len(LETTERS), "hidden_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 20, "conv_dim": [8, 8, 8],
    "conv_stride": [5, 4, 4], "conv_kernel": [10, 8, 4], "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 2, "num_labels": 3, "classifier_proj_size": 8,
    "initializer_range": 0.3, "problem_type": "single_label_classification",
}  # fmt: skip
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
NAMED = ["<|startoftranscript|>", "<|en|>", "<|fr|>", "<|translate|>", "<|transcribe|>",
         "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
TIMES = 51  # 0.00 to 1.00 s
END = 256
SILENT = END + len(NAMED)
WHISPER = {
    "vocab_size": SILENT + 1 + TIMES, "num_mel_bins": 20, "d_model": 16, "encoder_layers": 1,
    "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "max_source_positions": 50,
    "max_target_positions": 60, "pad_token_id": END, "bos_token_id": END, "eos_token_id": END,
    "decoder_start_token_id": END + 1, "init_std": 0.3, "num_labels": 3,
}  # fmt: skip


def recording(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    at = np.arange(int(seconds * RATE)) / RATE
    pitch = 200 + 900 * np.repeat(rng.random(at.size // 800 + 1), 800)[: at.size]
    return (0.4 * np.sin(pitch * at * 6) + 0.1 * rng.normal(size=at.size)).astype(np.float32)


def made(folder: Path, name: str, config: dict) -> Path:
    torch.manual_seed(1)
    kind = "Whisper" if "d_model" in config else "Wav2Vec2"
    model = getattr(transformers, name)(getattr(transformers, f"{kind}Config")(**config)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(float(p.ndim == 1) * 0.5, 0.5)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[{}, LAYER], ids=["group", "layer"])
def ctc(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ctc")
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(LETTERS)}))
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return made(folder, "Wav2Vec2ForCTC", SPEECH | request.param)


def tokenizer(folder: Path) -> None:
    """Bytes, what Whisper is told, and times."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i for i, letter in enumerate(letters)}
    backend = Backend(models.BPE({**vocab, "<|endoftext|>": END}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    named = ["<|endoftext|>", *NAMED]
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in named])
    times = [f"<|{i * 0.02:.2f}|>" for i in range(TIMES)]
    backend.add_tokens([AddedToken(t, special=False, normalized=False) for t in times])
    backend.save(str(folder / "tokenizer.json"))
    text = "<|endoftext|>"
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "WhisperTokenizer", "bos_token": text, "eos_token": text,
        "unk_token": text, "pad_token": text, "additional_special_tokens": NAMED,
        "model_max_length": 60, "clean_up_tokenization_spaces": False,
    }))  # fmt: skip


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    folder = made(tmp_path_factory.mktemp("whisper"), "WhisperForConditionalGeneration", WHISPER)
    tokenizer(folder)
    transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1).save_pretrained(folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    settings.pop("_from_model_config", None)  # or transformers would not read the rest
    ids = {token: END + 1 + i for i, token in enumerate(NAMED)}
    settings |= {
        "is_multilingual": True, "lang_to_id": {t: ids[t] for t in ("<|en|>", "<|fr|>")},
        "task_to_id": {t: ids[f"<|{t}|>"] for t in ("translate", "transcribe")},
        "no_timestamps_token_id": SILENT, "return_timestamps": False, "max_length": 60,
        "suppress_tokens": [3, 5, *range(END + 1, SILENT)], "begin_suppress_tokens": [9, END],
        "max_initial_timestamp_index": 20,
    }  # fmt: skip
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def reference(folder: Path, task: str = "automatic-speech-recognition"):
    return transformers.pipeline(task, model=str(folder), device="cpu")


CALLS = [
    {},
    {"return_timestamps": "char"},
    {"return_timestamps": "word"},
    {"chunk_length_s": 0.5},
    {"chunk_length_s": 0.5, "stride_length_s": (0.1, 0.05), "return_timestamps": "word"},
    {"chunk_length_s": 0.31, "stride_length_s": 0.0, "return_timestamps": "char"},
]


@pytest.mark.parametrize("call", CALLS)
def test_frames_become_the_text_of_transformers(ctc, call):
    ours = zoo.pipeline("automatic-speech-recognition", ctc)
    theirs = reference(ctc)
    for seconds in (1.3, 0.4):
        x = recording(seconds)
        found, expected = ours(x, **call), theirs(x.copy(), **call)
        assert found["text"]
        assert found == expected


def test_several_recordings_are_those_alone(ctc):
    ours = zoo.pipeline(model=ctc, chunk_length_s=0.5)
    many = [recording(s, seed) for seed, s in enumerate((0.7, 1.2, 0.3))]
    given = {"array": recording(0.7, 0), "sampling_rate": RATE}
    assert ours([*many, given]) == [ours(x) for x in (*many, given)]


GREEDY = {"num_beams": 1, "max_new_tokens": 24}
WRITTEN = [
    {},
    {"language": "fr"},
    {"language": "english", "task": "translate"},
    {"task": "transcribe"},
]


@pytest.mark.parametrize("asked", WRITTEN)
def test_short_texts_are_those_of_transformers(whisper, asked):
    ours, theirs = zoo.pipeline(model=whisper), reference(whisper)
    for seed in range(2):
        x = recording(0.8, seed)
        call = {"generate_kwargs": {**GREEDY, **asked}}
        found, expected = ours(x, **call), theirs(x.copy(), **call)
        assert found == expected


@pytest.mark.parametrize("chunk", [{}, {"chunk_length_s": 1}, {"chunk_length_s": 0.6}])
def test_times_are_those_of_transformers(whisper, chunk):
    ours, theirs = zoo.pipeline(model=whisper), reference(whisper)
    for seed in range(3):
        x = recording(2.3 if chunk else 0.9, seed)
        call = {"generate_kwargs": {**GREEDY, "language": "en"}, **chunk}
        for times in (None, True):
            found = ours(x, return_timestamps=times, **call)
            assert found == theirs(x.copy(), return_timestamps=times, **call)


def test_pieces_of_a_text_are_joined_as_transformers_joins_them(whisper):
    ours = zoo.Tokenizer.from_pretrained(whisper)
    theirs = transformers.AutoTokenizer.from_pretrained(whisper)
    rng = np.random.default_rng(0)
    for n in range(60):
        text = rng.integers(30, 60, 80)
        pieces = []
        for i in range(n % 4 + 1):
            part = [int(t) for t in text[i * 9 : i * 9 + rng.integers(2, 14)]]
            for _ in range(rng.integers(0, 7)):
                time = SILENT + 1 + int(rng.integers(0, TIMES))
                at = int(rng.integers(0, len(part) + 1))
                part[at:at] = [time] * int(rng.integers(1, 3))
            if n % 5 == 0:
                part.insert(0, END + 2 + int(rng.integers(0, 2)))
            last = i == n % 4
            pieces.append((part, (1.0, 0.15 * (i > 0), 0.2 * (not last)) if n % 3 else None))
        outputs = [
            {"tokens": np.asarray([part])} | ({"stride": stride} if stride else {})
            for part, stride in pieces
        ]
        for times in (None, True):
            for tongue in (False, True):
                expected, more = theirs._decode_asr(
                    [dict(one) for one in outputs], return_timestamps=times,
                    return_language=tongue, time_precision=0.02,
                )  # fmt: skip
                found = read(ours, pieces, precision=0.02, timestamps=bool(times), language=tongue)
                assert found == {"text": expected, **more}, (n, pieces)


def test_labels_are_those_of_transformers(tmp_path):
    folder = made(tmp_path, "Wav2Vec2ForSequenceClassification", SPEECH)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    ours, theirs = zoo.pipeline(model=folder), reference(folder, "audio-classification")
    for x in (recording(0.5), recording(0.7, 1)):
        found, expected = ours(x), theirs(x.copy(), top_k=3)
        assert [one["label"] for one in found] == [one["label"] for one in expected]
        for a, b in zip(found, expected, strict=True):
            assert abs(a["score"] - b["score"]) < 1e-4
    assert len(ours(x, top_k=1)) == 1


REFUSED = [
    ({"return_timestamps": True}, r"return_timestamps: found True, expected 'char' or 'word'"),
    ({"chunk_length_s": 1.0, "stride_length_s": 0.5}, r"stride_length_s: found \(0.5, 0.5\)"),
    ({"chunk_length_s": -1}, r"expected seconds from 0 on"),
    ({"chunk_length_s": 0.001}, r"make the chunks longer"),
    ({"generate_kwargs": {"task": "x"}}, r"labels frames"),
    ({"stride_length_s": (1, 2, 3)}, r"expected one or two numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_options_that_make_no_sense_are_refused(ctc, call, message):
    with pytest.raises(ValueError, match=message):
        zoo.pipeline(model=ctc)(recording(0.3), **call)


def test_recordings_that_make_no_sense_are_refused(ctc, whisper):
    pipe = zoo.pipeline(model=ctc)
    with pytest.raises(ValueError, match=r"found 20 samples, expected enough for one frame"):
        pipe(np.zeros(20, np.float32))
    with pytest.raises(ValueError, match=r"inputs: found no samples"):
        pipe(np.zeros(0, np.float32))
    pipe = zoo.pipeline(model=whisper)
    with pytest.raises(ValueError, match=r"found 2.0 s, expected at most 1 s.*chunk_length_s=1"):
        pipe(recording(2.0))
    with pytest.raises(ValueError, match=r"language: found 'klingon'"):
        pipe(recording(0.5), generate_kwargs={"language": "klingon"})
    with pytest.raises(ValueError, match=r"task: found 'sing', expected one of"):
        pipe(recording(0.5), generate_kwargs={"task": "sing"})
    with pytest.raises(ValueError, match=r"return_timestamps: found 'word', expected True"):
        pipe(recording(0.5), return_timestamps="word")
