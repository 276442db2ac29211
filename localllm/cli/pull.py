"""`localllm pull`: a model of the catalog into the store."""

from __future__ import annotations

import click

from localllm.store.catalog import find_entry
from localllm.store.entry import Entry
from localllm.store.resolve import unknown


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def command(names: tuple[str, ...]) -> None:
    """Fetch models of the catalog, by the names that `localllm list` shows.

    Prints where each is. One that is here already is checked against its SHA-256, and fetched again if it was damaged.
    """
    entries = [_entry(name) for name in names]
    for entry in entries:
        _pull(entry)
        click.echo(str(entry.path))


def _entry(name: str) -> Entry:
    entry = find_entry(name)
    if entry is None:
        raise unknown(name)
    return entry


def _pull(entry: Entry) -> None:
    from localllm.store.fetch import fetch_model, is_whole

    if entry.is_here and not is_whole(entry):
        click.echo(f"{entry.name}: the file here is damaged, fetching it again", err=True)
        entry.path.unlink()
    fetch_model(entry)
