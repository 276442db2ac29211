"""`localllm run` for scripts: files of prompts, JSON, log probabilities, thinking, exit statuses."""

from __future__ import annotations

import json
import math

import pytest

from localllm.cli import run

GREEDY = ("--temp", "0")


@pytest.fixture
def write(tmp_path):
    def write_(*lines):
        path = tmp_path / "prompts"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
        return path

    return write_


def rows(result):
    return [json.loads(line) for line in result.out.splitlines()]


def fed(fake, number=0):
    return fake.tokenizer.decode([t for c in fake.contexts[number].calls for t in c])


class TestFile:
    def test_is_the_prompt(self, call, fake, write):
        assert call("run", "--raw", "-f", write("abc", ""), "-n", 2, *GREEDY).out == "de"

    def test_follows_the_prompt(self, call, fake, write):
        call("run", "--raw", "-p", "one", "-f", write("two"), "-n", 1, *GREEDY, stdin=b"three\n")
        assert fed(fake) == "one\n\ntwo\n\nthree"

    def test_standard_input(self, call, fake):
        assert call("run", "--raw", "-f", "-", "-n", 2, *GREEDY, stdin=b"abc\n").out == "de"

    def test_must_be_there_and_text(self, call, fake, tmp_path):
        (tmp_path / "x").write_bytes(b"ab\xff")
        for name, words in (("none", "cannot be read"), ("x", "is not UTF-8 text (byte 2)"), (".", "cannot be read")):
            result = call("run", "-f", tmp_path / name)
            assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
            assert words in result.err
        assert not fake.loaded


class TestJson:
    def test_one_object(self, call, fake):
        result = call("run", "-p", "hi", *GREEDY, "-o", "json")
        (row,) = rows(result)
        seconds = row.pop("seconds")
        assert row == {
            "text": "hello",
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 8, "cached_tokens": 0, "answer_tokens": 5},
        }
        assert set(seconds) == {"prompt", "answer"}
        assert (result.status, result.err) == (0, "")

    def test_log_probabilities(self, call, fake):
        (row,) = rows(call("run", "-p", "hi", *GREEDY, "-o", "json", "--logprobs", 2, "-n", 3))
        assert [token["text"] for token in row["tokens"]] == list("hel")
        first = row["tokens"][0]
        assert [one["text"] for one in first["top"]] == ["h", "i"]
        assert first["top"][0]["logprob"] == first["logprob"] < 0
        assert first["top"][1]["logprob"] == pytest.approx(first["logprob"] - 1, abs=1e-5)
        assert bytes(first["bytes"]) == b"h"
        assert math.isfinite(first["logprob"])
        (row,) = rows(call("run", "-p", "hi", *GREEDY, "-o", "json", "--logprobs", 0, "-n", 1))
        assert row["tokens"][0]["top"] == []

    def test_need_json(self, call, fake):
        result = call("run", "-p", "hi", "--logprobs", 2)
        assert (result.status, result.out) == (2, "")
        assert "-o json" in result.err

    def test_ctrl_c_leaves_what_was_said(self, call, fake):
        interrupt(fake, at=10)
        result = call("run", "-p", "hi", *GREEDY, "-o", "json", "--draft", "off")
        (row,) = rows(result)
        assert (result.status, row["text"], row["finish_reason"]) == (130, "hel", "cancelled")


def interrupt(fake, at):
    context = fake.context

    def interrupting(*args, **options):
        made = context(*args, **options)
        made.interrupt_at = at
        return made

    fake.context = interrupting


class TestStatus:
    @pytest.mark.parametrize(
        ("flags", "status", "words"),
        [
            ((), 0, None),
            (("-n", 2), 0, None),
            (("--stop", "l"), 0, None),
            (("-c", 12), 1, "The context of 12 tokens is full"),
            (("--regex", "[0-9]{9}", "-n", 2), 1, "only the beginning of what the grammar asks for"),
            (("--regex", "[0-9]{9}", "-c", 12), 1, "only the beginning of what the grammar asks for"),
            (("--regex", "[0-9]{2}"), 0, None),
        ],
    )
    def test_table(self, call, fake, flags, status, words):
        fake.script = "hello world"
        result = call("run", "-p", "hi", *GREEDY, *flags)
        assert result.status == status
        assert result.err == "" if words is None else words in result.err


