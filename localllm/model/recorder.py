"""The pieces that blocks are recorded from: norms, products, and what lies between them. Nothing here computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localllm.gguf.config import Config
from localllm.kernels import kept, matmul, matvec, middles, mix, norm, quantize, rope, scale
from localllm.kernels.formats import module
from localllm.kernels.objects import Key
from localllm.kernels.thread import Step
from localllm.model.group_sums import GroupSums
from localllm.model.rope import Rope
from localllm.model.states.state import State
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Plan, Value

F32 = 4
TILE = 16
"""Rows that a matrix product takes together."""
MATVEC_MAX_ROWS = 8
"""Rows up to which matrix-vector products are faster: weights are decoded for each four, but in place."""
_GROUP_OF_KIND = {"block32": 32, "super": 256}


@dataclass(frozen=True)
class Linear:
    """A matrix with its bias, if it has one, and the scale of its products, if that is a tensor of its own."""

    w: Weight
    bias: Weight | None = None
    scale: Weight | None = None


Job = tuple[Linear, Value, Value]
"""A product: its matrix, where the result goes, and what is added to it, or 0."""


@dataclass(frozen=True)
class Norm:
    """A norm as the spec has it; without weights where the file has none."""

    w: Weight | None
    bias: Weight | None
    eps: float
    kind: str
    """The kernel: "rms" or "layer"."""


@dataclass(frozen=True)
class Ready:
    """Activations in the form that a kind of weights takes; see kernels.quantize. `bytes`: of a row of x to p."""

    x: Value
    d: Value = 0
    s: Value = 0
    p: Value = 0
    bytes: tuple[int, int, int, int] = (0, 0, 0, 0)
    middles: Value = 0


@dataclass(frozen=True)
class _Product:
    """out = x @ w (+ bias) (+ add); scaled: what follows. group: the number of x."""

    linear: Linear
    group: int
    x: Value
    out: Value
    add: Value
    scaled: Job | None = None

    def ready(self, forms: Sequence[Mapping[str, Ready]]) -> Ready:
        """x as the weights take it."""
        return forms[self.group][kind_of(self.linear.w)]


@dataclass(frozen=True)
class Residual:
    """Where a block's result goes: x += factor * post_norm(result)."""

    x: Value
    post_norm: Norm | None = None
    factor: float = 1.0

    @property
    def is_plain(self) -> bool:
        return self.post_norm is None and self.factor == 1.0


