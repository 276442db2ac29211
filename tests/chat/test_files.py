"""Names of files after /read, as each system writes them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from localllm.chat import files
from localllm.errors import UsageError


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "os", SimpleNamespace(sep="\\", altsep="/"))


def names(text: str) -> list[str]:
    return [str(path) for path in files.paths(text)]


def test_paths() -> None:
    assert names(r"""a.txt 'b c.txt' "d e.txt" f\ g.txt #h""") == ["a.txt", "b c.txt", "d e.txt", "f g.txt", "#h"]
    assert names("~/a.txt") == [str(Path.home() / "a.txt")]
    with pytest.raises(UsageError, match="No closing quotation"):
        files.paths("'a")


@pytest.mark.usefixtures("windows")
def test_paths_on_windows() -> None:
    assert names(r"C:\Users\me\a.txt 'C:\My files\b.txt' "'"\\\\server\\share\\c d.txt"') == [
        r"C:\Users\me\a.txt", r"C:\My files\b.txt", r"\\server\share\c d.txt",
    ]  # fmt: skip


@pytest.mark.parametrize("begun", ["sub/fi", "sub/"])
def test_completion_keeps_what_was_typed(begun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file.txt").touch()
    assert list(files.matching(begun)) == ["sub/file.txt"]
    assert list(files.matching("su")) == ["sub/"]


@pytest.mark.usefixtures("windows")
def test_completion_after_either_separator_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file.txt").touch()
    (tmp_path / "sub\\").mkdir()  # what stands before the last separator is a folder's name to this system
    (tmp_path / "sub\\/other.txt").touch()
    assert list(files.matching("sub/fi")) == ["sub/file.txt"]
    assert list(files.matching("sub\\o")) == ["sub\\other.txt"]
