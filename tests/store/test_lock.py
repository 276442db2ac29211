"""Locks between processes, of which other programs may remove the files."""

import os
import threading
from pathlib import Path

import pytest

from localllm.errors import StoreError
from localllm.store import lock
from localllm.store.lock import is_free, locked


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, lambda: None), is_free(path) as free:
        assert not free
    with is_free(path) as free:
        assert free


def test_who_waits_says_so_once(tmp_path: Path) -> None:
    path, said, waiting = tmp_path / "lock", [], threading.Event()
    order: list[str] = []

    def wait() -> None:
        said.append("waits")
        waiting.set()

    def second() -> None:
        with locked(path, wait):
            order.append("second")

    with locked(path, lambda: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert said == ["waits"]


def test_a_lock_of_a_removed_file_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    take = lock._take
    removed: list[int] = []

    def remove_first(descriptor: int, byte: int) -> None:
        take(descriptor, byte)
        if not removed:
            removed.append(path.stat().st_ino)
            path.unlink()

    monkeypatch.setattr(lock, "_take", remove_first)
    with locked(path, lambda: None), is_free(path) as free:
        assert path.exists()
        assert not free
    assert len(os.listdir(tmp_path)) == 1


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, byte: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock, "_take", fail)
    words = "cannot be locked: Operation not supported; set LOCALLLM_HOME and HF_HOME"
    with pytest.raises(StoreError, match=words), locked(tmp_path / "lock", lambda: None):
        pass
