"""The configuration file: what it may say, what it does, what goes before it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from localllm.cli.settings import config_path

GREEDY = ("--temp", "0")


@pytest.fixture
def config(monkeypatch, tmp_path):
    """config(text): the configuration file has this text; its path."""
    path = tmp_path / "config.toml"
    monkeypatch.setenv("LOCALLLM_CONFIG", str(path))

    def write(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


class TestPath:
    def test_the_variables_go_first(self, monkeypatch, tmp_path):
        monkeypatch.delenv("LOCALLLM_CONFIG", raising=False)
        monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
        assert config_path() == tmp_path / "config.toml"
        monkeypatch.setenv("LOCALLLM_CONFIG", str(tmp_path / "mine.toml"))
        assert config_path() == tmp_path / "mine.toml"

    def test_the_users_folder(self, monkeypatch, tmp_path):
        for name in ("LOCALLLM_CONFIG", "LOCALLLM_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        assert config_path() == tmp_path / "localllm" / "config.toml"


class TestPrecedence:
    def test_editors_of_windows(self, call, fake, config):
        """Put a mark in front, and end lines in two characters."""
        config(b"\xef\xbb\xbf[run]\r\nn_predict = 4\r\ntemp = 0\r\n")
        assert call("run", "-p", "hi").out == "hell"

    def test_command_line_then_variables_then_file_then_default(self, call, fake, config, monkeypatch):
        config("[default]\nctx-size = 30\n[run]\nn_predict = 4\ntemp = 0")
        assert call("run", "-p", "hi").out == "hell"
        assert fake.contexts[-1].n_ctx == 30
        monkeypatch.setenv("LLAMA_ARG_N_PREDICT", "3")
        assert call("run", "-p", "hi").out == "hel"
        monkeypatch.setenv("LOCALLLM_PREDICT", "2")
        assert call("run", "-p", "hi").out == "he"
        assert call("run", "-p", "hi", "-n", "1").out == "h"

    def test_a_section_goes_before_default(self, call, fake, config):
        config("[default]\nctx-size = 30\n[run]\nctx_size = 40\n")
        call("run", "-p", "hi", *GREEDY)
        assert fake.contexts[-1].n_ctx == 40

    def test_what_a_command_does_not_have_is_left_out(self, call, config):
        config("[default]\nthreads = 2\ntemp = 0\n")
        assert call("list").status == 0

    def test_flags_and_lists(self, call, fake, config):
        config('[run]\nraw = true\ntemp = 0\nstop = ["e", "f"]\n')
        assert call("run", "-p", "abc").out == "d"


class TestModel:
    def test_where_none_is_named(self, call, fake, config, monkeypatch):
        config('[default]\nmodel = "mine.gguf"\n')
        call("run", "-p", "hi", *GREEDY)
        call("run", "why?", *GREEDY)
        call("run", "other.gguf", "hi", *GREEDY)
        call("run", "-m", "third.gguf", "hi", *GREEDY)
        monkeypatch.setenv("LLAMA_ARG_MODEL", "llama.gguf")
        call("run", "-p", "hi", *GREEDY)
        monkeypatch.setenv("LOCALLLM_MODEL", "variable.gguf")
        call("run", "-p", "hi", *GREEDY)
        names = ["mine.gguf", "mine.gguf", "other.gguf", "third.gguf", "llama.gguf", "variable.gguf"]
        assert [loaded.name for loaded in fake.loaded] == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\ntemprature = 1\n", ("[run] has no 'temprature'", "near it: 'temperature'")),
        ("[runn]\ntemp = 1\n", ("[runn] is no command", "near it: [run]")),
        ("[default]\nthread = 1\n", ("[default] has no 'thread'", "'threads'")),
        ("temp = 1\n", ("temp stands in no section", "[run]")),
        ('[run]\ntemp = "warm"\n', ("[run] temp: 'warm' is not a valid float",)),
        ('[default]\ntemp = "warm"\n', ("[default] temp: 'warm' is not a valid float",)),
        ("[run]\ntemp = true\n", ("[run] temp = true: must be a value",)),
        ("[run]\ntemp = [1, 2]\n", ("[run] temp = [1, 2]: is one value, not a list",)),
        ("[run]\nraw = 1\n", ("[run] raw = 1: must be true or false",)),
        ("[run]\nstop = [{a = 1}]\n", ("[run] stop", "must be text or a number")),
        (f"[{'7' * 5000}]\n", ("7777...] is no command",)),
        (f"{'7' * 5000} = 1\n", ("7777... stands in no section",)),
        (f"[run]\n{'7' * 5000} = 1\n", ("[run] has no '7777",)),
        (f"[run]\ntemp = [{'7, ' * 5000}]\n", ("7, 7, ", "...: is one value, not a list")),
        ("[run\n", ("line 1",)),
        (b"[run]\nsystem = '\xff'\n", ("is not UTF-8 text (byte 16)",)),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_key(call, fake, config, text, words):
    path = config(text)
    result = call("run", "-p", "hi")
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert str(path) in result.err
    assert len(result.err) < 500
    for word in words:
        assert word in result.err
    assert call("run", "--help").status == call("config", "--path").status == 0


def test_the_example_of_the_documentation(call, config):
    text = (Path(__file__).parents[2] / "docs/reference.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    config(example)
    rows = json.loads(call("config", "run", "-o", "json").out)["settings"]
    assert {row["setting"] for row in rows if "config.toml" in row["from"]} == {
        "--model",
        "--threads",
        "--temp",
        "--stop",
    }


def test_a_file_that_is_named_must_be_there(call, fake, monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALLLM_CONFIG", str(tmp_path / "none.toml"))
    result = call("run", "-p", "hi")
    assert result.status == 1
    assert result.err == f"localllm: LOCALLLM_CONFIG={tmp_path}/none.toml: no such file\n"
    monkeypatch.setenv("LOCALLLM_CONFIG", str(tmp_path))
    assert "cannot be read" in call("run", "-p", "hi").err


@pytest.mark.parametrize("name", ["LOCALLLM_TEMP", "LLAMA_ARG_TEMPERATURE"])
def test_a_wrong_variable_is_named(call, fake, monkeypatch, name):
    monkeypatch.setenv(name, "warm")
    result = call("run", "-p", "hi")
    assert (result.status, result.err) == (2, f"localllm: {name}: 'warm' is not a valid float\n")


class TestShown:
    def test_the_path(self, call, config):
        assert call("config", "--path").out == f"{config('')}\n"

    def test_what_is_set_and_where(self, call, config, monkeypatch):
        config('[default]\nthreads = 2\n[run]\ntemp = 0.5\n[serve]\napi-key = "secret"\n')
        monkeypatch.setenv("LLAMA_ARG_TOP_K", "7")
        monkeypatch.setenv("LOCALLLM_API_KEY", "secret")
        result = call("config", "-o", "json")
        rows = {
            (row["command"], row["setting"]): (row["value"], row["from"]) for row in json.loads(result.out)["settings"]
        }
        assert rows["all", "threads"] == (2, "config.toml [default]")
        assert rows["run", "--temp"] == (0.5, "config.toml [run]")
        assert rows["chat, run", "--top-k"] == ("7", "LLAMA_ARG_TOP_K")
        assert rows["serve", "--api-key"][0] == "(not shown)"
        text = call("config").out
        assert "LLAMA_ARG_TOP_K" in text
        assert "secret" not in result.out + text

    def test_every_option_of_a_command(self, call, config, monkeypatch):
        config("[default]\nthreads = 2\n[run]\ntemp = 0.5\n")
        monkeypatch.setenv("LOCALLLM_MODEL", "mine")
        rows = {row["setting"]: row for row in json.loads(call("config", "run", "-o", "json").out)["settings"]}
        assert rows["--temp"] == {"command": "run", "setting": "--temp", "value": "0.5", "from": "config.toml [run]"}
        assert rows["--threads"]["from"] == "config.toml [default]"
        assert (rows["--model"]["value"], rows["--model"]["from"]) == ("mine", "LOCALLLM_MODEL")
        assert (rows["--top-k"]["value"], rows["--top-k"]["from"]) == ("40", "built in")
        assert "-ngl" not in rows

    def test_variables(self, call):
        assert "LOCALLLM_HOME" in call("config", "--variables").out
        assert "LOCALLLM_TARGET" in json.loads(call("config", "--variables", "-o", "json").out)

    def test_nothing(self, call, monkeypatch):
        from localllm.cli.variables import LLAMA_ARGUMENTS, VARIABLES

        for name in (*VARIABLES, *LLAMA_ARGUMENTS):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
        assert "Nothing is set" in call("config").out

    def test_what_is_wrong_in_any_section(self, call, config):
        config("[bench]\nnonsense = 1\n")
        assert call("run", "-p", "hi", "-m", "none.gguf").status == 1  # not its section
        assert "[bench] has no 'nonsense'" in call("config").err


def test_a_variable_that_stands_for_nothing_is_told(call, config, monkeypatch):
    config("")
    monkeypatch.setenv("LOCALLLM_TEMPP", "1")
    monkeypatch.setenv("LOCALLLM_TEMP", "0")
    monkeypatch.setenv("LOCALLLM_DEBUG", "1")
    result = call("config")
    assert result.status == 0
    assert [line for line in result.err.splitlines() if "stands for no option" in line] == [
        "LOCALLLM_TEMPP is set, but stands for no option; near it: LOCALLLM_TEMP, LOCALLLM_TOP_P"
    ]
