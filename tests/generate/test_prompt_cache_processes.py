"""Beginnings that are kept on disk, by processes side by side, by conversations and by single answers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localllm.generate.chat import Chat
from localllm.generate.params import Sampling
from localllm.generate.prompt_cache import CacheOptions
from localllm.generate.session import Model
from tests.generate import kill
from tests.generate.kept import saved
from tests.generate.test_chat_states import VOCABULARY
from tests.generate.test_prompt_cache import prompt
from tests.recorded import models

ROOT = Path(__file__).parents[2]


# --- processes


def start(model, folder, seed, n, *more, **variables):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.generate.cached", str(model), str(folder), str(seed), str(n), *map(str, more)],
        cwd=ROOT, env=os.environ | variables, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def outcome(process):
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    known, digest, note = out.split(" ", 2)
    return int(known), digest, note.strip()


@pytest.mark.slow
def test_processes_at_once(files, folder):
    """Two write the same and read it back; their answers agree."""
    both = [outcome(p) for p in [start(files["qwen3next"], folder, 1, 900) for _ in range(2)]]
    again = [outcome(p) for p in [start(files["qwen3next"], folder, 1, 900) for _ in range(2)]]
    assert {known for known, _, _ in again} == {899}
    assert len({digest for _, digest, _ in both + again}) == 1
    assert not any(note for _, _, note in both + again)


def test_a_process_that_is_killed_while_it_writes(files, folder):
    process = start(files["llama"], folder, 1, 900, STOP_IN_WRITE="1")
    assert process.stdout
    assert process.stdout.readline() == "stopped\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = (path for path in folder.iterdir() if path.suffix == ".part")
    assert left.stat().st_size > 0
    assert not saved(folder)
    assert outcome(start(files["llama"], folder, 1, 900))[0] == 0
    assert outcome(start(files["llama"], folder, 1, 900))[0] == 899


def test_a_process_that_may_not_write_so_much(files, folder):
    known, _, note = outcome(start(files["llama"], folder, 1, 900, 20_000))
    assert known == 0
    assert note.endswith("a prompt is not kept on disk: File too large")
    assert not saved(folder)


@pytest.mark.slow
def test_some_cycles_of_killing(tmp_path):
    """The rest is `python -m tests.generate.kill`."""
    totals = kill.run(tmp_path, 4, seed=3, say=False)
    assert totals["cycles"] == 4
    assert totals["kept"] > 0


# --- conversations and single answers


@pytest.fixture(scope="module", params=["llama", "gemma3", "qwen3next"])
def talking(request, tmp_path_factory):
    path = models.write(tmp_path_factory.mktemp("talking") / "m.gguf", models.cases()[request.param], **VOCABULARY)
    with Model.load(path, n_ctx=2048) as model:
        yield model


GREEDY = Sampling(temperature=0.0)


def test_single_answers(talking, folder):
    """`model.answer` as `localllm run` calls it, and what it waits for at its end."""
    options = CacheOptions(folder, memory_bytes=0)
    ids = prompt(700)
    said = []
    for cache in (None, options, options, options):
        answer = talking.answer(ids, GREEDY, 6, cache=cache)
        said.append(("".join(answer), answer.stats.cached_tokens))
    assert said[0] == said[1]
    assert said[2] == said[3] == (said[0][0], 699)
    longer = talking.answer(ids + prompt(90, 8), GREEDY, 6, cache=options)
    assert "".join(longer) == "".join(talking.answer(ids + prompt(90, 8), GREEDY, 6))
    assert longer.stats.cached_tokens in (699, 700)


def test_an_answer_that_is_closed_after_its_first_token_is_kept(talking, folder):
    options, ids = CacheOptions(folder, memory_bytes=0), prompt(500)
    for cached in (0, 499):
        answer = talking.answer(ids, GREEDY, cache=options)
        next(answer)
        answer.close()
        assert answer.stats.cached_tokens == cached


def test_conversations_that_begin_alike(talking, folder):
    options = CacheOptions(folder, memory_bytes=0)
    system, messages = "s" * 400, ("first", "second", "third")
    plain: list[tuple[str, int]] = []
    cached: list[tuple[str, int]] = []
    for cache, said in ((None, plain), (options, cached), (options, cached)):
        chat = Chat(talking, system, max_tokens=5, sampling=GREEDY, cache=cache)
        for message in messages:
            answer = chat.ask(message)
            said.append(("".join(answer), answer.stats.cached_tokens))
        chat.close()
    assert [text for text, _ in plain] * 2 == [text for text, _ in cached]
    assert cached[3][1] == len(f"[system]{system}[user]first[assistant]") - 1
    assert all(again >= once for (_, once), (_, again) in zip(cached[:3], cached[3:], strict=True))


def test_a_conversation_that_is_cleared_goes_on_from_the_cache(talking, folder):
    chat = Chat(talking, "s" * 400, max_tokens=5, sampling=GREEDY, cache=CacheOptions(folder, memory_bytes=1 << 30))
    first = chat.ask("first")
    text = "".join(first)
    "".join(chat.ask("a" * 300))
    chat.clear()
    again = chat.ask("first")
    assert "".join(again) == text
    assert again.stats.cached_tokens == first.stats.prompt_tokens - 1
    chat.close()


def test_what_the_disk_refuses_is_told(talking, folder):
    notes: list[str] = []
    folder.write_bytes(b"")
    answer = talking.answer(prompt(500), GREEDY, 3, cache=CacheOptions(folder, memory_bytes=0, on_note=notes.append))
    "".join(answer)
    assert notes == [f"{folder}: prompts are not kept on disk: File exists"]
