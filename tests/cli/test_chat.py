"""`localllm chat` as a process: pipes, options, a terminal."""

from __future__ import annotations

import pytest


def test_a_pipe_is_read_line_by_line(call, fake):
    result = call("chat", "--temp", 0, "-c", 64, stdin=b"hi\n\nyo\n/bye\nnever\n")
    assert (result.status, result.out) == (0, "hello\nhello\n")
    assert result.err.count("[ prompt") == 2
    assert ">>>" not in result.out + result.err
    assert fake.closed


def test_the_template_is_that_of_the_first_model(call, fake):
    result = call("chat", "a.gguf", "--chat-template", "gemma", "--temp", 0, stdin=b"hi\n/model b.gguf\nhi\n")
    assert result.out.count("hello") == 2
    assert [(loaded.name, loaded.chat_template) for loaded in fake.loaded] == [("a.gguf", "gemma"), ("b.gguf", None)]


def test_a_pipe_may_end_without_bye(call, fake):
    assert call("chat", "--temp", 0, "--no-stats", stdin=b"hi").out == "hello\n"


def test_an_error_over_a_pipe_ends_the_chat(call, fake):
    result = call("chat", "-c", 10, stdin=b"0123456789\nhi\n")
    assert result.status == 1
    assert "holds 10" in result.err.splitlines()[-1]


def test_several_lines_over_a_pipe(call, fake):
    result = call("chat", "--temp", 0, "--no-stats", stdin=b'"""\na\nb\n"""\n')
    assert result.out == "hello\n"


def test_a_pipe_is_not_kept_unless_asked(call, fake, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    call("chat", stdin=b"hi\n")
    assert not list(tmp_path.iterdir())
    call("chat", "--keep", stdin=b"hi\n/save one\n")
    result = call("chat", "--keep", "--resume", "one", stdin=b"/list\n")
    assert "2 messages  one: hi (this one)" in result.err


@pytest.mark.parametrize("options", [("--continue",), ("-r", "one")])
def test_nothing_to_go_on_with(call, fake, tmp_path, monkeypatch, options):
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    result = call("chat", "--keep", *options, stdin=b"hi\n")
    assert result.status == 2
    assert "conversation" in result.err
    assert not fake.loaded


def test_two_ways_to_go_on(call, fake):
    assert call("chat", "--continue", "-r", "x").status == 2
