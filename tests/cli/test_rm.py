"""`localllm rm` asks, says what will be free, and does all or nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from localllm.store.paths import store_dir


class Terminal:
    def __init__(self, answer: str) -> None:
        self._lines = [answer + "\n"]

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._lines.pop(0) if self._lines else ""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALLLM_ORIGINS", "localllm")
    store_dir().mkdir()
    paths = [store_dir() / f"{name}.gguf" for name in ("a", "b")]
    for path in paths:
        path.write_bytes(b"GGUF" * 500_000)
    return paths


def test_yes(call, files: list[Path]) -> None:
    result = call("rm", "-y", "a", "A.GGUF")
    assert result.status == 0
    assert result.out == "removed a, 2 MB\n"
    assert result.err == f"a: 2 MB in {store_dir()}\n"
    assert [path.exists() for path in files] == [False, True]


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1)])
def test_it_asks(answer: str, status: int, files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from localllm.cli.main import main

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert main(["rm", "a", "b"]) == status
    out, err = capsys.readouterr()
    assert "Remove them? [y/N]" in err
    assert ("nothing was removed" in err) == (status == 1)
    assert out.splitlines() == (["removed a, 2 MB", "removed b, 2 MB"] if status == 0 else [])
    assert [path.exists() for path in files] == [status == 1] * 2


def test_without_a_terminal(call, files: list[Path]) -> None:
    result = call("rm", "a")
    assert result.status == 2
    assert "nobody can be asked, as there is no terminal: -y removes without asking" in result.err
    assert files[0].exists()


def test_all_or_nothing(call, files: list[Path]) -> None:
    result = call("rm", "-y", "a", "nothing")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "'nothing' is neither a file nor a model that is known" in result.err
    assert result.err.endswith("; `localllm list` shows all, ORG/REPO is one of a hub\n")
    assert files[0].exists()


def test_no_name(call) -> None:
    assert call("rm").status == 2
