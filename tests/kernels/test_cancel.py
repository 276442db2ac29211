"""A cancelled kernel comes back at once and writes nothing: this is how Ctrl-C stops a prefill chunk."""

import ctypes

import numpy as np
import pytest

from localllm.kernels.thread import Step
from tests.kernels import harness

COUNTS = {
    "n_rows_at", "n", "k", "heads", "n_head", "n_head_kv", "head_dim", "k_dim", "v_dim", "n_rot", "n_cells", "block",
    "chunk", "split", "row_bytes", "stride", "q_stride", "k_stride", "v_stride", "out_stride", "window", "eps", "scale",
    "factor", "step", "group", "together", "pad", "dim",
}  # fmt: skip


@pytest.mark.parametrize("key", harness.KEYS, ids=str)
def test_cancelled(key):
    name = f"{key.module}.{key.factory}"
    params = harness.params_of(name)
    n_rows = np.full(1, 64, np.int64)
    step = harness.block(Step, n_rows=64, n_runs=64)
    # All addresses are 8, which is not mapped: a kernel that goes to work dies. All sizes are 64.
    fields = {f: 64 if f in COUNTS else 8 for f in params.fields} | {
        f: v for f, v in (("n_rows_at", n_rows), ("n_places_at", n_rows), ("step", step)) if f in params.fields
    }
    block, team = harness.block(params, **fields), harness.Team(cancelled=True)
    ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(harness.addresses()[key])(
        block.ctypes.data, team.block.ctypes.data
    )
    assert team.counter[0] == 0
