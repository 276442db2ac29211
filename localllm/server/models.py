"""The models that a server has, by name: loaded when they are first asked for."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from localllm.engine.request import OnEvent, Request
from localllm.errors import LocalllmError
from localllm.server.endpoint import ApiError, api_error


class ServedEngine(Protocol):
    """What a server needs of an engine (localllm.engine's Engine is one)."""

    def submit(self, request: Request, on_event: OnEvent) -> Any: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Served:
    """A model that is loaded: `model` (localllm.Model), its engine, when its file was made (seconds since 1970)."""

    name: str
    model: Any
    engine: Any
    created: int


Load = Callable[[str], tuple[Any, ServedEngine]]
"""Path -> model and engine; it may take long, and runs in a thread."""


class Models:
    """files: name -> path. default: the name that is meant where none is given (None: the first)."""

    def __init__(self, files: Mapping[str, str], load: Load, default: str | None = None) -> None:
        self._files = dict(files)
        self._load = load
        self.default = default or next(iter(self._files), None)
        self._loaded: dict[str, Served] = {}
        self._loading = asyncio.Lock()

    def names(self) -> list[str]:
        """All that may be asked for."""
        return list(self._files)

    @asynccontextmanager
    async def open(self, name: str | None = None) -> AsyncIterator[Served]:
        """The model of a name, loaded; it stays so within the block. ApiError: 404 unknown, 503 cannot be loaded."""
        yield await self._get(name or self.default or "")

    async def _get(self, name: str) -> Served:
        path = self._files.get(name)
        if path is None:
            raise ApiError(404, f"the model {name!r:.100} is not known; /v1/models lists those that are", param="model")
        async with self._loading:
            if name not in self._loaded:
                try:
                    model, engine = await asyncio.to_thread(self._load, path)
                except LocalllmError as error:
                    raise self.without_paths(api_error(error)) from None
                self._loaded[name] = Served(name, model, engine, int(time.time()))
            return self._loaded[name]

    def without_paths(self, error: ApiError) -> ApiError:
        """The error with names in the place of paths."""
        for name, path in self._files.items():
            error.message = error.message.replace(path, name).replace(os.path.dirname(path) + os.sep, "")
        return error

    def close(self) -> None:
        for served in self._loaded.values():
            served.engine.close()
            served.model.close()
        self._loaded.clear()
