"""No template of a file escapes, takes longer than two seconds, or more memory than a limit: each in a child."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.contained import contained
from tests.text.hostile_templates import ESCAPES, EXPLOSIONS, SOURCES, SPINS

MEGABYTES = 350
"""Of the child, with the 100 that its modules take: localllm.text.limits.MAX_MADE, and what is on its way."""
SHOWS_PYTHON = ("<class", "<module", "<built-in", "<function", "<bound method", "<frame", "<code", "root:", "environ(")


def render(source: str, seconds: float = 0) -> int:
    """In the child: the text on standard output, or the error as the command line tells it."""
    from localllm.errors import TemplateError
    from localllm.text import limits
    from localllm.text.template import ChatTemplate

    limits.SECONDS = seconds or limits.SECONDS
    messages = [{"role": "user", "content": "__class__"}, {"role": "assistant", "content": "{0.__class__}"}]
    before = [dict(message) for message in messages]
    try:
        text = ChatTemplate(source, "<s>", "</s>").render(messages)
    except TemplateError as error:
        sys.stderr.write(f"localllm: {error}\n")
        return 1
    assert messages == before
    sys.stdout.write(text.encode("ascii", "backslashreplace").decode())
    return 0


def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, seconds: float = 0):
    monkeypatch.chdir(tmp_path)
    ended = contained(render, source, seconds, megabytes=MEGABYTES, seconds=10)  # of the clock; others work, too
    ended.check_clean(statuses=(0, 1))
    assert list(tmp_path.iterdir()) == []
    return ended


def test_there_are_enough():
    sources = [*ESCAPES.values(), *EXPLOSIONS.values(), *SPINS.values(), *SOURCES.values()]
    assert len(set(sources)) == len(sources) >= 200


@pytest.mark.parametrize("name", ESCAPES)
def test_no_way_to_python(name, tmp_path, monkeypatch):
    ended = outcome(tmp_path, monkeypatch, ESCAPES[name])
    assert not any(sign in ended.stdout for sign in SHOWS_PYTHON), ended.stdout[:500]


@pytest.mark.parametrize("name", EXPLOSIONS)
def test_explosions_are_refused(name, tmp_path, monkeypatch):
    ended = outcome(tmp_path, monkeypatch, EXPLOSIONS[name])
    assert ended.status == 1
    assert "MemoryError" not in ended.stderr


@pytest.mark.parametrize("name", SPINS)
def test_endless_work_meets_its_deadline(name, tmp_path, monkeypatch):
    ended = outcome(tmp_path, monkeypatch, SPINS[name], seconds=0.3)
    assert "it takes longer than 0.3 seconds" in ended.stderr


@pytest.mark.parametrize("name", SOURCES)
def test_sources_that_are_dear_to_compile(name, tmp_path, monkeypatch):
    outcome(tmp_path, monkeypatch, SOURCES[name])
