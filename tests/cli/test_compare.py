"""`localllm compare` on two tiny files."""

from __future__ import annotations

import json

import pytest

from tests.tools.test_compare import TEXT, paths  # noqa: F401 (a fixture)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_table_and_recommendation(call, paths, text, tmp_path):  # noqa: F811
    page = tmp_path / "page.html"
    done = call("compare", *paths, "-f", text, "-c", 32, "-r", 1, "--html", page, "--need", "quality")
    assert done.status == 0
    assert "| q8.gguf |" in done.out
    assert "\nFor quality take f32.gguf: it is the base itself.\n" in done.out
    assert "<svg" in page.read_text()


def test_json(call, paths, text):  # noqa: F811
    done = call("compare", paths[1], "--base", paths[0], "-f", text, "-c", 32, "-r", 1, "-o", "json", "--memory", "1G")
    found = json.loads(done.out)
    assert found["base"] == paths[0]
    assert [m["path"] for m in found["models"]] == [paths[1], paths[0]]
    assert "within 1.00 GB" in found["recommendation"]


def test_wrong_usage(call, paths, text, tmp_path):  # noqa: F811
    for arguments, status, what in (
        ((paths[0],), 2, "nothing to be compared"),
        ((*paths, "-f", "missing.txt"), 1, "missing.txt"),
        ((*paths, "--html", paths[0]), 1, "is a file that is read"),
        ((*paths, "--html", tmp_path / "none" / "x.html"), 1, "cannot be written"),
        ((*paths, "--memory", "much"), 2, "no size"),
        ((*paths, "--memory", "0.01M", "-f", text, "-c", "32", "-r", "1"), 2, "fits into"),
        ((*paths, tmp_path / "no.gguf"), 1, "no.gguf"),
    ):
        done = call("compare", *arguments)
        assert (done.status, what in done.err) == (status, True), done.err


def test_without_matplotlib(call, paths, monkeypatch):  # noqa: F811
    monkeypatch.setattr("localllm.tools.report.find_spec", lambda name: None)
    done = call("compare", *paths, "--html", "x.html")
    assert done.status == 1
    assert "pip install 'localllm[plots]'" in done.err


def test_what_never_fits_is_said_before_anything_is_measured(call, paths, monkeypatch):  # noqa: F811
    monkeypatch.setattr("localllm.tools.compare.compare", lambda *_: pytest.fail("was measured"))
    done = call("compare", *paths, "--memory", "0.01M")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "none of these files fits into 0 MB: " in done.err
