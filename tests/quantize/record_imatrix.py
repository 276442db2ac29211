"""Record importance matrices of tiny models from llama.cpp, into recorded/imatrix.npz.

    pip install llama-cpp-python gguf numpy        # not a dependency of localllm
    python -m tests.quantize.record_imatrix

Its callback sees every product, as in tools/imatrix/imatrix.cpp, whose sums these are. Recorded with llama-cpp-python
0.3.36.
"""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.recorded import models

NAMES = ("olmoe", "deepseek2", "falcon-h1")
N_CTX, N_CHUNKS = 256, 2
FILE = Path(__file__).parent / "recorded/imatrix.npz"


def ids_of_text() -> np.ndarray:
    """int64 [N_CHUNKS, N_CTX]."""
    return np.random.default_rng(2).integers(1, models.N_VOCAB, (N_CHUNKS, N_CTX))


class Tensor(ctypes.Structure):
    """ggml_tensor (ggml.h)."""

    _fields_ = (
        ("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * 4), ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int), ("op_params", ctypes.c_int32 * 16), ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10), ("view_src", ctypes.c_void_p), ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p), ("name", ctypes.c_char * 64),
    )  # fmt: skip


def at(address: Any) -> Any:
    return ctypes.cast(address, ctypes.POINTER(Tensor)).contents


def array(t: Any, dtype: type) -> np.ndarray:
    """Three dimensions, the last of which is contiguous."""
    axes = (2, 1, 0)
    n_bytes = sum((t.ne[i] - 1) * t.nb[i] for i in axes) + 4
    raw: np.ndarray = np.frombuffer((ctypes.c_char * n_bytes).from_address(t.data), dtype)
    return np.lib.stride_tricks.as_strided(raw, tuple(t.ne[i] for i in axes), tuple(t.nb[i] for i in axes))


class Collector:
    """Sums of squares and counts by tensor, as llama-imatrix has them."""

    def __init__(self, base: ctypes.CDLL) -> None:
        self.sums: dict[str, np.ndarray] = {}
        self.counts: dict[str, np.ndarray] = {}
        base.ggml_op_name.restype = ctypes.c_char_p
        self._name_of = base.ggml_op_name

    def __call__(self, address: int, ask: bool, _: Any) -> bool:
        t = at(address)
        op = self._name_of(t.op)
        if op not in (b"MUL_MAT", b"MUL_MAT_ID"):
            return not ask
        w, x = at(t.src[0]), at(t.src[1])
        name = w.name.decode()
        wanted = name.startswith("blk.") and x.type == 0 and (op == b"MUL_MAT_ID" or x.ne[1] >= 16)
        if ask or not wanted:
            return bool(wanted or not ask)
        squares = array(x, np.float32).astype(np.float64) ** 2
        if op == b"MUL_MAT_ID":
            self._experts(name, w.ne[2], squares, array(at(t.src[2]), np.int32)[0])
        else:
            matrices = squares.sum(1) if w.ne[2] > 1 else squares.sum((0, 1))[None]
            self.sums[name] = self.sums.get(name, 0) + matrices
            self.counts[name] = self.counts.get(name, 0) + np.array([squares.shape[0] * squares.shape[1] // w.ne[2]])
        return True

    def _experts(self, name: str, n: int, squares: np.ndarray, ids: np.ndarray) -> None:
        sums = self.sums.setdefault(name, np.zeros((n, squares.shape[-1])))
        counts = self.counts.setdefault(name, np.zeros(n, np.int64))
        for slot in range(ids.shape[1]):
            np.add.at(sums, ids[:, slot], squares[:, slot % squares.shape[1]])
            np.add.at(counts, ids[:, slot], 1)


def record(path: Path, chunks: np.ndarray) -> Collector:
    import llama_cpp as llama

    base = ctypes.CDLL(str(Path(llama.__file__).parent / "lib/libggml-base.so"))
    collector = Collector(base)
    callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)(collector)
    model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = N_CTX
    params.cb_eval = ctypes.cast(callback, type(params.cb_eval))
    context = llama.llama_init_from_model(model, params)
    for chunk in chunks:
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        batch = llama.llama_batch_init(N_CTX, 0, 1)
        batch.n_tokens = N_CTX
        for i, token in enumerate(chunk):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = int(token), i, 1, 1
            batch.seq_id[i][0] = 0
        assert llama.llama_decode(context, batch) == 0
    return collector


def main() -> None:
    out: dict[str, Any] = {}
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            found = record(models.write(Path(folder) / "m.gguf", models.cases()[name]), ids_of_text())
        for tensor, sums in found.sums.items():
            out[f"{name}/{tensor}"] = sums.astype(np.float32)
            out[f"{name}/{tensor}/counts"] = found.counts[tensor]
    np.savez_compressed(FILE, **out)


if __name__ == "__main__":
    main()
