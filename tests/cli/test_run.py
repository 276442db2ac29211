from __future__ import annotations

import os
import re
from typing import Any

import pytest

from localllm.cli.run import assign
from localllm.errors import TemplateError, UsageError

GREEDY = ("--temp", "0")


def test_stdout_is_the_text_alone(call, fake):
    result = call("run", "-p", "hi", *GREEDY)
    assert (result.status, result.out, result.err) == (0, "hello", "")
    assert fake.closed
    assert all(context.closed for context in fake.contexts)


def test_raw_continues_the_prompt(call, fake):
    assert call("run", "--raw", "-p", "abc", "-n", 3, *GREEDY).out == "def"


def test_the_template_is_used_without_raw(call, fake):
    call("run", "-p", "hi", "--system", "be", *GREEDY)
    fed = [t for c in fake.contexts[0].calls for t in c]
    assert fake.tokenizer.decode(fed).startswith("s:be\nu:hi\na:")


def test_statistics_go_to_stderr(call, fake):
    for flag in ("-v", "--stats"):
        result = call("run", "-p", "hi", *GREEDY, flag)
        assert result.out == "hello"
        assert "[ prompt 8 tokens, " in result.err
        assert "answer 5 tokens, " in result.err


def test_stop(call, fake):
    assert call("run", "-p", "hi", *GREEDY, "--stop", "lo").out == "hel"


def test_options_reach_the_model(call, fake):
    more = ("--chat-template", "chatml", "--precision", "high")
    call("run", "-m", "x.gguf", "-p", "hi", "-c", 32, "-t", 1, "-b", 4, *more, *GREEDY)
    expected: dict[str, Any] = {"name": "x.gguf", "n_ctx": 32, "n_threads": 1, "kv_type": "f16", "swa_full": False}
    expected |= {"chat_template": "chatml", "precision": "high"}
    assert vars(fake.loaded[0]) == expected
    assert (fake.contexts[0].n_ctx, fake.contexts[0].n_batch) == (32, 4)


def test_options_from_the_environment(call, fake, monkeypatch):
    monkeypatch.setenv("LOCALLLM_CTX_SIZE", "32")
    monkeypatch.setenv("LOCALLLM_PREDICT", "2")
    monkeypatch.setenv("LOCALLLM_TEMP", "0")
    assert call("run", "-p", "hi").out == "he"
    assert call("run", "-p", "hi", "-n", "3").out == "hel"
    assert fake.contexts[0].n_ctx == 32
    monkeypatch.setenv("LOCALLLM_TEMP", "warm")
    assert call("run", "-p", "hi").status == 2


