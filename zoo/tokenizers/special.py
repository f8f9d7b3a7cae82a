"""Special tokens: the named ones (`pad_token` and its kin), the extra ones, and adding them."""

from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


class Named:
    """`tokenizer.pad_token`: a special token by name, None where it is not set."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the name of the token."""
        self.name = name

    def __get__(self, tokenizer: Any, owner: type | None = None) -> str | None:
        """The token's text."""
        return tokenizer._named.get(self.name)

    def __set__(self, tokenizer: Any, token: str | AddedToken | None) -> None:
        """Use a token of the vocabulary under this name; None unsets it.

        Raises:
            ValueError: the token is not in the vocabulary, or not a string.
        """
        content = None if token is None else text(self.name, token)
        if content is not None and tokenizer.backend_tokenizer.token_to_id(content) is None:
            raise ValueError(
                f"{self.name}: {content!r} is not in the vocabulary; add it with "
                f"add_special_tokens({{{self.name!r}: {content!r}}})"
            )
        tokenizer._named[self.name] = content
        tokenizer._follow_named(self.name)


class NamedId:
    """`tokenizer.pad_token_id`: the id of a special token, None where it is not set."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the name of the token."""
        self.name = name.removesuffix("_id")

    def __get__(self, tokenizer: Any, owner: type | None = None) -> int | None:
        """The token's id."""
        token = tokenizer._named.get(self.name)
        return None if token is None else tokenizer.backend_tokenizer.token_to_id(token)

    def __set__(self, tokenizer: Any, index: int | None) -> None:
        """Use the token with this id; None unsets it.

        Raises:
            ValueError: no token has this id.
        """
        token = None if index is None else tokenizer.convert_ids_to_tokens(index)
        if index is not None and token is None:
            raise ValueError(
                f"{self.name}_id: no token has id {index}; the vocabulary has "
                f"{len(tokenizer)} tokens"
            )
        setattr(tokenizer, self.name, token)


def text(where: str, token: Any) -> str:
    """The text of a token given as a string or an AddedToken.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(token, AddedToken):
        return token.content
    if isinstance(token, str):
        return token
    raise ValueError(f"{where}: found {token!r}, expected a token as a string")


def parse(where: str, value: Any, special: bool = True) -> str | AddedToken:
    """A token of a JSON file: a string, or an object with `content` and flags.

    Raises:
        ValueError: it is neither, or a flag is not a boolean.
    """
    if isinstance(value, (str, AddedToken)):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("content"), str):
        raise ValueError(
            f"{where}: found {value!r}, expected a token as a string or an object with 'content'"
        )
    flags = {k: v for k, v in value.items() if k not in ("__type", "content", "id")}
    unknown = set(flags) - {"single_word", "lstrip", "rstrip", "normalized", "special"}
    if unknown or not all(isinstance(v, bool) for v in flags.values()):
        raise ValueError(f"{where}: token {value['content']!r} has unknown or non-boolean flags")
    return AddedToken(value["content"], **{"special": special, **flags})


def extras(where: str, value: Any) -> list[str | AddedToken]:
    """`additional_special_tokens`: a list of tokens, None for none.

    Raises:
        ValueError: it is not a list of tokens.
    """
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}: found {type(value).__name__}, expected a list of tokens")
    return [parse(f"{where}[{i}]", token) for i, token in enumerate(value)]


def missing(
    backend: Backend,
    declared: Mapping[int, AddedToken],
    named: Mapping[str, str | AddedToken | None],
    extra: Iterable[str | AddedToken],
) -> list[AddedToken]:
    """The tokens that the files declare and the backend lacks or holds with other flags.

    Declared tokens come first, in the order of their ids, then the named ones, then the extra ones.
    """
    known = {repr(token) for token in backend.get_added_tokens_decoder().values()}
    wanted = [token for _, token in sorted(declared.items()) if repr(token) not in known]
    seen = {token.content for token in backend.get_added_tokens_decoder().values()}
    seen |= {token.content for token in wanted}
    names = {str_of(token) for token in named.values() if token is not None}
    for token in wanted:
        if token.content in names:
            token.special = True
    for token in [*(t for t in named.values() if t is not None), *extra]:
        if str_of(token) not in seen:
            seen.add(str_of(token))
            wanted.append(_special(token))
    return wanted


def str_of(token: str | AddedToken) -> str:
    """The text of a token."""
    return token.content if isinstance(token, AddedToken) else token


def _special(token: str | AddedToken) -> AddedToken:
    return AddedToken(token, special=True) if isinstance(token, str) else token
