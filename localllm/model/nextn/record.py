"""The recorded forward of the layer that predicts a further token. Nothing here computes.

A row is a token and the hidden state of the token before it; both are normed, joined (the embedding first, as in
llama.cpp's graph_mtp and the weights that vLLM's deepseek_mtp.py loads; the paper writes them the other way around) and
projected, and one layer of the architecture follows. What it leaves in the place of the hidden state is read for the
token after, where the layer guesses on by itself.
"""

from __future__ import annotations

from localllm.kernels import embed, experts
from localllm.kernels.objects import Key
from localllm.kernels.thread import Step
from localllm.model.forward import States
from localllm.model.nextn.layer import Nextn
from localllm.model.recorder import F32, Recorder
from localllm.model.stacks.plain import record_layer
from localllm.runtime.plan import Place, Plan


def record_body(nextn: Nextn, n_rows: int, step: int, states: States, hidden: int, n_ctx: int, kept: int) -> Plan:
    """From tokens and the hidden states before them to the layer's own, in their place. The arguments are those of
    `forward.record_body`."""
    plan = Plan(f"nextn of {n_rows}")
    r = Recorder(plan, nextn.config, n_rows, step, states, kept)
    n, name, w = nextn.config.n_embd, f"blk.{nextn.i}.nextn", nextn.embedding
    x, both = r.floats("embedding", n), r.floats("embedding and hidden state", 2 * n)
    plan.op(
        w.name, Key("embed", "rows", (w.module,)), embed.Params, (n_rows, w.k),
        step=step, table=w.address, row_bytes=w.row_bytes, k=w.k, out=x, factor=1.0,
    )  # fmt: skip
    r.norm(f"{name}.enorm", x, nextn.enorm, both, n, out_stride=2 * n)
    r.norm(f"{name}.hnorm", hidden, nextn.hnorm, Place(both, n * F32), n, out_stride=2 * n)
    r.linears(both, [(nextn.eh_proj, x, 0)])
    rope = nextn.rope(n_ctx)
    record_layer(r, nextn.i, nextn.layer, x, r.rope_table(rope) if rope else None)
    if nextn.is_normed:
        r.norm(f"{name}.shared_head_norm", x, nextn.head_norm, hidden, n)
    else:
        r.add(f"{name}.hidden", x, 1.0, 0, hidden, n)
    return plan


def record_head(nextn: Nextn, step: int, hidden: int, out_rows: int) -> Plan:
    """The layer's hidden state of the row whose number (int32) is at `out_rows` to logits, float32 [n_vocab], where the
    step says. Caps and factors of logits, which do not change their order, are left out."""
    plan = Plan("head of nextn")
    n = nextn.config.n_embd
    r = Recorder(plan, nextn.config, 1, step)
    r.rows_at = step + Step.offset("n_out")
    x = r.floats("shared_head_norm", n)
    if nextn.is_normed:
        plan.op(
            "output row", Key("experts", "gather"), experts.GatherParams, (1, n),
            n_places_at=r.rows_at, n=n, n_used=1, x=hidden, sources=out_rows, weights=0, out=x,
        )  # fmt: skip
    else:
        r.norm(f"blk.{nextn.i}.nextn.shared_head_norm", hidden, nextn.head_norm, x, n, gather=out_rows)
    r.linears(x, [(nextn.head, 0, 0)])
    return plan
