"""What a child did is told as it was: each kind of end that the suites of malformed files look for."""

import os
import signal
import sys
import time

import pytest

from tests.contained import command, contained


def well() -> None:
    print("out", sys.stdin.read())
    print("err", file=sys.stderr)


def with_status(status: int, line: str) -> int:
    print(line, file=sys.stderr)
    return status


def killed(number: int) -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def forever() -> None:
    while True:
        time.sleep(1)


def takes(n_bytes: int) -> None:
    assert bytearray(n_bytes).count(0) == n_bytes


def raises() -> None:
    raise ValueError("of a test")


def told() -> None:
    print(os.environ["OF_A_TEST"], os.environ.get("HOME"), os.getcwd())


def test_a_function_that_ends_well():
    outcome = contained(well, stdin="inä".encode())
    outcome.check_clean()
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "out inä\n", "err\n")
    assert not outcome.hung
    assert 10e6 < outcome.peak_bytes < 200e6


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (killed, (signal.SIGSEGV,), "ended by SIGSEGV"),
        (killed, (signal.SIGBUS,), "ended by SIGBUS"),
        (forever, (), "hung"),
        (takes, (400 << 20,), "MB, the limit is 300"),
        (takes, (40 << 30,), "Traceback"),
        (raises, (), "Traceback"),
        (with_status, (3, "localllm: x"), "exit status 3"),
        (with_status, (1, "x"), "not one line"),
        (with_status, (1, "localllm: a\nlocalllm: b"), "not one line"),
        (with_status, (1, "localllm: a\nand more"), "not one line"),
        (with_status, (1, "localllm: a\x1b[2J"), "steers the terminal"),
        (with_status, (1, "localllm: " + "a" * 3000), "too long"),
        (with_status, (1, "localllm: another.gguf"), "does not name 'bad.gguf'"),
        (with_status, (1, "localllm: a bug in localllm: x"), "a bug"),
        (with_status, (0, "x.py:1: RuntimeWarning: overflow"), "Warning"),
    ],
)
def test_what_is_not_clean(function, arguments, words):
    outcome = contained(function, *arguments, seconds=0.5 if function is forever else 5)
    with pytest.raises(AssertionError, match=words):
        outcome.check_clean(names="bad.gguf")
    assert outcome.hung is (function is forever)


def test_a_child_has_the_environment_and_the_folder_of_the_caller(tmp_path, monkeypatch):
    monkeypatch.setenv("OF_A_TEST", "a")
    monkeypatch.chdir(tmp_path)
    outcome = contained(told, environment={"HOME": None})
    assert outcome.stdout == f"a None {tmp_path}\n"


def test_the_command_line(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    command("show", str(tmp_path / "bad.gguf")).check_clean(statuses=(1,), names="bad.gguf")
    command("nothing").check_clean(statuses=(2,))
    assert command("--version").stdout.startswith("localllm ")
