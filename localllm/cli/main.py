"""The command `localllm`: a table of verbs, and the one place where errors become a line and an exit status.

Only the module of the verb that runs is imported, so that `localllm --help` stays fast.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module

import click

from localllm.errors import INTERRUPTED, TERMINATED, LocalllmError

VERBS: dict[str, tuple[str, str]] = {
    "chat": ("localllm.cli.chat", "Chat with a model in the terminal."),
    "run": ("localllm.cli.run", "Give one answer to one prompt, on standard output."),
    "serve": ("localllm.cli.serve", "Serve models over HTTP: OpenAI, Anthropic, Ollama, llama.cpp."),
    "batch": ("localllm.cli.batch", "Answer the requests of a file, in the batch format of OpenAI."),
    "bench": ("localllm.cli.bench", "Measure prompt processing and text generation like llama-bench."),
    "perplexity": ("localllm.cli.perplexity", "Measure how well a model predicts a text."),
    "compare": ("localllm.cli.compare", "Compare files of one model: size, speed, quality."),
    "calibrate": ("localllm.cli.calibrate", "Measure which columns of a model's matrices matter."),
    "embed": ("localllm.cli.embed", "Embed texts, or rank documents, with an embedding model."),
    "quantize": ("localllm.cli.quantize", "Quantize a model: write it as a smaller GGUF file."),
    "tokenize": ("localllm.cli.tokenize", "Show the tokens of a text."),
    "show": ("localllm.cli.show", "Show what a model file holds, and the memory it needs."),
    "list": ("localllm.cli.list", "List the installed models and those of the catalog."),
    "pull": ("localllm.cli.pull", "Download a model from the catalog."),
}
"""Verb -> (module that defines `command`, one line of help)."""


class Verbs(click.Group):
    """A click group whose commands are the rows of VERBS, imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(VERBS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import localllm

        click.echo(f"localllm {localllm.__version__}")
        ctx.exit()


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="MODEL is the path of a GGUF file or a name of `localllm list`. `localllm VERB --help` tells more.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """Run GGUF language models on the CPU."""


def _complain(text: str) -> None:
    """One line on stderr, whatever the message holds."""
    click.echo("localllm: " + " ".join(text.split()), err=True)


def _usage(error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    path = error.ctx.command_path if error.ctx else "localllm"
    _complain(f"{error.format_message().rstrip('.')} (see `{path} --help`)")
    return error.exit_code


def _bug(error: Exception) -> int:
    if os.environ.get("LOCALLLM_DEBUG"):
        traceback.print_exc()
    hint = "" if os.environ.get("LOCALLLM_DEBUG") else "; LOCALLLM_DEBUG=1 shows where, please report it"
    _complain(f"a bug in localllm: {type(error).__name__}: {error}{hint}")
    return 1


def _quiet_exit() -> int:
    # The reader of a pipe went away. What is still buffered must not be flushed into it again when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _printable(stream: object) -> None:
    """A terminal that cannot show a character gets a `?`, not a traceback."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


class _Terminated(BaseException):
    """SIGTERM arrived."""


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """While the block runs, SIGTERM ends it by an exception, as Ctrl-C does: what is half-written goes away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 (error), 2 (wrong usage), 130 (Ctrl-C) or 143 (SIGTERM)."""
    _printable(sys.stdout)
    _printable(sys.stderr)
    try:
        with _sigterm_raises():
            result = cli.main(args=args, prog_name="localllm", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        _complain(error.format_message())
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except _Terminated:
        return TERMINATED
    except LocalllmError as error:
        _complain(str(error))
        return error.status
    except BrokenPipeError:
        return _quiet_exit()
    except MemoryError:
        _complain("not enough memory")
        return 1
    except Exception as error:
        return _bug(error)


if __name__ == "__main__":
    sys.exit(main())
