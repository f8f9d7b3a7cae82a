"""What the tokenizers library throws, said as one documented error."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def guard(where: str) -> Iterator[None]:
    """Turn what the tokenizers library throws, panics included, into a ValueError."""
    try:
        yield
    except (ValueError, OSError, ImportError, KeyError):
        raise
    except Exception as error:
        raise ValueError(f"{where}: the tokenizers library refuses it: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"{where}: the tokenizers library refuses it: {error}") from None
