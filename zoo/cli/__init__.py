"""The `zoo` command. Nothing heavy is imported before a command needs it."""

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with one of the codes that `zoo --help` lists."""
    from zoo.cli import app

    sys.exit(app.main(sys.argv[1:] if arguments is None else list(arguments)))
