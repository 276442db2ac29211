"""`localllm rm`: models that we downloaded, off this machine."""

from __future__ import annotations

import sys

import click

from localllm.cli.streams import echo
from localllm.cli.tables import one_line
from localllm.errors import UsageError
from localllm.terminal.figures import size


@click.command()
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(names: tuple[str, ...], yes: bool) -> None:
    """Remove models that `localllm pull` or another command of ours downloaded; it asks first.

    Nothing is removed if one of them is not here, or was downloaded by another program: that one may need it. A model
    that is in use goes once nobody uses it any more; on Windows it is refused.
    """
    from localllm.store.removal import plan, remove

    removals = {removal.model.path: removal for removal in map(plan, names)}
    for removal in removals.values():
        kept = f" ({removal.kept})" if removal.kept else ""
        text = f"{removal.model.name}: {size(removal.freed)} in {removal.model.path.parent}{kept}"
        echo(one_line(text), err=True)
    if not yes and not _agreed(len(removals)):
        echo("nothing was removed", err=True)
        raise click.exceptions.Exit(1)
    for removal in removals.values():
        remove(removal)
        echo(one_line(f"removed {removal.model.name}, {size(removal.freed)}"))


def _agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked, as there is no terminal: -y removes without asking")
    return click.confirm(f"Remove {'it' if count == 1 else 'them'}?", err=True)
