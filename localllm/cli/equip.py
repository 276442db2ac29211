"""What every command has beside its own options: -h with examples, -v, variables of llama.cpp, completion."""

from __future__ import annotations

import copy

import click

from localllm.cli.completing import completing
from localllm.cli.examples import EXAMPLES
from localllm.cli.foreign import FOREIGN_VERBS, foreign_options
from localllm.cli.variables import LLAMA_ARGUMENTS
from localllm.cli.verbose import set_verbose


def help_text(ctx: click.Context) -> str:
    """The help of a command, with its examples at the end."""
    text = ctx.get_help()
    examples = EXAMPLES.get(ctx.info_name or "", ())
    if not examples:
        return text
    lines = [line for about, command in examples for line in (f"  # {about}", f"  {command}")]
    return "\n".join([text, "", "Examples:", *lines])


def _show_help(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(help_text(ctx), color=ctx.color)
        ctx.exit()


def equipped(command: click.Command) -> click.Command:
    """A copy of a command with what all commands have."""
    made = copy.copy(command)
    taken = {flag for param in command.params for flag in param.opts}
    made.params = [completing(_with_llama_argument(param)) for param in command.params]
    made.params.append(_verbose(["--verbose"] if "-v" in taken else ["-v", "--verbose"]))
    made.params.append(
        click.Option(
            ["-h", "--help"], is_flag=True, is_eager=True, expose_value=False, callback=_show_help,
            help="Show this message.",
        )
    )  # fmt: skip
    if command.name in FOREIGN_VERBS:
        made.params += foreign_options({flag for param in made.params for flag in (*param.opts, *param.secondary_opts)})
    made.add_help_option = False
    return made


def _verbose(names: list[str]) -> click.Option:
    return click.Option(
        names, is_flag=True, is_eager=True, expose_value=False, envvar="LOCALLLM_VERBOSE", callback=set_verbose,
        help="Tell on standard error what was chosen, and how long each step took.",
    )  # fmt: skip


def _with_llama_argument(param: click.Parameter) -> click.Parameter:
    """The option, which llama.cpp's variable sets where LOCALLLM_... does not."""
    ours = param.envvar
    theirs = LLAMA_ARGUMENTS.get(ours) if isinstance(ours, str) else None
    if theirs is None:
        return param
    made = copy.copy(param)
    made.envvar = [str(ours), theirs]
    return made