class Recorder:
    """Records operations for up to n_rows rows of a batch."""

    def __init__(
        self,
        plan: Plan,
        config: Config,
        n_rows: int,
        step: int,
        states: Mapping[int, tuple[State, ...]] | None = None,
        kept: int = 0,
        sums: GroupSums | None = None,
    ) -> None:
        """states: of each block, by its id; see `states_of`. kept: where `check_kept` leaves what it finds. sums: of
        the weights, where activations are taken as differences from their middles."""
        self._kept, self._sums = kept, sums
        self.plan, self.n_rows, self.step, self.config = plan, n_rows, step, config
        self.rows_at: Value = step + Step.offset("n_rows")
        self._states = states or {}
        self._shared: dict[object, Buffer] = {}

    def check_kept(self, *rows: tuple[Value, int]) -> None:
        """Find what is not finite in rows (address, floats of a row) that states keep, while the results of their own
        token may not depend on them."""
        with self.plan.stage():
            for x, n in rows:
                self.plan.op(
                    "kept", Key("kept", "rows"), kept.Params, (self.n_rows, n),
                    n_rows_at=self.rows_at, n=n, x=x, out=self._kept,
                )  # fmt: skip

    def states_of(self, block: object) -> tuple[Any, ...]:
        """What a block keeps, in the order of its `states`."""
        return self._states[id(block)]

    def once(self, key: object, make: Callable[[], Buffer]) -> Buffer:
        """What several blocks of this plan read: the first that asks for it makes it."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def floats(self, name: str, n: int, rows: int | None = None) -> Buffer:
        """A buffer of n floats a row."""
        return self.plan.buffer(name, (rows or self.n_rows) * n * F32)

    def norm(
        self,
        name: str,
        x: Value,
        norm_: Norm,
        out: Value,
        n: int,
        heads: int = 1,
        add: Value = 0,
        gather: int = 0,
        stride: int = 0,
        out_stride: int = 0,
    ) -> None:
        """Norm `heads` stretches of n floats in each row; rows are `stride` floats apart, or follow each other; those
        of the results out_stride floats, or as x's."""
        bytes_ = (stride or heads * n) * F32
        self.plan.op(
            name, Key("norm", norm_.kind), norm.Params, (self.n_rows, heads * n),
            n_rows_at=self.rows_at, gather=gather, heads=heads, n=n, x=x, stride=bytes_,
            w=norm_.w.address if norm_.w else 0, b=norm_.bias.address if norm_.bias else 0,
            eps=norm_.eps, add=add, out=out, out_stride=out_stride * F32 or bytes_,
        )  # fmt: skip

    def normed(self, name: str, x: Value, norm_: Norm | None, n: int) -> Value:
        """x normed, or x itself where there is no norm."""
        if norm_ is None:
            return x
        out = self.floats(name, n)
        self.norm(name, x, norm_, out, n)
        return out

    def linears(self, x: Value, jobs: Sequence[Job]) -> None:
        """out = x @ w (+ bias) (+ add) for several (linear, out, add) over the same rows, which may run at the same
        time.

        The rows are first made ready in each form that the formats of the matrices need.
        """
        self.linears_of([(x, jobs)])

    def linears_of(self, groups: Sequence[tuple[Value, Sequence[Job]]]) -> None:
        """The same for several inputs x, each with its jobs."""
        is_few, products = self.n_rows <= MATVEC_MAX_ROWS, self._products(groups)
        centred = [p for p in products if self._sums and kind_of(p.linear.w) != "float"]
        first = [p for p in centred if p.out != 0]  # logits have no other place: middles are added to them
        with self.plan.stage():
            forms = [
                self._ready([linear.w for linear, _, _ in jobs], x, self.n_rows, centred=bool(centred))
                for x, jobs in groups
            ]
            if is_few:  # they take what they need of x: a stage would cost more
                self._middles("first", [(p, 0) for p in first])
        if first and not is_few:
            with self.plan.stage():
                self._middles("first", [(p, p.ready(forms).middles) for p in first])
        with self.plan.stage():
            for p in products:
                multiply = self._matvec if is_few else self._matmul
                multiply(p.linear, p.ready(forms), p.out, p.out if p in first else p.add)
        if len(centred) > len(first):
            with self.plan.stage():
                self._middles("last", [(p, p.ready(forms).middles) for p in centred if p not in first])
        if any(p.scaled for p in products):
            with self.plan.stage():
                for p in products:
                    if p.scaled:
                        self._scale(p.out, *p.scaled)

    def _products(self, groups: Sequence[tuple[Value, Sequence[Job]]]) -> list[_Product]:
        """Those of the jobs; of one with a scale, the product before it is scaled."""
        found = []
        for group, (x, jobs) in enumerate(groups):
            for linear, out, add in jobs:
                if linear.scale is None:
                    found.append(_Product(linear, group, x, out, add))
                else:
                    y = out if add == 0 else self.floats("unscaled", linear.w.n)
                    found.append(_Product(Linear(linear.w), group, x, y, 0, (linear, out, add)))
        return found

    def _middles(self, how: str, products: Sequence[tuple[_Product, Value]]) -> None:
        """What the middles of activations bring to products, which are at hand, or 0: they are taken from x."""
        for p, middles_ in products:
            w = p.linear.w
            assert self._sums
            self.plan.op(
                f"{w.name} of middles", Key("middles", how), middles.Params, (self.n_rows, w.n),
                n_rows_at=self.rows_at, n=w.n, k=w.k, x=p.x, middles=middles_, sums=self._sums.address(w),
                add=p.add, out=p.out, step=self.step,
            )  # fmt: skip

    def prepare(
        self, weights: list[Weight], x: Value, rows: int | None = None, length: int = 0, many: bool | None = None
    ) -> dict[str, Ready]:
        """Activations for each kind of weights among these. rows: their maximum number, if not those of the batch;
        length: floats of a row, if not those of the weights' rows; many: in tiles, if not by the number of rows."""
        with self.plan.stage():
            return self._ready(weights, x, rows or self.n_rows, length, many)

    def _ready(
        self,
        weights: list[Weight],
        x: Value,
        rows: int,
        length: int = 0,
        many: bool | None = None,
        centred: bool = False,
    ) -> dict[str, Ready]:
        """See `prepare`; in the stage that is open. centred: codes are of differences from middles."""
        k, many = length or weights[0].k, rows > MATVEC_MAX_ROWS if many is None else many
        kinds = dict.fromkeys(kind_of(w) for w in weights)
        return {kind: self._prepare(kind, x, k, rows, many, centred) for kind in kinds}

    def _prepare(self, kind: str, x: Value, k: int, max_rows: int, many: bool, centred: bool) -> Ready:
        if kind == "float":
            return Ready(x, bytes=(k * F32, 0, 0, 0))
        group = _GROUP_OF_KIND[kind]
        rows = -(-max_rows // TILE) * TILE if many else max_rows
        q = self.plan.buffer(f"x q8 by {group}", rows * (-(-k // 64) * 64))
        d = self.plan.buffer("x scales", rows * k // group * F32)
        s = self.plan.buffer("x sums", rows * k // 16 * F32)
        p: Value = self.plan.buffer("x sums in pairs", rows * k // 32 * F32) if many else 0
        middles_: Value = self.plan.buffer("middles", max_rows * k // quantize.MIDDLE * F32) if centred else 0
        key = Key("quantize", "tiles" if many else "rows", (group, "centred") if centred else (group,))
        self.plan.op(
            str(key), key, quantize.Params, (max_rows, k),
            n_rows_at=self.rows_at, k=k, x=x, stride=k * F32, q=q, d=d, s=s, p=p, middles=middles_,
        )  # fmt: skip
        # What a row takes, of the tiles of 16 that it lies in (many), or of its own.
        if many:
            of_s, of_p = (
                (k // 32 * 4, k // 32 * 4) if group == 32 else (k // 16 * 4, k // 256 * quantize.P_BYTES // TILE)
            )
            return Ready(q, d, s, p, (k, k // group * F32, of_s, of_p), middles_)
        of_s = k // 32 * 4 if group == 32 else k // 16 * 2
        return Ready(q, d, s, p, (-(-k // 64) * 64, k // group * F32, of_s, 0), middles_)

    def _matvec(self, linear: Linear, x: Ready, out: Value, add: Value) -> None:
        w = linear.w
        x_row, d_row, s_row, _ = x.bytes
        self.plan.op(
            w.name, Key("matvec" if self.n_rows == 1 else "matvec_fours", "rows", (w.module,)), matvec.Params,
            (self.n_rows, w.n),
            n_rows_at=self.rows_at, w=w.address, row_bytes=w.row_bytes, n=w.n, k=w.k,
            x=x.x, x_d=x.d, x_s=x.s, x_row=x_row, d_row=d_row, s_row=s_row,
            bias=linear.bias.address if linear.bias else 0, add=add, out=out, stride=w.n * F32, step=self.step,
            chunk=chunk(w),
        )  # fmt: skip

    def _matmul(self, linear: Linear, x: Ready, out: Value, add: Value) -> None:
        w = linear.w
        self.plan.op(
            w.name, Key("matmul", "tiles", (w.module,)), matmul.Params, (self.n_rows, w.n),
            n_rows_at=self.rows_at, w=w.address, row_bytes=w.row_bytes, n=w.n, k=w.k, x=x.x, x_d=x.d, x_s=x.s, x_p=x.p,
            bias=linear.bias.address if linear.bias else 0, add=add, out=out, stride=w.n * F32, step=self.step,
        )  # fmt: skip

    def _scale(self, x: Value, linear: Linear, out: Value, add: Value) -> None:
        assert linear.scale is not None
        self.plan.op(
            linear.scale.name, Key("scale", "rows"), scale.RowsParams, (self.n_rows, linear.w.n),
            n_rows_at=self.rows_at, n=linear.w.n, x=x, scale=linear.scale.address,
            bias=linear.bias.address if linear.bias else 0, add=add, out=out, step=self.step,
        )  # fmt: skip

    def add(self, name: str, x: Value, factor: float, add: Value, out: Value, n: int) -> None:
        """out = factor * x + add."""
        self.plan.op(
            name, Key("mix", "add"), mix.AddParams, (self.n_rows, n),
            n_rows_at=self.rows_at, n=n, x=x, factor=float(factor), add=add, out=out,
        )  # fmt: skip

    def layer_output(self, i: int, x: Value) -> None:
        """Name the residual stream after layer i, for people who look inside."""
        self.plan.mark(f"l_out-{i}", x, self.config.n_embd)

    def rope_table(self, of: Rope) -> Buffer:
        """Cosines and sines of this batch's positions."""
        n = of.frequencies.size
        out = self.floats("rope table", 2 * n)
        self.plan.op(
            "rope table", Key("rope", "table"), rope.TableParams, (self.n_rows, 2 * n),
            step=self.step, frequencies=of.address, n=n, scale=float(of.scale), out=out,
        )  # fmt: skip
        return out

    def rotate(self, pairing: str, x: Value, n_head: int, dim: int, n_rot: int, table: Value, stride: int = 0) -> None:
        """Rotate in place n_rot elements from x on, and so in each of n_head heads, `dim` apart; rows are `stride`
        floats apart, or follow each other."""
        self.plan.op(
            "rope", Key("rope", "rotate", (pairing,)), rope.RotateParams, (self.n_rows, n_head, n_rot),
            step=self.step, x=x, stride=(stride or n_head * dim) * F32, n_head=n_head, head_dim=dim, n_rot=n_rot,
            table=table,
        )  # fmt: skip

    def pieces(
        self, name: str, count: int, n: int, x: Value, x_steps: tuple[int, int], out: Value, out_steps: tuple[int, int]
    ) -> None:
        """Copy of each row `count` pieces of n floats. Steps: floats from a row to the next one, and from a piece."""
        self.plan.op(
            name, Key("mix", "pieces"), mix.PiecesParams, (self.n_rows, count, n),
            n_rows_at=self.rows_at, count=count, n=n, x=x, x_stride=x_steps[0] * F32, x_step=x_steps[1] * F32, out=out,
            out_stride=out_steps[0] * F32, out_step=out_steps[1] * F32,
        )  # fmt: skip

    def close_linear(self, name: str, linear: Linear, y: Value, to: Residual) -> None:
        """End a block by a product: its result goes to the residual stream."""
        if to.is_plain:
            self.linears(y, [(linear, to.x, to.x)])
            return
        result = self.floats(name, linear.w.n)
        self.linears(y, [(linear, result, 0)])
        self.close(name, result, to)

    def close(self, name: str, result: Value, to: Residual) -> None:
        """End a block whose result is there."""
        n = self.config.n_embd
        if to.post_norm is None:
            self.add(name, result, to.factor, to.x, to.x, n)
        elif to.factor == 1.0:
            self.norm(name, result, to.post_norm, to.x, n, add=to.x)
        else:
            self.norm(name, result, to.post_norm, result, n)
            self.add(name, result, to.factor, to.x, to.x, n)


def kind_of(w: Weight) -> str:
    """How a format's products are made: "float", "block32" or "super"."""
    kind: str = module(w.module).KIND
    return kind


def chunk(w: Weight) -> int:
    """Rows that a thread claims at least: some 16 KB of weights, a multiple of 4."""
    return max(4, 16384 // w.row_bytes // 4 * 4)
