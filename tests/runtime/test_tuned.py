"""Numbers of threads that are kept: for whom they hold, and files that are no good."""

import json
import os
from collections.abc import Callable

import pytest

from localllm.errors import FileError
from localllm.model.model import LoadedModel
from localllm.runtime import tuned
from localllm.runtime.processors import Processors
from localllm.runtime.tuned import Threads
from tests import tiny_models

SMALL, MEDIUM = 10 << 20, 1 << 30


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A machine of 8 threads on 4 cores, and a folder of its own."""
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    use(monkeypatch, Processors(8, 4, 4))
    return tmp_path


def use(monkeypatch, found):
    monkeypatch.setattr(tuned, "processors", lambda: found)


def test_what_is_kept_stands_in_for_a_number():
    assert tuned.threads(SMALL) == Threads(4, 4)
    assert tuned.keep(SMALL, Threads(3, 8)) == tuned.path()
    assert tuned.threads(SMALL) == Threads(3, 8)
    assert tuned.threads(SMALL, prompt=2) == Threads(3, 2)


def test_a_number_that_is_given_wins():
    tuned.keep(SMALL, Threads(3, 8))
    assert tuned.threads(SMALL, 2) == Threads(2, 2)
    assert tuned.threads(SMALL, 2, 5) == Threads(2, 5)


def test_classes_of_models():
    tuned.keep(SMALL, Threads(3, 8))
    assert tuned.threads(MEDIUM) == Threads(4, 4)
    tuned.keep(MEDIUM, Threads(2, 4))
    assert tuned.kept() == {tuned.size_class(SMALL): Threads(3, 8), tuned.size_class(MEDIUM): Threads(2, 4)}
    assert [tuned.size_class(n) for n in (0, 256 << 20, (256 << 20) + 1, 5 << 30)] == [
        *("up to 256 MB", "up to 256 MB", "up to 2 GB", "over 2 GB"),
    ]


@pytest.mark.parametrize("found", [Processors(4, 4, 4), Processors(8, 4, 4, 2.0), Processors(8, 8, 8)])
def test_another_machine_is_another(monkeypatch, found):
    """A process bound to fewer processors, or within a quota, has numbers of its own; both are kept."""
    tuned.keep(SMALL, Threads(3, 8))
    use(monkeypatch, found)
    said: list[str] = []
    assert tuned.threads(SMALL, say=said.append) == Threads(found.default, found.default)
    tuned.keep(SMALL, Threads(1, 2))
    assert tuned.threads(SMALL) == Threads(1, 2)
    use(monkeypatch, Processors(8, 4, 4))
    assert tuned.threads(SMALL) == Threads(3, 8)
    assert not said


def test_forget():
    assert not tuned.forget()
    tuned.keep(SMALL, Threads(3, 8))
    assert tuned.forget()
    assert tuned.threads(SMALL) == Threads(4, 4)


def whole(**numbers):
    return json.dumps({"version": 1, "machines": {tuned.machine(): {"up to 256 MB": numbers}}})


WRONG: dict[str, tuple[str | bytes | Callable[[], str], str]] = {
    "no JSON": ("{", "no JSON"),
    "deep": ("[" * 100_000, "no JSON"),
    "another form": ("[1]", "version 1"),
    "another version": ('{"version": 2, "machines": {}}', "version 1"),
    "machines": ('{"version": 1, "machines": 5}', "version 1"),
    "no table": (lambda: whole().replace("{}", "7"), "1 and 8"),
    "no number": (lambda: whole(decode="2", prompt=2), "1 and 8"),
    "a truth": (lambda: whole(decode=True, prompt=2), "1 and 8"),
    "too many": (lambda: whole(decode=2, prompt=9), "1 and 8"),
    "too few": (lambda: whole(decode=0, prompt=2), "1 and 8"),
    "one is missing": (lambda: whole(decode=2), "1 and 8"),
    "large": ("7" * (1 << 20) + "7", "too large"),
    "bytes": (b"\xff\xfe\x00", "decode"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_passed_over(name):
    """With one line that says so; it is replaced once there is something to keep."""
    content, what = WRONG[name]
    content = content() if callable(content) else content
    tuned.path().write_bytes(content if isinstance(content, bytes) else content.encode())
    said: list[str] = []
    assert tuned.threads(SMALL, say=said.append) == Threads(4, 4)
    assert tuned.threads(SMALL) == Threads(4, 4)
    assert len(said) == 1
    assert what in said[0]
    assert str(tuned.path()) in said[0]
    assert "\n" not in said[0]
    tuned.keep(SMALL, Threads(1, 1))
    assert tuned.threads(SMALL, say=said.append) == Threads(1, 1)
    assert len(said) == 1


def test_a_file_that_cannot_be_read_or_written(home):
    tuned.path().mkdir()
    said: list[str] = []
    assert tuned.threads(SMALL, say=said.append) == Threads(4, 4)
    assert "directory" in said[0]
    with pytest.raises(FileError, match="cannot be written"):
        tuned.keep(SMALL, Threads(1, 1))
    with pytest.raises(FileError, match="cannot be removed"):
        tuned.forget()
    assert os.listdir(home) == ["threads.json"]


def test_the_users_state_folder(monkeypatch):
    monkeypatch.delenv("LOCALLLM_HOME")
    assert tuned.path().name == "threads.json"
    assert "localllm" in str(tuned.path())


def test_a_model_uses_them(tmp_path):
    """Two teams, and the same bits as with one thread; what is wrong with the file is among the model's notes."""
    path = tiny_models.write(tmp_path / "m.gguf", "llama", "Q8_0")
    ids = [i % 90 for i in range(60)]
    with LoadedModel.load(path, n_ctx=128, n_threads=1) as model:
        expected = model.logits(ids)
    tuned.keep(SMALL, Threads(1, 3))
    with LoadedModel.load(path, n_ctx=128) as model:
        assert (model.n_threads, model.n_threads_batch, model.notes) == (1, 3, [])
        assert (model.logits(ids) == expected).all()
        assert (model.logits(ids[:5]) == expected[:5]).all()
        assert [model.team.of(n).n_threads for n in (1, 8, 9, 512)] == [1, 1, 3, 3]
        model.team.threads = Threads(2, 3)
        assert (model.logits(ids[:1]) == expected[:1]).all()
        assert model.team.of(1).n_threads == 2
    with LoadedModel.load(path, n_threads=2) as model:
        assert (model.n_threads, model.n_threads_batch) == (2, 2)
        assert model.team.of(1) is model.team.of(512)
    tuned.path().write_text("?")
    with LoadedModel.load(path) as model:
        assert len(model.notes) == 1
