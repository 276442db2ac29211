"""A batch through the application: as many at a time as wanted, answered as a server answers them."""

from __future__ import annotations

import asyncio
import json

import pytest

from localllm.errors import FileError
from localllm.server.batch import Batch, ask, running_app
from localllm.server.batch_file import Answer, Task
from localllm.server.library import Library
from localllm.server.models import Models
from tests.generate.fake import FakeModel
from tests.server.fake_engine import FakeEngine

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "any", "messages": [{"role": "user", "content": "hi"}]}).encode()


@pytest.fixture
def models():
    model = FakeModel("hello")
    return Models(Library({"fake": "/somewhere/fake.gguf"}, any_name=True), lambda path: (model, FakeEngine(model)))


def test_what_a_server_answers(models, serve):
    async def answers():
        async with running_app(models) as app:
            return [await ask(app, CHAT, BODY), await ask(app, CHAT, b"{"), await ask(app, "/v1/embeddings", BODY)]

    good, bad, other = asyncio.run(answers())
    served = serve("hello").client.post(CHAT, content=BODY.replace(b"any", b"fake"))
    assert (good.status, served.status_code) == (200, 200)
    assert json.loads(good.body)["choices"] == served.json()["choices"]
    assert good.request_id
    assert bad.status == 400
    assert json.loads(bad.body)["error"]["message"].startswith("the body is not JSON")
    assert other.status == 400


class Counted:
    """An application that answers when so many ask, and knows how many ever did at once."""

    def __init__(self, statuses=()):
        self.now = self.most = 0
        self.statuses = list(statuses)

    async def __call__(self, scope, receive, send):
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(5):
            await asyncio.sleep(0)
        status = self.statuses.pop(0) if self.statuses else 200
        self.now -= 1
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-request-id", b"r")]})
        await send({"type": "http.response.body", "body": (await receive())["body"]})


def run(app, tasks, parallel, on_answer=None):
    got = []

    def note(task, answer):
        got.append((task.key, answer))

    asyncio.run(Batch(app, iter(tasks), parallel, on_answer or note).run())
    return dict(got)


@pytest.mark.parametrize("parallel", [1, 3, 50])
def test_so_many_at_a_time(parallel):
    app = Counted()
    tasks = [Task(i, f"t{i}", CHAT, b"%d" % i) for i in range(20)]
    assert run(app, tasks, parallel) == {f"t{i}": Answer(200, "r", b"%d" % i) for i in range(20)}
    assert app.most == min(parallel, 20)


def test_what_is_no_request_does_not_get_there():
    app = Counted()
    assert run(app, [Task(1, None, error="line 1 is not JSON"), Task(2, "a", CHAT, b"x")], 1) == {
        1: None,
        "a": Answer(200, "r", b"x"),
    }
    assert app.most == 1


def test_a_model_that_finds_no_memory_waits_for_the_others(monkeypatch):
    monkeypatch.setattr("localllm.server.batch._PAUSE", 0.0)
    tasks = [Task(i, f"t{i}", CHAT, b"x") for i in range(3)]
    assert {answer.status for answer in run(Counted([503, 429, 200]), tasks, 3).values()} == {200}
    assert {answer.status for answer in run(Counted([503] * 3), tasks, 1).values()} == {503}  # it never will


def test_what_cannot_be_written_ends_it():
    def full(task, answer):
        raise FileError("out.jsonl: No space left on device")

    with pytest.raises(FileError, match="No space left"):
        run(Counted(), [Task(i, f"t{i}", CHAT, b"x") for i in range(9)], 3, full)


def test_cancelled_answers_are_not_told(models):
    async def stopped():
        got = []
        async with running_app(models) as app:
            async with models.open() as served:
                engine = served.engine
            engine.gate.clear()
            tasks = iter([Task(1, "a", CHAT, BODY)])
            batch = asyncio.ensure_future(Batch(app, tasks, 2, lambda *answer: got.append(answer)).run())
            while not engine.handles:
                await asyncio.sleep(0)
            batch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await batch
            await asyncio.to_thread(engine.handles[0].ended.wait)
            return got, engine.handles[0].cancelled.is_set()

    assert asyncio.run(stopped()) == ([], True)
