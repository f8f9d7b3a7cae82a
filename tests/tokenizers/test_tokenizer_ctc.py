"""The tokenizer of CTC models against transformers': ids, text, offsets, languages."""

import json

import numpy as np
import pytest
import transformers

from zoo import Tokenizer
from zoo.tokenizers.ctc import CTCTokenizer

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLU'"]
VOCAB = {token: i for i, token in enumerate(LETTERS)}
TEXTS = ["THE TREE", "A  NUT|OAT", " ", "HAT<unk>T</s>", "zZ TEA", "O'NEIL <pad> TO"]


def folder(tmp_path, vocab=VOCAB, **settings):
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    theirs = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), **settings)
    theirs.save_pretrained(tmp_path)
    return theirs, Tokenizer.from_pretrained(tmp_path)


SETTINGS = [
    {},
    {"do_lower_case": True},
    {"word_delimiter_token": "'", "replace_word_delimiter_char": "_"},
    {"pad_token": "<blank>"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_texts_become_the_same_ids(tmp_path, settings):
    theirs, ours = folder(tmp_path, **settings)
    assert isinstance(ours, CTCTokenizer)
    assert len(ours) == len(theirs)
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
    found = ours(TEXTS[:2], padding=True, return_tensors="np")
    expected = theirs(TEXTS[:2], padding=True, return_tensors="np")
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name], x)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("skip", [False, True])
def test_frames_become_the_same_text_and_offsets(tmp_path, settings, skip):
    theirs, ours = folder(tmp_path, **settings)
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.choice([0, 0, 4, *range(len(VOCAB))], (5, 20)), 2, axis=1)
    frames[0] = 0
    frames[1, -3:] = 4
    for row in frames:
        for group in (True, False):
            options = {"skip_special_tokens": skip, "group_tokens": group}
            assert ours.decode(row, **options) == theirs.decode(row, **options)
        wanted = {"output_char_offsets": True, "output_word_offsets": True}
        found, expected = ours.decode(row, **wanted), theirs.decode(row, **wanted)
        assert found.text == expected.text
        assert found.char_offsets == expected.char_offsets
        assert found.word_offsets == expected.word_offsets
    assert ours.batch_decode(frames) == theirs.batch_decode(frames)


def test_what_is_saved_loads_in_transformers(tmp_path):
    _, ours = folder(tmp_path)
    ours.save_pretrained(tmp_path / "again")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    again = Tokenizer.from_pretrained(tmp_path / "again")
    for text in TEXTS:
        assert theirs(text)["input_ids"] == ours(text)["input_ids"] == again(text)["input_ids"]


def test_a_file_of_several_languages_has_a_vocabulary_for_each(tmp_path):
    french = {**VOCAB, "É": 18}
    vocab = {"eng": VOCAB, "fra": french}
    theirs, ours = folder(tmp_path, vocab, target_lang="fra")
    assert ours("ÉTÉ")["input_ids"] == theirs("ÉTÉ")["input_ids"]
    theirs.set_target_lang("eng")
    ours.set_target_lang("eng")
    assert ours("ÉTÉ TEA")["input_ids"] == theirs("ÉTÉ TEA")["input_ids"]
    with pytest.raises(ValueError, match=r"target_lang: found 'deu', expected one of eng, fra"):
        ours.set_target_lang("deu")
    with pytest.raises(ValueError, match=r"target_lang: found 'deu'"):
        Tokenizer.from_pretrained(tmp_path, target_lang="deu")
    with pytest.raises(ValueError, match=r"decode: found -100"):
        ours.decode([-100])
