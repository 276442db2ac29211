"""Which points a recorded plan has: inputs and outputs of matrix products, norms, marks, attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from localllm.kernels.objects import Key
from localllm.model.points import F32, Added, Copies, Logits, Point, Rows, Scores, View, address_key, plain_view
from localllm.runtime.plan import Operation, Plan, Value

_DENSE = {("matvec", "rows"), ("matvec_fours", "rows"), ("matmul", "tiles")}
_HEADS = {("heads", "rows"), ("heads", "tiles")}
_GATHER, _MIDDLES = Key("heads", "gather"), Key("middles", "first")
_NAMES = {"output_norm": "result_norm", "output rows": "result_norm"}
"""llama.cpp's names for what ours call otherwise."""


def points_of(plan: Plan, rows: str = "n_rows") -> list[Point]:
    """In the order in which they can be read. rows: what the plan's operations count. A name that occurs again, as in
    a layer that is gone through twice, gets @2, @3, ... at its end."""
    finder = _Finder(plan, rows)
    found: dict[str, Point] = {}
    for point in sorted(finder.all(), key=lambda p: p.at):
        name, n = point.name, 1
        while point.name in found and found[point.name].place != point.place:
            n += 1
            point.name = f"{name}@{n}"
        found.setdefault(point.name, point)
    return list(found.values())


