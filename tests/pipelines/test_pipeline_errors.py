"""What pipelines refuse, and in which words; and how lengths are rounded."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import zoo
from zoo.generate.buckets import bucket
from zoo.pipelines import scores
from zoo.pipelines.load import TASKS, known, model_tasks, pipeline_class
from zoo.pipelines.rows import Row, places, tokens
from zoo.tasks import NAMES


@given(st.integers(1, 5000), st.none() | st.integers(1, 5000))
def test_buckets(length, limit):
    if limit is not None and limit < length:
        return
    size = bucket(length, limit)
    assert length <= size <= (limit or 10**9)
    assert size <= max(16, 1.5 * length)
    assert len({bucket(n) for n in range(1, 4097)}) < 20


@given(st.integers(1, 64), st.integers(1, 64))
def test_places(count, size):
    if count <= size:
        assert count <= places(count, size) <= min(size, 2 * count)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=1, max_size=4))
def test_rows_are_padded_on_either_side(rows):
    made = [Row({"input_ids": row}) for row in rows]
    for left in (False, True):
        out = tokens(made, length=8, batch=5, pad=99, left=left)
        for i, row in enumerate([*rows, *rows[-1:] * (5 - len(rows))]):
            assert out["input_ids"][i][out["attention_mask"][i] == 1].tolist() == row
            assert (out["input_ids"][i] == 99).sum() == 8 - len(row)


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=6))
def test_scores(values):
    x = np.array(values)
    assert scores.softmax(x).sum() == pytest.approx(1)
    assert ((scores.sigmoid(x) >= 0) & (scores.sigmoid(x) <= 1)).all()
    found = scores.ranked(x, {0: "first"}, None)
    assert [one["score"] for one in found] == sorted(values, reverse=True)


def test_every_pipeline_serves_a_task():
    assert set(model_tasks()) <= set(NAMES)
    for name in TASKS:
        cls = pipeline_class(name)
        assert cls.task == name
        assert known(name) == name
        cls.takes()


def test_unknown_tasks_and_models():
    with pytest.raises(KeyError, match="nearest: fill-mask"):
        zoo.pipeline("fil-mask", "nowhere")
    with pytest.raises(KeyError, match="it is one of feature-extraction"):
        zoo.pipeline("zzz", "nowhere")
    with pytest.raises(ValueError, match="model: found None, expected a model"):
        zoo.pipeline("fill-mask")


TINY = {
    "model_type": "bert",
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
}


def test_models_of_another_task():
    model = zoo.from_config(TINY, task="fill-mask")
    with pytest.raises(ValueError, match="found BertForMaskedLM, a model for fill-mask; load it"):
        zoo.pipeline("text-classification", model)
    with pytest.raises(TypeError, match="fill-mask: does not take topk; it takes truncation"):
        zoo.pipeline("fill-mask", model, topk=2)
    with pytest.raises(ValueError, match="batch_size: found 0, expected a whole number"):
        zoo.pipeline("fill-mask", model, batch_size=0)
    with pytest.raises(ValueError, match="came without a tokenizer; pass tokenizer="):
        zoo.pipeline("fill-mask", model)("a [MASK]")
    image = {"model_type": "vit", "hidden_size": 8, "num_attention_heads": 2, "image_size": 8}
    image |= {"num_hidden_layers": 1, "intermediate_size": 8, "patch_size": 4}
    pipe = zoo.pipeline(None, zoo.from_config(image, task="image-classification"))
    with pytest.raises(ValueError, match="came without an image processor; pass image_processor="):
        pipe(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(KeyError, match="no pipeline for 'masked-image-modeling'"):
        zoo.pipeline(None, zoo.from_config(image, task="masked-image-modeling"))


def test_bad_texts(bert):
    pipe = zoo.pipeline("text-classification", bert("BertForSequenceClassification"))
    with pytest.raises(ValueError, match="found nothing, expected a text"):
        pipe(None)
    with pytest.raises(ValueError, match=r"inputs\[1\]: found a int, expected a text or"):
        pipe(["fine", 3])
    with pytest.raises(ValueError, match="found the keys words, expected text and text_pair"):
        pipe({"words": "x"})
    long = "fox " * 300
    with pytest.raises(ValueError, match=r"inputs: \d+ tokens, expected at most 96; pass trunca"):
        pipe(long)
    assert pipe(long, truncation=True)
    assert pipe([]) == []
    with pytest.raises(ValueError, match="function_to_apply: found 'tanh', expected one of"):
        pipe("x", function_to_apply="tanh")
    with pytest.raises(ValueError, match="top_k: found -1"):
        pipe("x", top_k=-1)


def test_bad_masks(bert):
    pipe = zoo.pipeline("fill-mask", bert("BertForMaskedLM"))
    with pytest.raises(ValueError, match=r"inputs\[0\]: found no \[MASK\], expected it"):
        pipe(["no mask"])
    with pytest.raises(ValueError, match="targets: found"):
        pipe("a [MASK]", targets=[])


def test_inexact_targets_are_said(bert, caplog):
    pipe = zoo.pipeline("fill-mask", bert("BertForMaskedLM"))
    with caplog.at_level("WARNING", logger="zoo"):
        (found,) = pipe("a [MASK]", targets=["foxdogfox"])
    assert "'foxdogfox' is not one token" in caplog.text
    assert found["token"] in pipe.tokenizer.get_vocab().values()


def test_bad_questions(bert):
    pipe = zoo.pipeline("question-answering", bert("BertForQuestionAnswering"))
    for item in ({"question": "q"}, "q"):
        with pytest.raises(ValueError, match=r'expected \{"question": ..., "context": ...\}'):
            pipe(item)
    with pytest.raises(ValueError, match=r"inputs.context: found ' ', expected a text"):
        pipe(question="q", context=" ")
    with pytest.raises(ValueError, match="pass question= and context=, both"):
        pipe(question="q")
    with pytest.raises(ValueError, match="2 questions and 1 contexts"):
        pipe(question=["q", "r"], context=["c"])
    with pytest.raises(ValueError, match="doc_stride: 30 is not less than max_seq_len 20"):
        pipe(question="q", context="c", max_seq_len=20, doc_stride=30)


def test_bad_aggregation(bert):
    pipe = zoo.pipeline("ner", bert("BertForTokenClassification"))
    with pytest.raises(ValueError, match="aggregation_strategy: found 'best', expected one of"):
        pipe("x", aggregation_strategy="best")
    with pytest.raises(ValueError, match="stride: needs an aggregation_strategy"):
        pipe("x", stride=2)
    with pytest.raises(ValueError, match="ignore_labels: found a string"):
        pipe("x", ignore_labels="O")


def test_bad_choices(bert):
    pipe = zoo.pipeline("multiple-choice", bert("BertForMultipleChoice"))
    with pytest.raises(ValueError, match="expected a list of texts"):
        pipe("x", choices=[])
    with pytest.raises(ValueError, match=r"inputs.choices\[1\], second text: found a int"):
        pipe("x", choices=["a", 1])
    with pytest.raises(ValueError, match=r'expected \{"text": ..., "choices": '):
        pipe("x")


def test_bad_features(bert, gpt2):
    pipe = zoo.pipeline("feature-extraction", bert("BertModel"))
    with pytest.raises(ValueError, match=r"return_sentence: the repository has no modules\.json"):
        pipe("x", return_sentence=True)
    with pytest.raises(ValueError, match="found pool=True as well"):
        pipe("x", return_sentence=True, pool=True)
    with pytest.raises(ValueError, match="GPT2Model has no pooler_output"):
        zoo.pipeline("feature-extraction", gpt2("GPT2Model"))("x", pool=True)


def test_bad_images(vit, pictures):
    pipe = zoo.pipeline("image-classification", vit("ViTForImageClassification"))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        pipe("nowhere.png")
    with pytest.raises(ValueError, match=r"inputs\[1\]: found a NoneType, expected the path"):
        pipe([pictures[0], None])


def test_bad_generation(gpt2):
    pipe = zoo.pipeline("causal-lm", gpt2("GPT2LMHeadModel"))
    for name, value in {"num_beams": 4, "typical_p": 0.7, "stop_strings": "a"}.items():
        with pytest.raises(
            ValueError, match=rf"{name}: found .*, which is not supported yet; pass"
        ):
            pipe("x", **{name: value})
    with pytest.raises(TypeError, match="text-generation: does not take max_length_"):
        pipe("x", max_length_=3)
    with pytest.raises(ValueError, match="the text is empty and has no tokens"):
        pipe("")
    with pytest.raises(ValueError, match="1 tokens and 65 new ones, expected at most 65 together"):
        pipe("A", max_new_tokens=65)
    with pytest.raises(ValueError, match="on_text: found several inputs"):
        pipe(["a", "b"], on_text=print)
    with pytest.raises(ValueError, match="chat"):
        pipe([{"role": "user", "content": "x"}])
