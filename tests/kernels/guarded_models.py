"""Whole models between pages that nobody may touch: each weight, buffer, state and array is a mapping of its own.

Plans are recorded for exactly the rows of a batch, so that buffers end where these do; each stage runs by itself, and
its operations stand in what is reported. Memory that nobody has written holds NaN.
"""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import gguf
import numpy as np

from localllm.errors import UnsupportedError
from localllm.gguf.reader import GGUFFile
from localllm.kernels.cells import KV_TYPES
from localllm.kernels.formats.table import FORMATS
from localllm.model import context as contexts
from localllm.model import plans
from localllm.model.context import Context
from localllm.model.model import LoadedModel
from localllm.model.nextn import predictor
from localllm.model.nextn.layer import supported
from localllm.model.rope import Rope
from localllm.model.states import cells
from localllm.model.weights import Weight, Weights
from localllm.runtime import arrays
from localllm.runtime.arrays import SLACK
from localllm.runtime.plan import Bound, Plan, memory
from localllm.runtime.team import Team
from tests.kernels import blocks, guarded
from tests.recorded import models

N_BATCH = 33
WINDOW_ROWS = 40
"""In the place of the rows that a window's cells are there for: a window of 24 wraps within its 256 cells."""


@contextmanager
def guarding(areas: guarded.Memory) -> Iterator[None]:
    """Models that are loaded inside lie in memory between guards; `areas` watches."""
    with ExitStack() as patches:

        def patch(owner: Any, name: str, value: Any) -> None:
            patches.enter_context(mock.patch.object(owner, name, value))

        patch(arrays, "_memory", lambda n, slack: _zeros(areas, n, slack))
        patch(Plan, "lay", lambda plan, arena: _lay(areas, plan))
        for name, slack in (("_matrix", 0), ("vector", SLACK), ("constant", SLACK), ("integers", 0)):
            patch(Weights, name, _moved(areas, getattr(Weights, name), slack))
        patch(Rope, "address", property(lambda rope: _copied(areas, rope, rope.frequencies)))
        patch(Context, "_evaluate", _with_logits(areas, Context._evaluate))
        patch(Team, "run", _by_stages(areas, Team.run))
        for module in (plans, contexts):
            patch(module, "phases_of", lambda n_batch: tuple(range(1, n_batch + 1)))
        patch(predictor, "PHASES", tuple(range(1, N_BATCH + 1)))
        patch(cells, "MAX_ROWS", WINDOW_ROWS)
        yield


def _zeros(areas: guarded.Memory, n_bytes: int, slack: int) -> np.ndarray:
    array = areas.allocate(n_bytes, slack, name="an array")[:n_bytes]
    array.fill(0)
    return array


def _lay(areas: guarded.Memory, plan: Plan) -> None:
    kept = []
    for buffer in plan.buffers:
        array = areas.allocate(buffer.bytes, SLACK, fill=0xFF, name=f"buffer {buffer.name!r} of {plan.name!r}")
        buffer.address = int(array.ctypes.data)
        kept.append(array)
    plan.__dict__["memory"] = kept  # it lives as long as the plan


def _moved(areas: guarded.Memory, method: Callable[..., Weight], slack: int) -> Callable[..., Weight]:
    """The method of Weights, whose results lie in memory of their own."""

    def wrapped(weights: Weights, name: str, *arguments: Any) -> Weight:
        found = method(weights, name, *arguments)
        # Of integers k * 4 bytes are a row; a vector is one row.
        n_bytes = found.n * found.row_bytes
        kept = weights.__dict__.setdefault("moved", {})
        key = method.__name__, name, arguments if method.__name__ != "constant" else ()
        if key not in kept:
            array = areas.allocate(n_bytes, slack, name=name)
            array[:n_bytes] = memory(found.address, n_bytes, np.uint8)
            kept[key] = array
        return replace(found, address=int(kept[key].ctypes.data))

    return wrapped


def _copied(areas: guarded.Memory, owner: Any, values: np.ndarray) -> int:
    if "moved" not in owner.__dict__:
        array = areas.allocate(values.nbytes, 0, name="frequencies")
        array[:] = values.view(np.uint8)
        owner.__dict__["moved"] = array
    return int(owner.__dict__["moved"].ctypes.data)


def _with_logits(areas: guarded.Memory, evaluate: Callable[..., None]) -> Callable[..., None]:
    """Logits have no slack."""

    def wrapped(context: Context, ids: Any, part: str, n_out: int, logits: np.ndarray | None, stop: Any = None) -> None:
        mine = None if logits is None else areas.allocate(logits.nbytes, 0, name="logits").view(np.float32)
        evaluate(context, ids, part, n_out, None if mine is None else mine.reshape(logits.shape), stop)  # type: ignore[union-attr]
        if logits is not None and mine is not None:
            logits[...] = mine.reshape(logits.shape)
        areas.check()

    return wrapped


def _by_stages(areas: guarded.Memory, run: Callable[..., None]) -> Callable[..., None]:
    def wrapped(team: Team, plan: Bound, cancel: np.ndarray, rows: int = 1) -> None:
        first = 0
        for i, op in enumerate(plan.operations):
            if i + 1 == len(plan.operations) or plan.operations[i + 1].stage != op.stage:
                part = [f"{o.name} ({o.key}, {list(o.shape)})" for o in plan.operations[first : i + 1]]
                areas.operation = " and ".join(part)
                run(
                    team,
                    Bound(plan.operations[first : i + 1], plan.ops[first : i + 1], plan.counters, plan.blocks),
                    cancel,
                    rows,
                )
                first = i + 1
        areas.operation = ""

    return wrapped


