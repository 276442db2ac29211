"""Record what llama.cpp computes for the cases that have no logits yet, or for those that are named.

    pip install llama-cpp-python gguf numpy        # compiles llama.cpp; not a dependency of localllm
    python -m tests.recorded.record [NAME ...]

Logits of all positions, from F32 weights and an F32 cache, without flash attention: float32 [n_ids, n_vocab].
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.recorded.models import IDS, N_CTX, cases, logits_path, write


def llamacpp_logits(path: Path, ids: list[int], n_ctx: int = N_CTX) -> np.ndarray:
    import llama_cpp as lib

    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()
    parameters.n_gpu_layers = 0
    model = lib.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise SystemExit(f"{path}: llama.cpp cannot load it")
    options = lib.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch = n_ctx, max(512, len(ids)), max(512, len(ids))
    options.n_threads = options.n_threads_batch = 2
    options.type_k = options.type_v = lib.GGML_TYPE_F32
    options.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = lib.llama_init_from_model(model, options)
    n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    batch = lib.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    if lib.llama_decode(context, batch):
        raise SystemExit(f"{path}: llama.cpp cannot evaluate it")
    logits = np.ctypeslib.as_array(lib.llama_get_logits(context), (len(ids), n_vocab)).copy()
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)
    return logits


def main(names: list[str]) -> None:
    wanted = names or [name for name in cases() if not logits_path(name).exists()]
    for name in wanted:
        case = cases()[name]
        with tempfile.TemporaryDirectory() as folder:
            logits = llamacpp_logits(write(Path(folder) / "m.gguf", case), IDS[: case.n_ids])
        if not np.isfinite(logits).all():
            raise SystemExit(f"{name}: llama.cpp's logits are not finite")
        logits_path(name).parent.mkdir(exist_ok=True)
        np.save(logits_path(name), logits)
        print(f"{name}: {logits.shape}, {np.abs(logits).max():.3g} at most, {logits.std():.3g} on average")


if __name__ == "__main__":
    main(sys.argv[1:])
