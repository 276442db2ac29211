"""Processor time and memory of all hostile templates, with the limits as they are: each in a child.

python -m tests.text.measure_hostile_templates
"""

from __future__ import annotations

import time

from tests.contained import contained
from tests.text.hostile_templates import ESCAPES, EXPLOSIONS, SOURCES, SPINS


def render(source: str) -> int:
    """In the child: seconds of processor time on standard output."""
    from localllm.errors import TemplateError
    from localllm.text.template import ChatTemplate

    start = time.process_time()
    try:
        ChatTemplate(source).render([{"role": "user", "content": "__class__"}])
    except TemplateError:
        pass
    print(time.process_time() - start)
    return 0


def main() -> None:
    everything = ESCAPES | EXPLOSIONS | SPINS | SOURCES
    found = {name: contained(render, source, seconds=60) for name, source in everything.items()}
    for name, ended in found.items():
        if ended.status != 0:
            print(f"{name}: {ended.problem()}")
    seconds, slowest = max((float(ended.stdout), name) for name, ended in found.items() if ended.status == 0)
    peak, largest = max((ended.peak_bytes, name) for name, ended in found.items())
    print(f"{len(found)} templates; at most {seconds:.2f} s of processor time ({slowest}), {peak / 1e6:.0f} MB ({largest})")


if __name__ == "__main__":
    main()
