"""`-v`: what was chosen, and how long each step took, on standard error."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from localllm.cli.streams import echo
from localllm.terminal.figures import size
from localllm.terminal.safe import visible

if TYPE_CHECKING:
    from localllm.generate.session import Model

_BEGUN = time.perf_counter()
"""About when the process began: the command line imports this file first."""
_wanted = False
"""Of the command that runs: one a process, whose threads tell, too."""


def set_verbose(_ctx: click.Context, _param: click.Parameter, wanted: bool) -> bool:
    """The callback of -v."""
    global _wanted
    _wanted = wanted
    if wanted:
        from localllm import __version__

        tell(f"localllm {__version__}, Python {platform.python_version()}")
    return wanted


def is_verbose() -> bool:
    """Whether the command that runs was given -v."""
    return _wanted


def tell(text: str) -> None:
    """With -v, a line on standard error: seconds since the start, and the text."""
    if is_verbose():
        echo(f"[{time.perf_counter() - _BEGUN:7.2f} s] {visible(text)}", err=True)


@contextlib.contextmanager
def timed(what: str) -> Iterator[list[str]]:
    """With -v, tells what the block did and how long it took: "what: texts that it added, 0.12 s"."""
    found: list[str] = []
    started = time.perf_counter()
    yield found
    tell(f"{what}: {', '.join([*found, f'{time.perf_counter() - started:.2f} s'])}")


class Counted:
    """Progress that remembers how many kernels were compiled."""

    def __init__(self, progress: Callable[[str, int, int], None]) -> None:
        self._progress, self.n_compiled = progress, 0

    def __call__(self, text: str, done: int, total: int) -> None:
        if "kernels" in text and done == total:
            self.n_compiled += total
        self._progress(text, done, total)


def where(path: str) -> list[str]:
    """With -v: a model's path, and whose it is."""
    if not is_verbose():
        return []
    from localllm.store.origins import origin_of

    origin = origin_of(path)
    return [path, *([f"of {origin.title}"] if origin else [])]


def loaded_facts(model: Model, progress: Counted) -> list[str]:
    """With -v: what was loaded, and what was chosen for it."""
    if not is_verbose():
        return []
    from localllm.runtime.system import available_memory

    n = progress.n_compiled
    return [
        model.description,
        size(model.n_bytes),
        _threads(model.n_threads, model.n_threads_batch),
        f"target {model.target}",
        f"{n} kernels compiled" if n else "all kernels were compiled before",
        f"context of {model.default_n_ctx} tokens",
        f"chat template: {model.template.description}",
        f"{size(available_memory())} of memory free",
    ]


def _threads(decode: int, prompt: int) -> str:
    return f"{decode} threads" if decode == prompt else f"{decode} threads for generation, {prompt} for prompts"
