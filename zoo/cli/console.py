"""Where things are shown: answers on stdout, everything else on stderr."""

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zoo.cli.errors import Gone

NAME, NUMBER, DIM, HEAD = "cyan", "green", "dim", "bold"


class Out(Console):
    """A console that leaves a broken pipe to the caller.

    Raises:
      Gone: on printing.
    """

    def on_broken_pipe(self) -> None:
        """Says so."""
        raise Gone


def out() -> Out:
    """The console of answers."""
    return Out(highlight=False, emoji=False, markup=False)


def err() -> Console:
    """The console of warnings, errors and progress."""
    return Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


def dump(value: Any, *, lines: bool = False) -> None:
    """Writes JSON for machines: indented, or on one line.

    Raises:
      Gone: nobody reads it.
    """
    text = json.dumps(value, ensure_ascii=False, indent=None if lines else 2, default=str)
    try:
        sys.stdout.write(text.encode("utf-8", "replace").decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise Gone from error


def table(*columns: str | tuple[str, dict[str, Any]], title: str | None = None) -> Table:
    """A table without frames; a column is a heading, or a heading with rich's options."""
    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style=HEAD,
                 header_style=HEAD, pad_edge=False, show_edge=False)  # fmt: skip
    for column in columns:
        heading, options = (column, {}) if isinstance(column, str) else column
        made.add_column(heading, **options)
    return made


def facts(pairs: Sequence[tuple[str, Any]]) -> Table:
    """Names and values in two columns; those without a value are left out."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style=DIM, no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], ()):
            made.add_row(name, value if isinstance(value, Text) else str(value))
    return made


def size(count: float) -> str:
    """Bytes for people: 90.9 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB" if count < 999.5 else f"{count:,.0f} TB"


def millions(count: int) -> str:
    """Parameters for people: 22.7M."""
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale * 0.9995:
            return f"{count / scale:.3g}{unit}"
    return str(count)


def meter(share: float, width: int = 16) -> Text:
    """A bar of a share between 0 and 1."""
    full = round(max(0.0, min(1.0, share)) * width * 8)
    text = "█" * (full // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[full % 8]
    return Text(text, style=NUMBER)


class Lines(logging.Handler):
    """Log records as one line each on stderr: `warning: ...`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a record."""
        style = "yellow" if record.levelno >= logging.WARNING else DIM
        level = record.levelname.lower()
        err().print(Text.assemble((f"{level}: ", style), record.getMessage()))


def listen(verbose: bool) -> None:
    """Shows warnings of the packages, and with `verbose` what they tell beside."""
    for name in ("zoo", "bridges", "sharding"):
        log = logging.getLogger(name)
        log.handlers = [Lines()]
        log.propagate = False
        log.setLevel(logging.INFO if verbose else logging.WARNING)
