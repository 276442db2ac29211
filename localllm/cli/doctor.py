"""`localllm doctor`: what a report of a bug needs, and what is wrong on this machine, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from localllm.cli.checkup import Report, check
from localllm.cli.streams import echo, echo_json
from localllm.cli.tables import one_line, table
from localllm.cli.verbose import timed
from localllm.terminal.figures import size


@click.command("doctor")
@click.option("--quick", is_flag=True, help="Measure nothing.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form.")
def command(quick: bool, output: str) -> int:
    """Check this machine and this installation; exit status 1 where something is wrong.

    It shows versions, processor, kernels, memory, folders, models that were found, the terminal and the network's
    settings, and measures a second how fast memory is read. Home folders are written as ~; no token is shown.
    """
    with timed("checked"):
        report = check(quick)
    home = str(Path.home())
    facts = _shortened(report.facts, home)
    problems = _shortened(report.problems, home)
    if output == "json":
        echo_json({**facts, "problems": problems}, indent=1)
    else:
        echo(text(Report(facts, problems)))
    return 1 if problems else 0


def _shortened(value: Any, home: str) -> Any:
    """The same; in texts, the user's home is ~."""
    if isinstance(value, dict):
        return {key: _shortened(inner, home) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner, home) for inner in value]
    return value.replace(home, "~") if isinstance(value, str) and len(home) > 1 else value


def text(report: Report) -> str:
    """The report for people: the problems stand last, where they are seen."""
    parts = []
    for name, facts in report.facts.items():
        rows = [[key.replace("_", " ").removesuffix(" bytes"), _shown(key, value)] for key, value in facts.items()]
        parts.append(f"{name.capitalize()}\n{table(rows, indent='  ')}" if rows else f"{name.capitalize()}\n  unknown")
    problems = [f"  ! {one_line(problem)}" for problem in report.problems]
    return "\n\n".join([*parts, "\n".join(["Problems", *(problems or ["  none"])])])


def _shown(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(_inner(name, inner) for name, inner in value.items() if inner not in (None, False))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("bytes"):
        return size(value)
    return "unknown" if value is None else str(value)


def _inner(name: str, value: Any) -> str:
    """A fact of a place or of a store, within one line."""
    if name.endswith("bytes"):
        return f"{size(value)}{' free' if name.startswith('free') else ''}"
    if value is True:
        return name
    return str(value) if name in ("path", "folders") else f"{name.replace('_', ' ')} {value}"
