"""The recorded forward: a transformer layer by layer, as operations of a plan.

`record_body` goes from tokens to the hidden state of every row, `record_head` from the rows whose logits are wanted to
the logits. Both read what changes from call to call from the step block. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localllm.gguf.config import Config
from localllm.kernels import embed, experts, mix
from localllm.kernels.objects import Key
from localllm.kernels.thread import Step
from localllm.model.network import Network
from localllm.model.pooling import Classifier, Dense
from localllm.model.recorder import Norm, Recorder
from localllm.model.rope import Rope
from localllm.model.states.state import State
from localllm.runtime.plan import Buffer, Plan, Value

States = Mapping[int, tuple[State, ...]]
"""What each block keeps, by the block's id."""


def record_body(
    network: Network, n_rows: int, step: int, states: States, hidden: int, n_ctx: int, kept: int = 0
) -> Plan:
    """Tokens to hidden states, float32 [n_rows, n_embd] at address `hidden`; step: address of the step block; n_ctx:
    the context's length, by which some models scale RoPE; kept: address of a float32 a row, where NaN is left for rows
    that states must not keep."""
    plan = Plan(f"body of {n_rows}")
    r = Recorder(plan, network.config, n_rows, step, states, kept, network.sums)
    _embed(r, network, hidden)
    ropes = network.ropes(n_ctx)
    tables = _rope_tables(r, ropes)
    network.stack.record(r, hidden, [tables[id(rope)] if rope else None for rope in ropes])
    return plan


def _embed(r: Recorder, network: Network, x: Value) -> None:
    for kernel, w, factor in (
        ("rows", network.token_embd, network.embedding_factor),
        ("first", network.type_embd, 1.0),
        ("positions", network.position_embd, 1.0),
    ):
        if w:
            r.plan.op(
                w.name, Key("embed", kernel, (w.module,)), embed.Params, (r.n_rows, w.k),
                step=r.step, table=w.address, row_bytes=w.row_bytes, k=w.k, out=x, factor=factor,
            )  # fmt: skip
    if network.embedding_norm:
        r.norm("token_embd_norm", x, network.embedding_norm, x, r.config.n_embd)
    r.plan.mark("inp_embd", x, r.config.n_embd)


def _rope_tables(r: Recorder, ropes: Sequence[Rope | None]) -> dict[int, Buffer]:
    """Cosines and sines of this batch's positions, for each Rope, by its id."""
    tables: dict[int, Buffer] = {}
    with r.plan.stage():
        for one in ropes:
            if one is not None and id(one) not in tables:
                tables[id(one)] = r.rope_table(one)
    return tables


def record_head(network: Network, n_rows: int, step: int, hidden: int, out_rows: int) -> Plan:
    """Hidden states of the rows whose numbers (int32) are at `out_rows` to logits, float32 [n_out, n_vocab], where the
    step says."""
    assert network.output
    plan = Plan(f"head of {n_rows}")
    c = network.config
    r = Recorder(plan, c, n_rows, step, sums=network.sums)
    r.rows_at = step + Step.offset("n_out")
    normed = r.floats("output_norm", c.n_embd)
    if network.output_norm:
        r.norm("output_norm", hidden, network.output_norm, normed, c.n_embd, gather=out_rows)
    else:
        plan.op(
            "output rows", Key("experts", "gather"), experts.GatherParams, (n_rows, c.n_embd),
            n_places_at=r.rows_at, n=c.n_embd, n_used=1, x=hidden, sources=out_rows, weights=0, out=normed,
        )  # fmt: skip
    r.linears(normed, [(network.output, 0, 0)])
    factor, cap = network.logit_factor, network.logit_softcap
    if factor != 1.0 or cap:
        plan.op(
            "logits", Key("mix", "logits"), mix.LogitsParams, (n_rows, c.n_vocab),
            step=step, n=c.n_vocab, factor=factor, cap=cap,
        )  # fmt: skip
    if network.lowered:
        plan.op(
            "suppressed logits", Key("mix", "suppress"), mix.SuppressParams, (n_rows, len(network.lowered)),
            step=step, n=c.n_vocab, first=network.lowered.start, last=network.lowered.stop,
        )  # fmt: skip
    return plan


def record_norm(config: Config, norm: Norm | None, n_rows: int, step: int, hidden: int) -> Plan:
    """The output norm of all rows' hidden states, in place; float32 [n_rows, n_embd] at address `hidden`."""
    plan = Plan(f"output norm of {n_rows}")
    r = Recorder(plan, config, n_rows, step)
    if norm:
        r.norm("output_norm", hidden, norm, hidden, config.n_embd)
    return plan


def record_projection(network: Network, part: Classifier | Dense, n_rows: int, step: int, x: int, out: int) -> Plan:
    """What follows the pooling: rows of x (float32 [n_out, n_embd], as many as the step says) to rows at `out`."""
    plan = Plan(f"{type(part).__name__} of {n_rows}")
    r = Recorder(plan, network.config, n_rows, step, sums=network.sums)
    r.rows_at = step + Step.offset("n_out")
    part.record(r, x, out)
    return plan
