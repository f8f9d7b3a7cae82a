"""Tasks that transformers 5 has no pipeline for, computed by hand from its models."""

import itertools
import json

import numpy as np
import pytest
import torch
import transformers

import zoo
from zoo.generate import loop
from zoo.generate.buckets import room
from zoo.model import _run
from zoo.pipelines.question_answering import best

QUESTION = "Who wrote programs?"
CONTEXT = (
    "The quick brown fox jumps over the lazy dog. Ada Lovelace wrote programs in London, long "
    "before computers were built! Unbelievably low prices: lower, lowest, newer, newest."
)


def softmax(x):
    return torch.softmax(torch.as_tensor(x, dtype=torch.float64), -1).numpy()


def logits(folder, kind, encoded):
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**{k: torch.tensor(v) for k, v in encoded.items()})


def spans(folder, size, stride, longest):
    """Every span of every window with its probability, straight from the definition."""
    tokenizer = zoo.Tokenizer.from_pretrained(folder)
    rows = tokenizer(
        QUESTION,
        CONTEXT,
        truncation="only_second",
        max_length=size,
        stride=stride,
        return_overflowing_tokens=True,
    )
    found, nulls = {}, []
    for i, ids in enumerate(rows["input_ids"]):
        encoding = rows[i]
        out = logits(
            folder,
            "BertForQuestionAnswering",
            {"input_ids": [ids], "token_type_ids": [encoding.type_ids]},
        )
        context = [t for t, s in enumerate(encoding.sequence_ids) if s == 1]
        start, end = (
            dict(zip([0, *context], softmax(x[0][[0, *context]]), strict=True))
            for x in (out.start_logits, out.end_logits)
        )
        nulls.append(start[0] * end[0])
        for first, last in itertools.product(context, context):
            if first <= last < first + longest:
                at, to = encoding.offsets[first][0], encoding.offsets[last][1]
                found[i, at, to] = start[first] * end[last]
    return found, min(nulls)


@pytest.mark.parametrize(("size", "stride"), [(96, 16), (32, 5), (24, 8)])
def test_question_answering(bert, size, stride):
    folder = bert("BertForQuestionAnswering")
    ask = zoo.pipeline("question-answering", folder, max_seq_len=size, doc_stride=stride)
    found, null = spans(folder, size, stride, 6)
    options = {"max_answer_len": 6, "align_to_words": False}
    answers = ask(question=QUESTION, context=CONTEXT, top_k=3, **options)
    assert [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)
    best_by_window = {}
    for (i, at, to), p in sorted(found.items(), key=lambda item: -item[1]):
        best_by_window.setdefault(i, []).append((at, to, p))
    added = {}
    for kept in best_by_window.values():
        for at, to, p in kept[:3]:
            key = CONTEXT[at:to].lower()
            added[key] = added.get(key, 0) + p
    expected = sorted(added.items(), key=lambda item: -item[1])[:3]
    for answer, (text, p) in zip(answers, expected, strict=True):
        assert answer["answer"].lower() == text
        assert CONTEXT[answer["start"] : answer["end"]] == answer["answer"]
        assert answer["score"] == pytest.approx(p, abs=1e-5)
    every = ask(
        question=QUESTION, context=CONTEXT, top_k=5000, handle_impossible_answer=True, **options
    )
    (empty,) = (a for a in every if not a["answer"])
    assert empty == {"score": pytest.approx(null, abs=1e-5), "start": 0, "end": 0, "answer": ""}


def test_answers_are_whole_words_and_forms_of_input_agree(bert, same):
    ask = zoo.pipeline("question-answering", bert("BertForQuestionAnswering"))
    one = ask(question=QUESTION, context=CONTEXT)
    assert one == ask({"question": QUESTION, "context": CONTEXT})
    assert one == ask(question=[QUESTION], context=CONTEXT)
    same(ask(question=[QUESTION] * 2, context=CONTEXT), [one, one])
    before, after = CONTEXT[: one["start"]][-1:], CONTEXT[one["end"] :][:1]
    assert not (before + one["answer"][0]).isalpha()
    assert not (one["answer"][-1] + after).isalpha()


def test_spans_are_the_best_of_all():
    random = np.random.default_rng(0)
    start, end = random.random(12), random.random(12)
    context = np.array([0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0], bool)
    at = np.flatnonzero(context)
    allowed = {
        (int(at[i]), int(at[j])): start[at[i]] * end[at[j]]
        for i in range(len(at))
        for j in range(i, min(len(at), i + 3))
    }
    expected = sorted(allowed, key=lambda span: -allowed[span])
    for count in (1, 4, 100):
        found = best(start, end, context, count, 3)
        assert [span[:2] for span in found if span[2]] == expected[:count]


def test_next_sentence(bert):
    folder = bert("BertForNextSentencePrediction")
    pair = {"text": "The quick brown fox", "text_pair": "jumps over the dog."}
    tokenizer = zoo.Tokenizer.from_pretrained(folder)
    encoded = tokenizer(pair["text"], pair["text_pair"], return_tensors="np")
    p = softmax(logits(folder, "BertForNextSentencePrediction", encoded).logits[0])
    found = zoo.pipeline("next-sentence", folder)(pair)
    label = ("IsNext", "NotNext")[int(p.argmax())]
    assert found == {"label": label, "score": pytest.approx(p.max(), abs=1e-5)}


CHOICES = ["jumps over the lazy dog.", "visits Zürich", "A"]


