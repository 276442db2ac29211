"""Multi-token prediction in float64, and by a model that is the layer alone.

`predict` is DeepSeek-V3's section 2.2 (arXiv 2412.19437) for the twin's models. `alone` writes a layer of any recorded
model as a model of one layer, whose embeddings are the rows that the layer gets: what our own forward, which is held
against llama.cpp's logits for every architecture, makes of them is what the layer has to give.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tests.model import twin
from tests.recorded import models

NAMES = {"enorm", "hnorm", "eh_proj", "shared_head_norm", "shared_head_head", "embed_tokens"}


def predict(case: twin.Case, tensors: twin.Tensors, ids: list[int], more: list[int]) -> np.ndarray:
    """Logits, float64 [len(ids) - 1 + len(more), N_VOCAB], of the layer after the model's last: at i those of what
    follows ids[i + 1], from that token and the model's hidden state at i; then, for each token of `more`, from it and
    the layer's own hidden state before it."""
    w = {k: v.astype(np.float64) for k, v in tensors.items()}
    x = w["token_embd.weight"][ids]
    for i in range(case.n_layer):
        x = twin.layer(case, w, i, x)
    hidden, tokens = twin.norm(case, w, "output_norm", x)[:-1], ids[1:]
    own = _step(case, w, tokens, hidden)
    for token in more:
        hidden, tokens = np.concatenate([hidden, own[-1:]]), [*tokens, token]
        own = _step(case, w, tokens, hidden)
    return own @ w["output.weight"].T


def _step(case: twin.Case, w: twin.Tensors, tokens: list[int], hidden: np.ndarray) -> np.ndarray:
    b = f"blk.{case.n_layer}.nextn."
    e = twin.norm(case, w, f"{b}enorm", w["token_embd.weight"][tokens])
    both = np.concatenate([e, twin.norm(case, w, f"{b}hnorm", hidden)], axis=-1)
    x = twin.layer(case, w, case.n_layer, twin.linear(w, f"{b}eh_proj", both))
    return twin.norm(case, w, f"{b}shared_head_norm", x)


def weights(case: twin.Case) -> twin.Tensors:
    """Of the model, and of a layer after it that predicts a further token."""
    rng, n = np.random.default_rng(2), twin.N_EMBD
    found, b = twin.weights(replace(case, n_layer=case.n_layer + 1)), f"blk.{case.n_layer}.nextn."
    for name in ("enorm", "hnorm", "shared_head_norm"):
        found[f"{b}{name}.weight"] = (1 + 0.1 * rng.standard_normal(n)).astype(np.float32)
    found[f"{b}eh_proj.weight"] = (rng.standard_normal((n, 2 * n)) / np.sqrt(2 * n)).astype(np.float32)
    return found


# --- any architecture


def values(case: models.Case) -> dict[str, np.ndarray]:
    """A recorded model's tensors, rows first."""
    return {
        name: np.array(case.values[name], np.float32)
        if name in case.values
        else models.tensor(name, shape, case.scales)
        for name, shape in case.tensors.items()
    }


def rows(case: models.Case, tokens: list[int], hidden: np.ndarray) -> np.ndarray:
    """What the layer gets, float64 [n, n_embd]: hidden states as it reads them, each before its token."""
    w, i = values(case), _number(case)
    eps = case.kv["attention.layer_norm_rms_epsilon"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        exact = x.astype(np.float64)
        return exact / np.sqrt((exact**2).mean(-1, keepdims=True) + eps) * w[f"blk.{i}.nextn.{name}.weight"]

    embedding = w.get(f"blk.{i}.nextn.embed_tokens.weight", w["token_embd.weight"])
    both = np.concatenate([norm(embedding[tokens], "enorm"), norm(hidden, "hnorm")], axis=-1)
    return both @ w[f"blk.{i}.nextn.eh_proj.weight"].astype(np.float64).T


def alone(case: models.Case, x: np.ndarray, **kv: Any) -> models.Case:
    """The layer as a model whose embedding of token i is row i of x; kv: what it has otherwise, dots as __."""
    w, i = values(case), _number(case)
    layer = f"blk.{i}."
    found = {f"blk.0.{n.removeprefix(layer)}": v for n, v in w.items() if n.startswith(layer) and "nextn" not in n}
    own = {n.rpartition("nextn.")[2].removesuffix(".weight"): v for n, v in w.items() if "nextn" in n}
    own.setdefault("shared_head_norm", found.pop("blk.0.layer_output_norm.weight", w["output_norm.weight"]))
    found["token_embd.weight"] = np.zeros((models.N_VOCAB, x.shape[1]), np.float32)
    found["token_embd.weight"][: len(x)] = x
    found["output_norm.weight"] = own["shared_head_norm"]
    found["output.weight"] = own.get("shared_head_head", w.get("output.weight", w["token_embd.weight"]))
    found |= {name: w[name] for name in w if name.startswith("rope_")}
    last = {
        key: value[-1:] if isinstance(value, list) and "sections" not in key else value
        for key, value in case.kv.items()
    }
    last |= {"block_count": 1, "nextn_predict_layers": None, "leading_dense_block_count": 0}
    last |= {key.replace("__", "."): value for key, value in kv.items()}
    shapes = {name: list(v.shape[::-1]) for name, v in found.items()}
    return models.Case(case.architecture, last, shapes, values=found)


def _number(case: models.Case) -> int:
    return int(case.kv["block_count"]) - int(case.kv["nextn_predict_layers"])
