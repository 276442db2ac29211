"""Kernels between pages that nobody may touch; and that a touch of them is noticed, wherever it is."""

import json

import pytest

from localllm.kernels.simd.targets import current
from localllm.runtime.arrays import SLACK
from tests.at_length import one_of
from tests.kernels import guard, guarded, harness
from tests.kernels.test_targets import outermost

TOUCHES = """
import ctypes, sys
from tests.kernels import guarded
areas = guarded.Memory(sys.argv[1])
guarded.watch(areas)
x = areas.allocate(100, name="x")
at, byte = x.ctypes.data, ctypes.c_uint8.from_address
for what in sys.argv[2:]:
    areas.operation = what
    offset = int(what.split()[1])
    if what.startswith("write"):
        byte(at + offset).value = 7
    else:
        byte(at + offset).value
    try:
        areas.check()
    except AssertionError as error:
        print(error)
"""


def touches(side: str, *what: str) -> list[str]:
    done = harness.python(current().name, "-c", TOUCHES, side, *what)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_lies_behind_is_noticed():
    end = 100 + SLACK
    assert touches("end", f"read {end - 1}", "write 99", f"read {end}", "write 100", f"write {end + 63}") == [
        f"read {end}: reads x {SLACK} bytes behind its end (slack {SLACK})",
        f"write 100: writes x 0 bytes behind its end (slack {SLACK})",
        f"write {end + 63}: writes x {SLACK + 63} bytes behind its end (slack {SLACK})",
    ]


def test_what_lies_before_is_noticed():
    assert touches("begin", "read 0", "read -1", "write -64") == [
        "read -1: reads x 1 bytes before its beginning",
        "write -64: writes x 64 bytes before its beginning",
    ]
    assert touches("end", "write -3") == ["write -3: writes x 3 bytes before its beginning"]


def test_other_faults_end_the_process_and_say_in_what():
    program = TOUCHES.replace("byte(at + offset)", "byte(8)")
    done = harness.python(current().name, "-c", program, "end", "read 0")
    assert done.returncode == -11
    assert "SIGSEGV at 0x8 in read 0" in done.stderr


def run(part: str, target: str, side: str, *more: str) -> str:
    status, text = guard.run_part(part, target, side, *more)
    assert status == 0, f"LOCALLLM_TARGET={target} {guarded.SIDE}={side}\n{text[-6000:]}"
    return text


@outermost
@pytest.mark.slow
@pytest.mark.parametrize("target", one_of(8, ((target,) for target in harness.runnable_targets())))
def test_products_of_odd_shapes(target):
    """The rest of this folder runs so on the other targets in test_targets.py."""
    for side in guarded.SIDES:
        counts = json.loads(run("sweep", target, side, "--every", "5").splitlines()[-1])
        assert counts["kernels"] == 4 * len(harness.SUPPORTED)
        assert counts["calls"] == counts["shapes"]


@outermost
@pytest.mark.slow
@pytest.mark.parametrize("side", one_of(2, ((side,) for side in guarded.SIDES)))
def test_models(side):
    counts = json.loads(run("models", current().name, side, "--every", "23").splitlines()[-1])
    assert counts["models"] > 40
    assert counts["batches"] > 5 * counts["models"]


@outermost
@pytest.mark.slow
def test_files_that_end_with_a_page():
    counts = json.loads(run("files", current().name, "end").splitlines()[-1])
    assert counts["formats"] == len(harness.SUPPORTED)
    assert counts["files"] == 2 * counts["formats"]


@outermost
@pytest.mark.slow
def test_this_folder():
    run("kernels", current().name, "end", "-m", "not slow")
