"""Conversations to the model's inputs: choosing a chat template, rendering, encoding."""

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.tokenizers.template import Span, plain, render


def conversations(value: Any) -> tuple[list[list[dict[str, Any]]], bool]:
    """One conversation or several as lists of plain messages, and whether it was several.

    Keys whose value is None are dropped.

    Raises:
        ValueError: empty, or a message that is not a mapping.
    """
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(
            f"conversation: found {value!r}, expected a list of messages with 'role' and 'content'"
        )
    batched = isinstance(value[0], (list, tuple))
    chats = []
    for chat in value if batched else [value]:
        messages = chat if isinstance(chat, (list, tuple)) else [chat]
        for i, message in enumerate(messages):
            if not isinstance(message, Mapping):
                raise ValueError(
                    f"conversation: message {i} is a {type(message).__name__}, expected a dict "
                    "with 'role' and 'content'"
                )
        chats.append([{k: v for k, v in plain(m).items() if v is not None} for m in messages])
    return chats, batched


def choose(found: Mapping[str, str], asked: str | None, tools: Any) -> str:
    """A template by its name, a template as given, or the one for the occasion.

    Raises:
        ValueError: there is none to choose.
    """
    if asked is not None:
        return found.get(asked, asked)
    if tools is not None and "tool_use" in found:
        return found["tool_use"]
    if "default" in found:
        return found["default"]
    names = f"one of {', '.join(sorted(found))}" if found else "a template"
    raise ValueError(
        f"chat template: the tokenizer has {'no default' if found else 'none'}; pass {names} as "
        "chat_template"
    )


def apply(
    tokenizer: Any,
    conversation: Any,
    variables: Mapping[str, Any],
    template: str,
    add_generation_prompt: bool,
    continue_final: bool | str,
    options: Mapping[str, Any] | None,
    return_dict: bool,
    mask: bool,
) -> Any:
    """Render, and encode unless `options` is None; see `Tokenizer.apply_chat_template`.

    Raises:
        ValueError: arguments that exclude each other, or what `render` refuses.
    """
    _check(variables, add_generation_prompt, continue_final, options, return_dict, mask)
    chats, batched = conversations(conversation)
    values = {
        **tokenizer.special_tokens_map,
        **variables,
        "add_generation_prompt": add_generation_prompt,
    }
    rendered = render(template, chats, values, continue_final)
    texts = [text for text, _ in rendered]
    if options is None:
        return texts if batched else texts[0]
    tensors = options.get("return_tensors")
    plain_options = {**options, "return_tensors": None}
    out = tokenizer(texts, add_special_tokens=False, **plain_options)
    if mask:
        out["assistant_masks"] = [
            _mask(out, i, spans) for i, (_, spans) in enumerate(rendered)
        ]  # fmt: skip
    if tensors is None and not batched:
        out.update({key: value[0] for key, value in out.items()})
    out.convert_to_tensors(tensors)
    return out if return_dict else out["input_ids"]


def _check(
    variables: Mapping[str, Any],
    prompt: bool,
    continue_final: bool | str,
    options: Mapping[str, Any] | None,
    return_dict: bool,
    mask: bool,
) -> None:
    if variables.get("sanitize_control_tokens"):
        raise ValueError("sanitize_control_tokens is not supported; clean the messages first")
    if continue_final and (prompt or mask):
        raise ValueError(
            "continue_final_message: excludes add_generation_prompt and "
            "return_assistant_tokens_mask; drop one of them"
        )
    if mask and (options is None or not return_dict):
        raise ValueError("return_assistant_tokens_mask: needs tokenize=True and return_dict=True")
    for name in ("tools", "documents"):
        for i, item in enumerate(variables.get(name) or ()):
            if not isinstance(item, Mapping):
                raise ValueError(
                    f"{name}[{i}]: found a {type(item).__name__}, expected a dict"
                    + (" (a JSON schema; functions are not converted)" if name == "tools" else "")
                )


def _mask(out: Any, row: int, spans: Sequence[Span]) -> list[int]:
    """1 for the tokens of the generation blocks."""
    mask = [0] * len(out["input_ids"][row])
    for start, stop in spans:
        first = out.char_to_token(row, start)
        if first is None:
            break
        last = out.char_to_token(row, stop - 1)
        for i in range(first, len(mask) if last is None else last + 1):
            mask[i] = 1
    return mask
