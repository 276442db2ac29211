"""What a model would take before it is loaded: counted as a context counts, refused where it is too much."""

import subprocess
import sys

import numpy as np
import pytest

from localllm.errors import NotEnoughMemoryError
from localllm.gguf.reader import open_gguf, open_header
from localllm.model import memory
from localllm.model.memory import STEP, estimate, needed
from localllm.model.model import LoadedModel
from localllm.runtime.system import Free
from localllm.terminal.figures import size
from tests import tiny_models
from tests.recorded import models

KINDS = ("llama", "gemma3", "qwen3next", "deepseek2", "mamba", "rwkv7", "bert", "t5encoder")
GB = 10**9


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A model of Llama's shape whose context of 4096 tokens takes 9 MB."""
    return tiny_models.write(tmp_path_factory.mktemp("memory") / "m.gguf", "llama")


@pytest.fixture
def free(monkeypatch):
    """free(n_bytes): from now on so much is free, beside what is left to the process."""

    def set_to(n_bytes, limit="the machine"):
        monkeypatch.setattr(memory, "free_memory", lambda mapped=0: Free(n_bytes + memory._SPARE, limit))

    return set_to


class TestCounting:
    @pytest.mark.parametrize("name", KINDS)
    @pytest.mark.parametrize(
        ("n_ctx", "n_seq", "kv_type"), [(300, 1, "f16"), (2000, 3, "f32"), (1000, 8, "q8_0"), (600, 2, "q4_0")]
    )
    def test_states_and_scratch_are_those_of_a_context(self, tmp_path, name, n_ctx, n_seq, kv_type):
        path = models.write(tmp_path / "m.gguf", models.cases()[name])
        with LoadedModel.load(path, kv_type="f16" if name in _ODD_HEADS else kv_type, n_threads=2) as model:
            for n_batch in (1, 64, 512):
                context = model.context(n_ctx=n_ctx, n_seq=n_seq, n_batch=n_batch)
                need = model.memory(n_seq, n_batch).need(n_ctx)
                assert need.states == context.n_bytes
                logits = 4 * n_seq * model.config.n_vocab
                assert need.scratch == context.scratch_bytes + logits + 2 * (1 << 20)
                assert need.total == need.weights + need.states + need.scratch
                context.close()

    def test_a_context_counts_all_that_it_allocates(self, path, monkeypatch):
        """Arrays beside those that are counted: some for the team, blocks of plans."""
        with LoadedModel.load(path) as model:
            made, real = [], np.zeros

            def zeros(*args, **options):
                made.append(real(*args, **options))
                return made[-1]

            monkeypatch.setattr(np, "zeros", zeros)
            context = model.context(n_ctx=1000, n_seq=2)
            context.forward([1, 2, 3])
            monkeypatch.undo()
            need = model.memory(2).need(1000)
            allocated = sum(array.nbytes for array in made) + 4 * tiny_models.N_VOCAB
            assert allocated == pytest.approx(need.states + need.scratch, rel=0.05)

    def test_of_a_file_that_is_not_loaded(self, path):
        with open_gguf(path) as file, LoadedModel.load(path, n_threads=1) as model:
            assert estimate(file, n_threads=1).need(700) == model.memory().need(700)
            halves, codes = model.memory(3).need(700).cells, estimate(file, 3, "q8_0", n_threads=1).need(700).cells
            assert estimate(file, 3, "q4_0", n_threads=1).need(700).cells < codes < halves
            assert needed(file, 700).states == model.memory().need(700).states

    def test_weights_are_the_tensors_that_are_used(self, tmp_path):
        path = models.write(tmp_path / "m.gguf", models.cases()["llama"])
        with open_gguf(path) as file:
            assert needed(file, 256).weights == sum(info.n_bytes for info in file.tensors.values())

    def test_windows_take_no_more_for_longer_contexts(self, tmp_path):
        path = tiny_models.write(tmp_path / "m.gguf", "gemma3")
        with open_gguf(path) as file:
            short, long = (needed(file, n).cells for n in (1024, 8192))
            full = needed(file, 8192, swa_full=True).cells
            assert long < 4 * short
            assert full == pytest.approx(8 * needed(file, 1024, swa_full=True).cells, rel=0.01)


_ODD_HEADS = ("bert", "t5encoder", "deepseek2")
"""Heads of sizes that groups of 32 do not divide."""


@pytest.mark.parametrize("name", models.cases())
def test_the_header_alone_is_enough(tmp_path, name):
    """As for a model that is not downloaded yet."""
    path = models.write(tmp_path / "m.gguf", models.cases()[name])
    with open_gguf(path) as file:
        data = min(info.offset for info in file.tensors.values())
        far = open_header(path.read_bytes()[:data], file.size, str(path))
        assert estimate(far).need(512) == estimate(file).need(512)


