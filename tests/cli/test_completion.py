"""Completion: click's protocol, and a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localllm.cli.main import VERBS


@pytest.fixture
def answer(capfd, monkeypatch):
    from localllm.cli.main import main

    def run(line):
        monkeypatch.setenv("_LOCALLLM_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        with pytest.raises(SystemExit):  # click's way to end
            main([])
        out, err = capfd.readouterr()
        assert err == ""
        return [tuple(row.split(",", 1)) for row in out.splitlines() if row]

    return run


@pytest.fixture
def models(monkeypatch):
    from localllm.store import found
    from localllm.store.stored import StoredModel

    def some():
        names = {"llama3.2:3b": False, "llama3.2:1b": False, "org/repo:Q4_K_M": True, "$(reboot)": True, "a\nb": True}
        for name, owned in names.items():
            yield StoredModel(name, Path("/x"), "ollama", (Path("/x"),), 10**9, owned=owned)

    monkeypatch.setattr(found, "found_models", lambda: list(some()))


def test_verbs(answer):
    assert answer("localllm ") == [("plain", verb) for verb in VERBS]
    assert answer("localllm ru") == [("plain", "run")]
    assert answer("localllm help comp") == [("plain", "compare"), ("plain", "completion")]


def test_options_and_their_values(answer):
    assert ("plain", "--temp") in answer("localllm run --te")
    assert answer("localllm run --kv-type q") == [("plain", "q8_0"), ("plain", "q4_0")]
    assert answer("localllm completion ") == [("plain", shell) for shell in ("bash", "zsh", "fish")]
    assert ("plain", "--verbose") in answer("localllm list --v")
    assert not [value for _, value in answer("localllm run --") if "n-gpu" in value]


def test_models_and_files(answer, models):
    assert answer("localllm chat smollm2-135") == [("plain", "smollm2-135m-instruct")]
    assert answer("localllm run -m ORG") == [("plain", "org/repo:Q4_K_M")]
    assert answer("localllm chat ./x") == [("file", "./x")]
    assert answer("localllm run --grammar g") == [("file", "g")]
    assert answer("localllm run --cache-dir d") == [("dir", "d")]


def test_names_that_a_shell_would_run_are_left_out(answer, models):
    assert answer("localllm rm ") == [("plain", "org/repo:Q4_K_M")]
    assert answer("localllm chat $") == [("file", "$")]


def test_templates_and_files(answer):
    assert answer("localllm run --chat-template phi") == [("plain", "phi3"), ("plain", "phi4")]
    assert answer("localllm serve --chat-template ./x") == [("file", "./x")]


def test_what_bash_has_of_a_name_with_a_colon_is_left_out(answer, models):
    assert answer("localllm chat llama3.2") == [("plain", "llama3.2:3b"), ("plain", "llama3.2:1b")]
    assert answer("localllm chat llama3.2:") == [("plain", "3b"), ("plain", "1b")]
    assert answer("localllm chat llama3.2:1") == [("plain", "1b")]


def test_pull_takes_the_catalog_alone(answer, models):
    values = [value for _, value in answer("localllm pull ")]
    assert "smollm2-135m-instruct" in values
    assert "org/repo:Q4_K_M" not in values


def test_nonsense_is_no_error(answer, monkeypatch):
    assert answer("localllm xx --y") == []
    monkeypatch.setenv("LOCALLLM_ORIGINS", "nonsense")
    assert answer("localllm chat a") == [("file", "a")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(call, shell):
    result = call("completion", shell)
    assert (result.status, result.err) == (0, "")
    assert f"{shell}_complete" in result.out
    assert "localllm" in result.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_in_a_real_bash(tmp_path):
    program = tmp_path / "localllm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m localllm "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(localllm completion bash)"\ncomplete -p localllm\n'
        'COMP_LINE="localllm chat smollm2-135"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=($COMP_LINE); COMP_CWORD=2\n'
        '_localllm_completion localllm smollm2-135 chat\necho "${COMPREPLY[@]}"\n'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "complete -o nosort -F _localllm_completion localllm",
        "smollm2-135m-instruct",
    ]
    assert done.stderr == ""
