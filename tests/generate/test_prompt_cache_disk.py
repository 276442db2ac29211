"""Beginnings that are kept on disk: other processes find them, with their bits; damage and full disks are no errors."""

import os
import random
import shutil
import threading
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from localllm.generate import model_digest, saved_file
from localllm.generate.prompt_cache import SPAN_TOKENS, PromptCache
from localllm.kernels.cells import CODE_BITS
from localllm.model.context import Context
from tests.generate.kept import keep, saved
from tests.generate.test_prompt_cache import KINDS, answer, prompt, read
from tests.recorded import models

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "kv_type"),
    [*product(KINDS, ["f16"]), *product(("llama", "qwen3next"), CODE_BITS), ("gemma3", "q4_0"), ("gemma3", "f32")],
)
def test_a_process_started_again_goes_on_with_the_same_bits(load, folder, name, kv_type):
    ids = prompt(SPAN_TOKENS + 200)
    assert keep(load(name, kv_type=kv_type), folder, ids) == 0
    model = load(name, kv_type=kv_type)
    context = model.context(n_seq=2)
    cache = PromptCache(context, 1 << 30, folder)
    match = cache.find(ids)
    assert not match.is_loaded
    assert match.restore_into(context, 1) == len(ids) - 1
    assert np.array_equal(answer(context, ids, 1), answer(model.context(), ids))
    assert cache.find(ids).is_loaded
    cache.close(60)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())


def test_only_what_is_new_is_written(load, folder):
    model = load("llama")
    first = prompt(600)
    keep(model, folder, first)
    sizes = {path.name: path.stat().st_size for path in saved(folder)}
    assert keep(model, folder, first) == 599
    assert {path.name: path.stat().st_size for path in saved(folder)} == sizes
    assert keep(model, folder, first + prompt(300, 2)) == 600
    new = [path for path in saved(folder) if path.name not in sizes]
    assert len(new) == 1
    assert new[0].stat().st_size < 0.6 * max(sizes.values())


@pytest.mark.parametrize("name", ["mamba", "gemma3"])
def test_a_beginning_that_two_prompts_share_is_kept_from_the_second_on(load, folder, name):
    model = load(name)
    system = prompt(320)
    known = [keep(model, folder, system + prompt(900, seed)) for seed in range(10, 13)]
    assert known[:2] == [0, 0]
    assert known[2] in (319, 320)


def test_another_context_length_shares_and_another_kind_does_not(load, folder, files, tmp_path):
    ids = prompt(500)
    keep(load("llama"), folder, ids)
    assert keep(load("llama", n_ctx=600), folder, ids) == 499
    assert keep(load("llama", kv_type="q8_0"), folder, ids) == 0
    copy = tmp_path / "copy.gguf"
    shutil.copy(files["llama"], copy)
    assert [keep(load(copy), folder, ids) for _ in range(2)] == [0, 499]
    content = bytearray(copy.read_bytes())
    content[-3] ^= 1
    copy.write_bytes(content)
    assert [keep(load(copy), folder, ids) for _ in range(2)] == [0, 499]
    assert len(saved(folder)) == 3


