"""Pipelines over RoBERTa: a tokenizer of bytes that gives no types."""

import json

import pytest
import transformers
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

import zoo

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Ada Lovelace wrote programs in London, long before computers were built!",
    "Zürich and Genève are cities; naïve tourists visit both in unbelievable numbers.",
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 80, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2, "initializer_range": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """Makes a folder with a RoBERTa of a class."""

    def make(kind, **config):
        folder = tmp_path_factory.mktemp(kind)
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(
            TEXTS * 4,
            trainers.BpeTrainer(vocab_size=350, special_tokens=SPECIAL, initial_alphabet=alphabet),
        )
        made.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        made.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 64}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        size = made.get_vocab_size()
        transformers.set_seed(len(kind))
        model = getattr(transformers, kind)(
            transformers.RobertaConfig(vocab_size=size, **SIZES, **config)
        )
        model.eval().save_pretrained(folder)
        return folder

    return make


def test_fill_mask(roberta, reference, same):
    folder = roberta("RobertaForMaskedLM")
    ours, theirs = zoo.pipeline("fill-mask", folder), reference("fill-mask", folder)
    for text in ("The <mask> brown fox.", ["Ada <mask> wrote <mask>", "<mask>"]):
        same(ours(text), theirs(text))
    same(ours("The <mask>.", targets=[" fox", "s"]), theirs("The <mask>.", targets=[" fox", "s"]))


def test_classification(roberta, reference, same):
    folder = roberta("RobertaForSequenceClassification", num_labels=3)
    ours, theirs = (make("text-classification", folder) for make in (zoo.pipeline, reference))
    pair = {"text": TEXTS[0], "text_pair": TEXTS[1]}
    for inputs in (TEXTS, TEXTS[0], [pair]):
        same(ours(inputs, top_k=None), theirs(inputs, top_k=None))


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_token_classification(roberta, reference, same):
    labels = {i: name for i, name in enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])}
    folder = roberta("RobertaForTokenClassification", id2label=labels)
    ours, theirs = (make("ner", folder) for make in (zoo.pipeline, reference))
    for strategy in ("none", "simple", "average"):
        options = {"aggregation_strategy": strategy}
        same(ours(TEXTS, **options), theirs(TEXTS, **options))


def test_features(roberta, reference, same):
    folder = roberta("RobertaModel")
    ours, theirs = (make("feature-extraction", folder) for make in (zoo.pipeline, reference))
    same(ours(TEXTS), theirs(TEXTS))


def test_question_answering(roberta):
    """An answer is a part of the text, never of the question."""
    answers = zoo.pipeline("question-answering", roberta("RobertaForQuestionAnswering"))
    found = answers(question="Who wrote?", context=TEXTS[1], top_k=5)
    for one in found:
        assert one["answer"] == TEXTS[1][one["start"] : one["end"]]
        assert one["answer"]
