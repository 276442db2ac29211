"""Curves of speed as a picture by matplotlib (extra `plots`), or as bars of text."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from localllm.errors import FileError, LocalllmError, UsageError
from localllm.tools.curves import Curve

KINDS = (".svg", ".png", ".pdf")
"""Of files."""
_COLOURS = {"prompt": ("#0072B2", "o"), "generation": ("#D55E00", "s")}
"""Colour and mark: two that people with any colour vision tell apart (Okabe and Ito), and two shapes."""
_TITLES = {"prompt": "Prompt processing", "generation": "Text generation"}
_TITLE = 38
"""Letters of the title beside each other, for a column."""
_BAR = 40
"""Characters of the longest bar."""


def check(path: str) -> None:
    """Before anything is measured: raises UsageError for a file of another kind, LocalllmError where matplotlib is not
    here, FileError where the folder is not."""
    if Path(path).suffix.lower() not in KINDS:
        raise UsageError(f"--plot {path}: the file must end with {', '.join(KINDS)}; without a file, text is written")
    if find_spec("matplotlib") is None:
        raise LocalllmError(f"--plot {path}: matplotlib is not here: pip install 'localllm[plots]'")
    folder = Path(path).absolute().parent
    if not os.access(folder, os.W_OK):
        raise FileError(f"--plot {path}: {folder} is no folder that can be written to")


def picture(curves: Sequence[Curve], title: str, path: str) -> None:
    """Draw the curves, two rows of them: medians, with bars from the slowest to the fastest run. Raises FileError."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = math.ceil(len(curves) / 2)
    figure = Figure(figsize=(3.6 * columns, 6.4), layout="constrained")
    figure.suptitle("\n".join(textwrap.wrap(title, _TITLE * columns)), fontsize=11, parse_math=False)
    axes: Any = figure.subplots(2, columns, squeeze=False)
    for i, curve in enumerate(curves):
        _draw(axes[i % 2][i // 2], curve)
    try:
        with rc_context({"svg.hashsalt": "localllm"}):
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.lower().endswith(".svg") else None)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from None


def _draw(axes: Any, curve: Curve) -> None:
    colour, mark = _COLOURS[curve.of]
    xs, medians = list(curve.medians), list(curve.medians.values())
    low = [middle - min(curve.samples[x]) for x, middle in zip(xs, medians, strict=True)]
    high = [max(curve.samples[x]) - middle for x, middle in zip(xs, medians, strict=True)]
    # Steps of one width: numbers are doubled from one to the next.
    places = list(range(len(xs)))
    axes.errorbar(places, medians, [low, high], color=colour, marker=mark, capsize=3, linewidth=1.5)
    axes.set(title=_TITLES[curve.of], xlabel=curve.over, ylabel="tokens a second")
    axes.set_xticks(places, [str(x) for x in xs])
    axes.set_ylim(0, 1.15 * max(max(values) for values in curve.samples.values()))
    axes.margins(x=0.12)
    axes.grid(axis="y", linewidth=0.5, alpha=0.5)
    for name in ("top", "right"):
        axes.spines[name].set_visible(False)


def text(curves: Sequence[Curve], title: str, unicode: bool = True) -> Iterator[str]:
    """Lines: a table of bars for each curve. unicode: whether what shows them has more than ASCII."""
    yield title
    for curve in curves:
        yield ""
        yield f"{_TITLES[curve.of]}, tokens a second over {curve.over}"
        most = max(curve.medians.values(), default=0.0) or 1.0
        width = max((len(str(x)) for x in curve.samples), default=0)
        for x, middle in curve.medians.items():
            spread = (max(curve.samples[x]) - min(curve.samples[x])) / 2
            yield f"  {x:>{width}} {_bar(middle / most, unicode)} {middle:.1f} {'±' if unicode else '+-'} {spread:.1f}"


def _bar(share: float, unicode: bool) -> str:
    if not unicode:
        return ("#" * round(share * _BAR)).ljust(_BAR)
    eighths = round(share * _BAR * 8)
    return ("█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()).ljust(_BAR)
