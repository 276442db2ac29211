"""What else happened while something was measured: other programs, the host, a quota, heat, the battery.

Figures that scatter say little. Why they do can be seen from outside of the process, by counters that are read before
and after; each cause has a remedy, and a sentence that names both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from localllm.runtime.system import ROOT, cgroup_folders, text_of
from localllm.tools.bench import mean, stdev

_SCATTER = 0.05
"""Deviation, as a share of the mean, from which on figures scatter."""
_OTHERS, _OTHERS_SHARE = 0.25, 0.05
"""Cores that others used, from which on it is said; and the same as a share of all cores, on large machines."""
_STOLEN = 0.03
"""The same, for what the host took away."""
_THROTTLED = 0.03
"""The same, for seconds a second for which threads were held back."""
_SLOWED = 0.1
"""By which share the last runs are slower than the first ones where the processor seems to have slowed down."""
_MIN_RUNS = 4


@dataclass(frozen=True)
class Counters:
    """Seconds since some time ago, over all cores."""

    wall: float
    busy: float
    """Of all processes."""
    own: float
    """Of this process, of those that it has waited for, and of children that were named."""
    stolen: float
    """What the host of a virtual machine gave to others."""
    throttled: float
    """What the quotas of cgroups held processes back."""


@dataclass(frozen=True)
class Disturbance:
    """Of the time between two readings."""

    others: float
    """Cores that other programs used."""
    stolen: float
    """Cores that the host took away."""
    throttled: float
    """Seconds a second, over all threads, for which a quota held them back."""
    on_battery: bool
    cores: int = 1
    """Of the machine: logical processors."""

    @property
    def is_busy(self) -> bool:
        """Others used, or the host took, so much that figures are no good."""
        return self.others > max(_OTHERS, _OTHERS_SHARE * self.cores) or self.stolen > _STOLEN * self.cores

    def fields(self) -> dict[str, Any]:
        return asdict(self)


def read(children: Sequence[int] = ()) -> Counters:
    """The counters of now. children: ids of processes that still run and count as our own; what has ended counts 0."""
    import psutil

    times = psutil.cpu_times()
    busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    own = psutil.Process().cpu_times()
    own_seconds = own.user + own.system + getattr(own, "children_user", 0.0) + getattr(own, "children_system", 0.0)
    for child in children:
        with suppress(psutil.Error):
            of_child = psutil.Process(child).cpu_times()
            own_seconds += of_child.user + of_child.system
    return Counters(time.perf_counter(), busy, own_seconds, getattr(times, "steal", 0.0), throttled())


def throttled(root: Path = ROOT) -> float:
    """Seconds for which the cgroups' quotas held threads back."""
    seconds = 0.0
    for folder in cgroup_folders("cpu", root):
        rows = dict(line.split()[:2] for line in text_of(folder / "cpu.stat").splitlines() if " " in line)
        # Version 2 counts microseconds, version 1 nanoseconds.
        seconds += int(rows.get("throttled_usec", 0)) / 1e6 + int(rows.get("throttled_time", 0)) / 1e9
    return seconds


def on_battery() -> bool:
    """False where there is none, or the system does not tell."""
    import psutil

    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return bool(battery and battery.power_plugged is False)


def between(before: Counters, after: Counters, battery: bool = False) -> Disturbance:
    """What happened between two readings."""
    wall = max(after.wall - before.wall, 1e-9)
    others = after.busy - before.busy - (after.own - before.own)
    return Disturbance(
        max(0.0, others / wall),
        max(0.0, (after.stolen - before.stolen) / wall),
        max(0.0, (after.throttled - before.throttled) / wall),
        battery,
        os.cpu_count() or 1,
    )


def scatter(samples: Sequence[float]) -> float:
    """Standard deviation as a share of the mean; 0 for fewer than two."""
    return stdev(samples) / mean(samples) if samples else 0.0


def slowed(samples: Sequence[float]) -> float:
    """By which share the second half of the runs is slower than the first, in their order: 0 if it is not."""
    if len(samples) < _MIN_RUNS:
        return 0.0
    half = len(samples) // 2
    return max(0.0, 1 - median(samples[-half:]) / median(samples[:half]))


def warnings(tests: Mapping[str, Sequence[float]], found: Disturbance) -> list[str]:
    """Sentences for people: what makes figures doubtful, and what to do. tests: tokens a second of each test's runs, in
    their order."""
    wide = {name: share for name, samples in tests.items() if (share := scatter(samples)) > _SCATTER}
    slower = {name: share for name, samples in tests.items() if (share := slowed(samples)) > _SLOWED}
    causes = [sentence.format(**found.fields()) for holds, sentence in _CAUSES if holds(found)]
    if slower and not causes:
        causes.append(
            f"The runs became slower one after another ({_shares(slower)}): heat or a power limit slows the processor "
            "down; let it cool down, or wait until a burst of other work is over."
        )
    if not wide:
        return causes
    advice = "" if causes else " No cause shows: close other programs and run it again."
    return [f"The figures scatter ({_shares(wide)}): they say little beside others.{advice}", *causes]


def _shares(tests: Mapping[str, float]) -> str:
    return ", ".join(f"{name} by {share:.0%}" for name, share in tests.items())


_CAUSES: tuple[tuple[Callable[[Disturbance], bool], str], ...] = (
    (
        lambda d: d.others > max(_OTHERS, _OTHERS_SHARE * d.cores),
        "Other programs used {others:.1f} cores meanwhile: close them and run it again.",
    ),
    (
        lambda d: d.stolen > _STOLEN * d.cores,
        "The host of this virtual machine gave {stolen:.1f} cores to others: run it again at another time.",
    ),
    (
        lambda d: d.throttled > _THROTTLED,
        "A quota held threads back for {throttled:.1f} s a second: use fewer threads (`--tune` finds how many), or "
        "grant more.",
    ),
    (lambda d: d.on_battery, "The machine runs on battery: plug it in and run it again."),
)
"""When a cause holds, and what is said then."""
