"""`localllm completion`: a script that makes a shell complete commands, options, models and files.

The protocol is click's (https://click.palletsprojects.com/shell-completion). bash gets a script of our own: names of
models hold colons, at which bash splits words, and macOS has a bash that knows no `-o nosort`.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from localllm.cli.completing import VARIABLE

PROGRAM = "localllm"

_BASH = """\
%(complete_func)s() {
    local response type value
    COMPREPLY=()
    response=$(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" %(complete_var)s=bash_complete "$1")
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done <<< "$response"
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || \\
    complete -o default -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Completes by the line itself, and leaves out what stands before a colon: bash has it already."""

    source_template = _BASH

    def source(self) -> str:
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT") or 0) or None]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        self._before = incomplete.rpartition(":")[0]
        return words, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        value = str(item.value)
        cut = len(self._before) + 1 if self._before and item.type == "plain" else 0
        return f"{item.type},{value[cut:]}"


def register() -> None:
    """Our script takes the place of click's."""
    add_completion_class(Bash)


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete commands, options, names of models, and files.

    \b
    bash: a line of ~/.bashrc:     eval "$(localllm completion bash)"
    zsh:  a line of ~/.zshrc:      eval "$(localllm completion zsh)"     (after compinit)
    fish: localllm completion fish > ~/.config/fish/completions/localllm.fish
    """
    register()
    kind = get_completion_class(shell)
    assert kind
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