def ranked(choices, p):
    order = sorted(range(len(p)), key=lambda i: -p[i])
    return [
        {"choice": choices[i], "index": i, "score": pytest.approx(p[i], abs=1e-5)} for i in order
    ]


def test_multiple_choice(bert):
    folder = bert("BertForMultipleChoice")
    tokenizer = zoo.Tokenizer.from_pretrained(folder)
    rows = tokenizer(["The fox"] * 3, CHOICES, padding=True, return_tensors="np")
    out = logits(folder, "BertForMultipleChoice", {k: v[None] for k, v in rows.items()})
    pick = zoo.pipeline("multiple-choice", folder)
    expected = ranked(CHOICES, softmax(out.logits[0]))
    assert pick("The fox", choices=CHOICES) == expected
    asked = [{"text": "The fox", "choices": CHOICES}] * 2
    assert pick(asked, top_k=2, batch_size=4) == [expected[:2]] * 2


def test_multiple_choice_with_gpt2(gpt2):
    folder = gpt2("GPT2DoubleHeadsModel")
    tokenizer = zoo.Tokenizer.from_pretrained(folder)
    scores = []
    for choice in CHOICES:
        ids = tokenizer("The fox", choice)["input_ids"]
        encoded = {"input_ids": [[ids]], "mc_token_ids": [[len(ids) - 1]]}
        scores.append(logits(folder, "GPT2DoubleHeadsModel", encoded).mc_logits.item())
    found = zoo.pipeline("multiple-choice", folder)("The fox", choices=CHOICES)
    assert found == ranked(CHOICES, softmax(scores))


@pytest.mark.parametrize("normalize", [False, True])
def test_sentences(bert, normalize):
    folder = bert("BertModel")
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    modules.append({"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"})
    if normalize:
        modules.append({"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    pipe = zoo.pipeline("feature-extraction", folder)
    texts = ["The quick brown fox jumps.", "A", CONTEXT]
    vectors = pipe(texts, return_sentence=True, truncation=True)
    tokens = [np.array(x)[0] for x in pipe(texts, truncation=True)]
    assert [len(x) for x in tokens][-1] == 12
    for vector, x in zip(vectors, tokens, strict=True):
        expected = x.mean(0)
        expected /= np.linalg.norm(expected) if normalize else 1
        assert vector == pytest.approx(expected, abs=1e-5)
    alone = pipe(texts[0], return_sentence=True, truncation=True)
    assert alone == pytest.approx(vectors[0], abs=1e-5)


def test_streamed_pieces_make_the_text(gpt2):
    write = zoo.pipeline("text-generation", gpt2("GPT2LMHeadModel"), max_new_tokens=12)
    pieces = []
    (found,) = write("Zürich", on_text=pieces.append)
    assert "Zürich" + "".join(pieces) == found["generated_text"]
    assert len(pieces) > 1


def test_generation_ends_where_it_is_told(gpt2):
    write = zoo.pipeline("text-generation", gpt2("GPT2LMHeadModel"), max_new_tokens=8)
    prompt = len(write.tokenizer("Zürich")["input_ids"])
    (free,) = write("Zürich", return_tensors=True)
    new = free["generated_token_ids"][prompt:]
    (cut,) = write("Zürich", return_tensors=True, eos_token_id=new[2])
    assert cut["generated_token_ids"][prompt:] == new[: new.index(new[2]) + 1]
    filled = write("Zürich", max_new_tokens=None, return_tensors=True, eos_token_id=[])
    assert len(filled[0]["generated_token_ids"]) == 65  # the last one needs no position


def test_several_continuations_are_drawn(gpt2):
    write = zoo.pipeline("text-generation", gpt2("GPT2LMHeadModel"), max_new_tokens=6)
    options = {"do_sample": True, "top_k": 0, "temperature": 9.0, "num_return_sequences": 3}
    found = write("Zürich", **options)
    assert len({one["generated_text"] for one in found}) == 3
    assert write("Zürich", **options) == found
    both = write(["Zürich", "The quick"], **options | {"top_k": 1})
    assert [len(one) for one in both] == [3, 3]
    assert both[0][0] == write("Zürich")[0]


def test_chats_are_continued(gpt2):
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    folder = gpt2("GPT2LMHeadModel", settings={"chat_template": template})
    write = zoo.pipeline("text-generation", folder, max_new_tokens=4)
    chat = [{"role": "user", "content": "fox?"}]
    (found,) = write(chat)
    (plain,) = write("user: fox?\nassistant:", return_full_text=False)
    added = {"role": "assistant", "content": plain["generated_text"]}
    assert found["generated_text"] == [*chat, added]
    assert write([chat, chat]) == [[found], [found]]


def test_few_programs_are_compiled(gpt2, bert):
    write = zoo.pipeline("text-generation", gpt2("GPT2LMHeadModel"), max_new_tokens=12)
    for cached in (loop.advance, loop.fill):
        cached.clear_cache()
    texts = ["A", "An", "The quick", "The quick ", "The quick brown fox jumps"]
    for text in texts:
        write(text)
    sizes = {room(len(write.tokenizer(text)["input_ids"]) - 1, 12) for text in texts}
    assert len(sizes) < len(texts)
    assert loop.advance._cache_size() == len(sizes)
    assert loop.fill._cache_size() <= len(sizes)
    label = zoo.pipeline("text-classification", bert("BertForSequenceClassification"))
    before = _run._cache_size()
    for count in range(1, 9):
        label([f"fox {'dog ' * i}" for i in range(count)])
    assert _run._cache_size() - before <= 5
