"""Curves: what is measured, and how it is drawn."""

import math
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import pytest

from localllm.errors import FileError, LocalllmError, UsageError
from localllm.runtime.tuned import Threads
from localllm.tools import bench, curves, plot
from localllm.tools.curves import Curve, Wish
from tests.generate.fake import FakeModel

CURVES = [
    Curve("prompt", "threads", {1: [10.0, 11.0, 12.0], 2: [20.0, 21.0, 25.0]}),
    Curve("generation", "threads", {1: [4.0], 2: [8.0]}),
    Curve("prompt", "tokens a batch", {8: [10.0], 512: [30.0]}),
    Curve("generation", "answers at once", {1: [10.0]}),
]


@pytest.fixture
def clock(monkeypatch):
    """Every pass takes a millisecond a row, divided by the number of threads."""
    now = SimpleNamespace(seconds=0.0)
    fake = SimpleNamespace(perf_counter=lambda: now.seconds, perf_counter_ns=lambda: int(now.seconds * 1e9))
    for module in (bench, curves):
        monkeypatch.setattr(module, "time", fake)
    return now


@pytest.fixture
def model(clock):
    made = FakeModel()

    def work(context):
        clock.seconds += 0.001 / made.team.threads.decode

    made.before_pass = work
    return made


def test_what_is_measured(model):
    wish = Wish([1, 2, 4], batches=(2, 8, 32), depths=(0, 16, 999), at_once=(1, 3), n_prompt=16, n_gen=4, runs=2)
    found = curves.curves(model, wish)
    assert [c.of for c in found] == ["prompt", "generation"] * 3
    assert [c.over for c in found[::2]] == ["threads", "tokens a batch", "tokens in the context"]
    assert [c.over for c in found[1::2]] == ["threads", "answers at once", "tokens in the context"]
    assert list(found[0].samples) == [1, 2, 4]
    assert list(found[2].samples) == [2, 8], "a batch has no more rows than the prompt"
    assert list(found[4].samples) == [0, 16], "the model was made for 64 tokens"
    assert all(len(values) == 2 for curve in found for values in curve.samples.values())
    assert found[0].medians[4] == pytest.approx(4 * found[0].medians[1])
    assert found[3].medians[3] == pytest.approx(3 * found[3].medians[1]), "answers of one pass cost one pass here"
    assert model.team.threads == Threads(2, 2)
    assert all(context.closed for context in model.contexts)


def test_a_picture(tmp_path):
    path = tmp_path / "speed.svg"
    plot.picture(CURVES, "llama 1B Q4_K on $some$ <machine>", str(path))
    root = ElementTree.parse(path).getroot()
    assert root.tag.endswith("svg")
    comments = path.read_text()
    for words in ("tokens a second", "answers at once", "Prompt processing", "Text generation", "threads"):
        assert f"<!-- {words} -->" in comments
    assert "#0072b2" in comments.lower()
    assert "#d55e00" in comments.lower()
    again = tmp_path / "again.svg"
    plot.picture(CURVES, "llama 1B Q4_K on $some$ <machine>", str(again))
    assert again.read_bytes() == path.read_bytes()


def test_a_bitmap(tmp_path):
    path = tmp_path / "speed.PNG"
    plot.picture(CURVES[:1], "one", str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


def test_files_that_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"\.svg, \.png, \.pdf"):
        plot.check("model.gguf")
    with pytest.raises(FileError, match="folder"):
        plot.check(str(tmp_path / "no" / "x.svg"))
    plot.check(str(tmp_path / "x.svg"))
    (tmp_path / "x.svg").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        plot.picture(CURVES, "x", str(tmp_path / "x.svg"))
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(LocalllmError, match=r"pip install 'localllm\[plots\]'"):
        plot.check("x.svg")


def test_text():
    lines = list(plot.text(CURVES, "a title"))
    assert lines[0] == "a title"
    assert lines[2:5] == [
        "Prompt processing, tokens a second over threads",
        f"  1 {'█' * 21:40} 11.0 ± 1.0",
        f"  2 {'█' * 40} 21.0 ± 2.5",
    ]
    assert all(len(line) <= 78 for line in lines)
    plain = "\n".join(plot.text(CURVES, "a title", unicode=False))
    assert plain.isascii()
    assert "#" * 40 in plain


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.4999, 0.5, 0.99, 1.0])
def test_bars(share):
    bar = plot._bar(share, True)
    assert len(bar) == len(plot._bar(share, False)) == 40
    eighths = 8 * bar.count("█") + next((i for i, c in enumerate(" ▏▎▍▌▋▊▉") if c != " " and c in bar), 0)
    assert math.isclose(eighths, share * 320, abs_tol=0.5)
