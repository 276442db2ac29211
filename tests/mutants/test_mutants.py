"""Mutated models are refused or run; and who watches them sees what they must not do."""

import ctypes
import hashlib
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

from localllm.errors import LocalllmError
from localllm.generate.session import Model
from tests.at_length import one_of
from tests.contained import contained
from tests.mutants.guarded_weights import Region
from tests.mutants.layout import parsed, written
from tests.mutants.mutant import make
from tests.mutants.seeds import SEEDS, layout
from tests.mutants.supervisor import Finding, Supervisor
from tests.mutants.use import shared_threads, use

FEW = ("llama", "llama-f32", "bert")


def findings_of(count: int, processes: int, names: tuple[str, ...] = ()) -> tuple[Supervisor, list[Finding]]:
    found: list[Finding] = []
    supervisor = Supervisor(2, 0, count, processes, lambda f: found.append(f) if f else None, names)
    supervisor.run()
    return supervisor, found


def test_some_mutants():
    supervisor, found = findings_of(150, 1, FEW)
    assert not found
    assert supervisor.tally.n == 150
    assert supervisor.tally.kinds["ran"] > 30
    assert supervisor.tally.kinds["refused"] > 30


@pytest.mark.slow
def test_thousands_of_mutants():
    supervisor, found = findings_of(3000, 2)
    assert not found
    assert supervisor.tally.n == 3000
    assert set(supervisor.tally.models) == set(SEEDS)
    assert supervisor.tally.kinds["ran"] > 700


@pytest.mark.slow
@pytest.mark.parametrize("name", one_of(3, ((name,) for name in SEEDS)))
def test_what_is_mutated_runs(name, tmp_path):
    path = tmp_path / "seed.gguf"
    path.write_bytes(layout(name).as_written().content)
    with shared_threads():
        outcomes = [use(path, Random(k)) for k in range(3)]
    assert [outcome.kind for outcome in outcomes] == ["ran"] * 3, outcomes


def test_records_are_written_as_they_were():
    content = bytes(layout("llama").as_written().content)
    assert bytes(written(parsed(content)).content) == content


def test_a_mutant_is_the_same_in_every_process():
    code = (
        "import hashlib; from tests.mutants.mutant import make;"
        f"print(*(hashlib.sha256(make(7, i, {FEW}).content).hexdigest() for i in range(40)))"
    )
    here = [hashlib.sha256(make(7, i, FEW).content).hexdigest() for i in range(40)]
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert here == there
    assert len(set(here)) > 35


def test_another_error_than_ours_is_a_finding(tmp_path, monkeypatch):
    path = tmp_path / "seed.gguf"
    path.write_bytes(layout("llama").as_written().content)
    assert use(tmp_path / "none.gguf", Random(1)).kind == "refused"
    for error in (ValueError("no"), MemoryError(), LocalllmError("two\nlines"), RecursionError()):

        def fails(*arguments, error=error, **more):
            raise error

        monkeypatch.setattr(Model, "load", fails)
        assert use(path, Random(1)).kind == "failed"


def read_guarded(behind: int) -> None:
    region = Region()
    raw = np.arange(5000, dtype=np.uint16).view(np.uint8)
    address = region.place(raw)
    assert bytes((ctypes.c_uint8 * raw.size).from_address(address)) == raw.tobytes()
    ctypes.c_uint8.from_address(address + raw.size - 1 + behind).value  # noqa: B018


def test_nothing_behind_a_guarded_matrix_can_be_read():
    assert contained(read_guarded, 0).status == 0
    assert contained(read_guarded, 1).signal == signal.SIGSEGV


WORKERS = {
    "dies": "os.kill(os.getpid(), signal.SIGSEGV)",
    "spins": "exec('while True: pass')",
    "fails": "line(i, 'failed')",
    "leaves": "sys.exit(3)",
}


@pytest.mark.parametrize("what", ["dies", "fails", "leaves", pytest.param("spins", marks=pytest.mark.slow)])
def test_who_dies_or_stands_still_is_noticed(what, tmp_path: Path):
    """Mutant 5 of 9 does it; all others have their turn."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, signal, sys\n"
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "def line(i, kind): print(json.dumps([i, 'name', ['edit'], kind, '', 0.0, '']), flush=True)\n"
        "for i in range(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])):\n"
        f"    if i == 5: {WORKERS[what]}\n"
        "    else: line(i, 'ran')\n"
    )
    found: list[Finding] = []
    supervisor = Supervisor(1, 0, 9, 2, lambda f: found.append(f) if f else None, worker=(str(script),))
    supervisor.run()
    assert [finding.number for finding in found] == [5]
    assert supervisor.tally.n == 9
    assert supervisor.tally.kinds == {"ran": 8, "failed": 1}