@pytest.mark.parametrize("name", ["llama", "t5encoder", "deepseek4", "mamba2", "neo-bert"])
def test_a_length_that_no_memory_holds_is_counted_without_taking_it(tmp_path, name, free):
    path = models.write(tmp_path / "m.gguf", models.cases()[name], context_length=1 << 31)
    free(64 * GB)
    with open_gguf(path) as file:
        before = peak()
        fit = estimate(file).fit(4096)
        assert 4096 < fit.largest <= fit.n_ctx_train == 1 << 31
        assert peak() - before < 64 << 20


def peak():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_numba_is_not_needed(path):
    code = (
        "import sys; from localllm.gguf.reader import open_gguf; from localllm.model.memory import estimate;"
        "print(estimate(open_gguf(sys.argv[1])).fit(512).fits, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_where_there_is_plenty_nothing_is_recorded(path, free, monkeypatch):
    free(100 * GB)
    recorded = []
    monkeypatch.setattr(memory, "record", lambda *args: recorded.append(args))
    with LoadedModel.load(path, n_ctx=1024) as model:
        model.context(n_seq=4).close()
    assert recorded == []


class TestFitting:
    def test_the_largest_context_just_fits(self, path):
        with open_gguf(path) as file:
            counted = estimate(file)
            for n_ctx in (STEP, 5 * STEP, 12 * STEP):
                exact = counted.need(n_ctx).total
                assert counted.largest(1 << 20, exact) == n_ctx
                assert counted.largest(1 << 20, exact - 1) == n_ctx - STEP
            assert counted.largest(1000, counted.need(1000).total) == 1000
            assert counted.largest(1000, counted.need(768).total) == 768
            assert counted.largest(1 << 20, 0) == 0

    def test_fit(self, path, free):
        with open_gguf(path) as file:
            counted = estimate(file)
            free(counted.need(1024).total)
            fit = counted.fit(1024)
            assert (fit.fits, fit.largest, fit.n_ctx, fit.n_ctx_train) == (True, 1024, 1024, tiny_models.N_CTX_TRAIN)
            assert not counted.fit(1025).fits
            free(100 * GB)
            assert counted.fit(1024).largest == tiny_models.N_CTX_TRAIN
            free(0)
            assert (counted.fit(256).fits, counted.fit(256).largest) == (False, 0)

    def test_mapped_files_are_in_the_addresses_already(self, path, monkeypatch):
        seen = []

        def free_memory(mapped=0):
            seen.append(mapped)
            return Free(GB, "the machine")

        monkeypatch.setattr(memory, "free_memory", free_memory)
        with open_gguf(path) as file:
            estimate(file).free()
            content = path.read_bytes()
            estimate(open_header(content, len(content), "far")).free()
            assert seen == [file.size, 0]


class TestRefused:
    def test_a_context(self, path, free):
        """One that just fits, and one byte less."""
        with LoadedModel.load(path) as model:
            need = model.memory(3).need(2048)
            free(need.total)
            model.context(n_ctx=2048, n_seq=3).close()
            free(need.total - 1)
            with pytest.raises(NotEnoughMemoryError) as caught:
                model.context(n_ctx=2048, n_seq=3)
        assert str(caught.value) == (
            f"{path}: takes {size(need.total)} of memory ({size(need.weights)} of weights, {size(need.states)} "
            f"for a context of 2048 tokens for each of 3 sequences, {size(need.scratch)} to compute), "
            f"{size(need.total - 1)} are free: the largest context that fits is 1792 (-c 1792, n_ctx=1792); "
            "--no-memory-check (LOCALLLM_MEMORY_CHECK=off) loads it all the same"
        )

    def test_the_advice_is_true(self, path, free):
        with LoadedModel.load(path) as model:
            free(model.memory().need(3000).total - 1)
            with pytest.raises(NotEnoughMemoryError, match=r"fits is 2816 \(-c 2816, "):
                model.context(n_ctx=1 << 30)
            model.context(n_ctx=2816).close()
            free(model.memory().need(9000).total - 1)
            with pytest.raises(NotEnoughMemoryError, match=r"fits is 8960 \(.*\), and the model was trained for 4096;"):
                model.context(n_ctx=1 << 30)

    def test_a_model_with_a_context_before_it_is_loaded(self, path, free):
        with open_gguf(path) as file:
            free(estimate(file).need(512).total)
        LoadedModel.load(path, n_ctx=512).close()
        with pytest.raises(NotEnoughMemoryError, match="the largest context that fits is 512 "):
            LoadedModel.load(path, n_ctx=513)
        LoadedModel.load(path).close()  # which context it will be is not said yet

    def test_the_models_own_length(self, path, free):
        free(GB)
        with LoadedModel.load(path, n_ctx=0) as model:
            assert model.default_n_ctx == tiny_models.N_CTX_TRAIN
            assert model.context().n_ctx == tiny_models.N_CTX_TRAIN
            least = model.memory().need(1024).total
        free(least)
        with pytest.raises(
            NotEnoughMemoryError, match=r"context of 4096 tokens.*the largest context that fits is 1024 "
        ):
            LoadedModel.load(path, n_ctx=0)

    def test_no_context_fits(self, path, free):
        with open_gguf(path) as file:
            need = estimate(file).need(STEP)
        free(need.total - 1)
        with pytest.raises(NotEnoughMemoryError, match=r"no context fits: take a smaller file .*, such as Q8_0; "):
            LoadedModel.load(path)
        n_params = need.weights // 4
        free(need.total - need.weights + int(n_params * 4.95 / 8))
        with pytest.raises(NotEnoughMemoryError, match="such as Q4_K_M; "):
            LoadedModel.load(path)
        free(need.total - need.weights)
        with pytest.raises(
            NotEnoughMemoryError, match="no context fits: close other programs, or take a smaller model; "
        ):
            LoadedModel.load(path)

    def test_the_weights_count(self, path, free):
        """A file that is larger than what is free would be read again for every token."""
        with open_gguf(path) as file:
            need = estimate(file).need(STEP)
        free(need.weights - 1)
        with pytest.raises(NotEnoughMemoryError, match="no context fits"):
            LoadedModel.load(path)

    def test_a_limit_has_a_name(self, path, free):
        free(1000, "the cgroup")
        with pytest.raises(NotEnoughMemoryError, match=r"1 kB are free \(the cgroup is the limit\): no context"):
            LoadedModel.load(path)

    def test_memory_for_other_things(self, path, free):
        with LoadedModel.load(path) as model:
            counted = model.memory(2)
            free(counted.need(1024).total + 10**6)
            counted.check(1024, 10**6)
            with pytest.raises(NotEnoughMemoryError, match=r"1 MB for the prompt cache.* fits is 768 "):
                counted.check(1024, 10**6 + 1)


@pytest.mark.parametrize("value", ["off", "OFF", "0", "no", "false"])
def test_the_check_can_be_turned_off(path, free, monkeypatch, value):
    free(0)
    monkeypatch.setenv("LOCALLLM_MEMORY_CHECK", value)
    with LoadedModel.load(path, n_ctx=1024) as model:
        assert model.logits([1, 2]).shape == (2, tiny_models.N_VOCAB)


def test_any_other_value_leaves_it_on(path, free, monkeypatch):
    free(0)
    monkeypatch.setenv("LOCALLLM_MEMORY_CHECK", "on")
    with pytest.raises(NotEnoughMemoryError):
        LoadedModel.load(path)


def test_what_the_system_refuses_all_the_same_is_one_line(path, monkeypatch):
    monkeypatch.setenv("LOCALLLM_MEMORY_CHECK", "off")
    with (
        LoadedModel.load(path) as model,
        pytest.raises(NotEnoughMemoryError, match=r"m\.gguf: the system has no memory for 1073741824 tokens"),
    ):
        model.context(n_ctx=1 << 30, n_seq=4096)


def test_people_are_told_when_it_is_close(path, free):
    with open_gguf(path) as file:
        need = estimate(file).need(2048).total
    free(int(need / 0.95))
    with LoadedModel.load(path, n_ctx=2048) as model:
        (text,) = model.notes
        assert text.startswith(f"{path}: takes {size(need)} of memory (")
        assert text.endswith(": the computer may become slow")
    free(need * 2)
    with LoadedModel.load(path, n_ctx=2048) as model:
        assert model.notes == []


def test_people_are_told_of_contexts_longer_than_those_of_the_training(path):
    with LoadedModel.load(path, n_ctx=5000) as model:
        assert model.notes == ["a context of 5000 tokens: this model was trained for 4096, and may fail beyond"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS counts elsewhere otherwise, or not at all")
def test_a_limit_of_addresses(path):
    code = (
        "import sys, resource\n"
        "from localllm.model.model import LoadedModel\n"
        "from localllm.runtime.system import text_of, ROOT\n"
        "used = int(text_of(ROOT / 'proc/self/statm').split()[0]) << 12\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)\n"
        "LoadedModel.load(sys.argv[1], n_ctx=1 << 20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    last = done.stderr.strip().splitlines()[-1]
    assert "NotEnoughMemoryError" in last
    assert "(ulimit -v is the limit): the largest context that fits is " in last
