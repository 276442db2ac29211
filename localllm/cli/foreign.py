"""Options of llama.cpp that have no use here: they are taken, so that command lines of its users work, and a note says
so. Names: llama.cpp's common/arg.cpp."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import click

from localllm.errors import UsageError

_CPU = "localllm runs on the CPU"
_OWN_WAY = "it is always so"


class Foreign(NamedTuple):
    flags: tuple[str, ...]
    has_value: bool
    why: str
    """Why it has no use, or what to write in its place."""
    refused: bool = False


FOREIGN = (
    Foreign(("-ngl", "--gpu-layers", "--n-gpu-layers"), True, _CPU),
    Foreign(("-sm", "--split-mode"), True, _CPU),
    Foreign(("-ts", "--tensor-split"), True, _CPU),
    Foreign(("-mg", "--main-gpu"), True, _CPU),
    Foreign(("-dev", "--device"), True, _CPU),
    Foreign(("-ncmoe", "--n-cpu-moe"), True, _CPU),
    Foreign(("-cmoe", "--cpu-moe"), False, _CPU),
    Foreign(("-nkvo", "--no-kv-offload"), False, _CPU),
    Foreign(("-fa", "--flash-attn"), True, "attention never keeps all scores"),
    Foreign(("-ub", "--ubatch-size"), True, "-b says how many tokens are computed at once"),
    Foreign(("--mmap",), False, _OWN_WAY),
    Foreign(("--no-mmap",), False, "the file is always mapped"),
    Foreign(("--mlock",), False, "pages of the file are not locked"),
    Foreign(("--numa",), True, "memory is placed by the system"),
    Foreign(("--jinja",), False, _OWN_WAY),
    Foreign(("-cb", "--cont-batching"), False, _OWN_WAY),
    Foreign(("--no-warmup", "--warmup"), False, "there is no warm-up"),
    Foreign(("--no-display-prompt",), False, _OWN_WAY),
    Foreign(("-co", "--color"), False, "answers in a terminal are always styled; NO_COLOR=1 turns colours off"),
    Foreign(("--log-disable",), False, "there is no log; -v tells more"),
    Foreign(("-i", "--interactive"), False, "`localllm chat` is the conversation"),
    Foreign(("--keepalive",), True, "a model stays loaded as long as its command runs"),
    Foreign(("--simple-io",), False, "what is no terminal is written as plain text"),
    Foreign(("-st", "--single-turn"), False, "`localllm run` gives one answer, `localllm chat` many"),
    Foreign(("-cnv", "--conversation"), False, "`localllm chat` is the conversation"),
    Foreign(("-ctk", "--cache-type-k"), True, "--kv-type sets the type of keys and values", refused=True),
    Foreign(("-ctv", "--cache-type-v"), True, "--kv-type sets the type of keys and values", refused=True),
)
"""Commands that have an option of such a name keep their own."""

FOREIGN_VERBS = ("chat", "run", "serve", "batch", "bench", "perplexity", "embed")


def foreign_options(taken: Iterable[str]) -> Iterator[click.Option]:
    """The options, hidden in the help, but for names that a command has taken."""
    names = set(taken)
    for row in FOREIGN:
        flags = [flag for flag in row.flags if flag not in names]
        if flags:
            yield _option(row, flags)


def _option(row: Foreign, flags: list[str]) -> click.Option:
    def told(_ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value in (None, False):
            return
        from localllm.chat.notes import note

        if row.refused:
            raise UsageError(f"{row.flags[0]} is not known here: {row.why}")
        note(f"{row.flags[0]} has no use: {row.why}")

    kind: dict[str, Any] = {"metavar": "VALUE"} if row.has_value else {"is_flag": True}
    return click.Option([_name(row), *flags], hidden=True, expose_value=False, callback=told, **kind)


def _name(row: Foreign) -> str:
    return "llama_" + row.flags[-1].lstrip("-").replace("-", "_")
