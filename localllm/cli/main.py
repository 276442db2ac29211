"""The command `localllm`: a table of verbs, and the one place where errors become a line and an exit status.

Only the module of the verb that runs is imported, so that `localllm --help` stays fast.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import click

from localllm.cli import streams
from localllm.cli.completing import VARIABLE as COMPLETION
from localllm.cli.equip import equipped
from localllm.cli.help import START
from localllm.cli.settings import Chosen, Settings, nearest
from localllm.cli.streams import echo
from localllm.cli.verbose import tell
from localllm.errors import INTERRUPTED, LocalllmError, UsageError
from localllm.runtime.shortage import shortage
from localllm.signals import Terminated, as_exceptions
from localllm.terminal.safe import visible

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

GARBAGE = 200_000
"""New objects after which garbage in cycles is looked for: more than a start makes, most of which stay."""

VERBS: dict[str, tuple[str, str]] = {
    "chat": ("localllm.cli.chat", "Chat with a model in the terminal."),
    "run": ("localllm.cli.run", "Give one answer to one prompt, on standard output."),
    "serve": ("localllm.cli.serve", "Serve models over HTTP: OpenAI, Anthropic, Ollama, llama.cpp."),
    "batch": ("localllm.cli.batch", "Answer the requests of a file, in the batch format of OpenAI."),
    "bench": ("localllm.cli.bench", "Measure the speed of a model: a card, or llama-bench's tests."),
    "tune": ("localllm.cli.tune", "Measure which variants of kernels are the fastest here."),
    "perplexity": ("localllm.cli.perplexity", "Measure how well a model predicts a text."),
    "compare": ("localllm.cli.compare", "Compare files of one model: size, speed, quality."),
    "calibrate": ("localllm.cli.calibrate", "Measure which columns of a model's matrices matter."),
    "embed": ("localllm.cli.embed", "Embed texts, or rank documents, with an embedding model."),
    "quantize": ("localllm.cli.quantize", "Quantize a model: write it as a smaller GGUF file."),
    "tokenize": ("localllm.cli.tokenize", "Show the tokens of a text."),
    "show": ("localllm.cli.show", "Show what a model file holds, and the memory it needs."),
    "list": ("localllm.cli.list", "List the installed models and those of the catalog."),
    "pull": ("localllm.cli.pull", "Download a model: of the catalog, a hub, an address."),
    "rm": ("localllm.cli.rm", "Remove models that were downloaded with it."),
    "config": ("localllm.cli.configuration", "Show the settings, and where each comes from."),
    "doctor": ("localllm.cli.doctor", "Check this machine: what a report of a bug needs."),
    "completion": ("localllm.cli.completion", "Print a script for the shell's completion."),
    "help": ("localllm.cli.help", "Show the help of a command."),
}
"""Verb -> (module that defines `command`, one line of help)."""

ALIASES = {
    "ls": "list", "remove": "rm", "download": "pull", "cli": "chat", "server": "serve", "convert": "quantize",
}  # fmt: skip
"""Other programs' words -> ours."""


NOT_HERE = {
    "ps": "a server tells at /slots and /api/ps what it does",
    "stop": "Ctrl-C or SIGTERM ends `localllm serve`",
    "create": "`localllm quantize` makes files; --system gives a model its system message",
    "cp": "a file may be copied or linked; `serve --alias` gives a model further names",
    "push": "models are not uploaded",
    "signin": "HF_TOKEN holds what a hub wants to see",
    "version": "`localllm --version` shows it",
}
"""Other programs' words that have no counterpart -> what there is."""


def _other_names() -> str:
    return ", ".join(f"{name} for {verb}" for name, verb in ALIASES.items() if verb in VERBS)


MODELS = "MODEL is the path of a GGUF file or a name of `localllm list`."


_HELP_ONLY = "localllm.help_only"


class Verbs(click.Group):
    """A click group whose commands are the rows of VERBS, imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(VERBS[cmd_name][0]).command
        return equipped(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verb = ALIASES.get(args[0], args[0])
        ctx.meta[_HELP_ONLY] = bool({"-h", "--help"} & set(args[1:]))
        if verb not in VERBS:
            if ctx.resilient_parsing:
                return None, None, args
            raise _unknown(verb)
        return verb, self.get_command(ctx, verb), args[1:]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Verbs, without importing them, and options."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(verb, help=text) for verb, (_, text) in VERBS.items() if verb.startswith(incomplete)]
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


def _unknown(verb: str) -> UsageError:
    if verb in NOT_HERE:
        return UsageError(f"{verb!r} is no command: {NOT_HERE[verb]}")
    if verb.lower().endswith(".gguf"):
        return UsageError(f"{verb} is no command; `localllm chat {verb}` chats with it")
    return UsageError(f"{verb!r} is no command{nearest(verb, (*VERBS, *ALIASES))} (see `localllm --help`)")


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import localllm

        echo(f"localllm {localllm.__version__}")
        ctx.exit()


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{MODELS} `localllm VERB --help` tells more. Other names: {_other_names()}.",
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run GGUF language models on the CPU."""
    verb = ctx.invoked_subcommand
    if verb is None:
        echo(START)
    elif verb not in WITHOUT_SETTINGS and not ctx.meta[_HELP_ONLY]:
        configure(ctx, verb)