def test_rotations_of_long_contexts_are_another_kind(load, files, tmp_path):
    path = models.write(tmp_path / "phi3.gguf", models.cases()["phi3"])
    at = load(path).config.scaling.n_ctx_orig
    short, shorter, long, longer = (load(path, n_ctx=n_ctx).context().kind for n_ctx in (at, at // 2, at + 1, 8192))
    assert short == shorter != long == longer


def test_other_sources_make_another_key(load, monkeypatch):
    context = load("llama").context()
    key = model_digest.key(context, "0" * 64)
    assert key == model_digest.key(context, "0" * 64) != model_digest.key(context, "1" * 64)
    monkeypatch.setattr(model_digest, "code", lambda: "other")
    assert key != model_digest.key(context, "0" * 64)
    monkeypatch.undo()
    monkeypatch.setattr(context.model, "target", "generic" if context.model.target != "generic" else "avx2")
    assert key != model_digest.key(context, "0" * 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "qwen3next"])
def test_damage_of_any_kind_is_read_again_and_mended(load, folder, name):
    """A file with a changed byte, cut, emptied, of another's content, or gone; answers keep their bits."""
    model = load(name)
    ids = prompt(1500)
    keep(model, folder, ids)
    whole = {path: path.read_bytes() for path in saved(folder)}
    exact = answer(model.context(), ids)
    chance = random.Random(1)
    for _ in range(15):
        path = chance.choice(list(whole))
        content = bytearray(whole[path])
        match chance.randrange(5):
            case 0:
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            case 1:
                del content[chance.randrange(len(content)) :]
            case 2:
                content = bytearray(whole[chance.choice([p for p in whole if p != path])])
            case 3:
                content[: chance.randrange(200)] = b""
            case 4:
                content = bytearray(chance.randbytes(chance.randrange(5000)))
        path.write_bytes(content)
        context = model.context()
        cache = PromptCache(context, 0, folder)
        known = cache.find(ids).restore_into(context, 0)
        assert known < len(ids)
        assert np.array_equal(answer(context, ids), exact)
        context.close()
        keep(model, folder, ids)
        keep(model, folder, ids)
        assert whole.items() <= {p: p.read_bytes() for p in saved(folder)}.items()


def test_a_file_whose_parent_is_gone_is_removed(load, folder):
    model = load("llama")
    keep(model, folder, prompt(600))
    (first,) = saved(folder)
    keep(model, folder, prompt(600) + prompt(300, 2))
    first.unlink()
    assert keep(model, folder, prompt(400, 9)) == 0
    assert len(saved(folder)) == 1


def test_the_folder_may_be_removed_at_any_time(load, folder):
    model = load("llama")
    context = model.context()
    cache = PromptCache(context, 0, folder)
    ids = prompt(600)
    assert cache.find(ids).n_past == 0
    keep(model, folder, ids)
    assert cache.find(ids).n_past == 599
    shutil.rmtree(folder)
    assert cache.find(ids).n_past == 0
    assert cache.status().entries == 0
    read(context, ids)
    assert cache.save(context, 0, ids) == 600
    cache.close(60)
    assert len(saved(folder)) == 1
    assert not cache.status().note


@pytest.mark.parametrize(
    "changes",
    [
        {"start": 1, "stop": 301},
        {"parent": "p" * 32},
        {"name": "m" * 32},
        {"key": "k" * 64},
        {"stop": 299},
        {"start": 300, "written": 300, "parent": "own"},
        {"start": 300, "written": 300},
        {"start": 400, "stop": 400, "written": 400, "parent": "own"},
    ],
    ids=str,
)
def test_files_that_are_whole_and_lie_are_removed(load, folder, changes):
    """A right checksum is not enough: place, tokens, sizes and name must agree."""
    model = load("llama")
    ids = prompt(300)
    keep(model, folder, ids)
    (path,) = saved(folder)
    header, tokens = saved_file.read_header(path)
    _, parts = saved_file.read(path, header.name, header.sizes)
    if changes.get("parent") == "own":
        changes = changes | {"parent": header.name}
    lies = replace(header, **({"name": "x" * 32} | changes))
    tokens = tokens[: lies.stop - lies.start] if lies.is_cells else tokens[:0]
    lying = path.with_name(path.name.replace(header.name, lies.name))
    saved_file.write(lying, lies, tokens, parts, 0)
    context = model.context()
    cache = PromptCache(context, 0, folder)
    assert cache.find(ids).n_past == 299
    assert not lying.exists()
    assert path.exists()


def test_a_file_that_goes_while_it_is_needed(load, folder):
    model = load("llama")
    ids = prompt(600)
    keep(model, folder, ids)
    context = model.context()
    cache = PromptCache(context, 0, folder)
    match = cache.find(ids)
    saved(folder)[0].unlink()
    assert match.restore_into(context, 0) == 0
    assert context.n_past() == 0
    assert cache.find(ids).n_past == 0


def test_what_another_process_writes_is_found_at_the_next_look(load, folder):
    model = load("llama")
    context = model.context()
    cache = PromptCache(context, 0, folder)
    ids = prompt(600)
    keep(model, folder, prompt(300, 5))
    assert cache.find(ids).n_past == 0
    keep(model, folder, ids)
    assert cache.find(ids).n_past == 599
    for path in saved(folder):
        path.unlink()
    assert cache.find(ids).n_past == 0
    assert cache.status().entries == 0


def test_the_oldest_files_go_and_what_many_share_stays(load, folder):
    model = load("llama")
    system = prompt(512)
    keep(model, folder, system)
    one = saved(folder)[0].stat().st_size
    for seed in range(6):
        keep(model, folder, [seed + 1, *prompt(500, seed)], disk=4 * one)
        assert keep(model, folder, [*system, seed + 1, *prompt(300, 50 + seed)], disk=4 * one) >= 512
        assert sum(path.stat().st_size for path in saved(folder)) <= 4 * one
    assert keep(model, folder, [1, *prompt(500, 0)]) == 0


def test_until_the_model_is_known_nothing_is_found_and_saves_wait(load, folder, monkeypatch):
    model = load("llama")
    ids = prompt(600)
    keep(model, folder, ids)
    for path in folder.glob("model-*"):
        path.unlink()
    may_go_on, find = threading.Event(), model_digest.find_content

    def slow(*arguments):
        assert may_go_on.wait(60)
        return find(*arguments)

    monkeypatch.setattr(model_digest, "find_content", slow)
    context = model.context()
    cache = PromptCache(context, 0, folder)
    assert cache.find(ids).n_past == 0
    other = prompt(700, 4)
    read(context, other)
    assert cache.save(context, 0, other) == 700
    assert len(saved(folder)) == 1
    assert cache.find(other).n_past == 699
    may_go_on.set()
    cache.close(60)
    assert len(saved(folder)) == 2
    assert cache.find(ids).n_past == 599
    assert cache.status().memory_bytes == 0


def test_closing_does_not_wait_for_longer_than_it_is_told(load, folder, monkeypatch):
    begun, stopped = threading.Event(), threading.Event()

    def endless(_file, _folder, stop):
        begun.set()
        stop.wait(60)
        stopped.set()
        return ""

    monkeypatch.setattr(model_digest, "find_content", endless)
    context = load("llama").context()
    cache = PromptCache(context, 0, folder)
    cache.find(prompt(600))
    assert begun.wait(60)
    cache.close(0)
    assert stopped.wait(60)


def test_a_model_that_changes_is_not_digested(load, folder, files, tmp_path):
    path = tmp_path / "m.gguf"
    shutil.copy(files["llama"], path)
    model = load(path)
    os.utime(path, (1, 1))
    context = model.context()
    cache = PromptCache(context, 0, folder)
    assert cache.find(prompt(600)).n_past == 0
    assert "changed while in use" in cache.status().note


def test_digests_are_kept_of_the_latest_models_and_checked(load, folder, monkeypatch):
    model = load("llama")
    folder.mkdir(mode=0o700)
    content = model_digest.find_content(model.file, folder, threading.Event())
    assert model_digest.known_content(model.file, folder) == content
    (kept,) = folder.iterdir()
    kept.write_text("not a digest")
    assert model_digest.known_content(model.file, folder) == ""
    monkeypatch.setattr(model_digest, "_KEPT", 1)
    other = load("mamba")
    assert model_digest.find_content(other.file, folder, threading.Event()) != content
    assert len(list(folder.iterdir())) == 1
    stop = threading.Event()
    stop.set()
    assert model_digest.find_content(model.file, folder, stop) == ""


@pytest.mark.parametrize("obstacle", ["a file", "others may write", "no permission"])
def test_a_folder_that_cannot_be_used_is_a_note(load, folder, obstacle, monkeypatch):
    ids = prompt(600)
    if obstacle == "a file":
        folder.write_bytes(b"")
    elif obstacle == "others may write":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        monkeypatch.setattr(Path, "mkdir", refuse)
    context = load("llama").context()
    cache = PromptCache(context, 1 << 30, folder)
    assert cache.find(ids).n_past == 0
    read(context, ids)
    assert cache.save(context, 0, ids) == 600
    assert cache.find(ids).n_past == 599
    cache.close(60)
    assert f"{folder}: prompts are not kept on disk: " in cache.status().note


def refuse(*_arguments, **_options):
    raise PermissionError(13, "Permission denied")


def test_a_full_disk_is_a_note_and_tried_again_later(load, folder, monkeypatch):
    def full(_fd):
        raise OSError(28, "No space left on device")

    model = load("llama")
    ids = prompt(600)
    context = model.context()
    cache = PromptCache(context, 0, folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        read(context, ids)
        cache.save(context, 0, ids)
        cache.close(60)
    assert cache.status().note.endswith("a prompt is not kept on disk: No space left on device")
    assert cache.status().memory_bytes == 0
    assert [path.name[:6] for path in folder.iterdir()] == ["model-"]
    assert keep(model, folder, ids) == 0
    assert keep(model, folder, ids) == 599


def test_what_waits_for_the_disk_is_bounded(load, folder, monkeypatch):
    monkeypatch.setattr("localllm.generate.disk_tier._MOST_WAITING", 1)
    may_go_on, find = threading.Event(), model_digest.find_content

    def slow(*arguments):
        assert may_go_on.wait(60)
        return find(*arguments)

    monkeypatch.setattr(model_digest, "find_content", slow)
    context = load("llama").context()
    cache = PromptCache(context, 0, folder)
    for seed in range(4):
        ids = prompt(600, seed)
        context.clear()
        read(context, ids)
        cache.save(context, 0, ids)
    assert cache.status().entries == 1
    may_go_on.set()
    cache.close(60)
    assert len(saved(folder)) == 1


def test_content_that_contradicts_itself_is_read_again(load, folder, monkeypatch):
    """Right checksums, a window of another time: only the states themselves can tell."""
    model = load("gemma3")
    ids = prompt(900)
    kept = Context.moment

    def lying(context, seq_id, position):
        moment = kept(context, seq_id, position)
        return replace(moment, parts=tuple((5).to_bytes(8, "little") + part[8:] for part in moment.parts))

    with monkeypatch.context() as patched:
        patched.setattr(Context, "moment", lying)
        keep(model, folder, ids)
    assert keep(model, folder, ids) == 0
    assert keep(model, folder, ids) == 899
