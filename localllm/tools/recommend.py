"""Which of several files to take: the frontier of what nothing else beats, and a sentence for a stated need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localllm.errors import UsageError
from localllm.tools.compare import MEMORY_N_CTX, Candidate

GRADES = ((0.01, "hardly differs"), (0.05, "differs little"), (0.2, "differs visibly"), (float("inf"), "differs much"))
"""Up to which mean divergence (nats a token) from the base what is said of a file."""
_GOOD = 0.05
"""A file for speed or memory should not differ more than this, where there is such a file."""


@dataclass(frozen=True)
class Need:
    """How the best of those that are good enough is found."""

    about: str
    best: Callable[[Candidate], float]
    """The least is taken."""
    only_good: bool = True
    """Files that differ too much are passed over, where others are left."""


NEEDS = {
    "quality": Need("quality", lambda c: c.divergence.mean_kld.value, only_good=False),
    "speed": Need("speed", lambda c: -c.decode),
    "memory": Need("memory", lambda c: c.memory),
    "balance": Need("size, speed and quality together", lambda c: c.size * (1 + 10 * c.divergence.mean_kld.value)),
}
"""By the values of --need."""


def grade(kld: float) -> str:
    return next(words for limit, words in GRADES if kld <= limit)


def frontier(candidates: Sequence[Candidate], cost: Callable[[Candidate], float]) -> set[str]:
    """Paths of those that no other one beats, being nearer to the base at no more cost."""

    def beaten(c: Candidate) -> bool:
        kld = c.divergence.mean_kld.value
        return any(
            cost(o) <= cost(c) and o.divergence.mean_kld.value <= kld
            and (cost(o), o.divergence.mean_kld.value) != (cost(c), kld)
            for o in candidates
        )  # fmt: skip

    return {c.path for c in candidates if not beaten(c)}


def check_memory(needs: Mapping[str, int], memory: int) -> None:
    """needs: bytes that each file takes, by path. Raises UsageError where none fits into `memory` bytes."""
    path, least = min(needs.items(), key=lambda item: item[1])
    if least > memory:
        raise UsageError(
            f"none of these files fits into {memory_text(memory)}: {Path(path).name} takes the least, "
            f"{memory_text(least)} with a context of {MEMORY_N_CTX} tokens"
        )


def recommend(
    candidates: Sequence[Candidate], base: str, need: str, memory: int | None = None
) -> tuple[Candidate, str]:
    """The file to take, and why, in a sentence. memory: bytes that it may take at most. Raises UsageError if none fits.

    The base is a candidate like the others: where quality alone counts and it fits, it is taken.
    """
    if memory is not None:
        check_memory({c.path: c.memory for c in candidates}, memory)
    fitting = [c for c in candidates if memory is None or c.memory <= memory]
    row = NEEDS[need]
    good = [c for c in fitting if c.divergence.mean_kld.value <= _GOOD]
    best = min(good if row.only_good and good else fitting, key=row.best)
    return best, _sentence(best, next(c for c in candidates if c.path == base), row, memory)


def _sentence(best: Candidate, base: Candidate, need: Need, memory: int | None) -> str:
    within = f" within {memory_text(memory)}" if memory else ""
    name, kld = Path(best.path).name, best.divergence.mean_kld.value
    if best is base:
        return f"For {need.about}{within} take {name}: it is the base itself."
    speed = best.decode / base.decode if base.decode else 0.0
    return (
        f"For {need.about}{within} take {name}: it {grade(kld)} from {Path(base.path).name} (KLD {kld:.4f}, the same "
        f"most likely token in {best.divergence.top_1.value:.1%}), has {best.size / base.size:.0%} of its size and "
        f"answers {speed:.2f} times as fast."
    )


def memory_text(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
