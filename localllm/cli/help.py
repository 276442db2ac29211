"""`localllm help`: the help of all commands, or of one."""

from __future__ import annotations

import click

from localllm.cli.equip import help_text

START = """\
localllm runs GGUF language models on the processor of this computer.

  localllm chat                         chat with the default model, which is fetched the first time
  localllm run 'Why is the sky blue?'   one answer
  localllm list                         the models that are here, and those that can be fetched
  localllm show MODEL                   what a model is, and the memory that it needs
  localllm serve MODEL                  a server for programs, and a page for browsers
  localllm --help                       all commands"""
"""What `localllm` alone prints."""


@click.command("help")
@click.argument("verb", required=False, metavar="[COMMAND]")
@click.pass_context
def command(ctx: click.Context, verb: str | None) -> None:
    """Show the help of a COMMAND, or of all."""
    top = ctx.parent
    assert isinstance(top, click.Context)
    assert isinstance(top.command, click.Group)
    if verb is None:
        click.echo(top.get_help())
        return
    name, found, _ = top.command.resolve_command(top, [verb])
    assert found
    click.echo(help_text(click.Context(found, info_name=name, parent=top)))
