"""The few sizes that programs are compiled for; padding up to them is masked."""

LEAST = 16
PIECES = 8  # a full cache is filled in so many steps


def bucket(length: int, limit: int | None = None) -> int:
    """The next of 16, 24, 32, 48, 64, 96, ..., at most `limit`: a third of padding at worst."""
    power = max(LEAST, 1 << max(length - 1, 0).bit_length())
    size = power * 3 // 4 if LEAST < length <= power * 3 // 4 else power
    return size if limit is None else max(length, min(size, limit))


def room(prompt: int, new: int) -> tuple[int, int]:
    """Slots of a cache for `prompt` and `new` tokens, and how many of the prompt go in at once.

    Both follow from the number of slots alone, so that prompts of any length share two programs:
    one that fills the cache piece by piece, one that continues. The prompt is padded on its left
    to whole pieces.
    """
    slots = bucket(prompt + new)
    while True:
        piece = max(LEAST // 2, slots // PIECES)
        if padded(prompt, piece) + new <= slots:
            return slots, piece
        slots = bucket(slots + 1)


def padded(length: int, piece: int) -> int:
    """`length` rounded up to whole pieces."""
    return -(-length // piece) * piece
