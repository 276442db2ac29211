"""The configuration file: defaults of options for every command, or a line that says what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from localllm.cli.common import shared_options
from localllm.cli.main import VERBS, cli
from localllm.cli.settings import Settings
from tests.fuzz.mutators import of_text
from tests.fuzz.target import Target, written

_WORDS = (
    "[default]", "[run]", "[serve]", "[chat]", "[[run]]", "[run.x]", "model = ", "threads = ", "temp = ", "\n", "=",
    "#", "[", "]", "{", "}", '"', "'", '"""', "true", "false", "1", "-1", "1e999", "nan", "inf", "0x10",
    "1979-05-27T07:32:00Z", ",", "\\u0000", "\\x1b", "\x1b[2J", "no-cache = true", "stop = ['a', 1]", "ctx-size", "c",
    "host", "api-key", "a.b.c", "\ufeff", "__class__",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    yield b'[default]\nmodel = "qwen3:4b"\nthreads = 4\n\n[run]\ntemp = 0.2 # cool\n'
    yield b"[serve]\nport = 8080\n[chat]\nctx-size = 4096\n"


def run(data: bytes) -> None:
    os.environ["LOCALLLM_CONFIG"] = str(written(data, "config.toml"))
    try:
        settings = Settings.read(VERBS)
        for verb in ("run", "serve", "chat", "show"):
            command = cli.get_command(click.Context(cli), verb)
            if command is not None:
                settings.values(verb, command, shared_options())
    finally:
        del os.environ["LOCALLLM_CONFIG"]


TARGET = Target(seeds, run, of_text(_WORDS), max_len=1 << 13)
