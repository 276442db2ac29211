"""The server in a process of its own, over a fake engine that the test directs: python -m tests.server.fake_serve JSON.

{"limits": fields of Limits, "options": of ServerOptions, "drain": seconds, "script": what is said,
"times": how often, "width": characters of a token, "load_waits": bool, "load_fails": bool}
Its first line tells the port. POST /control {"gate": bool, "load": bool} opens and shuts; GET /control tells how many
requests there were, how many of them were cancelled, and how many have ended. SIGUSR1 opens the gate, too.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading

import msgspec

from localllm.errors import LocalllmError
from localllm.server.app import busy_app, create_app
from localllm.server.dialects import DIALECTS
from localllm.server.endpoint import Dialect, Endpoint
from localllm.server.library import Library
from localllm.server.listener import Limits, bind, run
from localllm.server.models import Models
from localllm.server.options import ServerOptions
from tests.generate.fake import FakeModel
from tests.server.fake_engine import FakeEngine


class ControlBody(msgspec.Struct):
    gate: bool | None = None
    load: bool | None = None


class Life:
    def __init__(self, models):
        self.models = models

    def begin(self, stop):
        self.models.is_starting = True
        self.task = asyncio.ensure_future(self.models.preload("fake"))

    def draining(self):
        self.models.draining()

    async def end_answers(self):
        await self.models.end_answers()

    def is_stuck(self):
        return bool(self.models.loading())


def main(given):
    model = FakeModel(given.get("script", "hello") * given.get("times", 1))
    engine = FakeEngine(model)
    engine.width = given.get("width", 1)
    signal.signal(signal.SIGUSR1, lambda *_: engine.gate.set())
    may_load = threading.Event()
    if not given.get("load_waits"):
        may_load.set()

    def load(path):
        may_load.wait()
        if given.get("load_fails"):
            raise LocalllmError("cannot be loaded")
        return model, engine

    async def control(call):
        for name, event in (("gate", engine.gate), ("load", may_load)):
            if (wanted := getattr(call.body, name, None)) is not None:
                (event.set if wanted else event.clear)()
        return {
            "requests": len(engine.handles),
            "cancelled": sum(handle.cancelled.is_set() for handle in engine.handles),
            "ended": sum(handle.ended.is_set() for handle in engine.handles),
        }

    endpoints = (Endpoint("POST", "/control", control, ControlBody), Endpoint("GET", "/control", control))
    dialects = (*DIALECTS, Dialect("control", endpoints, lambda error: {"error": error.message}))
    models = Models(Library({"fake": "/somewhere/fake.gguf"}), load)
    sock = bind("127.0.0.1", 0)
    print(sock.getsockname()[1], flush=True)
    app = create_app(models, ServerOptions(**given.get("options", {})), dialects)
    run(app, sock, Limits(**given.get("limits", {})), given.get("drain", 30.0), Life(models), busy_app())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
