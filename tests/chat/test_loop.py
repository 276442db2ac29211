"""Messages, commands, errors and Ctrl-C, with a model that follows a script."""

from __future__ import annotations

import signal

import pytest

from localllm.chat.commands import COMMANDS, KEYS
from localllm.chat.plain import Cleared, read_message
from tests.chat.conftest import Script
from tests.generate.fake import FakeModel


def contents(chat):
    return [message["content"] for message in chat.messages]


def with_context(monkeypatch, change):
    """A model whose contexts were changed."""
    model = FakeModel()
    make = model.context

    def changed(*args, **options):
        context = make(*args, **options)
        change(context)
        return context

    monkeypatch.setattr(model, "context", changed)
    return model


def test_statistics(say):
    said = say("hi", "yo", stats=True)
    assert said.out == "hello\nhello\n"
    first, second = [line for line in said.err.splitlines() if line.startswith("[")]
    assert "prompt 8 tokens, " in first
    assert "| answer 5 tokens, " in first
    assert "(13 kept)" in second


def test_help_names_every_command_and_key(say):
    err = say("/help").err
    assert all(word in err for word in (*COMMANDS, *KEYS))
    assert say("/?").err == err


def test_commands(say):
    said = say("/system be", "hi", "/regen", "/clear", "/bye", "never")
    assert said.status == 0
    assert said.out == "hello\nhello\n"
    assert said.chat.messages == [{"role": "system", "content": "be"}]
    assert say("/system be", "/system").chat.messages == []


@pytest.mark.parametrize("word", ["/bye", "/exit"])
def test_leaving(say, word):
    assert say(word, "never").out == ""


def test_an_unknown_command(say):
    said = say("/sytem x")
    assert said.out == ""
    assert "/sytem is no command: did you mean /system? /help lists them." in said.err


def test_a_path_is_no_command(say):
    assert say("/etc/x is what?").out == "hello\n"


def test_errors_do_not_end_a_chat_in_a_terminal(say):
    said = say("/regen", "hi")
    assert (said.status, said.out) == (0, "hello\n")
    assert "localllm: there is no answer yet to make again" in said.err


def test_a_full_context_says_what_to_do(say):
    said = say("hi", model=FakeModel("x" * 50), n_ctx=12)
    assert said.out == "xxxxx\n"
    assert "12 tokens is full" in said.err
    assert all(way in said.err for way in ("/drop", "/undo", "/clear", "-c N"))


def test_a_model_without_template_is_told(say):
    model = FakeModel()
    model.template.is_fallback = True
    assert "no chat template" in say(model=model).err


class TestCtrlC:
    @pytest.mark.parametrize("times", [1, 2])
    def test_it_stops_the_answer_and_keeps_what_was_said(self, say, monkeypatch, times):
        presses = iter([times])

        def press(context):
            for _ in range(next(presses, 0) if len(context.cells) == 10 else 0):
                signal.raise_signal(signal.SIGINT)

        model = with_context(monkeypatch, lambda context: setattr(context, "before_pass", press))
        said = say("hi", "yo", model=model, stats=True)
        assert said.out == "hel\nhello\n"
        assert contents(said.chat) == ["hi", "hel", "yo", "hello"]
        assert "stopped ]" in said.err

    def test_while_a_prompt_is_read_the_message_comes_back(self, say, monkeypatch):
        presses = iter([1])

        def press(context):
            if len(context.cells) == 8 and next(presses, 0):
                signal.raise_signal(signal.SIGINT)

        model = with_context(monkeypatch, lambda context: setattr(context, "before_pass", press))
        said = say("a long question", "hi", model=model)
        assert said.out == "\nhello\n"
        assert contents(said.chat) == ["hi", "hello"]
        assert said.reader.defaults == ["", "a long question", ""]

    def test_while_a_question_is_prepared(self, say, monkeypatch):
        model = FakeModel()
        render, presses = model.template.render, iter([1])

        def press(*args, **options):
            if next(presses, 0):
                signal.raise_signal(signal.SIGINT)
            return render(*args, **options)

        monkeypatch.setattr(model.template, "render", press)
        assert contents(say("hi", "yo", model=model).chat) == ["yo", "hello"]

    def test_twice_at_an_empty_line_leaves(self, say):
        said = say("hi", KeyboardInterrupt(), "yo", KeyboardInterrupt(), KeyboardInterrupt(), "never")
        assert said.out == "hello\nhello\n"
        assert said.err.count("Ctrl-C again, or Ctrl-D, leaves.") == 2

    def test_what_was_typed_is_cleared_first(self, say):
        assert say(Cleared(), Cleared(), KeyboardInterrupt(), "never").out == ""

    def test_the_handler_of_before_is_back(self, say):
        before = signal.getsignal(signal.SIGINT)
        say("hi")
        assert signal.getsignal(signal.SIGINT) is before

    def test_over_a_pipe_it_ends_the_chat(self, say, monkeypatch):
        model = with_context(monkeypatch, lambda context: setattr(context, "interrupt_at", 10))
        with pytest.raises(KeyboardInterrupt):
            say("hi", model=model, interactive=False)


def test_ctrl_d_leaves(say):
    assert say("hi", EOFError(), "never").out == "hello\n"


class TestMultiLine:
    @pytest.mark.parametrize(
        ("lines", "want"),
        [
            (["plain"], "plain"),
            (['"""one"""'], "one"),
            (['"""', "one", "two", '"""'], "one\ntwo"),
            (['"""one', "", 'two"""'], "one\n\ntwo"),
            (['"""one', "cut off"], "one\ncut off"),
            (['"""\none\ntwo"""'], "one\ntwo"),
            (['"""Doc."""\n\nimport os'], '"""Doc."""\n\nimport os'),
            (['"""', 'one""" two'], '"""\none""" two'),
        ],
    )
    def test_message(self, lines, want):
        assert read_message(Script(lines)) == want

    def test_a_command_word_inside_is_text(self, say):
        assert say('"""', "what is", "/bye", '"""').out == "hello\n"


class Short(FakeModel):
    """Its second answer ends for want of memory, after the first words."""

    def __init__(self):
        super().__init__()
        self.left = 9

    def logits_after(self, cells):
        self.left -= 1
        if self.left == 0:
            raise MemoryError
        return super().logits_after(cells)


def test_want_of_memory_does_not_end_the_chat(say):
    said = say("hi", "more", "again", model=Short())
    assert said.status == 0
    assert said.err == "localllm: not enough memory\n"
    assert said.out == "hello\nh\nhello\n"
    assert [m["content"] for m in said.chat.messages] == ["hi", "hello", "more", "h", "again", "hello"]


def test_want_of_memory_ends_a_chat_over_a_pipe(say):
    with pytest.raises(MemoryError):
        say("hi", "more", "again", model=Short(), interactive=False)
