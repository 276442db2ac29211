"""A batch over Ray: actors with an application each, and one process that hands out requests and writes answers.

Ray starts an actor anew when its process or its machine is lost, and asks it again what it had not answered (its guide
*Fault tolerance*: max_restarts, max_task_retries). Only this process writes, and it takes each request's answer once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from localllm.errors import LocalllmError
from localllm.server.app import create_app
from localllm.server.batch import MAX_BODY, OnAnswer, ask
from localllm.server.batch_file import Answer, Task
from localllm.server.endpoint import ApiError
from localllm.server.models import Models
from localllm.server.options import ServerOptions

MakeModels = Callable[[int], Models]
"""Models for so many threads; it is called where an actor runs, and must be picklable."""
_WAIT = 0.5
"""Seconds after which `stopped` is looked at, at the latest."""


class Replica:
    """What runs in an actor."""

    def __init__(self, make_models: MakeModels, n_threads: int) -> None:
        self._make_models, self._n_threads = make_models, n_threads
        self._app: Any = None

    async def start(self) -> str:
        """Load the model, where there is but one; what is wrong, "" where nothing is."""
        try:
            models = self._make_models(self._n_threads)
            if len(models.names()) == 1:
                await models.preload(models.default)
        except LocalllmError as error:
            return str(error)
        except ApiError as error:
            return error.message
        self._serve(models)
        return ""

    async def answer(self, url: str, body: bytes) -> Answer:
        if self._app is None:  # it was started anew
            self._serve(self._make_models(self._n_threads))
        return await ask(self._app, url, body)

    def _serve(self, models: Models) -> None:
        self._app = create_app(models, ServerOptions(max_body=MAX_BODY))


class Cluster:
    """A connection to Ray; `with Cluster(address, n_workers) as cluster`. address "": the cluster of RAY_ADDRESS, one
    that runs on this machine, or a new one. n_workers None: one a machine."""

    def __init__(self, address: str, n_workers: int | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise LocalllmError("--ray needs Ray: pip install 'localllm[ray]'") from None
        self._ray = ray
        try:
            ray.init(address or None, log_to_driver=False, include_dashboard=False if not address else None)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise LocalllmError(f"Ray cannot be reached: {' '.join(str(error).split())}") from None
        cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        cpus = [n for n in cpus if n] or [1]
        self.n_workers = n_workers or len(cpus)
        self.n_threads = max(1, min(cpus) // -(-self.n_workers // len(cpus)))
        """Of each worker."""

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def run(
        self, make_models: MakeModels, tasks: Iterator[Task], parallel: int, on_answer: OnAnswer,
        stopped: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Answer tasks, `parallel` at a time by each worker, until there are none or `stopped` says so."""
        ray = self._ray
        replicas = ray.remote(Replica).options(
            num_cpus=self.n_threads, max_restarts=-1, max_task_retries=-1, max_concurrency=parallel + 1,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        workers = [replicas.remote(make_models, self.n_threads) for _ in range(self.n_workers)]
        for error in ray.get([worker.start.remote() for worker in workers]):
            if error:
                raise LocalllmError(error)
        asked: dict[Any, tuple[Task, Any]] = {}
        free = [worker for _ in range(parallel) for worker in workers]
        while not stopped():
            if free and (task := next(tasks, None)) is not None:
                if task.error:
                    on_answer(task, None)
                else:
                    worker = free.pop()
                    asked[worker.answer.remote(task.url, task.body)] = task, worker
                continue
            if not asked:
                return
            ready, _ = ray.wait(list(asked), num_returns=1, timeout=_WAIT)
            for reference in ready:
                task, worker = asked.pop(reference)
                on_answer(task, self._got(reference))
                free.append(worker)

    def _got(self, reference: Any) -> Answer:
        try:
            answer: Answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise LocalllmError(f"a worker is lost: {str(error).splitlines()[0]}") from None
        return answer
