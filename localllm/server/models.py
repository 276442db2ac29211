"""The models that a server has, by name: loaded when they are first asked for, dropped when nobody does any more."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from localllm.engine.request import OnEvent, Request
from localllm.errors import LocalllmError, NotEnoughMemoryError
from localllm.gguf.split import part_names
from localllm.server.embedding import Embeddings
from localllm.server.endpoint import ApiError, api_error
from localllm.server.library import Library

log = logging.getLogger("localllm.server")
T = TypeVar("T")
FOREVER = math.inf
_SHORT = 4096
"""Characters or tokens that are worked on on the spot; more are in a thread."""


class ServedEngine(Protocol):
    """What a server needs of an engine (localllm.engine's Engine is one)."""

    def submit(self, request: Request, on_event: OnEvent) -> Any: ...
    def status(self) -> Any: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Served:
    """A model that is loaded: `model` (localllm.Model); `engine`, None for one that writes no text; `created`: when its
    file was made, in seconds since 1970."""

    name: str
    model: Any
    engine: Any
    created: int
    embeddings: Embeddings

    @property
    def n_ctx(self) -> int:
        """Tokens of a context."""
        return int(self.model.default_n_ctx if self.engine is None else self.engine.n_ctx)

    def generating(self) -> Any:
        """The engine. ApiError for a model that has none."""
        if self.engine is None:
            text = f"the model {self.name!r} embeds texts, it does not write any"
            raise ApiError(400, text, "not_supported_error", param="model")
        return self.engine

    def tokenizer(self) -> Any:
        """The model's tokenizer. ApiError for a model that runs on ids."""
        if self.model.tokenizer is None:
            text = f"the model {self.name!r} has no vocabulary: it neither reads nor writes text"
            raise ApiError(400, text, "not_supported_error", param="model")
        return self.model.tokenizer

    def at_least(self, *texts: str) -> int:
        """How many tokens some texts have at the least: what is far too long is refused before it is tokenized."""
        return sum(map(self.tokenizer().at_least, texts))

    async def encode(self, text: str, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Ids of a text; other requests are answered while a long one is tokenized."""
        ids = await self.aside(len(text), self.tokenizer().encode, text, add_special, parse_special)
        return list(ids)

    async def aside(self, length: int, work: Callable[..., T], *given: Any) -> T:
        """`work(*given)`, by a thread where so much is given that it takes a while."""
        return work(*given) if length <= _SHORT else await asyncio.to_thread(work, *given)


@dataclass
class Loaded:
    """A model in memory. `expires`: when it is dropped (monotonic seconds), unless a call
    comes before; `n_bytes`: of its file; `origin`: what that was when it was loaded."""

    served: Served
    n_bytes: int
    keep_alive: float
    origin: Origin
    last_used: float = 0.0
    n_answering: int = 0
    """Calls that use it."""

    @property
    def expires(self) -> float:
        return self.last_used + self.keep_alive


Origin = tuple[str, tuple[tuple[int, ...], ...]]
"""A path, and device, inode, size and time of the last write of each part; no parts where one is gone."""
Load = Callable[[str], tuple[Any, ServedEngine | None]]
"""Path -> model and engine; it may take long, and runs in a thread."""


class Models:
    """default: the name that is meant where none is given (None: the library's first). keep_alive: seconds that a model
    stays after its last answer. n_bytes: what files of loaded models may take together; one alone always may.
    pinned: the name of a model that stays, but for want of memory. pooling: see Embeddings."""

    def __init__(
        self,
        library: Library,
        load: Load,
        default: str | None = None,
        keep_alive: float = FOREVER,
        n_bytes: float = math.inf,
        pinned: str | None = None,
        pooling: str | None = None,
    ) -> None:
        self.library, self._load, self._keep_alive, self._n_bytes = library, load, keep_alive, n_bytes
        self._default, self._pinned, self._pooling = default, pinned, pooling
        self._loaded: dict[str, Loaded] = {}
        self._draining = False
        self.is_starting = False
        """The model that is served from the start is not there yet."""
        self._lock: asyncio.Lock | None = None
        self._reaper: asyncio.Task[None] | None = None
        self._users: Counter[str] = Counter()
        """Calls that use a model, or wait for it, by its name."""
        self._loading: dict[str, asyncio.Task[None]] = {}

    @property
    def default(self) -> str:
        """The name of the model that is meant where none is given; "" where there is none."""
        return self._default or next(iter(self.library.files()), "")

    def names(self) -> list[str]:
        """All that may be asked for."""
        return list(self.library.files())

    def created(self, name: str) -> int:
        """When the file of a name was made, in seconds since 1970; 0 where it is gone."""
        try:
            return int(os.stat(self.library.files()[name]).st_mtime)
        except (OSError, KeyError):
            return 0

    def n_bytes(self, name: str) -> int:
        """Size of the file of a name, or of its parts; 0 where it is gone."""
        try:
            return sum(os.stat(path).st_size for path in part_names(self.library.files()[name]))
        except (OSError, KeyError):
            return 0

    def loading(self) -> Sequence[str]:
        """What is on its way into memory."""
        return list(self._loading)

    def state(self, name: str) -> tuple[Literal["loaded", "loading", "unloaded"], Served | None]:
        """What has become of the model of a name, and the model, if it is loaded."""
        name = self.library.first(name)
        loaded = self._loaded.get(name)
        return ("loaded", loaded.served) if loaded else ("loading" if name in self._loading else "unloaded", None)

    def loaded(self) -> Sequence[Loaded]:
        """What is in memory."""
        return list(self._loaded.values())

    def name(self, name: str | None) -> str:
        """The name as the library has it. ApiError (404) for one that is unknown, naming those near it."""
        found = self.library.find(name or self.default)
        if found is None:
            near = self.library.near(name or "")
            hint = f"near it: {', '.join(near)}" if near else "/v1/models lists those that are"
            text = f"the model {name or '':.100} is not here; {hint}" if name else "there is no model here"
            raise ApiError(404, text, param="model", code="model_not_found")
        return found

    async def preload(self, name: str) -> Served:
        """Load a model before anybody asks; `is_starting` until then. Raises as `open`."""
        async with self.open(name) as served:
            self.is_starting = False
            return served

    @asynccontextmanager
    async def open(self, name: str | None = None, keep_alive: float | None = None) -> AsyncIterator[Served]:
        """The model of a name, which stays loaded within the block, and for keep_alive seconds after it (None: as the
        server is set; negative: for ever).

        ApiError: 404 for a name that is unknown, 503 where there is no memory for it, others where it cannot be loaded.
        """
        if self._draining:
            raise ApiError(503, "the server is shutting down", retry_after=5.0)
        asked = self.name(name)
        name = self.library.first(asked)
        self._users[name] += 1  # from now on: it must not go between the loading and the use
        try:
            loaded = await self._get(name)
            if keep_alive is not None:
                loaded.keep_alive = FOREVER if keep_alive < 0 else keep_alive
            loaded.n_answering += 1
            try:
                yield loaded.served if asked == name else replace(loaded.served, name=asked)
            finally:
                loaded.n_answering -= 1
        finally:
            self._users[name] -= 1
            if name in self._loaded:
                self._loaded[name].last_used = time.monotonic()
            self._reap_later()

    async def unload(self, name: str) -> None:
        """Drop a model; one that is answering, as soon as nobody uses it any more."""
        name = self.library.first(name)
        if name in self._loaded:
            self._loaded[name].keep_alive = 0.0
            await self._drop_idle(name)

    async def _drop_idle(self, name: str) -> None:
        """Drop a model, unless it is answering."""
        async with self._turn():
            if name in self._loaded and not self._users[name]:
                await self._drop(name)

    def _idle(self) -> list[Loaded]:
        """Models that nobody uses."""
        return [loaded for name, loaded in self._loaded.items() if not self._users[name]]

    def _turn(self) -> asyncio.Lock:
        """One model is loaded or dropped at a time."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    async def _get(self, name: str) -> Loaded:
        await self._drop_stale(name)
        while (loaded := self._loaded.get(name)) is None:
            if name not in self._loading:
                self._loading[name] = asyncio.ensure_future(self._load_in_turn(name))
            # Who waits may go away; the model comes all the same, and the next one finds it.
            await asyncio.shield(self._loading[name])
        return loaded

    async def _drop_stale(self, name: str) -> None:
        """A model that is to be loaded anew goes."""
        loaded = self._loaded.get(name)
        if loaded is not None and self._why_anew(loaded):
            async with self._turn():
                if self._loaded.get(name) is loaded and (why := self._why_anew(loaded)):
                    log.warning("%s %s: it is loaded anew", name, why)
                    await self._drop(name)

    def _why_anew(self, loaded: Loaded) -> str:
        """Why a model is not the one that is asked for any more: its engine has come to an error (those who waited for
        it were told), or another file has its name and nobody is reading answers of the old one. A file that is gone
        is still mapped, and goes on."""
        engine = loaded.served.engine
        if engine is not None and engine.status().error:
            return "has failed"
        now = _origin(self.library.files().get(loaded.served.name, loaded.origin[0]))
        return "is another file now" if now[1] and now != loaded.origin and not loaded.n_answering else ""

    async def _load_in_turn(self, name: str) -> None:
        try:
            async with self._turn():
                self._loaded[name] = await self._load_now(name)
        finally:
            del self._loading[name]
        self._reap_later()

    async def _load_now(self, name: str) -> Loaded:
        path = self.library.files()[name]
        origin, n_bytes = _origin(path), self.n_bytes(name)
        while self._loaded and sum(loaded.n_bytes for loaded in self._loaded.values()) + n_bytes > self._n_bytes:
            await self._make_room(name)
        try:
            while True:
                begun = time.monotonic()
                try:
                    model, engine = await asyncio.to_thread(self._load, path)
                except (NotEnoughMemoryError, MemoryError):
                    if not self._idle():
                        raise
                    await self._make_room(name)
                else:
                    break
        except LocalllmError as error:
            told = self.without_paths(api_error(error))
            if not self.is_starting:  # that ends the server, which says why
                log.error("%s cannot be loaded: %s", name, told.message)
            raise told from error
        log.info("%s is loaded (%.1f s)", name, time.monotonic() - begun)
        served = Served(name, model, engine, self.created(name), Embeddings(model, self._pooling))
        keep_alive = FOREVER if name == self._pinned else self._keep_alive
        return Loaded(served, n_bytes, keep_alive, origin, last_used=time.monotonic())

    async def _make_room(self, name: str) -> None:
        """Drop the model that was used least recently, and is not answering."""
        idle = self._idle()
        if not idle:
            text = f"there is no room for {name} while {', '.join(self._loaded)} answer; try again later"
            raise ApiError(503, text, retry_after=5.0)
        await self._drop(min(idle, key=lambda loaded: loaded.last_used).served.name)

    async def _drop(self, name: str) -> None:
        loaded = self._loaded.pop(name)
        await asyncio.to_thread(_close, loaded.served)
        log.info("%s is dropped", name)

    def _reap_later(self) -> None:
        if self._reaper is None or self._reaper.done():
            self._reaper = asyncio.ensure_future(self._reap())

    async def _reap(self) -> None:
        """Drop models whose time is over, until none can be."""
        while True:
            idle = [loaded for loaded in self._idle() if loaded.expires < FOREVER]
            if not idle:
                return
            first = min(idle, key=lambda loaded: loaded.expires)
            left = first.expires - time.monotonic()
            if left > 0:
                await asyncio.sleep(min(left, 1.0))  # it may be told to go sooner
                continue
            await self._drop_idle(first.served.name)

    def without_paths(self, error: ApiError) -> ApiError:
        """The error with names in the place of paths."""
        for name, path in self.library.files().items():
            for shown in (path, os.path.realpath(path)):
                error.message = error.message.replace(shown, name)
                folder = os.path.dirname(shown)
                if len(folder) > 1:
                    error.message = error.message.replace(folder + os.sep, "")
        return error

    @property
    def n_calls(self) -> int:
        """Calls that use a model, or wait for it."""
        return self._users.total()

    def draining(self) -> None:
        """From now on nothing is answered that has not begun."""
        self._draining = True

    async def end_answers(self) -> None:
        """End all answers that run, as cancelled."""
        engines = [loaded.served.engine for loaded in self.loaded() if loaded.served.engine is not None]
        await asyncio.gather(*(asyncio.to_thread(engine.close) for engine in engines))

    def close(self) -> None:
        """Drop all models, from whichever thread."""
        if self._reaper is not None and not self._reaper.done():
            self._reaper.get_loop().call_soon_threadsafe(self._reaper.cancel)
        for loaded in self.loaded():
            _close(loaded.served)
        self._loaded.clear()


def _origin(path: str) -> Origin:
    try:
        found = [os.stat(part) for part in part_names(path)]
    except OSError:
        return path, ()
    return path, tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s in found)


def _close(served: Served) -> None:
    if served.engine is not None:
        served.engine.close()
    served.model.close()
