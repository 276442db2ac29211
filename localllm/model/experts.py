"""The experts block: a router, the experts that it chooses, and what runs beside them."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gate import numbers
from localllm.kernels import activation, experts, hash_experts, scale
from localllm.kernels.objects import Key
from localllm.model.feed_forward import BOUNDED, FeedForward, bounded, gated, numbers_of, plain, read_feed_forward
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, TILE, Linear, Norm, Ready, Recorder, Residual, chunk, kind_of
from localllm.model.spec import GATINGS, Gating
from localllm.model.weights import Weight
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class Bank:
    """One matrix of n rows of every expert. stride, bias_stride: bytes from an expert's to the next one's; scale: of
    each expert's products, if that is a tensor of its own."""

    w: Weight
    n: int
    stride: int
    bias: Weight | None = None
    bias_stride: int = 0
    scale: Weight | None = None

    @property
    def bias_address(self) -> int:
        """What a product adds: where results are scaled, the bias comes after that."""
        return self.bias.address if self.bias and not self.scale else 0


@dataclass(frozen=True)
class Routed:
    """One set of experts. gate: None where they are plain; n_choice: experts that the router has scores for; divide:
    scores an expert answers to."""

    name: str
    gate: Bank | None
    up: Bank
    down: Bank
    n_expert: int
    n_choice: int
    n_used: int
    divide: int
    gating: Gating
    normed: bool
    factor: float
    activation: str
    limit: float
    bias: Weight | None
    weight_before: bool
    groups: tuple[int, int]
    table: Weight | None = None
    """The experts of each token of the vocabulary, where its number chooses them."""
    numbers: Weight | None = None
    """Those that the activation has in this layer."""

    @property
    def entries(self) -> tuple[Bank, ...]:
        """What an expert's input goes through."""
        return (self.gate, self.up) if self.gate else (self.up,)

    def record(self, r: Recorder, x: Value, logits: Value, add: Value, out: Value) -> None:
        """out = the experts' weighted sum (+ add); x: their input; logits: the router's scores."""
        ids, weights = r.plan.buffer("ids", r.n_rows * self.n_used * 4), r.floats("weights", self.n_used)
        self._route(r, logits, ids, weights)
        places: Value = 0
        if r.n_rows == 1:
            y = self._one(r, x, ids, weights)
        else:
            y, places = self._many(r, x, ids, weights)
        n = self.down.n
        r.plan.op(
            f"{self.name}.combine", Key("experts", "combine"), experts.CombineParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, n_used=self.n_used, y=y, places=places,
            weights=0 if self.weight_before else weights, add=add, out=out,
        )  # fmt: skip

    def _route(self, r: Recorder, logits: Value, ids: Value, weights: Value) -> None:
        shared: dict[str, Value] = {
            "n_expert": self.n_choice, "n_used": self.n_used, "logits": logits, "normed": int(self.normed),
            "factor": float(self.factor), "probs": r.floats("probs", 2 * self.n_choice), "ids": ids,
            "weights": weights,
        }  # fmt: skip
        name, shape = f"{self.name}.route", (r.n_rows, self.n_used)
        if self.table:
            r.plan.op(
                name, Key("hash_experts", "route", (self.gating,)), hash_experts.Params, shape,
                step=r.step, table=self.table.address, **shared,
            )  # fmt: skip
            return
        r.plan.op(
            name, Key("experts", "route", (self.gating,)), experts.RouteParams, shape,
            n_rows_at=r.rows_at, n_groups=self.groups[0], n_group_used=self.groups[1],
            bias=self.bias.address if self.bias else 0, divide=self.divide, **shared,
        )  # fmt: skip

    # --- a single row: its experts are read in place

    def _one(self, r: Recorder, x: Value, ids: Value, weights: Value) -> Buffer:
        n_ff, used = self.up.n, self.n_used
        shared = not self.weight_before
        if self.weight_before:
            x = self._gather(r, x, 0, weights, r.floats("weighted x", self.up.w.k * used))
        ready = r.prepare([bank.w for bank in self.entries], x, length=self.up.w.k * (1 if shared else used))
        results = [(bank, r.floats("expert entry", n_ff * used)) for bank in self.entries]
        with r.plan.stage():
            for bank, out in results:
                self._rows(r, bank, ready[kind_of(bank.w)], ids, out, shared)
        self._scale(r, ids, 0, *results)
        hidden = self._activate(r, results, n_ff * used)
        ready = r.prepare([self.down.w], hidden, length=n_ff * used)
        y = r.floats("experts", self.down.n * used)
        self._rows(r, self.down, ready[kind_of(self.down.w)], ids, y, False)
        self._scale(r, ids, 0, (self.down, y))
        return y

    def _rows(self, r: Recorder, bank: Bank, x: Ready, ids: Value, out: Value, shared: bool) -> None:
        """shared: all experts read the same activations; otherwise those of n_used slots follow each other."""
        w = bank.w
        # A row of codes ends in a multiple of 64 bytes, its slots do not.
        slot = w.k * (F32 if kind_of(w) == "float" else 1)
        slot, slot_d, slot_s = (0, 0, 0) if shared else (slot, *(b // self.n_used for b in x.bytes[1:3]))
        r.plan.op(
            w.name, Key("experts", "rows", (w.module,)), experts.RowsParams, (self.n_used, bank.n),
            w=w.address, stride=bank.stride, row_bytes=w.row_bytes, n=bank.n, k=w.k, n_used=self.n_used, ids=ids,
            x=x.x, x_d=x.d, x_s=x.s, slot=slot, slot_d=slot_d, slot_s=slot_s,
            bias=bank.bias_address, bias_stride=bank.bias_stride, out=out, chunk=chunk(w),
        )  # fmt: skip

    # --- a batch: rows in order of experts

    def _many(self, r: Recorder, x: Value, ids: Value, weights: Value) -> tuple[Buffer, Buffer]:
        n_ff, max_places = self.up.n, self._max_places(r.n_rows)
        counts, starts = (r.plan.buffer(name, self.n_expert * 8) for name in ("counts", "starts"))
        places = r.plan.buffer("places", r.n_rows * self.n_used * 4)
        sources, n_places = r.plan.buffer("sources", max_places * 4), r.plan.buffer("number of places", 8)
        r.plan.op(
            f"{self.name}.group", Key("experts", "group"), experts.GroupParams, (self.n_expert,),
            n_rows_at=r.rows_at, n_expert=self.n_expert, n_used=self.n_used, ids=ids, counts=counts, starts=starts,
            places=places, sources=sources, n_places=n_places,
        )  # fmt: skip
        gathered = r.plan.buffer("gathered x", max_places * self.up.w.k * F32)
        before = weights if self.weight_before else 0
        self._gather(r, x, sources, before, gathered, n_places)
        rows_at, r.rows_at = r.rows_at, n_places
        try:
            ready = r.prepare([bank.w for bank in self.entries], gathered, rows=max_places)
            results = [(bank, r.floats("expert entry", n_ff, max_places)) for bank in self.entries]
            with r.plan.stage():
                for bank, out in results:
                    self._tiles(r, bank, ready[kind_of(bank.w)], counts, starts, out)
            self._scale(r, ids, sources, *results)
            ready = r.prepare([self.down.w], self._activate(r, results, n_ff), rows=max_places)
            y = r.floats("experts", self.down.n, max_places)
            self._tiles(r, self.down, ready[kind_of(self.down.w)], counts, starts, y)
            self._scale(r, ids, sources, (self.down, y))
        finally:
            r.rows_at = rows_at
        return y, places

    def _activate(self, r: Recorder, results: list[tuple[Bank, Buffer]], n: int) -> Buffer:
        first, last = results[0][1], results[-1][1]
        if self.gate:
            gated(r, self.name, self.activation, first, last, n, self.limit, self.numbers)
        else:
            plain(r, self.name, self.activation, first, first, n)
        return first

    def _max_places(self, n_rows: int) -> int:
        """Every expert that has rows may waste most of a tile."""
        copies = n_rows * self.n_used
        return (copies // TILE + min(self.n_expert, copies)) * TILE + TILE

    def _gather(
        self, r: Recorder, x: Value, sources: Value, weights: Value, out: Buffer, n_places: Value = 0
    ) -> Buffer:
        k = self.up.w.k
        r.plan.op(
            f"{self.name}.gather", Key("experts", "gather"), experts.GatherParams, (r.n_rows, k),
            n_places_at=n_places or r.rows_at, n=k, n_used=self.n_used, x=x, sources=sources, weights=weights, out=out,
        )  # fmt: skip
        return out

    def _tiles(self, r: Recorder, bank: Bank, x: Ready, counts: Value, starts: Value, out: Value) -> None:
        w = bank.w
        row, row_d, row_s, row_p = x.bytes
        r.plan.op(
            w.name, Key("experts", "tiles", (w.module,)), experts.TilesParams, (r.n_rows, bank.n),
            n_expert=self.n_expert, counts=counts, starts=starts, w=w.address, stride=bank.stride,
            row_bytes=w.row_bytes, n=bank.n, k=w.k, x=x.x, x_d=x.d, x_s=x.s, x_p=x.p, row=row, row_d=row_d, row_s=row_s,
            row_p=row_p, bias=bank.bias_address, bias_stride=bank.bias_stride, out=out,
        )  # fmt: skip

    def _scale(self, r: Recorder, ids: Value, sources: Value, *results: tuple[Bank, Value]) -> None:
        """Scale what experts gave, where the file says by how much."""
        with r.plan.stage():
            for bank, x in results:
                if bank.scale is None:
                    continue
                r.plan.op(
                    bank.scale.name, Key("scale", "experts"), scale.ExpertsParams, (r.n_rows, bank.n),
                    n_places_at=r.rows_at, n=bank.n, n_used=self.n_used, x=x, ids=ids, sources=sources,
                    scales=bank.scale.address, bias=bank.bias.address if bank.bias else 0,
                    bias_stride=bank.bias_stride,
                )  # fmt: skip


@dataclass(frozen=True)
class Latent:
    """To the rows of another length that routed experts work on, and back."""

    down: Linear
    up: Linear
    norm: Norm | None
    """Of the experts' weighted sum."""


@dataclass(frozen=True)
class Experts:
    """The experts of one layer, with what runs beside them: shared experts, a dense block, experts of chunks."""

    i: int
    router: Linear
    routed: Routed
    chunks: Routed | None
    chunk_factor: float
    beside: tuple[FeedForward, ...]
    factor: float
    scores_layer_input: bool
    """The router reads the layer's input as it is, not the block's normed one."""
    latent: Latent | None

    def score(self, r: Recorder, x: Value) -> Buffer:
        """The router's scores of x."""
        logits = r.floats("router", self.router.w.n)
        r.linears(x, [(self.router, logits, 0)])
        return logits

    def record(self, r: Recorder, x: Value, to: Residual, logits: Value | None = None) -> None:
        """Add the block to the residual stream; x: its normed input; logits: the scores, if they are there already."""
        name, n = f"blk.{self.i}.ffn_moe", r.config.n_embd
        scores = self.score(r, x) if logits is None else logits
        plain = to.is_plain and self.factor == 1.0 and self.chunks is None
        target: Value = to.x if plain else r.floats(name, n)
        self._routed(r, x, scores, to.x if plain else 0, target)
        if self.chunks:
            # These read what the others gave (llama.cpp, grovemoe.cpp).
            y = r.floats("chunk experts", n)
            self.chunks.record(r, target, scores, 0, y)
            r.add(name, y, self.chunk_factor, target, target, n)
        for block in self.beside:
            block.record(r, x, Residual(target))
        if plain:
            return
        if self.factor != 1.0:
            r.add(name, target, self.factor, 0, target, n)
        r.close(name, target, to)

    def _routed(self, r: Recorder, x: Value, scores: Value, add: Value, out: Value) -> None:
        if self.latent is None:
            self.routed.record(r, x, scores, add, out)
            return
        n = self.latent.down.w.n
        inner, y = r.floats("latent x", n), r.floats("latent experts", n)
        r.linears(x, [(self.latent.down, inner, 0)])
        self.routed.record(r, inner, scores, 0, y)
        if self.latent.norm:
            r.norm(f"blk.{self.i}.ffn_routed_norm", y, self.latent.norm, y, n)
        r.linears(y, [(self.latent.up, out, add)])


def read_experts(f: LayerReader) -> Experts:
    """The experts of a layer, their tensors checked."""
    c, spec = f.config, f.spec
    n, used = c.n_expert, n_used_of(f)
    beside = [read_feed_forward(f, "_shexp", _n_shared(f))] if f.has("ffn_up_shexp.weight") else []
    if f.has("ffn_up.weight") and spec.experts.dense == "beside":
        beside.append(read_feed_forward(f))
    per_chunk = c.keys.integer("experts_per_group", 1, high=n)
    numbers.divides(c.keys.place("experts_per_group"), per_chunk, ("expert_count", n))
    has_chunks = f.has("ffn_up_chexps.weight")
    latent = _latent(f)
    return Experts(
        i=f.i,
        router=f.linear("ffn_gate_inp", c.n_embd, n),
        routed=read_routed(f, "exps", n, used, 1, latent.down.w.n if latent else 0),
        chunks=read_routed(f, "chexps", n // per_chunk, min(used, n // per_chunk), per_chunk) if has_chunks else None,
        chunk_factor=c.keys.number("expert_group_scale", 0.05),
        beside=tuple(beside),
        factor=spec.experts.factor if beside else 1.0,
        scores_layer_input=spec.experts.router_input == "layer",
        latent=latent,
    )


def _latent(f: LayerReader) -> Latent | None:
    """Nemotron H's, or Kimi K3's with its norm."""
    kind = next((kind for kind in ("latent", "routed") if f.has(f"ffn_{kind}_down.weight")), None)
    if kind is None:
        return None
    n, n_embd = f.weights.shape(f.name(f"ffn_{kind}_down.weight"))[-1], f.config.n_embd
    return Latent(
        f.linear(f"ffn_{kind}_down", n_embd, n), f.linear(f"ffn_{kind}_up", n, n_embd),
        f.norm("ffn_routed_norm", n) if f.has("ffn_routed_norm.weight") else None,
    )  # fmt: skip


def n_used_of(f: LayerReader) -> int:
    """How many experts a token uses in the layer, checked."""
    c = f.config
    place = c.keys.place("expert_used_count")
    return numbers.experts_used(place, c.n_expert_used[f.i], c.n_expert, c.n_expert_groups, c.n_group_used)


def _n_shared(f: LayerReader) -> int:
    """Hidden elements of the shared experts: what the tensor says."""
    return f.weights.shape(f.name("ffn_up_shexp.weight"))[-1]


def read_routed(f: LayerReader, suffix: str, n_expert: int, n_used: int, divide: int, length: int = 0) -> Routed:
    """The set of experts whose tensors end in `suffix` (exps, chexps), checked. length: of the rows that they take and
    give, if not n_embd."""
    c, spec = f.config, f.spec.experts
    n_ff, length = f.weights.shape(f.name(f"ffn_down_{suffix}.weight"))[0], length or c.n_embd
    gate, up = _gate_and_up(f, suffix, length, n_ff, n_expert)
    down = _bank(f, f"ffn_down_{suffix}", n_ff, length, n_expert)
    number = c.keys.integer("expert_gating_func", 0)
    function, limit = spec.activation, 7.0
    if function in BOUNDED:
        function, limit = bounded(f, function, "swiglu_clamp_exp")
    bias = "exp_probs_b.bias" if f.has("exp_probs_b.bias") else "exp_probs_b"
    return Routed(
        name=f"blk.{f.i}.ffn_{suffix}", gate=gate, up=up, down=down, n_expert=n_expert, n_choice=c.n_expert,
        n_used=n_used, divide=divide, gating=GATINGS.get(number, spec.gating), normed=c.keys.flag("expert_weights_norm",
        spec.normed), factor=c.keys.number("expert_weights_scale", 0.0) or 1.0, activation=function, limit=limit,
        bias=f.vector(bias, c.n_expert), weight_before=spec.weight_before, groups=(c.n_expert_groups, c.n_group_used),
        table=_table(f, n_used, n_expert),
        numbers=numbers_of(f, function),
    )  # fmt: skip


def _table(f: LayerReader, n_used: int, n_expert: int) -> Weight | None:
    """The first layers of a file may choose experts by a table."""
    if f.i >= f.config.keys.integer("hash_layer_count", 0, high=f.config.n_layer):
        return None
    return f.weights.integers(f.name("ffn_gate_tid2eid.weight"), n_used, f.config.n_vocab, n_expert)


def _bank(f: LayerReader, short: str, k: int, n: int, n_expert: int) -> Bank:
    w = f.weights.matrices(f.name(f"{short}.weight"), k, n, n_expert)
    return Bank(w, n, n * w.row_bytes, f.vector(f"{short}.bias", n, n_expert), 4 * n, f.scale(short, n_expert))


def _gate_and_up(f: LayerReader, suffix: str, k: int, n_ff: int, n_expert: int) -> tuple[Bank | None, Bank]:
    """Two tensors, or one that holds each expert's gate above its other matrix; no gate where the file has none and
    the activation does without."""
    fused, gate = f"ffn_gate_up_{suffix}", f"ffn_gate_{suffix}"
    if not f.has(f"{fused}.weight"):
        is_plain = not f.has(f"{gate}.weight") and f.spec.experts.activation in activation.PLAIN
        up = _bank(f, f"ffn_up_{suffix}", k, n_ff, n_expert)
        return None if is_plain else _bank(f, gate, k, n_ff, n_expert), up
    both = _bank(f, fused, k, 2 * n_ff, n_expert)
    bias = both.bias.part(n_ff, both.bias.k - n_ff) if both.bias else None
    return (
        Bank(both.w, n_ff, both.stride, both.bias, both.bias_stride, both.scale),
        Bank(both.w.rows(n_ff, n_ff), n_ff, both.stride, bias, both.bias_stride, both.scale),
    )
