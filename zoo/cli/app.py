"""The commands and their options, and what becomes of exceptions."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from zoo.cli import errors

# click's own, wherever this typer keeps them
UsageError: Any = typer.BadParameter.__mro__[1]
ClickException: Any = UsageError.__mro__[1]
# Options that may stand anywhere, and whether a value follows.
ANYWHERE = {
    "--revision": True,
    "--token": True,
    "--offline": False,
    "--verbose": False,
    "-v": False,
    "--debug": False,
}
HELP = (
    "Models of the Hugging Face Hub as pure JAX functions.\n\n"
    "MODEL is a folder or the name of a repository, such as bert-base-uncased. Answers go to "
    "stdout, warnings and progress to stderr. The options below may also stand behind the command."
)
CODES = "[bold]Exit codes[/bold]\n" + "\n".join(
    f"{code:>4}  {text}" for code, text in errors.CODES.items()
)
EPILOG = "--revision, --token, --offline, --verbose and --debug belong to every command: zoo --help"


HELP_NAMES = ["-h", "--help"]


class Settings(NamedTuple):
    """The options of every command."""

    revision: str | None = None
    token: str | None = None
    offline: bool = False
    verbose: bool = False
    debug: bool = False

    @property
    def where(self) -> dict[str, str | bool | None]:
        """As arguments of `from_pretrained`."""
        return {"revision": self.revision, "token": self.token, "local_files_only": self.offline}


app = typer.Typer(
    name="zoo",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP_NAMES},
    help=HELP,
    epilog=CODES,
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A folder or a repository.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for machines.")]


def _version(asked: bool) -> None:
    if asked:
        from zoo import __version__

        print(f"zoo {__version__}")
        raise typer.Exit


@app.callback()
def _settings(
    context: typer.Context,
    revision: Annotated[
        str | None, typer.Option(metavar="NAME", help="Branch, tag or commit of the repository.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Of the Hub; that of the login if absent.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only what is on this machine already.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell more of what happens.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the code an error arose.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version.")
    ] = False,
) -> None:
    context.obj = Settings(revision, token, offline, verbose, debug)
    if context.resilient_parsing:
        return
    from zoo.cli.console import listen

    listen(verbose or debug)


@app.command("list", epilog=EPILOG)
def list_(
    json: Json = False,
) -> None:
    """The architectures and tasks that are supported."""
    from zoo.cli import listing

    listing.show(json)


@app.command(epilog=EPILOG)
def info(context: typer.Context, model: Model, json: Json = False) -> None:
    """What a model is: size, parts, licence, tasks. Reads its config, never its weights."""
    from zoo.cli import info as command

    command.show(model, context.obj, json)


@app.command(epilog=EPILOG)
def run(
    context: typer.Context,
    model: Model,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Texts, or files of images or sound; - reads lines."),
    ],
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", metavar="TASK", help="What to do; what the model is for if absent."
        ),
    ] = None,
    pair: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The text beside every input.")
    ] = None,
    context_: Annotated[
        str | None,
        typer.Option("--context", metavar="TEXT", help="Where the answer to a question is."),
    ] = None,
    choices: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="What to choose from; give several."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(metavar="N", help="How many answers.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Length of a generated text.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", metavar="NAME=VALUE", help="Any other option of the task's pipeline."
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="DTYPE", help="Of the parameters: float32, bfloat16, float16."),
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Inputs that run at once.")] = 8,
    json: Annotated[
        bool, typer.Option("--json", help="Write a line of JSON for each input.")
    ] = False,
) -> None:
    """Answer inputs: label a text, fill a mask, answer a question, look at an image, write on."""
    from zoo.cli import run as command

    asked = command.Asked(
        task, pair, context_, tuple(choices or ()), top_k, max_new_tokens, tuple(option or ())
    )
    command.show(model, inputs, asked, context.obj, dtype, batch_size, json)


@app.command(epilog=EPILOG)
def convert(
    context: typer.Context,
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    dtype: Annotated[
        str | None,
        typer.Option(metavar="DTYPE", help="Of the stored weights; as they are if absent."),
    ] = None,
    max_shard_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Bytes of a file at most, such as 5GB.")
    ] = "50GB",
    task: Annotated[
        str | None, typer.Option("--task", "-t", metavar="TASK", help="Keep what this task needs.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read it back and compare every bit.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a model of any format as safetensors, in a folder that transformers loads."""
    from zoo.cli import convert as command

    command.show(model, out, context.obj, dtype, max_shard_size, task, verify, json)


@app.command(epilog=EPILOG)
def env(json: Json = False) -> None:
    """Versions, devices and memory, for a bug report."""
    from zoo.cli import env as command

    command.show(json)


def arranged(arguments: Sequence[str]) -> list[str]:
    """The options of every command in front, wherever they stood before a `--`."""
    front, rest, items = [], [], list(arguments)
    while items and items[0] != "--":
        item = items.pop(0)
        name = item.partition("=")[0]
        if name not in ANYWHERE:
            rest.append(item)
            continue
        front.append(item)
        if ANYWHERE[name] and "=" not in item and items:
            front.append(items.pop(0))
    return front + rest + items


def run_command(arguments: Sequence[str]) -> int:
    """Runs a command; returns its exit code, raises what it raises."""
    command: Any = typer.main.get_command(app)
    for one in (command, *command.commands.values()):
        _plain_flags(one)
    done = command.main(args=arranged(arguments), prog_name="zoo", standalone_mode=False)
    return done if isinstance(done, int) else errors.OK


def main(arguments: Sequence[str]) -> int:
    """Runs a command; errors become a line and a code."""
    try:
        code = run_command(arguments)
        sys.stdout.flush()
        return code
    except (BrokenPipeError, errors.Gone):
        return errors.quiet_pipe()
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return errors.INTERRUPTED
    except ClickException as error:
        if "--debug" in arguments:
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "zoo"
        message = error.format_message()
        _say(f"{message.rstrip('.')}; see '{path} --help'" if message else "")
        return errors.USAGE
    except Exception as error:
        if "--debug" in arguments:
            raise
        found = errors.fault(error)
        _say(found.text)
        return found.code


def _plain_flags(command: Any) -> None:
    """Keeps the help from naming the type of a flag."""
    asks = command.get_help_option(typer.Context(command, help_option_names=HELP_NAMES))
    for option in (*command.params, asks):
        if getattr(option, "is_flag", False):
            option.metavar = " "


def _say(text: str) -> None:
    if text:
        from rich.text import Text

        from zoo.cli.console import err

        line = " ".join(text.split())
        err().print(Text.assemble(("error: ", "bold red"), line))
