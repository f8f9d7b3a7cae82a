"""Chat templates: the same text and ids as transformers, in a sandbox."""

import json

import numpy as np
import pytest

from zoo.tokenizers import Tokenizer

CHAT = [
    {"role": "system", "content": "Be nice.", "name": None},
    {"role": "user", "content": "Hi 👋 <|im_end|>"},
    {"role": "assistant", "content": "Hello there"},
]
OTHER = [{"role": "user", "content": "日本語"}, {"role": "assistant", "content": "はい  "}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"x": ["é", 1.5, None]}}}]

TEMPLATES = {
    "chatml": (
        "{%- if tools %}\n    {{- tools | tojson }}\n"
        "    {{- tools|tojson(indent=2) }}\n{%- endif %}"
        "{%- set ns = namespace(seen=0) -%}\n"
        "{% for message in messages %}\n"
        "    {%- if loop.index0 == 5 %}{% break %}{% endif -%}\n"
        "    {% set ns.seen = ns.seen + 1 %}\n"
        "{{ '<|im_start|>' + message.role + '\\n' + message.content|trim + '<|im_end|>' }}\n"
        "{% endfor %}{{ ns.seen }}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llama": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
        "[INST] {{ m['content'] }} [/INST]{% else %}{{ m['content'] + eos_token }}{% endif %}"
        "{% endfor %}{{ extra | default('none') }}"
    ),
    "documents": "{% for d in documents %}{{ d.title }}: {{ d['text'] }}{% endfor %}{{ messages }}",
}


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("prompt", [False, True])
def test_equals_transformers(pairs, kind, name, prompt):
    ours, ref = pairs(kind)
    options = {
        "chat_template": TEMPLATES[name],
        "add_generation_prompt": prompt,
        "tools": TOOLS if name == "chatml" else None,
        "documents": [{"title": "A", "text": "b"}] if name == "documents" else None,
        "extra": "given",
    }
    if kind == "qwen2" and name == "llama":
        options["bos_token"] = "<|im_start|>"
    for chat in (CHAT, [CHAT, OTHER]):
        assert ours.apply_chat_template(chat, tokenize=False, **options) == ref.apply_chat_template(
            chat, tokenize=False, **options
        )
        assert dict(ours.apply_chat_template(chat, **options)) == dict(
            ref.apply_chat_template(chat, **options)
        )
        assert ours.apply_chat_template(
            chat, return_dict=False, **options
        ) == ref.apply_chat_template(chat, return_dict=False, **options)


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_stored_template_batches_and_masks(pairs, kind):
    ours, ref = pairs(kind)
    for chat in (CHAT, [CHAT, OTHER]):
        for options in (
            {"return_assistant_tokens_mask": True},
            {"padding": True},
            {"padding": True, "truncation": True, "max_length": 12},
            {"padding": "max_length", "max_length": 60, "return_tensors": "np"},
            {"return_assistant_tokens_mask": True, "truncation": True, "max_length": 9},
        ):
            got, want = (
                ours.apply_chat_template(chat, **options),
                ref.apply_chat_template(chat, **options),
            )
            assert list(got) == list(want)
            for key in want:
                np.testing.assert_equal(got[key], want[key], err_msg=key)


@pytest.mark.parametrize("template", [None, TEMPLATES["chatml"]])
@pytest.mark.parametrize("chat", [CHAT, OTHER, [{"role": "user", "content": " only "}]])
def test_continuing_the_final_message(pairs, template, chat):
    ours, ref = pairs("qwen2")
    options = {"continue_final_message": True, "tokenize": False, "chat_template": template}
    text = ours.apply_chat_template(chat, **options)
    assert text == ref.apply_chat_template(chat, **options)
    assert text.endswith(chat[-1]["content"].strip()) or text.endswith(chat[-1]["content"])
    blocks = [{"role": "user", "content": [{"type": "text", "text": "abc"}]}]
    options["chat_template"] = "{{ messages[0].content[0].text }}<end>"
    assert ours.apply_chat_template(blocks, **options) == "abc"