class TestThinking:
    @pytest.fixture
    def thinker(self, fake):
        fake.template.source = fake.tool_template.source = "<think></think>"
        fake.script = "<think>why</think>hello"
        return fake

    def test_standard_output_has_the_answer_alone(self, call, thinker):
        result = call("run", "-p", "hi", *GREEDY)
        assert (result.out, result.err) == ("hello", "")
        result = call("run", "-p", "hi", *GREEDY, "-v")
        assert result.out == "hello"
        assert "why\n" in result.err

    def test_json_has_both(self, call, thinker):
        (row,) = rows(call("run", "-p", "hi", *GREEDY, "-o", "json"))
        assert (row["text"], row["reasoning"]) == ("hello", "why")

    def test_raw_is_the_text_as_it_is(self, call, thinker):
        assert call("run", "--raw", "-p", "a:", *GREEDY).out == "<think>why</think>hello"

    def test_a_grammar_holds_what_is_said(self, call, thinker):
        result = call("run", "-p", "hi", *GREEDY, "--regex", "[0-9]{2}", "-o", "json")
        (row,) = rows(result)
        assert row["reasoning"] == "why"
        assert row["text"].isdigit()
        assert result.status == 0

    def test_cut_while_thinking(self, call, thinker):
        result = call("run", "-p", "hi", *GREEDY, "-n", 8)
        assert (result.status, result.out) == (0, "")
        assert "cut while the model was thinking" in result.err

    def test_not_with_raw(self, call, fake):
        assert call("run", "--raw", "--think", "-p", "x").status == 2


class TestMany:
    def test_a_prompt_a_line(self, call, fake, write):
        result = call("run", "--raw", "--prompts", write("abc", "", "mno"), "-n", 2, *GREEDY)
        assert [(row["line"], row["text"]) for row in rows(result)] == [(1, "de"), (3, "pq")]
        assert result.status == 0
        assert result.err.splitlines()[-1] == "Answering: 2/2"
        assert len(fake.contexts) == 1

    def test_json_lines(self, call, fake, write):
        questions = [
            {"prompt": "one", "id": "a", "system": "be", "max_tokens": 2},
            {"messages": [{"role": "user", "content": "two"}], "id": 7, "stop": "l", "seed": 1},
            {"prompt": "x", "temperature": 0, "stop": ["e", "o"]},
        ]
        result = call("run", "--prompts", write(*questions), "-sys", "all", *GREEDY)
        found = [(row["line"], row.get("id"), row["text"], row["finish_reason"]) for row in rows(result)]
        assert found == [(1, "a", "he", "length"), (2, 7, "he", "stop"), (3, None, "h", "stop")]
        assert "s:be\nu:one" in fed(fake)
        assert "all\nu:two" in fed(fake)  # what the first one began with, too, is read once

    def test_what_is_wrong_with_one_does_not_stop_the_rest(self, call, fake, write):
        path = write(
            {"prompt": "x"}, "nonsense", {"a": 1}, {"prompt": "y", "messages": []}, {"prompt": "x", "best": 1},
            {"prompt": 1}, {"prompt": "x", "top_p": 2}, {"prompt": "x" * 100}, {"prompt": "x", "seed": True},
            {"messages": [{"role": "king", "content": ""}]}, {"prompt": "x", "max_tokens": -2}, {"prompt": "z"},
            {"prompt": "x", "stop": [1]}, {"messages": ["x"]}, {"messages": []},
        )  # fmt: skip
        result = call("run", "--prompts", path, *GREEDY)
        assert result.status == 1
        found = rows(result)
        assert [row["line"] for row in found] == list(range(1, 16))
        assert [row["line"] for row in found if row.get("text") == "hello"] == [1, 12]
        errors = {row["line"]: row["error"] for row in found if "error" in row}
        for line, words in {
            2: "no JSON object", 3: '"prompt" or "messages"', 4: "not both", 5: "unknown field 'best'",
            6: "prompt is 1", 7: "top_p is 2", 8: "holds 64",
            9: "seed is true", 10: "role", 11: "max_tokens is -2", 13: "stop must be", 14: "messages[0]", 15: "empty",
        }.items():  # fmt: skip
            assert words in errors[line]
        last = result.err.splitlines()[-1]
        assert last == "13 of 15 prompts have no whole answer: lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15"

    def test_an_answer_that_is_cut_has_no_whole_answer(self, call, fake, write):
        fake.script = "hello world"
        result = call("run", "--prompts", write("hi"), "-c", 12, *GREEDY)
        assert (result.status, rows(result)[0]["finish_reason"]) == (1, "context")
        assert result.err.splitlines()[-1] == "1 of 1 prompts have no whole answer: line 1"

    def test_the_answers_do_not_depend_on_each_other(self, call, fake, write):
        flags = ("--temp", 3, "--seed", 5, "-n", 12, "--raw")
        (alone,) = rows(call("run", "--prompts", write("mno"), *flags))
        both = rows(call("run", "--prompts", write("abc", "mno"), *flags))
        assert both[1]["text"] == alone["text"] == call("run", "-p", "mno", *flags).out

    def test_standard_input(self, call, fake):
        assert rows(call("run", "--raw", "--prompts", "-", "-n", 1, *GREEDY, stdin=b"abc\r\nmno\n"))[1]["text"] == "p"

    def test_ctrl_c(self, call, fake, write):
        interrupt(fake, at=20)
        result = call("run", "--prompts", write("a", "b" * 20, "c"), *GREEDY)
        assert result.status == 130
        assert [row["text"] for row in rows(result)] == ["hello"]
        assert result.err.splitlines()[-1] == "Stopped: the rest is not answered."

    @pytest.mark.parametrize("more", [("-p", "x"), ("-f", "x"), ("m.gguf", "x")])
    def test_is_alone(self, call, fake, write, more):
        result = call("run", "--prompts", write("x"), *more)
        assert (result.status, result.out) == (2, "")

    def test_there_must_be_some(self, call, fake, write):
        result = call("run", "--prompts", write("", " "))
        assert (result.status, result.err.count("\n")) == (2, 1)
        assert "no prompt in it" in result.err

    def test_lines_are_of_one_kind(self, call, fake, write):
        result = call("run", "--prompts", write("hi", '{"prompt": "x"}'), *GREEDY)
        assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
        assert "line 2 is a JSON object, the first one is not: all must be, or none" in result.err

    def test_a_grammar_that_is_none_is_told_once(self, call, fake, write):
        result = call("run", "--prompts", write("a", "b"), "--regex", "(")
        assert (result.status, result.out, result.err.count("localllm: ")) == (2, "", 1)


