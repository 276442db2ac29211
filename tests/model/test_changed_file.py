"""The file of a model changes while it is used: an error of one line, or it goes on where its content is there."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from localllm.errors import FileError
from localllm.kernels import faults
from localllm.model.context import Context
from localllm.model.model import LoadedModel
from tests.recorded import models


@pytest.fixture
def path(tmp_path):
    return models.write(tmp_path / "m.gguf", models.cases()["llama"])


def cut(path):
    os.truncate(path, 4096)


def overwrite(path):
    with open(path, "r+b") as file:
        file.seek(-64, os.SEEK_END)
        file.write(bytes(64))
    os.utime(path, ns=(1, 1))


def replace(path):
    other = path.with_suffix(".other")
    other.write_bytes(bytes(4096))
    other.replace(path)


@pytest.mark.parametrize("change", [cut, overwrite])
def test_what_has_changed_is_an_error(path, change):
    with LoadedModel.load(path, n_threads=1) as model:
        context = model.context(n_ctx=64)
        context.forward([1, 2])
        change(path)
        with pytest.raises(FileError, match=r"m\.gguf: ") as raised:
            context.forward([3])
        assert "\n" not in str(raised.value)
        assert context.n_past(0) == 2
        context.close()


@pytest.mark.parametrize("change", [replace, os.unlink])
def test_what_is_only_gone_from_its_place_goes_on(path, change):
    with LoadedModel.load(path, n_threads=1) as model:
        exact = model.logits([1, 2, 3])
        change(path)
        np.testing.assert_array_equal(model.logits([1, 2, 3]), exact)


@pytest.mark.skipif(not faults.is_possible(), reason="needs Linux")
@pytest.mark.parametrize("folder", ["disk", "/dev/shm"])
def test_a_file_that_is_cut_within_a_pass(path, tmp_path, monkeypatch, folder):
    """Kernels meet pages that are no more; the pass ends, and its results are thrown away."""
    if folder != "disk":
        shm = f"{folder}/localllm-{os.getpid()}.gguf"
        shutil.copy(path, shm)
    where = path if folder == "disk" else shm
    size = os.path.getsize(where)
    try:
        with LoadedModel.load(where, n_threads=2) as model:
            context = model.context(n_ctx=64)
            exact = context.forward([1, 2])
            run = Context._run

            def cut_and_run(*args):
                os.truncate(where, 4096)
                run(*args)

            monkeypatch.setattr(Context, "_run", cut_and_run)
            with pytest.raises(FileError, match="gguf: "):
                context.forward([3, 4, 5])
            assert faults.is_hit(model.file._mapped[0]._watched)
            monkeypatch.undo()
            os.truncate(where, size)  # as large as it was: what was read is lost all the same
            with pytest.raises(FileError):
                context.forward([3])
            assert context.n_past(0) == 2
            assert np.isfinite(exact).all()
            context.close()
    finally:
        if folder != "disk":
            os.unlink(shm)


_OTHER = """
import mmap, os, sys
import numpy as np
from localllm.kernels import faults
path = sys.argv[1]
open(path, "wb").write(bytes(1 << 16))
ours, other = (mmap.mmap(os.open(path, os.O_RDONLY), 1 << 16, access=mmap.ACCESS_READ) for _ in range(2))
ours, other = np.frombuffer(ours, np.uint8), np.frombuffer(other, np.uint8)
number = faults.watch(ours.ctypes.data, ours.size)
os.truncate(path, 0)
assert ours.sum() == 0 and faults.is_hit(number)
if sys.argv[2] == "sent":
    os.kill(os.getpid(), 7)
elif sys.argv[2] == "other":
    other.sum()
else:
    faults.unwatch(number)
    again = faults.watch(other.ctypes.data, 4096)
    other[4096:].sum()
"""


@pytest.mark.skipif(not faults.is_possible(), reason="needs Linux")
@pytest.mark.parametrize("what", ["sent", "other", "beside"])
@pytest.mark.parametrize("handler", [[], ["-X", "faulthandler"]])
def test_other_faults_end_the_process_as_before(tmp_path, what, handler):
    done = subprocess.run(
        [sys.executable, *handler, "-c", _OTHER, str(tmp_path / "x"), what], capture_output=True, timeout=60
    )
    assert done.returncode == -7
    assert (b"Bus error" in done.stderr) == bool(handler)
