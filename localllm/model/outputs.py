"""Which floats the operations of a plan leave, for those who look for the first that are not finite.

An operation's output is rows of floats at `out`, `shape` of them, one after another; `_KINDS` has those that are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from localllm.kernels.hyper import STREAMS
from localllm.model.points import F32, View, address_of, plain_view
from localllm.runtime.plan import Buffer, Operation, memory


class Outputs:
    """What the operations of a batch leave, read right after their stage. logits: float32 [n_out, n_vocab], if any."""

    def __init__(self, logits: np.ndarray | None) -> None:
        self._logits = logits
        self._places = np.zeros((0, 0), np.int32)
        """Of the experts that are under way: where each row's copy for each of its experts lies."""

    def of(self, operation: Operation, n_rows: int) -> np.ndarray | None:
        """float32 [n_rows, n], a view or a copy; None where an operation leaves no floats that another one reads."""
        kind = operation.key.module, operation.key.factory
        if kind == ("experts", "group"):
            n_used = _number(operation, "n_used")
            places = memory(address_of(operation.values["places"]), n_rows * n_used, np.int32)
            self._places = places.reshape(n_rows, n_used).copy()
            return None
        if is_by_place(operation):
            return self._by_place(operation, n_rows)
        views = views_of(operation)
        if not views:
            return None
        if any(address_of(view.value) == 0 for view in views):
            return self._logits
        return np.concatenate([view.array(n_rows).reshape(n_rows, -1) for view in views], axis=1)

    def _by_place(self, operation: Operation, n_rows: int) -> np.ndarray | None:
        if len(self._places) != n_rows:
            return None
        return placed_view(operation).array(int(self._places.max()) + 1)[self._places].reshape(n_rows, -1)


_PLACED = {("experts", "gather"), ("experts", "tiles"), ("scale", "experts")}


def is_by_place(o: Operation) -> bool:
    """Its rows are in order of experts: what counts them, or says whose they are, is made by the plan itself."""
    if (o.key.module, o.key.factory) in _PLACED:
        return isinstance(o.values["sources"], Buffer) if "sources" in o.values else True
    return isinstance(o.values.get("n_rows_at"), Buffer)


def placed_view(o: Operation) -> View:
    """All places."""
    return plain_view(o.values["out" if "out" in o.values else "x"], o.shape[-1])


def views_of(o: Operation) -> list[View]:
    """Of the rows of a batch that is not in order of experts."""
    return _KINDS.get((o.key.module, o.key.factory), _plain)(o)


def _number(o: Operation, field: str, default: int = -1) -> int:
    return int(o.values.get(field, default))  # type: ignore[arg-type]


def _plain(o: Operation) -> list[View]:
    return [plain_view(o.values["out"], math.prod(o.shape[1:]))]


def _nothing(o: Operation) -> list[View]:
    return []


def _field(name: str) -> Callable[[Operation], list[View]]:
    """Rows in place, or under another name."""
    return lambda o: [plain_view(o.values[name], math.prod(o.shape[1:]))]


def _norm(o: Operation) -> list[View]:
    heads, n, stride = _number(o, "heads"), _number(o, "n"), _number(o, "out_stride")
    return [View(o.values["out"], (heads, n), (stride, n * F32, F32))]


def _rotated(o: Operation) -> list[View]:
    _, n_head, n_rot = o.shape
    return [View(o.values["x"], (n_head, n_rot), (_number(o, "stride"), _number(o, "head_dim") * F32, F32))]


def _attention(o: Operation) -> list[View]:
    if o.key.factory != "merge" and _number(o, "split", 0):
        return []  # parts, which `merge` joins
    n = _number(o, "n_head") * _number(o, "v_dim" if "v_dim" in o.values else "dim")
    return [View(o.values["out"], (n,), (_number(o, "out_stride", n * F32), F32))]


def _pieces(o: Operation) -> list[View]:
    steps = _number(o, "out_stride"), _number(o, "out_step"), F32
    return [View(o.values["out"], (_number(o, "count"), _number(o, "n")), steps)]


def _shifted(o: Operation) -> list[View]:
    n, stride, out = _number(o, "n"), _number(o, "out_stride"), o.values["out"]
    return [View(address_of(out) + j * stride, (n,), (n * F32, F32)) for j in range(_number(o, "n_lerps"))]


def _streams(o: Operation) -> list[View]:
    count = _number(o, "count", STREAMS)
    return [plain_view(o.values["x"], count * _number(o, "n"))]


def _one_row_of_each(o: Operation) -> list[View]:
    return [plain_view(o.values["out"], math.prod(o.shape))]


def _split(o: Operation) -> list[View]:
    n = _number(o, "n_head")
    k, v = n * (_number(o, "nope") + _number(o, "n_rot")), n * _number(o, "v_dim")
    return [plain_view(o.values["k"], k), plain_view(o.values["v"], v)]


def _weights(o: Operation) -> list[View]:
    return [plain_view(o.values["weights"], _number(o, "n_used"))]


def _route(o: Operation) -> list[View]:
    return [plain_view(o.values["out"], _number(o, "n_out"))]


_KINDS: dict[tuple[str, str], Callable[[Operation], list[View]]] = {
    ("altup", "correct"): _field("scaled"),
    ("altup", "predict"): _field("copy"),
    ("altup", "route"): _route,
    ("altup", "spread"): _field("x"),
    ("altup", "start"): _field("x"),
    ("attention", "cells"): _attention,
    ("attention", "merge"): _attention,
    ("block_choice", "choose"): _nothing,
    ("block_choice", "groups"): _nothing,
    ("block_choice", "scores"): _nothing,
    ("compress", "entries"): _nothing,
    ("experts", "group"): _nothing,
    ("experts", "rows"): _one_row_of_each,
    ("experts", "route"): _weights,
    ("gated_streams", "spread"): _streams,
    ("hash_experts", "route"): _weights,
    ("heads", "gather"): _nothing,
    ("heads", "split"): _split,
    ("hyper", "mix"): _streams,
    ("indexer", "choose"): _nothing,
    ("indexer", "scores"): _nothing,
    ("joined_attention", "heads"): _attention,
    ("kept", "rows"): _nothing,
    ("latent_attention", "cells"): _attention,
    ("latent_attention", "merge"): _attention,
    ("latent_attention", "store_rows"): _nothing,
    ("mix", "clamp"): _field("x"),
    ("mix", "logits"): lambda o: [plain_view(0, 0)],
    ("mix", "pieces"): _pieces,
    ("mix", "suppress"): lambda o: [plain_view(0, 0)],
    ("mix", "temperature"): _field("x"),
    ("ngram", "rows"): _nothing,
    ("norm", "layer"): _norm,
    ("norm", "rms"): _norm,
    ("quantize", "rows"): _nothing,
    ("quantize", "tiles"): _nothing,
    ("rope", "cache"): _nothing,
    ("rope", "rotate"): _rotated,
    ("scale", "experts"): lambda o: [plain_view(o.values["x"], _number(o, "n_used") * _number(o, "n"))],
    ("shift", "rows"): _shifted,
}
"""What is not rows at `out`. Codes, choices and cells are passed over: what is made of them shows what they are."""