# --- files that end with a page


def mapped_to_the_end(areas: guarded.Memory, path: Path) -> memoryview:
    """The file's pages, and behind them none; they are never given back."""
    size = os.stat(path).st_size
    assert size % guarded.PAGE == 0, f"{path} has {size} bytes, no whole pages"
    at = guarded.reserve(size)
    descriptor = os.open(path, os.O_RDONLY)
    guarded.map_file(at, size, descriptor)
    os.close(descriptor)
    areas.add(str(path), at, size)
    return memoryview((ctypes.c_uint8 * size).from_address(at)).cast("B").toreadonly()


@contextmanager
def mapping_to_the_end(areas: guarded.Memory) -> Iterator[None]:
    """Files that are opened inside are followed by a guard."""
    with mock.patch.object(
        GGUFFile, "map", lambda file, part=0: mapped_to_the_end(areas, Path(file.headers[part].path))
    ):
        yield


# --- what is run

SIZES = (33, 1, 17, 2, 16, 3, 5, 1)
"""Rows of the batches that a sequence is fed."""
_LONG = 300
"""Tokens of a model with a window: more than the cells of one."""


def quantizers() -> dict[str, models.Quantize]:
    """How matrices are stored: as they are, in blocks of 32 and in super-blocks where rows allow."""
    from tests.model.test_recorded_quantized import can_be_quantized, quantizer

    def random_bytes(fmt: str) -> models.Quantize:
        kind = gguf.GGMLQuantizationType[fmt]

        def quantize(name: str, x: np.ndarray) -> tuple[np.ndarray, gguf.GGMLQuantizationType] | None:
            k, rows = x.shape[-1], x.reshape(-1, x.shape[-1])
            if not can_be_quantized(name, x, FORMATS[fmt].block):
                return None
            raw = blocks.weights(fmt, len(rows), k, np.random.default_rng(len(name)))
            return raw.reshape(*x.shape[:-1], -1), kind

        return quantize

    files = {fmt: quantizer(fmt, False) for fmt in ("F16", "Q8_0", "Q4_0", "Q4_1")}
    return {"F32": lambda name, x: None, **files, "MXFP4": random_bytes("MXFP4")}


def run_all(areas: guarded.Memory, folder: Path, every: int) -> Counter[str]:
    """Each recorded model with each cache and each kind of weights; every `every`th of these."""
    counts: Counter[str] = Counter()
    stored = quantizers()
    combinations = [(name, "F32", kv) for name in models.cases() for kv in KV_TYPES]
    combinations += [(name, fmt, "f32") for name in models.cases() for fmt in stored if fmt != "F32"]
    for name, fmt, kv in combinations[::every]:
        path = models.write(folder / "m.gguf", models.cases()[name], stored[fmt])
        try:
            run_one(areas, path, name, kv, counts)
        except UnsupportedError:
            counts["not supported"] += 1
        except AssertionError as error:
            raise AssertionError(f"{name} in {fmt}, cache {kv}: {error}") from error
        counts["models"] += 1
    return counts


def run_one(areas: guarded.Memory, path: Path, name: str, kv: str, counts: Counter[str]) -> None:
    """Prefills of several sizes, decoding, several sequences in a batch, and a wrapped window."""
    case = models.cases()[name]
    with guarding(areas), LoadedModel.load(path, n_ctx=models.N_CTX, kv_type=kv, n_threads=1) as model:
        context = model.context(n_seq=3, n_batch=N_BATCH)
        if not model.network.causal:
            for n in (N_BATCH, 1, 17, 2, 16, 3):
                feed(case, context, [n], counts)
                context.clear()
            return
        feed(case, context, list(SIZES), counts)
        batch = [(0, 5), (2, 1), (1, 9), (2, 2)]
        ids = models.ids_of(sum(n for _, n in batch))
        seq_ids = [seq for seq, n in batch for _ in range(n)]
        check_finite(models.evaluate(case, context, ids, None, seq_ids))
        check_finite(models.evaluate(case, context, ids[:3], None, [0, 1, 2]))
        counts["batches"] += 2
        if has_window(context):
            context.clear()
            feed(case, context, [N_BATCH] * (_LONG // N_BATCH), counts)
        if model.config.n_nextn and model.architecture in supported():
            predict(areas, model, counts)


def predict(areas: guarded.Memory, model: LoadedModel, counts: Counter[str]) -> None:
    """The layer that predicts a further token, of batches of the same sizes, and of its own hidden state."""
    layer, ids = model.predictor(n_batch=N_BATCH), models.ids_of(sum(SIZES))
    hidden = np.random.default_rng(1).standard_normal((len(ids), model.config.n_embd)).astype(np.float32)
    for n in SIZES:
        check_finite(layer.forward(ids[:n], hidden[:n]))
        check_finite(layer.forward([1]))
        counts["batches"] += 2
    layer.close()
    areas.check()


def has_window(context: Context) -> bool:
    states = chain.from_iterable(context._sequences.states.values())
    return any(isinstance(state, cells.Cells) and state.window for state in states)


def feed(case: models.Case, context: Context, sizes: list[int], counts: Counter[str]) -> None:
    ids = models.ids_of(sum(sizes))
    for n in sizes:
        check_finite(models.evaluate(case, context, ids[:n], None, [1 if context.n_seq > 1 else 0] * n))
        ids = ids[n:]
        counts["batches"] += 1


def check_finite(rows: np.ndarray) -> None:
    """Memory that nobody wrote is NaN."""
    assert np.isfinite(rows).all(), "results that are no numbers: memory was read that nobody had written"