class _Finder:
    """One plan. Operations go by their numbers."""

    def __init__(self, plan: Plan, rows: str) -> None:
        self.plan, self.operations, self.rows = plan, plan.operations, rows

    def all(self) -> Iterator[Point]:
        for i, o in enumerate(self.operations):
            kind = o.key.module, o.key.factory
            if kind in _DENSE:
                yield from self._dense(i, o)
            elif kind in _HEADS:
                yield from self._heads(i, o)
            elif kind == ("experts", "tiles"):
                yield from self._experts(i, o)
            elif kind == ("experts", "combine"):
                yield from self._output(o.name.removesuffix(".combine") + ".output", i, i, o.shape[-1])
            elif kind == ("attention", "cells"):
                yield Scores(o.name.removesuffix(".attention") + ".attn_scores", o, self._before(i))
            elif o.key.module == "norm":
                yield from self._norm(i, o)
            elif kind == ("experts", "gather") and o.name in _NAMES:
                yield Rows(_NAMES[o.name], [plain_view(o.values["out"], o.shape[-1])], self._after(i), self.rows)
        for mark in self.plan.marks:
            yield Rows(mark.name, [plain_view(mark.value, mark.n)], mark.at, self.rows)
        if self.rows == "n_out":
            yield Logits("logits", (self.rows, self._n_vocab()), len(self.operations))

    def _n_vocab(self) -> int:
        return next(o.shape[-1] for o in self.operations if (o.key.module, o.key.factory) in _DENSE)

    # --- stages

    def _before(self, i: int) -> int:
        """Operations before the stage of number i."""
        while i and self.operations[i - 1].stage == self.operations[i].stage:
            i -= 1
        return i

    def _after(self, i: int) -> int:
        """Operations up to its end."""
        while i + 1 < len(self.operations) and self.operations[i + 1].stage == self.operations[i].stage:
            i += 1
        return i + 1

    def _find(self, numbers: range, holds: Callable[[Operation], bool]) -> int | None:
        return next((j for j in numbers if holds(self.operations[j])), None)

    def _floats(self, i: int, o: Operation) -> tuple[Value, int]:
        """What a product reads, before it is made ready, and where it is complete."""
        x = address_key(o.values["x"])
        j = self._find(range(i - 1, -1, -1), lambda q: q.key.module == "quantize" and address_key(q.values["q"]) == x)
        if j is not None:
            return self.operations[j].values["x"], self._before(j)
        at = self._before(i)
        # Other products of the stage may have had a form of it made: all begin where that does.
        while at and self.operations[at - 1].key.module == "quantize":
            at = self._before(at - 1)
        return o.values["x"], at

    # --- products

    def _dense(self, i: int, o: Operation) -> Iterator[Point]:
        x, at = self._floats(i, o)
        name = _short(o.name)
        yield Rows(f"{name}.input", [plain_view(x, int(o.values["k"]))], at, self.rows)  # type: ignore[arg-type]
        if not _is_first(o.name):
            return
        pieces = [
            j for j in range(self._before(i), self._after(i))
            if _whole(self.operations[j].name) == _whole(o.name)
            and (self.operations[j].key.module, self.operations[j].key.factory) in _DENSE
        ]  # fmt: skip
        if len(pieces) == 1:
            yield from self._output(f"{name}.output", i, self._scaled(i), o.shape[-1])
            return
        ends = [self._scaled(j) for j in pieces]
        outs = [self.operations[j].values["out"] for j in ends]
        if all(out != 0 for out in outs) and all(self._added(j)[0] == 0 for j in ends):
            views = [plain_view(out, self.operations[j].shape[-1]) for out, j in zip(outs, ends, strict=True)]
            yield Rows(f"{name}.output", views, max(self._after(j) for j in ends), self.rows)

    def _scaled(self, i: int) -> int:
        """The operation that scales the product of number i, or that itself."""
        out = address_key(self.operations[i].values["out"])
        after = self._after(i)
        if after == len(self.operations) or out == 0:
            return i
        j = self._find(
            range(after, self._after(after)),
            lambda s: s.key.module == "scale" and address_key(s.values["x"]) == out,
        )
        return i if j is None else j

    def _output(self, name: str, i: int, end: int, n: int) -> Iterator[Point]:
        """What number `end` stores: alone, or added to something."""
        out, (add, first) = self.operations[end].values["out"], self._added(end)
        if out == 0:
            return
        view, at = plain_view(out, n), self._after(end)
        if add == 0:
            yield Rows(name, [view], at, self.rows)
        elif self._is_alone({first, end}, add):
            yield Added(name, view, plain_view(add, n), self._before(first), at, self.rows)

    def _added(self, i: int) -> tuple[Value, int]:
        """What number i adds, and the operation that begins: with high precision it adds what middles bring, to which
        all else was added before."""
        o = self.operations[i]
        out, at = address_key(o.values["out"]), self._before(i)
        stages = range(self._before(self._before(at - 1) - 1) if at > 1 else 0, at)
        j = self._find(
            stages,
            lambda m: m.key == _MIDDLES and m.name.startswith(o.name) and address_key(m.values["out"]) == out,
        )
        return (o.values["add"], i) if j is None else (self.operations[j].values["add"], j)

    def _is_alone(self, of: set[int], memory: Value) -> bool:
        """Nothing in the stages of these operations has to do with this memory, but that they add to it."""
        key = address_key(memory)
        own = {"out", "add"}
        return all(
            address_key(v) != key or (j in of and field in own)
            for j in range(self._before(min(of)), self._after(max(of)))
            for field, v in self.operations[j].values.items()
        )

    def _heads(self, i: int, o: Operation) -> Iterator[Point]:
        """Each head's part of a row has a matrix of its own."""
        parts, _ = self._floats(i, o)
        j = self._find(
            range(i - 1, -1, -1), lambda g: g.key == _GATHER and address_key(g.values["out"]) == address_key(parts)
        )
        assert j is not None
        v = self.operations[j].values
        n_head, k, row, head = (int(v[field]) for field in ("n_head", "n", "row", "head"))  # type: ignore[arg-type]
        yield Rows(f"{_short(o.name)}.input", [View(v["x"], (n_head, k), (row, head, F32))], self._before(j), self.rows)
        n = o.shape[-1]
        out = View(o.values["out"], (n_head, n), (n_head * n * F32, n * F32, F32))
        yield Rows(f"{_short(o.name)}.output", [out], self._after(i), self.rows)

    def _experts(self, i: int, o: Operation) -> Iterator[Point]:
        x, at = self._floats(i, o)
        counts = address_key(o.values["counts"])
        g = self._find(
            range(i - 1, -1, -1), lambda c: c.key.factory == "group" and address_key(c.values["counts"]) == counts
        )
        assert g is not None
        group, begin, name = self.operations[g], self._after(g), _short(o.name)
        yield Copies(f"{name}.input", x, int(o.values["k"]), at, group, begin)  # type: ignore[arg-type]
        stage = range(self._before(i), self._after(i))
        if sum(_whole(self.operations[j].name) == _whole(o.name) for j in stage) == 1:
            end = self._scaled(i)
            yield Copies(f"{name}.output", o.values["out"], o.shape[-1], self._after(end), group, begin)

    def _norm(self, i: int, o: Operation) -> Iterator[Point]:
        """Norms of one name in a stage are pieces of one row."""
        name = _NAMES.get(o.name, o.name)
        same = [j for j in range(self._before(i), self._after(i)) if self.operations[j].name == o.name]
        if i != same[0]:
            return
        if len(same) == 1 and o.values["add"] != 0:
            yield from self._output(name, i, i, o.shape[-1])
            return
        views = []
        for j in same:
            v = self.operations[j].values
            n, stride = self.operations[j].shape[-1], int(v["out_stride"])  # type: ignore[arg-type]
            views.append(View(v["out"], (n,), (stride, F32)))
        yield Rows(name, views, self._after(i), self.rows)


def _whole(name: str) -> str:
    """The tensor that an operation's matrix is, or is a part of."""
    return name.split(" from row ")[0]


def _is_first(name: str) -> bool:
    return all(part == "0" for part in name.split(" from row ")[1:])


def _short(name: str) -> str:
    return _whole(name).removesuffix(".weight")
