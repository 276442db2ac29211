"""`localllm pull`: models onto this machine."""

from __future__ import annotations

import os

import click

from localllm.cli.streams import echo
from localllm.errors import StoreError
from localllm.store.names import ModelName, parse


@click.command()
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
def command(names: tuple[str, ...]) -> None:
    """Fetch models: by a name of `localllm list`, ORG/REPO[:QUANT] of a hub, or the address of a file.

    Prints where each is. One that is here already is checked against its source and its hash, and fetched again if it
    changed or was damaged. After an interrupt, the same command goes on where it stopped.
    """
    from localllm.store.fetch import fetch

    for name in [_fetchable(name) for name in names]:
        echo(str(fetch(name, check=True)))


def _fetchable(text: str) -> ModelName:
    from localllm.store.fetch import can_fetch

    name = parse(text)
    if can_fetch(name):
        return name
    if os.path.exists(text):
        raise StoreError(f"{text}: is here already: a path, not a name that could be fetched")
    from localllm.store.resolve import unknown

    raise unknown(text)
