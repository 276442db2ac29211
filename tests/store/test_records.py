"""What we downloaded, and when a model was last used."""

import subprocess
import sys
from pathlib import Path

import pytest

from localllm.errors import StoreError
from localllm.store import records


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_nothing_is_known_and_nothing_is_made(home: Path, tmp_path: Path) -> None:
    assert not records.owns(tmp_path / "a.gguf")
    assert records.last_used(tmp_path / "a.gguf") is None
    assert not home.exists()


def test_what_was_pulled(tmp_path: Path) -> None:
    blob, link = tmp_path / "blob", tmp_path / "link.gguf"
    blob.write_text("x")
    link.symlink_to("blob")
    records.pulled(link, "a/b:Q4_0")
    assert records.owns(blob)
    assert records.owns(link)
    records.used(link)
    assert records.owns(blob)
    assert records.last_used(blob)
    records.forget(blob)
    assert not records.owns(link)
    assert records.last_used(link) is None


def test_use_owns_nothing(tmp_path: Path) -> None:
    records.used(tmp_path / "a.gguf")
    assert records.last_used(tmp_path / "a.gguf")
    assert not records.owns(tmp_path / "a.gguf")


def test_the_store_is_ours(home: Path, tmp_path: Path) -> None:
    assert records.owns(home / "models/a.gguf")
    (home / "models").mkdir(parents=True)
    (home / "models/link.gguf").symlink_to(tmp_path / "elsewhere.gguf")
    assert not records.owns(home / "models/link.gguf")


def test_damaged_records(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    records.records_path().write_text("this is no database" * 100)
    records.used(tmp_path / "a")
    records.forget(tmp_path / "a")
    assert records.last_used(tmp_path / "a") is None
    assert not records.owns(tmp_path / "a")
    with pytest.raises(StoreError, match=r"records\.sqlite: .*set LOCALLLM_HOME"):
        records.pulled(tmp_path / "a", "a")


def test_a_home_that_cannot_be_written(home: Path, tmp_path: Path) -> None:
    home.write_text("a file")
    records.used(tmp_path / "a")
    with pytest.raises(StoreError, match="set LOCALLLM_HOME"):
        records.pulled(tmp_path / "a", "a")


WRITER = """
import sys
from localllm.store import records
for i in range(20):
    records.pulled(f"/models/{sys.argv[1]}-{i}", "name")
"""


@pytest.mark.slow
def test_several_processes_write() -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(n)]) for n in range(4)]
    assert [process.wait(60) for process in writers] == [0] * 4
    assert all(records.owns(f"/models/{n}-{i}") for n in range(4) for i in range(20))


def test_all_files(tmp_path: Path) -> None:
    assert records.all_files() == {}
    ours, theirs = tmp_path / "a.gguf", tmp_path / "b.gguf"
    records.pulled(ours, "a")
    records.used(theirs)
    assert records.all_files() == {str(ours): (True, None), str(theirs): (False, records.last_used(theirs))}


def test_records_that_are_damaged_further_on(home: Path, tmp_path: Path) -> None:
    """The head of the file, and the schema in it, can still be read."""
    for i in range(200):
        records.pulled(tmp_path / f"{i}.gguf", "a/b:Q4_0")
    path = records.records_path()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    assert records.all_files() == {}
    assert records.known(tmp_path / "1.gguf") is None
    assert records.last_used(tmp_path / "1.gguf") is None


def test_records_that_cannot_be_opened(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    def refuse(*_args: object, **_options: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    records.pulled(tmp_path / "a.gguf", "a/b:Q4_0")
    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert records.all_files() == {}
    assert not records.owns(tmp_path / "a.gguf")
    records.used(tmp_path / "a.gguf")