def test_same_seed_same_text(call, fake):
    texts = [call("run", "-p", "hi", "--temp", 3, "--seed", s, "-n", 20).out for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_longer_than_the_context(call, fake):
    result = call("run", "-p", "0123456789", "-c", 10)
    assert (result.status, result.out) == (1, "")
    assert result.err.count("\n") == 1
    assert "16 tokens" in result.err
    assert "holds 10" in result.err


def test_a_full_context_says_so(call, fake):
    fake.script = "x" * 50
    result = call("run", "-p", "hi", "-c", 12, *GREEDY)
    assert result.status == 1
    assert result.out == "xxxxx"
    assert "12 tokens is full" in result.err


def test_a_model_without_template(call, fake):
    fake.template.is_fallback = True
    assert "no chat template" in call("run", "-p", "hi", *GREEDY).err
    assert call("run", "-p", "hi:", "--raw", *GREEDY).err == ""


def test_a_template_that_fails_is_told_with_its_file(call, fake, monkeypatch):
    def render(*args, **options):
        raise TemplateError("chat template, line 3: it is broken")

    monkeypatch.setattr(fake.template, "render", render)
    result = call("run", "-p", "hi", *GREEDY)
    assert (result.status, result.out) == (1, "")
    assert result.err == f"localllm: {fake.path}: chat template, line 3: it is broken\n"


def test_ctrl_c_keeps_the_text_so_far(call, fake):
    context = fake.context

    def interrupting(*args, **options):
        made = context(*args, **options)
        made.interrupt_at = 10
        return made

    fake.context = interrupting
    result = call("run", "-p", "hi", *GREEDY, "--draft", "off")
    assert (result.status, result.out) == (130, "hel")
    assert "Traceback" not in result.err
    assert fake.closed


def test_ids_without_a_vocabulary(call, fake):
    fake.tokenizer = None
    result = call("run", "--raw", "-p", "x")
    assert result.status == 1
    assert "no_vocab" in result.err


class TestStdin:
    def test_is_the_prompt(self, call, fake):
        assert call("run", "--raw", "-n", 2, *GREEDY, stdin=b"abc").out == "de"
        # PowerShell puts a mark in front, and ends the line in two characters.
        assert call("run", "--raw", "-n", 2, *GREEDY, stdin=b"\xef\xbb\xbfabc\r\n").out == "de"

    def test_follows_the_prompt(self, call, fake):
        call("run", "--raw", "-p", "abc", "-n", 1, *GREEDY, stdin=b"xyz")
        fed = [t for c in fake.contexts[0].calls for t in c]
        assert fake.tokenizer.decode(fed) == "abc\n\nxyz"

    def test_empty_is_no_prompt(self, call, fake):
        result = call("run", stdin=b"")
        assert result.status == 2
        assert "no prompt" in result.err

    def test_so_must_the_argument(self, call, fake):
        result = call("run", "-p", "ab\udcff")
        assert (result.status, result.err) == (2, "localllm: the prompt is not UTF-8 text (character 3)\n")

    def test_must_be_text(self, call, fake):
        result = call("run", stdin=b"ab\xff")
        assert result.status == 2
        assert "byte 2 is 0xff" in result.err

    def test_a_file(self, call, fake, monkeypatch, tmp_path):
        (tmp_path / "prompt").write_text("abc")
        with open(tmp_path / "prompt", encoding="utf-8") as stream:
            monkeypatch.setattr("sys.stdin", stream)
            from localllm.cli.questions import whole_prompt

            assert whole_prompt(None, None) == "abc"

    def test_a_silent_pipe_is_mentioned(self, capfd, fake, monkeypatch):
        import threading

        from localllm.cli import questions

        reader, writer = os.pipe()
        monkeypatch.setattr(questions, "_PATIENCE", 0.01)
        with os.fdopen(reader, encoding="utf-8") as stream:
            monkeypatch.setattr("sys.stdin", stream)
            threading.Timer(0.3, os.close, [writer]).start()
            assert questions.whole_prompt("hi", None) == "hi"
        assert "standard input" in capfd.readouterr().err


class TestAssign:
    @pytest.mark.parametrize(
        ("given", "want"),
        [
            ((None, None, None, None), (None, None)),
            (("m.gguf", "hi", None, None), ("m.gguf", "hi")),
            (("hi", None, "m.gguf", None), ("m.gguf", "hi")),
            (("m", None, None, "hi"), ("m", "hi")),
            ((None, None, "m", "hi"), ("m", "hi")),
            (("why is the sky blue?", None, None, None), (None, "why is the sky blue?")),
            (("What is 3/4 of 8?", None, None, None), (None, "What is 3/4 of 8?")),
            (("hello", None, None, None), (None, "hello")),
            (("missing.gguf", None, None, None), ("missing.gguf", None)),
            (("./my models/missing.gguf", None, None, None), ("./my models/missing.gguf", None)),
            (("models/missing", None, None, None), ("models/missing", None)),
        ],
    )
    def test_table(self, given, want):
        assert assign(*given) == want

    def test_catalog_names_are_models(self):
        from localllm.store.catalog import catalog

        for name in catalog().entries:
            assert assign(name, None, None, None) == (name, None)

    def test_a_file_is_a_model(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "weights").write_bytes(b"")
        assert assign("weights", None, None, None) == ("weights", None)

    @pytest.mark.parametrize(
        "given", [("a", "b", "m", None), ("a", "b", None, "p"), ("a", None, "m", "p"), ("a", "b", "m", "p")]
    )
    def test_twice(self, given):
        with pytest.raises(UsageError):
            assign(*given)


def test_grammars(call, fake, tmp_path):
    schema, lark = tmp_path / "s.json", tmp_path / "g.lark"
    schema.write_text('{"enum": [12, 34]}')
    lark.write_text("// numbers\nstart: N\nN: /[0-9]{3}/\n")
    for flags, pattern in (
        (("--json-schema", '{"enum": [12, 34]}'), "12|34"),
        (("--json-schema", schema), "12|34"),
        (("--regex", "[0-9]{2}x"), "[0-9]{2}x"),
        (("--grammar", lark), "[0-9]{3}"),
        (("--grammar", 'root ::= "yes" | "no"'), "yes|no"),
    ):
        result = call("run", "-p", "hi", *GREEDY, *flags)
        assert (result.status, result.err) == (0, "")
        assert re.fullmatch(pattern, result.out)


def test_an_answer_that_is_cut_says_so(call, fake):
    result = call("run", "-p", "hi", *GREEDY, "--regex", "[0-9]{5}", "-n", 2)
    assert len(result.out) == 2
    assert result.err == "The answer was cut: it is only the beginning of what the grammar asks for.\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--json", "--regex", "a"), "--json and --regex: an answer is held to one of them"),
        (("--regex", "a("), "regular expression, column 2: unclosed group"),
        (("--json-schema", "{"), "JSON schema, line 1, column 2: no valid JSON"),
        (("--json-schema", "nowhere.json"), "is neither the text itself nor a file that is there"),
        (("--grammar", "."), "cannot be read (Is a directory)"),
    ],
)
def test_wrong_grammars(call, fake, flags, message):
    result = call("run", "-p", "hi", *flags)
    assert result.status != 0
    assert message in result.err
    assert result.err.count("\n") == 1
