"""The file of a model changes between two answers of a chat: a line that names it; /model loads what is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

import localllm
from tests.server import tiny


@pytest.fixture
def path(tmp_path):
    return tiny.write(tmp_path / "m.gguf")


def overwrite(path):
    shutil.copyfile(tiny.write(path.with_name("new.gguf"), seed=2), path)
    os.utime(path, ns=(1, 1))


def cut(path):
    os.truncate(path, 100_000)


class Doing(str):
    """A line before which something is done, as by somebody else."""

    work: Callable[[], None]

    def __new__(cls, line, work):
        made = super().__new__(cls, line)
        made.work = work
        return made


@pytest.fixture
def talk_to(say, path, monkeypatch):
    from tests.chat import conftest

    inner = conftest.Script.line

    def line(self, prompt, default=""):
        found = inner(self, prompt, default)
        if isinstance(found, Doing):
            found.work()
        return found

    monkeypatch.setattr(conftest.Script, "line", line)

    def load(name):
        return localllm.load(name, n_ctx=256, n_threads=1)

    return lambda *lines: say(*lines, model=load(path), load=load, n_ctx=256, max_tokens=8, keeps=True)


def complaints(result):
    return [line for line in result.err.splitlines() if line.startswith("localllm: ")]


@pytest.mark.parametrize("change", [overwrite, cut])
def test_a_line_names_it_and_the_message_is_back(talk_to, path, change):
    result = talk_to("hi", Doing("more", lambda: change(path)), "/bye")
    assert [line.startswith(f"localllm: {path}: changed while in use") for line in complaints(result)] == [True]
    assert result.reader.defaults == ["", "", "more"]
    assert [m["role"] for m in result.chat.messages] == ["user", "assistant"]


def test_the_new_file_goes_on_with_the_conversation(talk_to, path):
    result = talk_to("hi", Doing("more", lambda: overwrite(path)), f"/model {path}", "more")
    assert len(complaints(result)) == 1
    assert [m["role"] for m in result.chat.messages] == ["user", "assistant"] * 2


def test_a_file_that_cannot_be_loaded_any_more(talk_to, path):
    result = talk_to("hi", Doing("more", lambda: cut(path)), f"/model {path}", "/list")
    first, second = complaints(result)
    assert "changed while in use" in first
    assert second.startswith(f"localllm: {path}: ")
    assert "truncated" in second
    assert "(this one)" in result.err


@pytest.mark.parametrize("change", [os.unlink, lambda path: os.replace(tiny.write(path.with_name("n"), seed=2), path)])
def test_what_is_only_gone_from_its_place_goes_on(talk_to, path, change):
    result = talk_to("hi", Doing("more", lambda: change(path)))
    assert not complaints(result)
    assert len(result.chat.messages) == 4
