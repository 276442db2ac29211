"""A comparison as one page of HTML, with plots (extra `plots`): nothing is loaded from elsewhere."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from localllm.errors import LocalllmError
from localllm.tools.compare import Candidate
from localllm.tools.recommend import frontier, memory_text

COLUMNS: tuple[tuple[str, Callable[[Candidate], str]], ...] = (
    ("file", lambda c: Path(c.path).name),
    ("size", lambda c: memory_text(c.size)),
    ("bits/weight", lambda c: f"{c.bits_per_weight:.2f}"),
    ("memory", lambda c: memory_text(c.memory)),
    ("prompt t/s", lambda c: f"{c.prefill:.1f}"),
    ("answer t/s", lambda c: f"{c.decode:.1f}"),
    ("first token", lambda c: f"{c.first_token:.2f} s"),
    ("KLD", lambda c: f"{c.divergence.mean_kld.value:.4f} ± {c.divergence.mean_kld.error:.4f}"),
    ("KLD median", lambda c: f"{_percentile(c, 50):.4f}"),
    ("KLD 99 %", lambda c: f"{_percentile(c, 99):.3f}"),
    ("same top token", lambda c: f"{c.divergence.top_1.value:.2%} ± {c.divergence.top_1.error:.2%}"),
    ("PPL", lambda c: f"{c.divergence.ppl.value:.3f} ± {c.divergence.ppl.error:.3f}"),
)
"""Of the table: head, and a candidate's cell."""

_PLOTS: tuple[tuple[str, str, Callable[[Candidate], float], Callable[[Candidate], float]], ...] = (
    ("Quality against size", "size, MB", lambda c: c.size / 1e6, lambda c: c.size),
    ("Quality against speed", "answer, tokens a second", lambda c: c.decode, lambda c: -c.decode),
)
"""Title, axis, where a candidate lies on it, and the cost whose frontier is drawn."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } .wide { overflow-x: auto; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } .answers td { white-space: pre-wrap; text-align: left;
vertical-align: top; min-width: 16rem; } svg { max-width: 100%; height: auto; } .best { font-weight: 600; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } th, td { border-color: #444; }
svg { background: #fff; } }
"""


def _percentile(c: Candidate, p: float) -> float:
    import numpy as np

    return float(np.percentile(c.divergence.kld, p))


def check_plots() -> None:
    """Raise LocalllmError where the library for plots is missing: before anything is measured."""
    if find_spec("matplotlib") is None:
        raise LocalllmError("a page with plots needs matplotlib: pip install 'localllm[plots]'")


def markdown(candidates: Sequence[Candidate]) -> Iterator[str]:
    """The table."""
    yield "| " + " | ".join(head for head, _ in COLUMNS) + " |"
    yield "| --- |" + " ---: |" * (len(COLUMNS) - 1)
    for c in candidates:
        yield "| " + " | ".join(cell(c).replace("|", "\\|") for _, cell in COLUMNS) + " |"


def page(candidates: Sequence[Candidate], base: str, prompts: Sequence[str], sentence: str, best: str) -> str:
    """The page: recommendation, table, plots, answers."""
    title = f"Comparison with {Path(base).name}"
    plots = "\n".join(_plot(candidates, best, *plot) for plot in _PLOTS)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n'
        f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(sentence)}</p>\n"
        f'<div class="wide">{_table(candidates, best)}</div>\n'
        "<p>KLD: Kullback-Leibler divergence of the predictions from the base's, in nats a token. The frontier joins "
        f"the files that no other one beats.</p>\n{plots}\n<h2>Answers</h2>\n"
        f'<div class="wide">{_answers(candidates, prompts)}</div>\n</body></html>\n'
    )


def _table(candidates: Sequence[Candidate], best: str) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name, _ in COLUMNS)
    rows = "".join(
        f"<tr{' class=best' if c.path == best else ''}>"
        + "".join(f"<td>{html.escape(cell(c))}</td>" for _, cell in COLUMNS)
        + "</tr>\n"
        for c in candidates
    )
    return f"<table><tr>{head}</tr>\n{rows}</table>"


def _answers(candidates: Sequence[Candidate], prompts: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(Path(c.path).name)}</th>" for c in candidates)
    rows = "".join(
        f"<tr><td>{html.escape(prompt)}</td>"
        + "".join(f"<td>{html.escape(c.answers[i])}</td>" for c in candidates)
        + "</tr>\n"
        for i, prompt in enumerate(prompts)
    )
    return f'<table class="answers"><tr><th>prompt</th>{head}</tr>\n{rows}</table>'


def _plot(
    candidates: Sequence[Candidate], best: str, title: str, axis: str,
    at: Callable[[Candidate], float], cost: Callable[[Candidate], float],
) -> str:  # fmt: skip
    """An SVG: divergence (logarithmic) over a cost, with the frontier as a line."""
    from matplotlib.figure import Figure

    least = 1e-5  # the base's own divergence is 0, which a logarithmic axis lacks
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes: Any = figure.subplots()
    on = frontier(candidates, cost)
    for c in candidates:
        x, y = at(c), max(least, c.divergence.mean_kld.value)
        axes.plot(x, y, "o", color="tab:red" if c.path == best else "tab:blue")
        name = Path(c.path).stem
        # A file's name may hold dollar signs, which are no formula.
        axes.annotate(name, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8, parse_math=False)
    line = sorted((at(c), max(least, c.divergence.mean_kld.value)) for c in candidates if c.path in on)
    axes.plot([x for x, _ in line], [y for _, y in line], color="tab:gray", linewidth=1, zorder=0, label="frontier")
    axes.set(title=title, xlabel=axis, ylabel="mean KLD, nats", yscale="log")
    axes.margins(0.15)  # room for names
    axes.legend(fontsize=8)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]
