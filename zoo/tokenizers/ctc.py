"""Tokenizer of models that label the frames of a recording with characters (CTC).

A frame is a character, or blank (the pad token); repetitions are one character. Graves et al. 2006.
"""

import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from zoo.tokenizers import characters, decode, save
from zoo.tokenizers.batch import BatchEncoding
from zoo.tokenizers.characters import DELIMITER, FILE
from zoo.tokenizers.files import Settings, read_json
from zoo.tokenizers.tokenizer import Tokenizer


class Transcript(NamedTuple):
    """A text and where it was heard.

    Attributes:
      text: what was said.
      char_offsets: `{"char", "start_offset", "end_offset"}` in frames; None where not asked for.
      word_offsets: `{"word", "start_offset", "end_offset"}`; likewise.
    """

    text: str
    char_offsets: list[dict[str, Any]] | None = None
    word_offsets: list[dict[str, Any]] | None = None


class CTCTokenizer(Tokenizer):
    """Characters to ids; frames to text, with the time of every character and word."""

    def __init__(self, tokenizer_object: Backend, settings: Settings | None = None, **more: Any):
        """Wrap a backend as `characters.build` makes it; `name_or_path` is its folder."""
        super().__init__(tokenizer_object, settings, **more)
        config = {} if settings is None else settings.config
        self.do_lower_case = bool(config.get("do_lower_case", False))
        self.replace_word_delimiter_char = config.get("replace_word_delimiter_char", " ")
        self.target_lang = config.get("target_lang")
        self._named.setdefault("word_delimiter_token", DELIMITER)

    def __call__(self, text: Any, *args: Any, **options: Any) -> BatchEncoding:
        """As `Tokenizer`; with `do_lower_case` the vocabulary is in capitals."""
        return super().__call__(self._upper(text) if self.do_lower_case else text, *args, **options)

    def set_target_lang(self, target_lang: str) -> None:
        """Use the vocabulary of another language of a `vocab.json` that has several.

        Raises:
            ValueError: there is no such language.
        """
        vocab = characters.language(Path(self.name_or_path) / FILE, target_lang)
        self._backend = characters.backend(
            vocab, {k: v for k, v in self._named.items() if v is not None}
        )
        special = [AddedToken(t, special=True) for t in self.special_tokens_map.values()]
        self._backend.add_special_tokens(special)
        self.target_lang = self.init_kwargs["target_lang"] = target_lang

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        *,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
    ) -> Any:
        """Ids of frames -> text, or a `Transcript` where offsets are asked for; rows -> a list.

        Raises:
            ValueError: something that is no id.
        """
        rows = decode.rows(token_ids)
        nested = bool(rows) and isinstance(rows[0], list)
        clean = clean_up_tokenization_spaces
        clean = self.clean_up_tokenization_spaces if clean is None else clean
        out = []
        for row in rows if nested else [rows]:
            frames = self._frames(row, skip_special_tokens)
            chars = self._chars(frames, group_tokens)
            text = (" " if spaces_between_special_tokens else "").join(c["char"] for c in chars)
            text = text.strip()
            text = text.lower() if self.do_lower_case else text
            text = decode.clean_up(text) if clean else text
            words = self.word_offsets(chars) if output_word_offsets else None
            one = Transcript(text, chars if output_char_offsets else None, words)
            out.append(one if output_char_offsets or output_word_offsets else text)
        return out if nested else out[0]

    def batch_decode(self, sequences: Any, *args: Any, **options: Any) -> list[Any]:
        """Rows of ids -> a list of what `decode` gives."""
        found = self.decode(sequences, *args, **options)
        return found if isinstance(found, list) else [found]

    def word_offsets(self, chars: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Offsets of characters -> those of the words that they make."""
        space, out = self.replace_word_delimiter_char, []
        for is_space, group in itertools.groupby(chars, lambda c: c["char"] == space):
            found = list(group)
            if not is_space:
                word = "".join(c["char"] for c in found)
                begin, end = found[0]["start_offset"], found[-1]["end_offset"]
                out.append({"word": word, "start_offset": begin, "end_offset": end})
        return out

    def save_pretrained(self, folder: str | os.PathLike) -> tuple[str, ...]:
        """Write `vocab.json` and settings, from which transformers builds the same tokenizer."""
        source = Path(self.name_or_path) / FILE
        vocab: Any = self._backend.get_vocab(with_added_tokens=False)
        if self.target_lang is not None and source.is_file():
            vocab = read_json(source)
        return save.write_all(
            folder,
            {
                FILE: json.dumps(vocab, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
                **save.settings_files(self),
            },
        )

    def _frames(self, ids: Sequence[int], skip_special: bool) -> list[str]:
        """Tokens of frames; an id without a token is unknown."""
        tokens = [self._backend.id_to_token(i) or str(self.unk_token) for i in ids]
        if not skip_special:
            return tokens
        dropped = set(self.all_special_tokens) - {self.word_delimiter_token}
        return [token for token in tokens if token not in dropped]

    def _chars(self, frames: Sequence[str], group: bool) -> list[dict[str, Any]]:
        """Frames -> characters with the frames they span, without blanks."""
        out, at = [], 0
        runs = itertools.groupby(frames) if group else ((frame, [frame]) for frame in frames)
        for token, run in runs:
            begin, at = at, at + len(list(run))
            if token != self.pad_token:
                space = token == self.word_delimiter_token
                char = self.replace_word_delimiter_char if space else token
                out.append({"char": char, "start_offset": begin, "end_offset": at})
        return out

    def _upper(self, text: Any) -> Any:
        """Texts in capitals, tokens of several characters as they are."""
        if isinstance(text, list | tuple):
            return [self._upper(item) for item in text]
        whole = [re.escape(token) for token in self.added_tokens_encoder if len(token) > 1]
        if not isinstance(text, str) or not whole:
            return text
        parts = re.split(f"({'|'.join(whole)})", text)
        return "".join(part if i % 2 else part.upper() for i, part in enumerate(parts))