WITHOUT_SETTINGS = ("help", "config", "doctor", "completion")
"""Verbs that work whatever the configuration file says."""


def configure(ctx: click.Context, verb: str) -> None:
    """What the configuration file says of `verb` becomes its defaults."""
    settings = Settings.read(VERBS)
    if not settings.sections:
        return
    from localllm.cli.common import shared_options

    command = cli.get_command(ctx, verb)
    assert command
    ctx.obj = Chosen(settings.path, settings.values(verb, command, shared_options()))
    ctx.default_map = {verb: ctx.obj.default_map()}


_MAX_LINE = 1500
"""Characters of an error: a value of a file may have a million."""


def _complain(text: str) -> None:
    """One line on stderr, whatever the message holds; none where nobody takes it."""
    line = visible(" ".join(text.split()))
    if len(line) > _MAX_LINE:
        line = f"{line[:_MAX_LINE]}… ({len(line)} characters)"
    try:
        click.echo(f"localllm: {line}", err=True)
    except OSError:
        streams.give_up(sys.stderr)


def _usage(error: click.UsageError) -> int:
    path = error.ctx.command_path if error.ctx else "localllm"
    text = error.format_message().rstrip(".")
    if place := _place(error):
        text = f"{place}: {error.message.rstrip('.')}"
    elif isinstance(error, click.NoSuchOption) and error.ctx and error.ctx.parent:
        params = (param for param in error.ctx.command.params if not getattr(param, "hidden", False))
        flags = [flag for param in params for flag in (*param.opts, *param.secondary_opts) if flag.startswith("-")]
        text = f"no such option: {error.option_name}{nearest(error.option_name, flags)} (see `{path} --help`)"
    elif isinstance(error, click.NoSuchOption):
        text += f": options stand after a command, as in `localllm run {error.option_name} ...`"
    else:
        text += f" (see `{path} --help`)"
    _complain(text)
    return error.exit_code


def _place(error: click.UsageError) -> str | None:
    """Where a wrong value stands that is not on the command line: a variable, or a key of the configuration file."""
    param, ctx = getattr(error, "param", None), error.ctx
    if not (isinstance(error, click.BadParameter) and param and ctx and param.name):
        return None
    source = ctx.get_parameter_source(param.name)
    if source is click.core.ParameterSource.ENVIRONMENT:
        names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or ()
        return next((name for name in names if os.environ.get(name)), None)
    chosen = ctx.find_object(Chosen)
    return chosen.place(param.name) if chosen and source is click.core.ParameterSource.DEFAULT_MAP else None


def _bug(error: Exception) -> int:
    if os.environ.get("LOCALLLM_DEBUG"):
        streams.echo(traceback.format_exc(), nl=False, err=True)
    hint = "" if os.environ.get("LOCALLLM_DEBUG") else "; LOCALLLM_DEBUG=1 shows where, please report it"
    _complain(f"a bug in localllm: {type(error).__name__}: {error}{hint}")
    return 1


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 (error), 2 (wrong usage), 130 (Ctrl-C), 143 (SIGTERM) or 129
    (SIGHUP)."""
    gc.set_threshold(GARBAGE)
    atexit.register(gc.freeze)  # what is left is the system's to clear: looking through it takes 0.1 s
    try:
        with as_exceptions():
            return _main(args)
    except KeyboardInterrupt:  # once more, while the first was seen to
        return INTERRUPTED
    except Terminated as end:
        return end.status


def _main(args: Sequence[str] | None) -> int:
    streams.prepare()
    if COMPLETION in os.environ:
        from localllm.cli.completion import register

        register()
    try:
        result = cli.main(args=args, prog_name="localllm", standalone_mode=False, windows_expand_args=False)
        sys.stdout.flush()
        tell("done")
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        _complain(error.format_message())
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Terminated as end:
        return end.status
    except LocalllmError as error:
        _complain(str(error))
        return error.status
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """The exit status of what nobody raised on purpose."""
    if isinstance(error, OSError) and streams.is_broken_pipe(error):
        streams.give_up(sys.stdout, sys.stderr)  # which of them it was is not told
        return 1
    if limit := shortage(error):
        _complain(limit)
        return 1
    if isinstance(error, OSError) and streams.is_outputs(error):
        streams.give_up(sys.stdout)
        _complain(f"the output cannot be written: {error.strerror}")
        return 1
    return _bug(error)


if __name__ == "__main__":
    sys.exit(main())
