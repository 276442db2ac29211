"""Every metadata key of a real model of each architecture, one at a time, with a hostile value.

The model is loaded and reads four tokens in a child process: it is refused in one line that names the file, or its
logits are finite. The models are those of tests/recorded, with all their metadata; of several of one architecture each
key is tried once.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.contained import CRASHED, Outcome, contained
from tests.gguf import build as b
from tests.malformed.base import Typed, array
from tests.malformed.commands import COMPILES
from tests.recorded import models

NAN, INFINITE = float("nan"), float("inf")
VALUES: dict[str, Typed | None] = {
    "0": Typed(b.U32, 0),
    "1": Typed(b.U32, 1),
    "-1": Typed(b.I32, -1),
    "2^31": Typed(b.U32, 2**31),
    "2^32-1": Typed(b.U32, 2**32 - 1),
    "2^63": Typed(b.U64, 2**63),
    "0.0": Typed(b.F32, 0.0),
    "-1.0": Typed(b.F32, -1.0),
    "1e38": Typed(b.F32, 1e38),
    "NaN": Typed(b.F32, NAN),
    "Inf": Typed(b.F32, INFINITE),
    "NaN as a double": Typed(b.F64, NAN),
    "true": Typed(b.BOOL, True),
    "a text": Typed(b.STR, "x"),
    "an empty text": Typed(b.STR, ""),
    "invalid UTF-8": Typed(b.STR, b"\xff\xfe\x80"),
    "an empty array": array(b.I32, []),
    "an array of zeros": array(b.I32, [0] * 64),
    "an array of -1": array(b.I32, [-1] * 64),
    "an array of 2^32-1": array(b.U32, [2**32 - 1] * 64),
    "an array of NaN": array(b.F32, [NAN] * 64),
    "an array of 2^20": array(b.U8, bytes(2**20)),
    "an array of texts": array(b.STR, ["x"] * 64),
    "nothing": None,
}
"""What a key gets; None: it is left out."""


@dataclass(frozen=True)
class File:
    """A GGUF file in pieces. pairs: key -> its bytes; rest: the tensor directory; data: what follows the padding."""

    pairs: Mapping[str, bytes]
    n_tensors: int
    rest: bytes
    data: bytes

    @classmethod
    def of(cls, content: bytes) -> File:
        """Of a valid one, alignment 32."""
        n_tensors, n_kv = struct.unpack_from("<QQ", content, 8)
        at, pairs = 24, {}
        for _ in range(n_kv):
            start = at
            length = struct.unpack_from("<Q", content, at)[0]
            key, at = content[at + 8 : at + 8 + length].decode(), at + 8 + length
            at = _behind(content, at + 4, struct.unpack_from("<I", content, at)[0])
            pairs[key] = content[start:at]
        start = at
        for _ in range(n_tensors):
            at += 8 + struct.unpack_from("<Q", content, at)[0]
            at += 4 + 8 * struct.unpack_from("<I", content, at)[0] + 12
        return cls(pairs, n_tensors, content[start:at], content[at + -at % 32 :])

    def with_value(self, key: str, value: Typed | None) -> bytes:
        """The file with one key replaced or left out."""
        new = b"" if value is None else value.kv(key)
        pairs = [new if name == key else raw for name, raw in self.pairs.items()]
        head = b"GGUF" + b.pack("IQQ", 3, self.n_tensors, len(pairs) - (value is None)) + b"".join(pairs) + self.rest
        return head + bytes(-len(head) % 32) + self.data


def _behind(content: bytes, at: int, kind: int) -> int:
    """Where a value ends."""
    if kind == b.STR:
        return int(at + 8 + struct.unpack_from("<Q", content, at)[0])
    if kind != b.ARR:
        return at + struct.calcsize(b.CODES[kind])
    element, count = struct.unpack_from("<IQ", content, at)
    at += 12
    if element in b.CODES:
        return int(at + count * struct.calcsize(b.CODES[element]))
    for _ in range(count):
        at = _behind(content, at, element)
    return at


@dataclass(frozen=True)
class Mutant:
    """A recorded model of which one key has another value."""

    model: str
    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.model}: {self.key} = {self.value}"


def keys_of(folder: Path) -> dict[str, list[str]]:
    """Model -> the keys that no model of its architecture had before it."""
    seen: set[tuple[str, str]] = set()
    found: dict[str, list[str]] = {}
    for name, case in models.cases().items():
        keys = File.of(models.write(folder / "model.gguf", case).read_bytes()).pairs
        found[name] = [key for key in keys if (case.architecture, key) not in seen]
        seen |= {(case.architecture, key) for key in keys}
    return {name: keys for name, keys in found.items() if keys}


def mutants(folder: Path, share: int = 0, n_shares: int = 1) -> Iterator[Mutant]:
    """All of them, model after model, or one of n parts: every n-th key and value."""
    found = (Mutant(model, key, value) for model, keys in keys_of(folder).items() for key in keys for value in VALUES)
    for mutant in found:
        if zlib.crc32(str(mutant).encode()) % n_shares == share:
            yield mutant


def write(folder: Path, mutant: Mutant) -> Path:
    """The file of a mutant."""
    path = folder / "bad.gguf"
    path.write_bytes(_whole(mutant.model).with_value(mutant.key, VALUES[mutant.value]))
    return path


@lru_cache(maxsize=1)
def _whole(model: str) -> File:
    with tempfile.TemporaryDirectory() as folder:
        return File.of(models.write(Path(folder) / "whole.gguf", models.cases()[model]).read_bytes())


def use(path: str) -> int:
    """In a child: load, and read four tokens. 0: its outputs are finite; 1: refused, in one line; 3: they are not."""
    from localllm.cli.common import Progress
    from localllm.cli.verbose import Counted
    from localllm.errors import LocalllmError
    from localllm.generate.session import Model
    from localllm.terminal.safe import visible

    try:
        with Model.load(path, n_ctx=32, n_threads=1, progress=Counted(Progress())) as model:
            ids = models.ids_of(4)
            encodes = not model.network.causal or model.network.output is None
            rows = model.hidden_states(ids) if encodes else model.logits(ids)
    except MemoryError:
        print("localllm: not enough memory", file=sys.stderr)
        return 1
    except LocalllmError as error:
        print("localllm: " + visible(" ".join(str(error).split())), file=sys.stderr)
        return 1
    return 0 if _is_finite(rows) else 3


def _is_finite(rows: np.ndarray) -> bool:
    """-inf is the logit of a token that may never come."""
    return bool((np.isfinite(rows) | np.isneginf(rows)).all() and np.isfinite(rows).any())


def run(path: Path, seconds: float = 2.0) -> Outcome:
    """Use a model in a child; one that compiled kernels is used again."""
    outcome = contained(use, str(path), seconds=seconds)
    if COMPILES not in outcome.stderr:
        return outcome
    contained(use, str(path), seconds=600)
    return contained(use, str(path), seconds=seconds)


def problem_of(path: Path, outcome: Outcome) -> str:
    """What is wrong with what became of a mutant, or ""."""
    if outcome.status == 3:
        return "the outputs are not finite, and nothing says so"
    return outcome.problem((0, 1), names=path.name)


def use_each(folder: str, n: int) -> int:
    """In a child: use and show 0/bad.gguf to n - 1/bad.gguf of a folder. What becomes of each is a line of its file
    `told`, as far as the child comes: [used, shown], each [exit status, seconds, standard output, standard error]."""
    with open(f"{folder}/told", "w", encoding="utf-8") as told:
        for i in range(n):
            path = f"{folder}/{i}/bad.gguf"
            made = [_captured(use, path), _captured(_show, path)]
            told.write(json.dumps(made) + "\n")
            told.flush()
    return 0


def _show(path: str) -> int:
    from localllm.cli.main import main

    return main(["show", path])


def _captured(function: Callable[[str], int], path: str) -> list[object]:
    start, out, err = time.process_time(), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = function(path)
        except BaseException:
            traceback.print_exc()
            status = CRASHED
    return [status, time.process_time() - start, out.getvalue(), err.getvalue()]


def run_each(folder: Path, mutants: Sequence[Mutant]) -> list[tuple[Outcome, Outcome] | None]:
    """What becomes of several of one model, used and shown in one child: ten times as fast as a child for each. None
    where something is not as it must be, or the child did not come so far: that one has to be run alone."""
    for i, mutant in enumerate(mutants):
        (folder / str(i)).mkdir(exist_ok=True)
        write(folder / str(i), mutant)
    (folder / "told").write_text("")
    whole = contained(use_each, str(folder), len(mutants), seconds=2.0 * len(mutants))
    found: list[tuple[Outcome, Outcome] | None] = [None] * len(mutants)
    if whole.problem((0,)):
        return found
    for i, line in enumerate((folder / "told").read_text(encoding="utf-8").splitlines()):
        used, shown = (Outcome(s, None, t > 2.0, t, whole.peak_bytes, o, e, 300) for s, t, o, e in json.loads(line))
        if not problem_of(folder / "bad.gguf", used) and not shown.problem((0, 1), names="bad.gguf"):
            found[i] = used, shown
    return found
