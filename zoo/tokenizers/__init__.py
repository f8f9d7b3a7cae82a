"""Text to ids and back, spelled as users of transformers expect.

`Tokenizer.from_pretrained(repo_or_folder)` reads `tokenizer.json`, or builds the same tokenizer
from `vocab.txt`, `vocab.json` and `merges.txt`, or a SentencePiece model. README.md has the choices
made where transformers 4 and 5 differ.
"""

from zoo.tokenizers.batch import BatchEncoding, CharSpan, TokenSpan
from zoo.tokenizers.tokenizer import Tokenizer

__all__ = ["BatchEncoding", "CharSpan", "TokenSpan", "Tokenizer"]
