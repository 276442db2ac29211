from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.generate.fake import FakeModel


@pytest.fixture(autouse=True)
def _loggers():
    """As they were: `serve` sets them for all of its process."""
    logs = [logging.getLogger(name) for name in ("localllm", "localllm.server.access", "uvicorn.error")]
    before = [(log, list(log.handlers), log.level, log.propagate) for log in logs]
    yield
    for log, handlers, level, propagate in before:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.fixture
def fake(monkeypatch):
    """The verbs load this model whatever they are asked for; `fake.loaded` tells what that was."""
    made = FakeModel()

    def load_model(
        name=None, n_ctx=None, n_threads=None, swa_full=False, kv_type="f16", chat_template=None, precision="normal"
    ):
        given = {"name": name, "n_ctx": n_ctx, "n_threads": n_threads, "swa_full": swa_full, "kv_type": kv_type}
        made.loaded.append(SimpleNamespace(**given, chat_template=chat_template, precision=precision))
        made.closed = False
        return made

    for verb in ("run", "chat", "bench"):
        monkeypatch.setattr(importlib.import_module(f"localllm.cli.{verb}"), "load_model", load_model)
    return made


@pytest.fixture
def call(capfd, monkeypatch):
    """call(*args, stdin=None) -> status, stdout, stderr, in this process; stdin: the bytes of a pipe."""
    from localllm.cli.main import main

    def call_(*args, stdin=None):
        with open_stdin(stdin) as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            status = main([str(a) for a in args])
        out, err = capfd.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return call_


def open_stdin(data):
    import os

    if data is None:
        return open(os.devnull, encoding="utf-8")
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return os.fdopen(reader, encoding="utf-8")


@pytest.fixture(scope="session")
def command():
    """command(*args, **options of subprocess.run): `localllm` in a process of its own."""

    def run(*args, **options):
        line = [sys.executable, "-m", "localllm.cli.main", *map(str, args)]
        given = {"stdin": subprocess.DEVNULL} if "input" not in options else {}
        return subprocess.run(line, capture_output=True, text=True, timeout=120, **{**given, **options})

    return run
