"""What RWKV's blocks do with their input: each row is mixed with the one before it, by factors for each use of it."""

from __future__ import annotations

from localllm.gate import numbers
from localllm.kernels import shift
from localllm.kernels.objects import Key
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Recorder
from localllm.model.states.recurrent import Recurrent
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Place, Value


def mixed(r: Recorder, name: str, x: Value, lerps: Weight, n: int, state: Recurrent) -> list[Place]:
    """x mixed by each of lerps, f32 [count][n]: rows of n floats. Part 0 of the state is the last row."""
    count = lerps.k // n
    out = r.floats(name, count * n)
    _record(r, name, "fixed", x, lerps, n, state, out)
    return planes(r, out, count, n)


def remix(r: Recorder, name: str, x: Value, lerps: Weight, n: int, state: Recurrent, out: Buffer) -> None:
    """The same where `out` holds what is added to the factors, once `mixed` has read the same x."""
    _record(r, name, "changed", x, lerps, n, state, out)


def planes(r: Recorder, buffer: Buffer, count: int, n: int) -> list[Place]:
    """Where rows of n floats begin of which a buffer holds `count` times as many as a batch has."""
    return [Place(buffer, j * r.n_rows * n * F32) for j in range(count)]


def _record(r: Recorder, name: str, kind: str, x: Value, lerps: Weight, n: int, state: Recurrent, out: Buffer) -> None:
    count = lerps.k // n
    r.plan.op(
        name, Key("shift", "rows", (kind,)), shift.Params, (count, r.n_rows, n),
        step=r.step, x=x, n=n, lerps=lerps.address, n_lerps=count, out=out, out_stride=r.n_rows * n * F32,
        state=state.address(0), state_stride=state.stride(0),
    )  # fmt: skip


def check_shift_count(f: LayerReader) -> None:
    """The file must count as many blocks that shift as the architecture has; 2 where it does not say."""
    key, must = "token_shift_count", len(f.spec.mixers(f.config, f.i))
    numbers.same(f.config.keys.place(key), f.config.keys.integer(key, 2), must, "the architecture's")
