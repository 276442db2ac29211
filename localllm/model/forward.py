"""The recorded forward: a transformer layer by layer, as operations of a plan.

`record_body` goes from tokens to the hidden state of every row, `record_head` from the rows whose logits are wanted to
the logits. Both read what changes from call to call from the step block. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Sequence

from localllm.kernels import embed, mix, rope
from localllm.kernels.objects import Key
from localllm.kernels.thread import Step
from localllm.model.cache import LayerCache
from localllm.model.experts import Experts
from localllm.model.network import Layer, Network
from localllm.model.recorder import Recorder, Residual
from localllm.model.rope import Rope
from localllm.runtime.plan import Buffer, Plan, Value


def record_body(
    network: Network, n_rows: int, step: int, caches: Sequence[LayerCache | None], hidden: int, n_ctx: int
) -> Plan:
    """Tokens to hidden states, float32 [n_rows, n_embd] at address `hidden`; step: address of the step block; n_ctx:
    the context asked for, by which some models scale RoPE."""
    plan = Plan(f"body of {n_rows}")
    kv_type = next((cache.kv_type for cache in caches if cache), "f16")
    r = Recorder(plan, network.config, network.spec, n_rows, step, kv_type)
    skip = _embed(r, network, hidden)
    ropes = network.ropes(n_ctx)
    tables = _rope_tables(r, ropes)
    for i, layer in enumerate(network.layers):
        turning = ropes[i]
        _layer(r, i, layer, hidden, caches[i], tables[id(turning)] if turning else None)
        if layer.skip_factor and skip:
            r.add(f"blk.{i}.skip", skip, layer.skip_factor, hidden, hidden, r.config.n_embd)
        if layer.loop_norm:
            r.norm(f"blk.{i}.loop_norm", hidden, layer.loop_norm, hidden, r.config.n_embd)
    return plan


def _embed(r: Recorder, network: Network, x: Value) -> Buffer | None:
    """The embedding; a copy of it, if layers add it again."""
    spec, n = r.spec, r.config.n_embd
    for kernel, w, factor in (
        ("rows", network.token_embd, float(spec.embedding_factor(r.config))),
        ("positions", network.position_embd, 1.0),
    ):
        if w:
            r.plan.op(
                w.name, Key("embed", kernel, (w.module,)), embed.Params, (r.n_rows, w.k),
                step=r.step, table=w.address, row_bytes=w.row_bytes, k=w.k, out=x, factor=factor,
            )  # fmt: skip
    if network.embedding_norm:
        r.norm("token_embd_norm", x, network.embedding_norm, x, n)
    if not spec.embedding_skip:
        return None
    skip = r.floats("embedding", n)
    r.add("embedding", x, 1.0, 0, skip, n)
    return skip


def _rope_tables(r: Recorder, ropes: Sequence[Rope | None]) -> dict[int, Buffer]:
    """Cosines and sines of this batch's positions, for each way of turning, by its id."""
    tables: dict[int, Buffer] = {}
    with r.plan.stage():
        for one in ropes:
            if one is None or id(one) in tables:
                continue
            n = one.frequencies.size
            tables[id(one)] = r.floats("rope table", 2 * n)
            r.plan.op(
                "rope table", Key("rope", "table"), rope.TableParams, (r.n_rows, 2 * n),
                step=r.step, frequencies=one.address, n=n, scale=float(one.scale), out=tables[id(one)],
            )  # fmt: skip
    return tables


def _layer(r: Recorder, i: int, layer: Layer, x: Value, cache: LayerCache | None, table: Buffer | None) -> None:
    """One layer. What reads the layer's input is recorded before the attention adds to it."""
    n, factor, ffn = r.config.n_embd, layer.residual_factor, layer.ffn
    scores = None
    if isinstance(ffn, Experts) and r.spec.experts.router_input == "layer":
        scores = ffn.score(r, x)
    aside = r.normed(f"blk.{i}.ffn_norm_exps", x, layer.aside[0], n) if layer.aside else 0
    normed = r.normed(f"blk.{i}.attn_norm", x, layer.attn_norm, n)
    into = normed
    if layer.parallel and layer.ffn_norm:
        into = r.normed(f"blk.{i}.ffn_norm", x, layer.ffn_norm, n)
    if layer.mixer:
        y = r.normed(f"blk.{i}.attn_norm_2", x, layer.attn_norm_2, n) if layer.attn_norm_2 else normed
        layer.mixer.record(r, y, Residual(x, layer.post_attention_norm, factor), cache, table)
    if not layer.parallel:
        into = r.normed(f"blk.{i}.ffn_norm", x, layer.ffn_norm, n)
    to = Residual(x, layer.post_ffw_norm, factor)
    if isinstance(ffn, Experts):
        ffn.record(r, into, to, scores)
    elif ffn:
        ffn.record(r, into, to)
    if layer.aside:
        layer.aside[1].record(r, aside, Residual(x))


def record_head(network: Network, n_rows: int, step: int, hidden: int, out_rows: int) -> Plan:
    """Hidden states of the rows whose numbers (int32) are at `out_rows` to logits, float32 [n_out, n_vocab], where the
    step says."""
    plan = Plan(f"head of {n_rows}")
    c, spec = network.config, network.spec
    r = Recorder(plan, c, spec, n_rows, step)
    r.rows_at = step + Step.offset("n_out")
    normed = r.floats("output_norm", c.n_embd)
    r.norm("output_norm", hidden, network.output_norm, normed, c.n_embd, gather=out_rows)
    r.linears(normed, [(network.output, 0, 0)])
    factor, cap = float(spec.logit_factor(c)), float(spec.final_softcap(c))
    if factor != 1.0 or cap:
        plan.op(
            "logits", Key("mix", "logits"), mix.LogitsParams, (n_rows, c.n_vocab),
            step=step, n=c.n_vocab, factor=factor, cap=cap,
        )  # fmt: skip
    return plan
