"""Processor time and memory of all hostile templates, with the limits as they are: each in a child.

python -m tests.text.measure_hostile_templates
"""

from __future__ import annotations

import contextlib
import time

from tests.contained import contained
from tests.text.hostile_templates import ESCAPES, EXPLOSIONS, SOURCES, SPINS


def render(source: str) -> int:
    """In the child: seconds of processor time on standard output."""
    from localllm.errors import TemplateError
    from localllm.text.template import ChatTemplate

    start = time.process_time()
    with contextlib.suppress(TemplateError):
        ChatTemplate(source).render([{"role": "user", "content": "__class__"}])
    print(time.process_time() - start)
    return 0


def main() -> None:
    from tests.text import measure_hostile_templates as importable  # the child does not find what `-m` runs

    slowest, largest, count = (0.0, ""), (0, ""), 0
    for table in (ESCAPES, EXPLOSIONS, SPINS, SOURCES):
        for name, source in table.items():
            ended = contained(importable.render, source, seconds=60, megabytes=1000)
            ended.check_clean(statuses=(0,))
            slowest = max(slowest, (float(ended.stdout), name))
            largest = max(largest, (ended.peak_bytes, name))
            count += 1
    print(f"{count} templates; the slowest takes {slowest[0]:.2f} s of processor time ({slowest[1]})")
    print(f"the largest child takes {largest[0] / 1e6:.0f} MB ({largest[1]})")


if __name__ == "__main__":
    main()
