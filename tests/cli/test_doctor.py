"""`localllm doctor`: its facts, what it finds wrong, what it does not tell."""

from __future__ import annotations

import importlib.metadata
import json
import os
import stat
from pathlib import Path

import pytest

from localllm.cli import checkup
from localllm.cli.checkup import SECTIONS, Report, check
from localllm.cli.doctor import text
from localllm.runtime import tuned
from localllm.runtime.tuned import Threads


@pytest.fixture
def quick(call):
    """quick() -> the facts without measurements, and the status."""

    def run():
        result = call("doctor", "--quick", "-o", "json")
        assert result.err == ""
        return json.loads(result.out), result.status

    return run


def test_facts(quick):
    facts, _ = quick()
    assert list(facts) == [name for name in SECTIONS if name != "speed"] + ["problems"]
    assert facts["versions"]["numpy"]
    assert facts["processor"]["threads_by_default"] >= 1
    assert facts["target"]["chosen"] in facts["target"]["runs_here"].split(", ")
    assert facts["memory"]["free_bytes"] > 0
    assert set(facts["models"]) == set(os.environ["LOCALLLM_ORIGINS"].split(","))
    assert facts["models"]["localllm"]["folders"].startswith(f"{os.environ['LOCALLLM_HOME']}/models")


def test_numbers_of_threads_that_were_found(quick):
    tuned.keep(1, Threads(1, 1))
    try:
        facts, status = quick()
        assert facts["processor"]["threads_found_by_tuning, models up to 256 MB"] == "1, for prompts 1"
        tuned.path().write_text("?")
        facts, status = quick()
        assert status == 1
        assert any("threads.json" in problem for problem in facts["problems"])
    finally:
        tuned.forget()


def test_text_shows_all_of_it(call):
    result = call("doctor", "--quick")
    for name in SECTIONS:
        assert (f"{name.capitalize()}\n  " in result.out) == (name != "speed")
    assert "\n\nProblems\n" in result.out


def test_problems_give_status_1(quick, monkeypatch, tmp_path):
    monkeypatch.setattr(checkup, "_LOW_MEMORY", 1 << 60)
    facts, status = quick()
    assert status == 1
    assert any("of memory are free" in problem for problem in facts["problems"])


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("LOCALLLM_TARGET", "nonsense", "LOCALLLM_TARGET=nonsense: no such target"),
        ("LOCALLLM_ORIGINS", "nonsense", "LOCALLLM_ORIGINS: 'nonsense'"),
        ("LOCALLLM_CONFIG", "/nonexistent", "LOCALLLM_CONFIG=/nonexistent: no such file"),
    ],
)
def test_a_section_that_fails_is_a_problem(quick, monkeypatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    facts, status = quick()
    assert status == 1
    assert any(words in problem for problem in facts["problems"])


def test_a_folder_that_goes_meanwhile_is_a_problem(quick, monkeypatch):
    def gone(_report):
        raise FileNotFoundError(2, "No such file or directory", "/the/folder")

    monkeypatch.setitem(SECTIONS, "kernels", gone)
    facts, status = quick()
    assert (status, facts["kernels"]) == (1, {})
    assert "/the/folder: No such file or directory" in facts["problems"]


def test_a_slower_target_than_there_could_be(monkeypatch):
    from localllm.kernels.simd.targets import current

    if current().name == "generic":
        pytest.skip("this processor has no better one")
    monkeypatch.setenv("LOCALLLM_TARGET", "generic")
    report = Report()
    assert SECTIONS["target"](report)["because"] == "LOCALLLM_TARGET says so"
    assert "is faster on this processor; unset it" in report.problems[0]


def test_a_missing_package(monkeypatch):
    version = checkup._version
    monkeypatch.setattr(checkup, "_version", lambda name: None if name == "numba" else version(name))
    report = Report()
    assert SECTIONS["versions"](report)["numba"] is None
    assert report.problems == ["numba is not installed: pip install numba"]


def test_extras(monkeypatch):
    needs = ['starlette>=0.4; extra == "server"', "no-such-package; extra == 'other'", "numpy>=2"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: needs)
    monkeypatch.setattr(checkup, "_version", lambda name: None if name == "no-such-package" else "1")
    found = SECTIONS["extras"](Report())
    assert found == {"server": "here", "other": "missing: no-such-package; pip install 'localllm[other]'"}


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        report = Report()
        SECTIONS["places"](report)
    finally:
        tmp_path.chmod(stat.S_IRWXU)
    assert any("cannot be written" in problem and "LOCALLLM_HOME" in problem for problem in report.problems)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="there are no modes here")
def test_a_folder_that_others_may_write_to(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALLLM_CACHE", str(tmp_path))
    (tmp_path / "prompts").mkdir(mode=0o700)
    report = Report()
    assert SECTIONS["places"](report)["prompts"]["mode"] == "0700"
    assert report.problems == []
    (tmp_path / "prompts").chmod(0o777)
    SECTIONS["places"](report)
    assert "chmod go-w" in report.problems[0]


def test_characters(monkeypatch):
    monkeypatch.setattr("sys.stdout", open(os.devnull, "w", encoding="ascii"))  # noqa: SIM115
    report = Report()
    assert SECTIONS["terminal"](report)["unicode"] is False
    assert "LANG=C.UTF-8" in report.problems[0]


def test_no_secret_and_no_home(call, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:password@hub.example/x")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:password@proxy.example")
    monkeypatch.setenv("LOCALLLM_API_KEY", "secret")
    for form in ("text", "json"):
        out = call("doctor", "--quick", "-o", form).out
        assert "secret" not in out
        assert "password" not in out
        assert str(tmp_path) not in out
        assert "~/mine" in out
        assert "https://hub.example/x" in out
        assert "HTTPS_PROXY" in out


@pytest.mark.slow
def test_speed():
    found = check().facts["speed"]
    assert found["gb_read_a_second"] > 0
    assert found["thousand_million_products_a_second"] > 0


def test_text_of_a_section_without_facts():
    assert text(Report({"target": {}}, ["one"])) == "Target\n  unknown\n\nProblems\n  ! one"


def test_home(call):
    assert str(Path.home()) not in call("doctor", "--quick").out


def test_a_drive_that_is_not_there(monkeypatch):
    """As on Windows, where not even the first folder of a path may exist."""
    monkeypatch.setattr(Path, "exists", lambda self: False)
    report = Report()
    assert checkup._place("kernels", Path("/z/kernels"), report) == {"path": "/z/kernels", "there": False}
    assert report.problems == ["/z/kernels: there is no such drive (kernels): set LOCALLLM_CACHE to another folder"]
