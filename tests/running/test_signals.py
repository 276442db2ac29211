"""Signals become exceptions where that harms nothing; a few moments of the long run (tests.running.signals)."""

# ruff: noqa: PT012 (what was put off comes in a later statement)
from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from localllm.runtime.whole import written_whole
from localllm.signals import Terminated, as_exceptions, heard, whole
from tests.running import signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(autouse=True)
def as_at_a_terminal():
    """Signals are as a terminal leaves them, also where nohup or a list's & began these tests and ignores some."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def until_it_comes(seconds=5.0):
    """What was put off comes while this waits."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)
    raise AssertionError("no signal came")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_what_ends_a_process_is_heard_once(number, status):
    with pytest.raises(Terminated) as raised, as_exceptions():
        try:
            signal.raise_signal(number)
        finally:
            for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.raise_signal(again)
    assert raised.value.status == raised.value.code == status


def test_ctrl_c_may_come_again():
    with as_exceptions():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


def test_handlers_are_as_they_were():
    before = [signal.getsignal(number) for number in heard()]
    with as_exceptions():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in heard()] == before


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with as_exceptions():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nothing_is_done_in_another_thread():
    done = []

    def work():
        with as_exceptions():
            done.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGTERM)]


def test_what_is_whole_is_not_interrupted():
    done = []

    @whole
    def work():
        signal.raise_signal(signal.SIGINT)
        for _ in range(1000):
            done.append(1)

    with pytest.raises(KeyboardInterrupt), as_exceptions():
        work()
        until_it_comes()
    assert len(done) == 1000


def test_an_import_is_not_interrupted(tmp_path, monkeypatch):
    (tmp_path / "half_a_module.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\nrest = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt), as_exceptions():
        module = importlib.import_module("half_a_module")
        assert module.rest == 1
        until_it_comes()
    assert sys.modules.pop("half_a_module").rest == 1


def test_a_signal_within_a_destructor_is_not_lost(capfd):
    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Terminated) as raised, as_exceptions():
        dying = Dying()
        del dying
        gc.collect()
        until_it_comes()
    assert raised.value.status == 143
    assert capfd.readouterr().err == ""


def test_a_generator_is_whole_until_it_yields(tmp_path):
    """A signal while a file is begun or put in place leaves nothing beside it."""

    @contextmanager
    @whole
    def opened():
        signal.raise_signal(signal.SIGINT)
        (tmp_path / "made").touch()
        try:
            yield
        finally:
            (tmp_path / "made").unlink()

    with pytest.raises(KeyboardInterrupt), as_exceptions(), opened():
        assert (tmp_path / "made").exists()
        until_it_comes()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_goes_when_the_file_is_written_again(tmp_path):
    target, held = tmp_path / "out.gguf", tmp_path / "held.gguf"
    code = (
        "import os, signal, sys\n"
        "from localllm.runtime.whole import written_whole\n"
        "with written_whole(sys.argv[1]):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    with written_whole(held), written_whole(held) as other:  # one that lives is not touched
        assert len(list(tmp_path.iterdir())) == 3
        with open(other, "w") as file:
            file.write("x")
    assert left.exists()
    with written_whole(target):
        assert not left.exists()
    assert sorted(os.listdir(tmp_path)) == ["held.gguf", "out.gguf"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_some_moments(tmp_path):
    """`python -m tests.running.signals` has more of them."""
    ends, wrong = signals.run(tmp_path, 8, seed=5, names=("list", "run", "quantize", "serve"))
    assert not wrong, "\n\n".join(wrong)
    assert ends.total() == 8
