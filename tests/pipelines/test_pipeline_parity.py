"""Every pipeline against transformers' own, on tiny random checkpoints."""

import itertools

import numpy as np
import pytest
from PIL import Image

import zoo

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Ada Lovelace wrote programs in London, long before computers were built!",
    "A",
    "Zürich and Genève are cities; naïve tourists 👍🏽 visit both in unbelievable numbers.",
    "",
]
LABELS = {i: name for i, name in enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])}


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"num_labels": 3}, {"top_k": None}),
        ({"num_labels": 1}, {}),
        ({"num_labels": 4, "problem_type": "multi_label_classification"}, {"top_k": None}),
        ({"num_labels": 2, "problem_type": "regression"}, {"top_k": None}),
        ({"id2label": {0: "bad", 1: "good"}}, {"top_k": 1, "function_to_apply": "sigmoid"}),
    ],
    ids=str,
)
def test_text_classification(bert, reference, same, config, options):
    folder = bert("BertForSequenceClassification", **config)
    ours, theirs = (make("text-classification", folder) for make in (zoo.pipeline, reference))
    for inputs in (TEXTS, TEXTS[0], [TEXTS[0]]):
        same(ours(inputs, **options), theirs(inputs, **options))


def test_text_classification_of_pairs_and_by_defaults(bert, reference, same):
    folder = bert("BertForSequenceClassification", num_labels=3)
    ours, theirs = (
        make("sentiment-analysis", folder, top_k=2) for make in (zoo.pipeline, reference)
    )
    pair = {"text": TEXTS[0], "text_pair": TEXTS[1]}
    for inputs in (TEXTS[0], TEXTS[:2], pair, [pair]):
        same(ours(inputs), theirs(inputs))
        same(ours(inputs, top_k=1), theirs(inputs, top_k=1))


@pytest.mark.parametrize("pad", [None, 0])
def test_text_classification_on_a_decoder(gpt2, reference, same, pad):
    folder = gpt2("GPT2ForSequenceClassification", num_labels=3, pad_token_id=pad)
    ours, theirs = (
        zoo.pipeline("text-classification", folder),
        reference("text-classification", folder),
    )
    same(ours(TEXTS[:4], top_k=None), [theirs(text, top_k=None) for text in TEXTS[:4]])


def test_fill_mask(bert, reference, same):
    folder = bert("BertForMaskedLM")
    ours, theirs = zoo.pipeline("fill-mask", folder), reference("fill-mask", folder)
    one, two = "The [MASK] brown fox.", "The [MASK] brown [MASK] jumps over the lazy dog."
    for inputs in (one, two, [one, two], [one]):
        same(ours(inputs), theirs(inputs))
    same(ours(two, top_k=3), theirs(two, top_k=3))
    for targets in ("fox", ["fox", "dog", "the"], ["lower", "##st"]):
        same(ours(one, targets=targets), theirs(one, targets=targets))


STRATEGIES = ("none", "simple", "first", "average", "max")


def test_token_classification(bert, reference, same):
    folder = bert("BertForTokenClassification", id2label=LABELS)
    ours, theirs = (make("ner", folder) for make in (zoo.pipeline, reference))
    texts = [*TEXTS[:4], "Zzz 👍🏽 qqq"]
    for strategy in STRATEGIES:
        options = {"aggregation_strategy": strategy}
        same(ours(texts, **options), theirs(texts, **options))
        kept = options | {"ignore_labels": ["PER" if strategy != "none" else "I-PER"]}
        same(ours(texts, **kept), theirs(texts, **kept))
    same(ours(TEXTS[1]), theirs(TEXTS[1]))


def test_token_classification_in_windows(bert, reference, same):
    folder = bert("BertForTokenClassification", id2label=LABELS, settings={"model_max_length": 24})
    long = " ".join(TEXTS)
    for strategy in ("simple", "average"):
        ours, theirs = (
            make("ner", folder, aggregation_strategy=strategy, stride=8)
            for make in (zoo.pipeline, reference)
        )
        same(ours(long), theirs(long))
        same(ours([long, TEXTS[0]]), theirs([long, TEXTS[0]]))


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_token_classification_of_bytes(gpt2, reference, same):
    folder = gpt2("GPT2ForTokenClassification", id2label=LABELS)
    ours, theirs = (make("ner", folder) for make in (zoo.pipeline, reference))
    for strategy in STRATEGIES:
        same(*(p(TEXTS[1], aggregation_strategy=strategy) for p in (ours, theirs)))


def test_feature_extraction(bert, gpt2, reference, same):
    for folder in (bert("BertModel"), gpt2("GPT2Model")):
        ours, theirs = (make("feature-extraction", folder) for make in (zoo.pipeline, reference))
        same(ours(TEXTS[:4]), theirs(TEXTS[:4]))
        same(ours(TEXTS[0]), theirs(TEXTS[0]))
        vectors = ours(TEXTS[0], return_tensors=True)
        assert isinstance(vectors, np.ndarray)
        assert vectors.ndim == 3
        assert vectors.shape[0] == 1


def test_features_of_images(vit, reference, same, pictures):
    folder = vit("ViTModel")
    ours, theirs = (make("image-feature-extraction", folder) for make in (zoo.pipeline, reference))
    same(ours(pictures), theirs(pictures))
    same(ours(pictures[0], pool=True), theirs(pictures[0], pool=True))


def test_image_classification(vit, reference, same, pictures):
    folder = vit("ViTForImageClassification")
    ours, theirs = (make("image-classification", folder) for make in (zoo.pipeline, reference))
    opened = [Image.open(path).convert("RGB") for path in pictures]
    for options in ({}, {"top_k": 2}, {"function_to_apply": "sigmoid"}):
        expected = theirs(pictures, **options)
        same(ours(pictures, **options), expected)
        same(ours(pictures[1], **options), expected[1])
        same(ours(opened[0], **options), expected[0])
        same(ours([np.asarray(image) for image in opened], **options), expected)


def test_text_generation(gpt2, llama, reference, same):
    for folder in (gpt2("GPT2LMHeadModel"), llama):
        ours, theirs = (make("text-generation", folder) for make in (zoo.pipeline, reference))
        for new, text in ((1, "A"), (9, TEXTS[0])):
            options = {"max_new_tokens": new, "do_sample": False}
            same(ours(text, **options), theirs(text, pad_token_id=0, **options))
        part = theirs(text, pad_token_id=0, return_full_text=False, **options)
        same(ours(text, return_full_text=False, **options), part)
        together = ours(TEXTS[:4], **options)
        same(together, theirs(TEXTS[:4], pad_token_id=0, **options))


def test_generators_are_read_as_they_go(bert):
    ours = zoo.pipeline("text-classification", bert("BertForSequenceClassification"), batch_size=2)
    endless = ours(f"text {i}" for i in itertools.count())
    found = list(itertools.islice(endless, 5))
    assert [one["label"] for one in found] == [
        one["label"] for one in ours([f"text {i}" for i in range(5)])
    ]
