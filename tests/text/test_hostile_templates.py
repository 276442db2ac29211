"""No template of a file escapes, takes longer than two seconds, or more memory than a limit: each in a child."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from localllm.errors import TemplateError, TemplateTimeError
from localllm.text import limits
from localllm.text.template import ChatTemplate
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


MESSAGES: dict[str, Any] = {
    "content that is no text": [1, 2.5, True, {"a": 1}, ["x"], [{"type": "text"}], [{"type": 1, "text": 2}], [[[]]]],
    "format strings": ["{0.__class__}", "{", "%s%n%*d", "{{ 7 * 7 }}{% raw %}", "{:1000000000}"],
    "control characters": ["\0", "\x1b]0;x\x07", "\ud800", "\u202e", "\r\n" * 1000],
    "huge": ["x" * 2_000_000, "</think>" * 100_000, "<tool_call>" * 100_000, "\n" * 500_000],
}
ROLES = ["", "system\n", "{0.__class__}", 7, None, ["user"], "x" * 100_000]


@pytest.mark.parametrize("name", MESSAGES)
def test_what_clients_send_to_templates_of_models(name):
    """A text, or one line of error, in the templates of every eighth model."""
    paths = sorted((Path(__file__).parent / "templates").glob("*.jinja"))[::8]
    assert len(paths) > 10
    deep: Any = "x"
    for _ in range(90):
        deep = {"a": [deep]}
    for path in paths:
        template = ChatTemplate(path.read_text(encoding="utf-8"))
        for content in MESSAGES[name]:
            _send(template, [{"role": "user", "content": content}])
        for role in ROLES:
            _send(template, [{"role": role, "content": "x"}, {"role": "user", "content": "x", "tool_calls": deep}])
        _send(template, [{"role": "user", "content": "x"}], tools=[deep], documents=[deep], enable_thinking=deep)


def _send(template: ChatTemplate, messages: list[dict[str, Any]], **variables: Any) -> None:
    start, said = time.thread_time(), ""
    try:
        template.render(messages, **variables)
    except TemplateError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 1000
    assert time.thread_time() - start < 2


def test_all_renderings_of_a_prompt_share_the_time_of_one(monkeypatch):
    """A template may spin in each of the conversations that find out what it makes use of."""
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    template = ChatTemplate(SPINS["two loops"])
    start = time.thread_time()
    with limits.one_clock():
        for _ in range(20):
            with pytest.raises(TemplateTimeError):
                template.render([])
    assert time.thread_time() - start < 1
