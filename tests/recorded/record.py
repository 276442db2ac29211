"""Record what llama.cpp computes for the cases that have no logits yet, or for those that are named.

    pip install llama-cpp-python gguf numpy        # compiles llama.cpp; not a dependency of localllm
    python -m tests.recorded.record [NAME ...]

Logits of all positions, from F32 weights and an F32 cache, without flash attention: float32 [n_ids, n_vocab]; or hidden
states, float32 [n_ids, n_embd], and what poolings make of them, float32 [n_out].
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.recorded.models import N_CTX, cases, ids_of, logits_path, write


def llamacpp_logits(
    path: Path, ids: list[int], n_ctx: int = N_CTX, pooling: str = "", flash: bool = False
) -> np.ndarray:
    """pooling: "none", "mean", ... for what it makes of the tokens' hidden states, in place of logits."""
    try:
        import llama_cpp as lib
    except ModuleNotFoundError:
        raise SystemExit("recording needs llama.cpp: pip install llama-cpp-python") from None

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
    kinds = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED, lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
    options.flash_attn_type = kinds[flash]
    if pooling:
        options.embeddings, options.pooling_type = True, getattr(lib, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    context = lib.llama_init_from_model(model, options)
    batch = lib.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    evaluate = lib.llama_encode if lib.llama_model_has_encoder(model) else lib.llama_decode
    if evaluate(context, batch):
        raise SystemExit(f"{path}: llama.cpp cannot evaluate it")
    shape: tuple[int, ...]
    if not pooling:
        shape = len(ids), lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        found = lib.llama_get_logits(context)
    elif pooling == "none":
        shape, found = (len(ids), lib.llama_model_n_embd_out(model)), lib.llama_get_embeddings(context)
    else:
        n = lib.llama_model_n_cls_out(model) if pooling == "rank" else lib.llama_model_n_embd_out(model)
        shape, found = (n,), lib.llama_get_embeddings_seq(context, 0)
    logits = np.ctypeslib.as_array(found, shape).copy()
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)
    return logits


def main(names: list[str]) -> None:
    wanted = names or [name for name in cases() if not logits_path(name).exists()]
    for name in wanted:
        case = cases()[name]
        for pooling in ("none", *case.poolings) if case.poolings else ("",):
            with tempfile.TemporaryDirectory() as folder:
                path = write(Path(folder) / "m.gguf", case)
                logits = llamacpp_logits(path, ids_of(case.n_ids), pooling=pooling, flash=case.flash_attention)
            if not pooling or pooling == "none":
                logits = case.recorded(logits)[:, case.first_logit :]
            if not np.isfinite(logits).all():
                raise SystemExit(f"{name}: llama.cpp's {pooling or 'logits'} are not finite")
            target = logits_path(name, "" if pooling == "none" else pooling)
            target.parent.mkdir(exist_ok=True)
            np.save(target, logits)
            print(f"{target.name}: {logits.shape}, {np.abs(logits).max():.3g} at most, {logits.std():.3g} on average")


if __name__ == "__main__":
    main(sys.argv[1:])
