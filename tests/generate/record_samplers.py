"""Records what llama.cpp's samplers leave, and with which probabilities, into data/samplers.npz.

python -m tests.generate.record_samplers        needs `pip install llama-cpp-python` (0.3.36 was used)
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gguf
import llama_cpp.llama_cpp as llama
import numpy as np

from tests.generate.sampler_cases import BREAKERS, CASES, PIECES, RECORDED, TEXTS, WALKS, Case, rows, save, walk
from tests.generate.sampler_vocabulary import metadata

NOTHING: dict[str, Any] = {
    "repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0, "repeat_last_n": 64,
    "dry_multiplier": 0.0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": 64,
    "top_n_sigma": -1.0, "top_k": 0, "typical_p": 1.0, "top_p": 1.0, "min_p": 0.0, "xtc_probability": 0.0,
    "xtc_threshold": 0.1, "temperature": 1.0, "dynatemp_range": 0.0, "dynatemp_exponent": 1.0, "min_keep": 0,
    "logit_bias": (), "samplers": ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc",
                                   "temperature"),
}  # fmt: skip
Array = llama.llama_token_data_array


class Chain:
    """A llama_sampler_chain."""

    def __init__(self, samplers: Iterable[Any]) -> None:
        self.chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        for sampler in samplers:
            llama.llama_sampler_chain_add(self.chain, sampler)

    def accept(self, token: int) -> None:
        llama.llama_sampler_accept(self.chain, token)

    def apply(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Ids that are left with a probability above 0, by id; their probabilities; the id that was drawn."""
        data = (llama.llama_token_data * len(logits))(*((i, float(x), 0.0) for i, x in enumerate(logits)))
        array = Array(ctypes.cast(data, ctypes.POINTER(llama.llama_token_data)), len(logits), -1, False)
        llama.llama_sampler_apply(self.chain, ctypes.byref(array))
        left = sorted((array.data[i].id, array.data[i].p) for i in range(array.size) if array.data[i].p > 0)
        return (
            np.array([i for i, _ in left], np.uint16), np.array([p for _, p in left], np.float32),
            array.data[array.selected].id,
        )  # fmt: skip


def samplers(given: dict[str, Any], vocab: Any, breakers: Sequence[str], n_vocab: int) -> Iterable[Any]:
    p = {**NOTHING, **given}
    made = {
        "penalties": lambda: llama.llama_sampler_init_penalties(
            n_vocab, p["repeat_last_n"], p["repeat_penalty"], p["frequency_penalty"], p["presence_penalty"]
        ),
        "dry": lambda: llama.llama_sampler_init_dry(
            vocab, p["dry_multiplier"], p["dry_base"], p["dry_allowed_length"], p["dry_penalty_last_n"],
            (ctypes.c_char_p * len(breakers))(*(b.encode() for b in breakers)), len(breakers),
        ),
        "top_n_sigma": lambda: llama.llama_sampler_init_top_n_sigma(p["top_n_sigma"]),
        "top_k": lambda: llama.llama_sampler_init_top_k(p["top_k"]),
        "typ_p": lambda: llama.llama_sampler_init_typical(p["typical_p"], p["min_keep"]),
        "top_p": lambda: llama.llama_sampler_init_top_p(p["top_p"], p["min_keep"]),
        "min_p": lambda: llama.llama_sampler_init_min_p(p["min_p"], p["min_keep"]),
        "xtc": lambda: llama.llama_sampler_init_xtc(p["xtc_probability"], p["xtc_threshold"], p["min_keep"], 1),
        "temperature": lambda: llama.llama_sampler_init_temp_ext(
            p["temperature"], p["dynatemp_range"], p["dynatemp_exponent"]
        ),
    }  # fmt: skip
    if p["logit_bias"]:
        bias = (llama.llama_logit_bias * len(p["logit_bias"]))(*p["logit_bias"])
        yield llama.llama_sampler_init_logit_bias(n_vocab, len(bias), bias)
    for name in p["samplers"]:
        yield made[name]()
    yield llama.llama_sampler_init_dist(1)


def ends(given: dict[str, Any], n_vocab: int) -> Iterable[Any]:
    if "mirostat" not in given:
        yield llama.llama_sampler_init_adaptive_p(given["adaptive_target"], given["adaptive_decay"], 5)
        return
    tau, eta = given["mirostat_tau"], given["mirostat_eta"]
    yield llama.llama_sampler_init_temp(given["temperature"])
    if given["mirostat"] == 1:
        yield llama.llama_sampler_init_mirostat(n_vocab, 5, tau, eta, 100)
    else:
        yield llama.llama_sampler_init_mirostat_v2(5, tau, eta)


def packed(ids: np.ndarray, n: int) -> np.ndarray:
    mask = np.zeros(n, np.bool_)
    mask[ids] = True
    return np.packbits(mask)


def record(case: Case, row: np.ndarray, vocab: Any, history: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    chain = Chain(samplers(case.options, vocab, case.breakers, len(row)))
    for token in history:
        chain.accept(token)
    ids, p, _ = chain.apply(row)
    return ids, p


def vocabulary(folder: str) -> Any:
    path = Path(folder) / "v.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {"context_length": 64, "embedding_length": 32, "block_count": 1, "feed_forward_length": 32,
                       "attention.head_count": 1}.items():  # fmt: skip
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    keys = metadata(PIECES)
    writer.add_tokenizer_model(keys["tokenizer.ggml.model"])
    writer.add_token_list(keys["tokenizer.ggml.tokens"])
    writer.add_token_scores(keys["tokenizer.ggml.scores"])
    writer.add_token_types(keys["tokenizer.ggml.token_type"])
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    params = llama.llama_model_default_params()
    params.vocab_only = True
    return llama.llama_model_get_vocab(llama.llama_model_load_from_file(str(path).encode(), params))


def tokens(vocab: Any, text: str) -> list[int]:
    data = text.encode()
    ids = (llama.llama_token * 64)()
    return list(ids[: llama.llama_tokenize(vocab, data, len(data), ids, 64, False, False)])


def main() -> None:
    out = {f"row {name}": row for name, row in rows().items()}
    out["walk"] = walk().astype(np.float16)
    with tempfile.TemporaryDirectory() as folder:
        vocab = vocabulary(folder)
        for name, case in CASES.items():
            for row in case.rows:
                logits = rows()[row].astype(np.float32)
                ids, p = record(case, logits, vocab, case.history)
                out[f"{name}|{row}|ids"] = packed(ids, len(logits))
                if len(logits) <= 1000 or len(ids) <= 100:
                    out[f"{name}|{row}|p"] = p
        for name, case in BREAKERS.items():
            for text in TEXTS:
                history = tokens(vocab, text)
                logits = rows()["flat"].astype(np.float32)
                ids, p = record(case, logits, vocab, history)
                assert len(ids) == len(logits)
                out[f"breakers {name}|{text}"] = p
                out[f"tokens {text}"] = np.array(history, np.uint16)
    for name, options in WALKS.items():
        logits = walk()
        chain = Chain(ends(options, logits.shape[1]))
        for step, row in enumerate(logits):
            ids, p, token = chain.apply(row)
            chain.accept(token)
            out[f"{name}|{step}|ids"], out[f"{name}|{step}|p"] = packed(ids, len(row)), p
            out[f"{name}|{step}|token"] = np.array(token)
    save(out)
    print(f"{RECORDED}: {RECORDED.stat().st_size} bytes, {len(out)} arrays")


if __name__ == "__main__":
    main()
