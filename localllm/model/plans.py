"""Which plans a context has, and how each is recorded. Nothing is computed or allocated here."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.model.forward import States, record_body, record_head, record_norm, record_projection
from localllm.model.network import Network
from localllm.model.recorder import MATVEC_MAX_ROWS
from localllm.runtime.plan import Plan

PHASES = (1, MATVEC_MAX_ROWS, 16, 512)
"""Rows that a plan is recorded for: a token; a few; a chunk of a prompt. A batch takes the smallest that holds it."""
MAX_ROWS = 1 << 15
"""Of a batch where a text has to be one."""


@dataclass(frozen=True)
class Addresses:
    """What plans read and write beside the states: the step block, the numbers of rows whose logits are wanted, hidden
    states, what follows the pooling, and what is wrong with rows that are kept. All are 0 for plans that are only
    measured."""

    step: int = 0
    out_rows: int = 0
    hidden: int = 0
    projected: int = 0
    kept: int = 0


def phases_of(n_batch: int) -> tuple[int, ...]:
    """Of a context that is fed at most n_batch rows at a time."""
    return (*PHASES, n_batch) if n_batch > PHASES[-1] else PHASES


def phase_of(n_rows: int, phases: tuple[int, ...]) -> int:
    """The plan for so many rows."""
    return next(p for p in phases if p >= n_rows)


def planned(network: Network, n_seq: int, n_batch: int) -> list[tuple[str, int]]:
    """Part and rows of the plans that a context records at once. For fewer rows than the maximum a plan has no other
    kernels and no more memory: it is recorded when needed. Where sequences are decoded together, that for a few rows
    is, too: its kernels are compiled with the others."""
    few = (MATVEC_MAX_ROWS,) if min(n_seq, n_batch) > 1 else ()
    rows = (1, *few, phase_of(n_batch, phases_of(n_batch)))
    return list(dict.fromkeys((part, phase) for part in parts_of(network) for phase in rows))


def parts_of(network: Network) -> list[str]:
    """The parts that a model's plans have."""
    there = {
        "head": network.output, "norm": network.output_norm, "classifier": network.pooling.classifier,
        "dense": network.pooling.dense,
    }  # fmt: skip
    return ["body", *(part for part, value in there.items() if value)]


def record(network: Network, part: str, phase: int, states: States, n_ctx: int, at: Addresses) -> Plan:
    """The plan of a part ("body", "head", "norm", "classifier", "dense") for up to `phase` rows."""
    if part == "body":
        return record_body(network, phase, at.step, states, at.hidden, n_ctx, at.kept)
    if part == "head":
        return record_head(network, phase, at.step, at.hidden, at.out_rows)
    if part == "norm":
        return record_norm(network.config, network.output_norm, phase, at.step, at.hidden)
    return record_projection(network, getattr(network.pooling, part), phase, at.step, at.hidden, at.projected)


def n_projected(network: Network) -> int:
    """Floats that follow the pooling, a row."""
    projections = [p for p in (network.pooling.classifier, network.pooling.dense) if p]
    return max((p.n_out for p in projections), default=0)
