"""Rendering chat templates: Jinja in a sandbox.

Templates come from repositories and are not trusted: the environment is Jinja's immutable sandbox,
and what a template sees is rebuilt from plain dicts, lists, strings and numbers.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

Span = tuple[int, int]
_TAG = "\ue000continue\ue001 "


class Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: marks what the assistant said."""

    tags = {"generation"}  # noqa: RUF012

    def __init__(self, environment: jinja2.Environment):
        """Start with no rendering under way."""
        super().__init__(environment)
        self.run = threading.local()

    def parse(self, parser: Any) -> nodes.Node:
        """Wrap the body in a call of `mark`."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("mark"), [], [], body).set_lineno(line)

    def mark(self, caller: Any) -> str:
        """Render the body and remember which characters it fills."""
        text = caller()
        blocks, spans = self.run.state
        start = sum(map(len, blocks))
        spans.append((start, start + len(text)))
        return text

    @contextmanager
    def recording(self, blocks: list[str]) -> Iterator[list[Span]]:
        """Collect the spans of one rendering, whose output goes to `blocks`."""
        spans: list[Span] = []
        self.run.state = blocks, spans
        yield spans


class _Namespace(Namespace):
    """Jinja's namespace without underscore names."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        for name in dict(*args[1:], **kwargs):
            _public(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        Namespace.__setitem__(self, _public(name), value)


def _public(name: str) -> str:
    if name.startswith("_"):
        raise SecurityError(f"namespace: {name!r} begins with an underscore")
    return name


def _dict(*args: Any, **kwargs: Any) -> dict:
    return dict(*args, **kwargs)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def compiled(template: str) -> jinja2.Template:
    """A template in its sandbox.

    Raises:
        ValueError: the template is not valid Jinja.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        raise_exception=_raise,
        strftime_now=lambda form: datetime.now().strftime(form),
        dict=_dict,
        namespace=_Namespace,
    )
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"chat template: line {error.lineno}: {error.message}") from error
    except (jinja2.TemplateError, RecursionError) as error:
        raise ValueError(f"chat template: {error}") from error


_cached = lru_cache(maxsize=32)(compiled)


def plain(value: Any) -> Any:
    """Rebuild a value from JSON's types; anything else becomes its type's name in brackets."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (int, float)):
        return int.__int__(value) if isinstance(value, int) else float.__float__(value)
    if isinstance(value, Mapping):
        return {plain(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return plain(value.item())
    return f"<{type(value).__name__}>"


def render(
    template: str,
    chats: Sequence[list[dict[str, Any]]],
    variables: Mapping[str, Any],
    continue_final: bool | str = False,
) -> list[tuple[str, list[Span]]]:
    """Conversations -> their texts, each with the character spans of its generation blocks.

    Raises:
        ValueError: the template fails, refuses the conversation, or drops the final message.
    """
    program, values = _cached(template), plain(dict(variables))
    key = "content" if continue_final is True else continue_final
    results = []
    for chat in chats:
        final = ""
        if key:
            chat, final = _open_final(chat, key)
        text, spans = _run(program, {**values, "messages": chat})
        results.append((_cut(text, final) if key else text, spans))
    return results


def _run(program: jinja2.Template, variables: dict[str, Any]) -> tuple[str, list[Span]]:
    blocks: list[str] = []
    tracker = next(e for e in program.environment.extensions.values() if isinstance(e, Generation))
    try:
        with tracker.recording(blocks) as spans:
            blocks.extend(program.generate(**variables))
    except jinja2.TemplateError as error:
        raise ValueError(f"chat template: {error}") from error
    except Exception as error:
        raise ValueError(f"chat template: {type(error).__name__}: {error}") from error
    return "".join(blocks), list(spans)


def _open_final(chat: list[dict[str, Any]], key: str) -> tuple[list[dict[str, Any]], str]:
    """Mark the end of the last message's text, so that what follows it can be cut."""
    last = dict(chat[-1]) if chat else {}
    content = last.get(key)
    if isinstance(content, str):
        last[key], final = content + _TAG, content
        return [*chat[:-1], last], final
    blocks = list(content) if isinstance(content, (list, tuple)) else []
    for i in reversed(range(len(blocks))):
        if isinstance(blocks[i], dict) and isinstance(blocks[i].get("text"), str):
            final = blocks[i]["text"]
            blocks[i] = {**blocks[i], "text": final + _TAG}
            last[key] = blocks
            return [*chat[:-1], last], final
    raise ValueError(f"continue_final_message: the last message has no text under {key!r}")


def _cut(text: str, final: str) -> str:
    at = text.rfind(_TAG.strip())
    if at < 0 or final.strip() not in text:
        raise ValueError(
            "continue_final_message: the chat template drops or changes the last message, so that "
            "it cannot be continued"
        )
    return text[:at] if text[at:].startswith(_TAG) else text[:at].rstrip()
