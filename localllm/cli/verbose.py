"""`-v`: what was chosen, and how long each step took, on standard error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import click

_BEGUN = time.perf_counter()
"""About when the process began: the command line imports this file first."""
_KEY = "localllm.verbose"


def set_verbose(ctx: click.Context, _param: click.Parameter, wanted: bool) -> bool:
    """The callback of -v: what runs within `ctx` is told."""
    if wanted:
        ctx.meta[_KEY] = True
    return wanted


def is_verbose() -> bool:
    """Whether the command that runs was given -v."""
    ctx = click.get_current_context(silent=True)
    return bool(ctx and ctx.meta.get(_KEY))


def tell(text: str) -> None:
    """With -v, a line on standard error: seconds since the start, and the text."""
    if is_verbose():
        click.echo(f"[{time.perf_counter() - _BEGUN:7.2f} s] {text}", err=True)


@contextlib.contextmanager
def timed(what: str) -> Iterator[list[str]]:
    """With -v, tells what the block did and how long it took: "what: texts that it added, 0.12 s"."""
    found: list[str] = []
    started = time.perf_counter()
    yield found
    tell(f"{what}: {', '.join([*found, f'{time.perf_counter() - started:.2f} s'])}")
