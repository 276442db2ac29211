"""`localllm batch`: a file of requests in, a file of answers out, as a server would answer them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.common import Progress, cache_folder, note, options
from localllm.cli.serve import load_told, named_models, need_extra
from localllm.errors import LocalllmError, UsageError
from localllm.signals import heard, status_of

if TYPE_CHECKING:
    from localllm.server.batch_file import Answer, AnswerFile, Plan, Task
    from localllm.server.models import Models
    from localllm.server.ray_batch import MakeModels


@click.command("batch", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.argument("model", required=False, metavar="[MODEL]")
@click.option(
    "-np", "--parallel", type=click.IntRange(1, 256), default=8, show_default=True, metavar="N",
    help="Requests at the same time; each has a context of its own.",
)  # fmt: skip
@click.option(
    "--ray",
    "address",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Answer on a cluster of Ray: that of ADDRESS, of RAY_ADDRESS, of this machine, or a new one here. Without an "
    "ADDRESS, write it last.",
)
@click.option("--workers", type=click.IntRange(1), metavar="N", help="With --ray: workers. [default: one a machine]")
@options(
    "ctx_size", "memory_check", "threads", "batch_size", "kv_type", "swa_full", "precision", "cache", "cache_dir",
    "cache_size",
)  # fmt: skip
def command(
    source: str, target: str, model: str | None, parallel: int, address: str | None, workers: int | None, **given: Any
) -> int:  # fmt: skip
    """Answer the requests of IN, a line of JSON each in OpenAI's batch format, and append the answers to OUT.

    MODEL, the path of a GGUF file or a name of `localllm list`, answers whatever the requests name; without it they
    name models that are installed. Paths are /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses.
    What OUT holds already is not done again: the same command goes on where it was stopped. A line that cannot be
    read, or is refused, has its error in OUT. Answers stand in the order in which they end; custom_id tells which is
    which.

    \b
    {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
     "body": {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 50}}
    """
    need_extra()
    from localllm.server.batch_file import open_answers, plan

    if os.path.realpath(source) == os.path.realpath(target):
        raise UsageError(f"{target} is both IN and OUT: answers go into a file of their own")
    if workers is not None and address is None:
        raise UsageError("--workers needs --ray")
    plan(Path(source), frozenset())  # what is wrong with it is told before OUT is made
    with open_answers(Path(target)) as answers:
        wanted = plan(Path(source), answers.done)
        model = os.path.abspath(model) if model and os.path.isfile(model) else model
        if answers.torn:
            note(f"{target}: its last line was cut off, and is done again")
        if wanted.n_done:
            note(f"{target} holds {wanted.n_done} of {wanted.total} answers already")
        count = _Count(wanted, answers)
        if wanted.n_done < wanted.total:
            make_models = partial(_models, model, parallel, given)
            if address is None:
                stopped = _answer(wanted, count, make_models(given["threads"]), parallel, named=model is not None)
            else:
                stopped = _answer_by_ray(wanted, count, make_models, parallel, address, workers)
            if stopped is not None:
                note(f"stopped: {target} holds {count.n_done} of {wanted.total} answers; the same command goes on")
                return status_of(stopped)
    note(f"{target}: {count.summary()}")
    return 0


def _models(model: str | None, parallel: int, given: dict[str, Any], n_threads: int | None) -> Models:
    from localllm.engine.options import EngineOptions
    from localllm.runtime.system import available_memory
    from localllm.server.library import Library
    from localllm.server.loading import ModelSettings
    from localllm.server.models import FOREVER, Models

    folder = cache_folder(given["cache_dir"]) if given["cache"] else None
    engine = EngineOptions(
        given["ctx_size"], parallel, given["batch_size"], cache_folder=folder, cache_disk=given["cache_size"]
    )
    settings = ModelSettings(engine, n_threads, given["kv_type"], given["swa_full"], precision=given["precision"])
    library = Library(named_models(model, ()), store=model is None, any_name=model is not None)
    if not library.files():
        raise UsageError("there is no model: name one, or fetch one (`localllm pull`)")
    return Models(library, lambda path: load_told(path, settings), None, FOREVER, available_memory())


_KINDS = ("answered", "refused", "no requests")


class _Count:
    """Writes answers and shows how far it is."""

    def __init__(self, plan: Plan, answers: AnswerFile) -> None:
        self._plan, self._answers, self.n_done = plan, answers, plan.n_done
        self._kinds: Counter[str] = Counter()
        self._progress = Progress()

    def __call__(self, task: Task, answer: Answer | None) -> None:
        self._answers.write(task, answer)
        self._kinds[_KINDS[2 if answer is None else answer.status >= 400]] += 1
        self.n_done += 1
        self._progress("Answering", self.n_done, self._plan.total)

    def summary(self) -> str:
        """ "3 answered, 1 refused" """
        told = [f"{self._kinds[kind]} {kind}" for kind in _KINDS if self._kinds[kind]]
        return ", ".join(told) or "nothing was left to do"


def _answer(plan: Plan, count: _Count, models: Models, parallel: int, named: bool) -> signal.Signals | None:
    """Answer what is left; the signal that ended it early, if one did. `named`: all by one model, which is loaded
    first: where it cannot be, nothing is answered, and nothing written."""
    from localllm.server.batch import Batch, running_app

    stopped: list[signal.Signals] = []

    async def run() -> None:
        task = asyncio.current_task()
        assert task

        def stop(number: signal.Signals) -> None:
            if stopped:
                os._exit(status_of(number))
            stopped.append(number)
            task.cancel()

        with _signals(stop):
            async with running_app(models) as app:
                if named:
                    await _load(models)
                await Batch(app, plan.left(), parallel, count).run()

    try:
        with asyncio.Runner() as runner:
            runner.get_loop()  # where it cannot be made, nothing has begun
            runner.run(run())
    except asyncio.CancelledError:
        if not stopped:
            raise
    return stopped[0] if stopped else None


async def _load(models: Models) -> None:
    from localllm.server.endpoint import ApiError

    models.is_starting = True
    try:
        await models.preload(next(iter(models.names())))
    except ApiError as error:
        cause = error.__cause__
        raise cause if isinstance(cause, LocalllmError) else LocalllmError(error.message) from None


def _answer_by_ray(
    plan: Plan, count: _Count, make_models: MakeModels, parallel: int, address: str, n_workers: int | None
) -> signal.Signals | None:
    """As `_answer`, by workers of a cluster."""
    from localllm.server.ray_batch import Cluster

    stopped: list[signal.Signals] = []
    with Cluster(address, n_workers) as cluster:
        before = {number: signal.signal(number, lambda n, _: stopped.append(signal.Signals(n))) for number in heard()}
        try:
            note(f"{cluster.n_workers} workers of Ray, each with {cluster.n_threads} threads")
            cluster.run(make_models, plan.left(), parallel, count, lambda: bool(stopped))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return stopped[0] if stopped else None


@contextmanager
def _signals(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `stop` within the block, in which an event loop runs."""
    loop = asyncio.get_running_loop()

    def handle(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop, signal.Signals(number))

    # Windows's event loops have no add_signal_handler.
    before = {number: signal.signal(number, handle) for number in heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