def test_assistant_mask_marks_what_the_assistant_said(pairs):
    ours, _ = pairs("qwen2")
    out = ours.apply_chat_template(CHAT, return_assistant_tokens_mask=True)
    said = [i for i, yes in zip(out["input_ids"], out["assistant_masks"], strict=True) if yes]
    assert ours.decode(said) == "Hello there"


def test_named_templates(folders, tmp_path):
    for path in folders("qwen2").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["chat_template"] = [
        {"name": "default", "template": "D"},
        {"name": "tool_use", "template": "T"},
        {"name": "rag", "template": "R"},
    ]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = Tokenizer.from_pretrained(tmp_path)
    say = lambda **options: ours.apply_chat_template(CHAT, tokenize=False, **options)  # noqa: E731
    assert say() == "D"
    assert say(tools=TOOLS) == "T"
    assert say(chat_template="rag") == "R"
    assert say(chat_template="{{ 1 + 1 }}") == "2"
    ours.save_pretrained(tmp_path / "saved")
    assert Tokenizer.from_pretrained(tmp_path / "saved").chat_templates == ours.chat_templates
    (tmp_path / "chat_template.jinja").write_text("file")
    assert Tokenizer.from_pretrained(tmp_path).chat_template == "file"
    assert Tokenizer.from_pretrained(tmp_path, chat_template="mine").chat_template == "mine"


HOSTILE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].system('id') }}",
    "{{ dict.__globals__ }}",
    "{{ strftime_now.__globals__ }}",
    "{{ raise_exception.__code__ }}",
    "{{ messages.append(1) }}",
    "{% set n = namespace(__class__=1) %}{{ n.x }}",
    "{% set n = namespace() %}{% set n._x = 1 %}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ self.__init__ }}",
    "{{ range(10**9) | list }}",
    "{{ 1 / 0 }}",
    "{{ undefined.field }}",
    "{% include 'x' %}",
    "{% import 'os' as os %}",
    "{{ messages[0].content + 1 }}",
    "{{ raise_exception('roles must alternate') }}",
    "{% for m in messages %}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
]


@pytest.mark.parametrize("template", HOSTILE)
def test_hostile_and_broken_templates_are_errors(pairs, template):
    ours, _ = pairs("qwen2")
    error, text = "", ""
    try:
        text = ours.apply_chat_template(CHAT, chat_template=template, tokenize=False)
    except ValueError as raised:
        error = str(raised)
    assert error.startswith("chat template: ") or not text.strip()


def test_objects_are_not_seen_by_templates(pairs, tmp_path):
    ours, _ = pairs("qwen2")
    chat = [{"role": "user", "content": tmp_path}]
    template = "{{ messages[0].content }}{{ messages[0].content.write_text('x') }}"
    with pytest.raises(ValueError, match="chat template"):
        ours.apply_chat_template(chat, chat_template=template, tokenize=False)
    text = ours.apply_chat_template(chat, chat_template=template[:25], tokenize=False)
    assert text == "<PosixPath>"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"conversation": []}, "conversation: found"),
        ({"conversation": "hi"}, "conversation: found 'hi'"),
        ({"conversation": ["hi"]}, "message 0 is a str"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "excludes"),
        ({"return_assistant_tokens_mask": True, "tokenize": False}, "needs tokenize=True"),
        ({"sanitize_control_tokens": True}, "sanitize_control_tokens is not supported"),
        ({"tools": [print]}, r"tools\[0\].*functions are not converted"),
        ({"documents": ["x"]}, r"documents\[0\]: found a str"),
        ({"chat_template": "x", "continue_final_message": True}, "drops or changes"),
        ({"continue_final_message": "thought"}, "no text under 'thought'"),
        ({"chat_template": "{% if %}"}, "chat template: line 1"),
    ],
)
def test_wrong_arguments(pairs, options, match):
    ours, _ = pairs("qwen2")
    with pytest.raises(ValueError, match=match):
        ours.apply_chat_template(**{"conversation": CHAT, **options})


def test_no_template(pairs):
    with pytest.raises(ValueError, match="the tokenizer has none; pass a template"):
        pairs("bert")[0].apply_chat_template(CHAT)