class TestWithoutAPrompt:
    @pytest.fixture
    def terminal(self, monkeypatch, fake):
        """The chat that `run` starts, in what seems to be a terminal."""
        from localllm.cli import chat

        begun = []
        monkeypatch.setattr(chat.command, "callback", lambda **given: begun.append(given))
        monkeypatch.setattr(run, "_is_interactive", lambda: True)
        return begun

    def test_a_chat_begins(self, call, terminal):
        result = call("run", "mine.gguf", "-c", 32, "--system", "be")
        assert result.status == 0
        assert result.err == "No prompt: this is `localllm chat mine.gguf`.\n"
        (given,) = terminal
        assert (given["positional"], given["ctx_size"], given["system"]) == ("mine.gguf", 32, "be")

    @pytest.mark.parametrize("args", [(), ("mine.gguf", "--json"), ("mine.gguf", "-o", "json"), ("mine.gguf", "--raw")])
    def test_but_not_where_an_answer_was_meant(self, call, terminal, args):
        result = call("run", *args)
        assert (result.status, terminal) == (2, [])
        assert "no prompt" in result.err


def test_what_llama_cpp_calls_them(call, fake, tmp_path):
    (tmp_path / "g.gbnf").write_text('root ::= "yes"')
    (tmp_path / "s.json").write_text('{"enum": [12]}')
    assert call("run", "-p", "hi", *GREEDY, "--grammar-file", tmp_path / "g.gbnf").out == "yes"
    assert call("run", "-p", "hi", *GREEDY, "-jf", tmp_path / "s.json").out == "12"
    assert call("run", "-p", "abc", *GREEDY, "-no-cnv", "-n", 1).out == "d"
    folder = tmp_path / "cache"
    assert call("run", "-p", "hi", *GREEDY, "--prompt-cache", folder).out == "hello"
    (tmp_path / "file").write_bytes(b"")
    result = call("run", "-p", "hi", "--prompt-cache", tmp_path / "file")
    assert (result.status, result.err.count("\n")) == (2, 1)
