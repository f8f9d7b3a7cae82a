"""Rows of results, and how they are written down."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN, END = "<!-- {} -->", "<!-- end of {} -->"
HEADER = ("", "benchmark", "zoo", "reference", "ratio", "by medians", "target", "also")


class Row(NamedTuple):
    """One line.

    Attributes:
      name: what was measured.
      zoo: our figure, with its unit.
      reference: the figure that it is compared with, and whose it is.
      ratio: of the two, by minima; None where the benchmark failed.
      median: the same by medians; None where there is only one measurement.
      sense: whether a higher (">=") or a lower ("<=") ratio is better.
      target: of the ratio; None where there is none.
      also: other figures worth seeing.
    """

    name: str
    zoo: str
    reference: str
    ratio: float | None
    median: float | None = None
    sense: str = ">="
    target: float | None = None
    also: str = ""

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the target."""
        if self.ratio is None:
            return False
        if self.target is None:
            return True
        return self.ratio >= self.target if self.sense == ">=" else self.ratio <= self.target

    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        return (
            "" if self.met else "MISS",
            self.name,
            self.zoo,
            self.reference,
            _figure(self.ratio),
            _figure(self.median),
            "" if self.target is None else f"{'≥' if self.sense == '>=' else '≤'} {self.target:g}",
            self.also,
        )


def _figure(x: float | None) -> str:
    return "" if x is None else f"{x:.2f}"


def failed(name: str, error: BaseException) -> Row:
    """The line of a benchmark that could not be measured."""
    return Row(name, "failed", "", None, also=f"{type(error).__name__}: {error}".partition("\n")[0])


def duration(seconds: float) -> str:
    """Seconds in a readable unit."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def plain(rows: Iterable[Row]) -> str:
    """A table for the terminal."""
    lines = [HEADER, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def machine() -> str:
    """Processor, cores in use, how busy they are, and the versions that matter."""
    names = ("jax", "jaxlib", "numpy", "torch", "transformers")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    python = f"Python {platform.python_version()}"
    return f"{_processor()}, {cores} cores, load {load:.1f} at the start. {python}, {versions}."


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.machine())


def write(rows: Iterable[Row], *, where: str, section: str) -> None:
    """Replaces a section ("CPU" or "GPU") of RESULTS.md."""
    begin, end = BEGIN.format(section), END.format(section)
    head = f"{begin}\n## {section}\n\n{datetime.date.today().isoformat()}. {where}\n\n"
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in r.cells()) + " |" for r in rows
    ]
    block = head + "\n".join(lines) + f"\n{end}\n"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    before, found, rest = text.partition(begin)
    after = rest.partition(f"{end}\n")[2] if found else ""
    RESULTS.write_text(before + ("" if found else "\n") + block + after, encoding="utf-8")
