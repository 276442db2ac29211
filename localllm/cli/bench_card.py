"""The card of `localllm bench` as Markdown that reads well in a terminal, too: at most 78 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import localllm
from localllm.cli.tables import one_line

if TYPE_CHECKING:
    from localllm.tools.card import Card

WIDTH = 78
_HEAD = 12
"""Letters of the first column."""


def markdown(card: Card) -> Iterator[str]:
    """Lines."""
    yield from _table([("localllm", card.date), *_facts(card)], right=())
    yield ""
    yield from _table(list(_speeds(card)), right=range(1, 6))
    yield ""
    yield from textwrap.wrap(
        f"Limit: what plain loops reach on this machine with as many threads. {card.peer_note}.",
        WIDTH,
    )
    for warning in card.warnings:
        yield ""
        yield from textwrap.wrap(warning, WIDTH, initial_indent="> ", subsequent_indent="> ")


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    m, model, threads = card.machine, card.model, card.threads
    yield "version", f"localllm {localllm.__version__}, Python {_python(card)}"
    yield "processor", f"{m.processor}, {m.cores}"
    yield "memory", f"{m.memory / 1e9:.1f} GB"
    yield "system", ", ".join(part for part in (m.system, m.kernel, m.inside) if part)
    yield "kernels", m.target + (f", with {', '.join(m.features)}" if m.features else "")
    yield "model", f"{model['type']}, {size_text(model['size'])}, {params_text(model['n_params'])} parameters"
    yield "file", model["name"] if model["file"].startswith("sha256-") and model["name"] else model["file"]
    counts = str(threads.decode)
    if threads.decode != threads.prompt:
        counts = f"{threads.prompt} for prompts, {threads.decode} for generation"
    yield "threads", counts + (", found by --tune" if card.tuned else "")
    if card.start_seconds is not None:
        yield "first word", f"{card.start_seconds:.2f} s after the command `localllm run`"
    if card.peak_memory:
        yield "peak memory", f"{size_text(card.peak_memory)}, with the weights that were read"


def _python(card: Card) -> str:
    return str(card.fields()["version"]["python"])


def _speeds(card: Card) -> Iterator[tuple[str, ...]]:
    peer = {row.test: row.fields() for row in card.peer}
    yield ("test", "t/s", "limit", "share", *(("llama.cpp t/s", "ratio") if peer else ()))
    for result in card.tests:
        f = result.fields()
        unit = {"gb_s": "GB/s read", "gmac_s": "GMAC/s int8"}[f["limited_by"]]
        speed = f"{_short(f['avg_ts'])} ± {_short(f['stddev_ts'], f['avg_ts'])}"
        row = [result.test.name, speed, f"{_short(f['limit'])} {unit}", f"{f['share']:.0%}"]
        if peer:
            p = peer[result.test.name]
            row += [_short(p["median_theirs"]), f"{p['median_ratio']:.2f}"]
        yield tuple(row)


def _short(speed: float, beside: float | None = None) -> str:
    """With as many decimals as what it stands beside."""
    size = speed if beside is None else beside
    return f"{speed:.{0 if size >= 1000 else 1 if size >= 10 else 2}f}"


def _table(rows: Sequence[Sequence[str]], right: Sequence[int]) -> Iterator[str]:
    """A Markdown table; cells of the last column that are too long go on in rows of their own."""
    rows = [list(map(one_line, row)) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    room = WIDTH - sum(widths[:-1]) - 3 * len(widths) - 1
    widths[-1] = min(widths[-1], room)
    for number, row in enumerate(rows):
        lines = textwrap.wrap(row[-1], widths[-1]) or [""]
        for i, line in enumerate(lines):
            cells = [*(row[:-1] if i == 0 else [""] * (len(row) - 1)), line]
            yield "|" + "".join(
                f" {cell.rjust(w) if c in right else cell.ljust(w)} |"
                for c, (cell, w) in enumerate(zip(cells, widths, strict=True))
            )
        if number == 0:
            yield "|" + "".join(f" {'-' * (w - 1)}{':' if c in right else '-'} |" for c, w in enumerate(widths))


def size_text(n: int) -> str:
    """Bytes in MiB or GiB, as llama-bench writes them."""
    return f"{n / 2**20:.2f} MiB" if n < 2**30 else f"{n / 2**30:.2f} GiB"


def params_text(n: int) -> str:
    """A number of parameters in millions or thousand millions, as llama-bench writes it."""
    return f"{n / 1e6:.2f} M" if n < 1e9 else f"{n / 1e9:.2f} B"
