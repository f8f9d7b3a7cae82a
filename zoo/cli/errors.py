"""What went wrong, in one line and one number."""

import os
import sys
from typing import NamedTuple

OK, UNEXPECTED, USAGE, MISSING, BAD, ACCESS, MACHINE, INTERRUPTED, PIPE = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    130,
    141,
)
CODES = {
    OK: "done",
    UNEXPECTED: "an error of zoo's own; --debug shows where",
    USAGE: "the command line is wrong",
    MISSING: "no such file, folder, repository or revision",
    BAD: "input, a config or a file that makes no sense, or is not supported",
    ACCESS: "no access, or no network",
    MACHINE: "the machine lacks something: memory, disk space, a package",
    INTERRUPTED: "interrupted with ctrl-c",
    PIPE: "whoever read the output has gone",
}


class Gone(Exception):
    """Whoever read the output has gone; not an OSError, which typer would take for its own."""


class Fault(NamedTuple):
    """An exit code and the line to show with it."""

    code: int
    text: str


def fault(error: BaseException) -> Fault:
    """Which fault an exception is."""
    text = _text(error)
    if isinstance(error, FileNotFoundError):
        return Fault(MISSING, text)
    if isinstance(error, PermissionError | ConnectionError | TimeoutError):
        return Fault(ACCESS, text)
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return Fault(BAD, text)
    if isinstance(error, OSError | ImportError | MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return Fault(MACHINE, text.partition("\n")[0] or "out of memory")
    if isinstance(error, ValueError) or (isinstance(error, KeyError) and ": " in text):
        return Fault(BAD, text)
    return Fault(UNEXPECTED, f"unexpected {type(error).__name__}: {text}; --debug shows where")


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(x) for x in (error.filename, error.strerror) if x)
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error)


def quiet_pipe() -> int:
    """Points stdout nowhere, so that nothing complains while the process ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
    return PIPE
