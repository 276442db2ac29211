"""run and chat go on from prompts that another process has read, and say what keeps them from it."""

import pytest

from tests.generate.test_chat_states import VOCABULARY
from tests.recorded import models

PROMPT = "!" * 400


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return models.write(
        tmp_path_factory.mktemp("m") / "m.gguf", models.cases()["lfm2"], context_length=600, **VOCABULARY
    )


@pytest.fixture
def run(call, path, tmp_path):
    def run_(*options, prompt=PROMPT):
        settings = ("-c", 600, "-n", 5, "--temp", 0, "--stats", "--cache-dir", tmp_path / "prompts")
        return call("run", "-m", path, "--raw", "-p", prompt, *settings, *options)

    return run_


def test_the_second_run_reads_one_token(run):
    first, second = run(), run()
    assert first.status == second.status == 0
    assert second.out == first.out
    assert "prompt 400 tokens, " in first.err
    assert "prompt 400 tokens (399 kept)" in second.err
    assert "prompt 400 tokens, " in run("--no-cache").err


def test_short_prompts_leave_nothing(run, tmp_path):
    assert run(prompt="!" * 200).status == 0
    assert not (tmp_path / "prompts").exists()


def test_a_folder_that_cannot_be_used_is_a_note(run, tmp_path):
    (tmp_path / "prompts").write_bytes(b"")
    out = run("--cache-dir", tmp_path / "prompts" / "more")
    assert out.status == 0
    assert f"{tmp_path}/prompts/more: prompts are not kept on disk: Not a directory\n" in out.err
    out = run("--cache-dir", tmp_path / "prompts" / "more", "--no-stats")
    assert out.err == ""


def test_a_conversation_begins_where_another_one_began(call, path, tmp_path):
    options = ("-c", 600, "-n", 5, "--temp", 0, "--cache-dir", tmp_path / "prompts", "-sys", PROMPT)
    first, second = (call("chat", path, *options, stdin=b"hello\nthere\n") for _ in range(2))
    assert first.out == second.out
    n = len(f"[system]{PROMPT}[user]hello[assistant]")
    assert f"prompt {n} tokens, " in first.err
    assert f"prompt {n} tokens ({n - 1} kept)" in second.err
