"""Help in sections: every option stands in one, and every name of a section is an option."""

from __future__ import annotations

import re

import click
import pytest

from localllm.cli import run, serve
from localllm.cli.common import GENERATION_SECTIONS
from localllm.cli.sections import Sectioned

FIRST = {
    "serve": ["-m, -hf", "--host", "--port", "-v, --verbose", "-h, --help"],
    "run": ["-m, -hf", "-p, --prompt", "-f, --file", "--prompts", "-sys, --system", "-no-cnv, --raw", "--think",
            "--stop", "-o, --output", "--logprobs", "-n, --predict", "--chat-template", "--stats", "-v, --verbose",
            "-h, --help"],
}  # fmt: skip


def sections(text):
    """Heading -> the beginnings of its rows."""
    found: dict[str, list[str]] = {}
    for line in text[text.index("\nOptions:") :].splitlines():
        if re.fullmatch(r"[A-Z].*:", line):
            rows = found[line[:-1]] = []
        elif line.startswith("  -"):
            rows.append(line.strip())
    return found


@pytest.mark.parametrize(
    ("verb", "command", "named"),
    [("serve", serve.command, serve._SECTIONS), ("run", run.command, GENERATION_SECTIONS)],
)
def test_every_option_stands_in_its_section(call, verb, command, named):
    result = call(verb, "--help")
    shown = sections(result.out)
    assert list(shown) == ["Options", *named, "Examples"]
    assert [row.startswith(start) for row, start in zip(shown["Options"], FIRST[verb], strict=True)].count(False) == 0
    options = {param.name for param in command.params if isinstance(param, click.Option)}
    assert {name for names in named.values() for name in names} <= options
    assert sum(map(len, shown.values())) == len(options) + 2  # --verbose, --help
    assert "LOCALLLM_" in result.out


def test_a_section_without_options_is_not_shown():
    @click.command(cls=Sectioned, sections={"Some": ["a"], "None": ["b"]})
    @click.option("--a", help="An option.")
    def command(a):
        pass

    assert list(sections(command.get_help(click.Context(command)))) == ["Options", "Some"]
