"""`localllm serve`: models behind HTTP, for the clients of OpenAI, Anthropic, Ollama and llama.cpp."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.common import SIZE, SIZE_OR_NONE, Progress, cache_folder, note, one_model, options
from localllm.cli.sections import Sectioned
from localllm.cli.verbose import Counted, loaded_facts, timed, where
from localllm.errors import FileError, LocalllmError, UsageError
from localllm.terminal.figures import size

if TYPE_CHECKING:
    import asyncio

    from localllm.engine.engine import Engine
    from localllm.generate.session import Model
    from localllm.server.library import Library
    from localllm.server.loading import ModelSettings
    from localllm.server.models import Models, Served

_UNITS = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEEP_ALIVE = 300.0


class _Seconds(click.ParamType):  # type: ignore[type-arg]
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(-?\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|)", str(value))
        if not found:
            self.fail(f"{value!r} is no time: write 90, 30s, 5m or 2h", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that LOCALLLM_<NAME> may set, too."""
    longest = max(names, key=len).partition("/")[0].lstrip("-")
    return click.option(*names, envvar="LOCALLLM_" + longest.replace("-", "_").upper(), show_envvar=False, **settings)


_SECTIONS = {
    "Models": ("chat_template", "models_dir", "alias", "only", "keep_alive", "embedding", "pooling"),
    "Memory and speed": (
        "ctx_size",
        "memory_check",
        "parallel",
        "threads",
        "batch_size",
        "kv_type",
        "swa_full",
        "precision",
    ),
    "Prompt cache": ("cache", "cache_dir", "cache_size", "cache_ram"),
    "Access": ("api_key", "api_key_file", "without_key", "allowed_host", "allowed_origin"),
    "Limits": ("max_queue", "timeout", "drain", "max_body", "max_connections"),
    "Monitoring": ("slots", "metrics", "log_requests", "log_prompts"),
}
"""Headings of the help -> parameters."""
_VARIABLES = "Options may be set by variables, too: LOCALLLM_PORT=8000 for --port 8000. The command line goes first."


@click.command(
    "serve", cls=Sectioned, sections=_SECTIONS, epilog=_VARIABLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.argument("model", required=False, metavar="[MODEL]")
@click.option("model_option", "-m", "--model", "-hf", "--hf-repo", metavar="MODEL", help="The same as MODEL.")
@_option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@_option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    metavar="N",
    help="Port; 0: any that is free.",
)
@options("chat_template")
@_option("--models-dir", metavar="FOLDER", help="Serve the models of this folder, and of the folders in it, by name.")
@_option("-a", "--alias", metavar="NAME", multiple=True, help="Name of MODEL for clients; more than one may be given.")
@_option("--only", is_flag=True, help="Serve MODEL alone, whatever name clients ask for.")
@options("ctx_size", "memory_check", "threads", "batch_size", "kv_type", "swa_full", "precision")
@_option(
    "-np",
    "--parallel",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    metavar="N",
    help="Answers at the same time; each has a context of its own.",
)
@_option("--embedding", "--embeddings", is_flag=True, help="Embed only: no memory is kept for answers.")
@_option(
    "--pooling",
    type=click.Choice(["mean", "cls", "last", "rank"]),
    help="How a text's tokens become one embedding. [default: as the file says]",
)
@options("cache", "cache_dir", "cache_size")
@_option(
    "--cache-ram",
    type=SIZE_OR_NONE,
    metavar="SIZE",
    help="Memory for prompts that no context holds any more: 500M, 2G; 0: none. [default: a tenth of what is free, at "
    "most 1G]",
)
@_option(
    "--keep-alive",
    type=_Seconds(),
    metavar="TIME",
    help="Drop a model that nobody asked for so long; -1: never. [default: 5m; MODEL: never]",
)
@_option(
    "--max-queue",
    type=click.IntRange(0),
    default=256,
    show_default=True,
    metavar="N",
    help="Requests that may wait; more are refused (429).",
)
@_option("--timeout", type=_Seconds(), metavar="TIME", help="End answers after so long. [default: never]")
@_option(
    "--drain",
    type=_Seconds(),
    default="30s",
    show_default=True,
    metavar="TIME",
    help="What answers have to come to their end after SIGTERM or Ctrl-C; a second one ends at once.",
)
@_option("--api-key", metavar="KEY", multiple=True, help="Ask clients for this key; more than one may be given.")
@_option("--api-key-file", metavar="FILE", help="Keys, one a line; lines that begin with # are comments.")
@_option("--without-key", is_flag=True, help="Let others on the network in without a key.")
@_option(
    "--allowed-host",
    metavar="NAME",
    multiple=True,
    help="Name by which the server may be reached, beside addresses and local names; *: any.",
)
@_option(
    "--allowed-origin",
    metavar="ORIGIN",
    multiple=True,
    help="Let pages of this origin use the server (CORS), such as https://example.org; *: of any.",
)
@_option("--max-body", type=SIZE, default="32M", show_default=True, metavar="SIZE", help="Size of a request, at most.")
@_option(
    "--max-connections",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="N",
    help="Connections at the same time.",
)
@_option("--slots/--no-slots", default=True, help="Tell at /slots what the slots do. [default: slots]")
@_option("--metrics/--no-metrics", default=True, help="Count at /metrics, for Prometheus. [default: metrics]")
@_option("--log-requests", is_flag=True, help="Log a line for each request.")
@_option("--log-prompts", is_flag=True, help="Log prompts, as the model reads them.")
def command(model: str | None, **given: Any) -> None:
    """Serve models over HTTP, to clients of OpenAI, Anthropic, Ollama and llama.cpp, and to a browser.

    MODEL is the path of a GGUF file or a name of `localllm list`. It is loaded at once; other models, those that are
    here by `localllm list` and those of --models-dir, when a client names them.
    """
    given["model"] = one_model(model, given.pop("model_option"))
    need_extra()
    from localllm.server.guard import check_exposure
    from localllm.server.listener import bind

    keys = _keys(given)
    check_exposure(given["host"], bool(keys), given["without_key"])
    models, name = _models(given)
    sock = bind(given["host"], given["port"])
    _serve(models, name, sock, keys, given)


def _models(given: Mapping[str, Any]) -> tuple[Models, str | None]:
    """What is served, and the name of the model that is loaded at once, if any."""
    from localllm.engine.options import EngineOptions
    from localllm.runtime.system import available_memory
    from localllm.server.library import Library
    from localllm.server.loading import ModelSettings
    from localllm.server.models import FOREVER, Models

    engine = EngineOptions(
        given["ctx_size"], given["parallel"], given["batch_size"], given["max_queue"],
        given["cache_ram"], cache_folder(given["cache_dir"]) if given["cache"] else None, given["cache_size"],
    )  # fmt: skip
    settings = ModelSettings(
        engine, given["threads"], given["kv_type"], given["swa_full"], given["embedding"], precision=given["precision"]
    )
    named = named_models(given["model"], _parts(given["alias"]))
    if given["chat_template"] and not named:
        raise UsageError("--chat-template is that of MODEL, and none is given")
    of_model = replace(settings, chat_template=given["chat_template"])
    folder = given["models_dir"]
    if folder is not None and not os.path.isdir(folder):
        raise FileError(f"--models-dir {folder}: no such folder")
    if given["only"] and not named:
        raise UsageError("--only needs a MODEL")
    library = Library(named, folder, store=not given["only"], any_name=given["only"])
    if not library.files():
        raise UsageError("there is no model to serve: name one, fetch one (`localllm pull`), or give --models-dir")
    default = next(iter(named), None)
    keep_alive = given["keep_alive"]
    models = Models(
        library, lambda path: load_told(path, of_model if path in named.values() else settings),
        default or _default(library),
        _KEEP_ALIVE if keep_alive is None else keep_alive if keep_alive >= 0 else FOREVER, available_memory(),
        pinned=default if keep_alive is None else None,
        pooling=given["pooling"],
    )  # fmt: skip
    return models, default


def load_told(path: str, settings: ModelSettings) -> tuple[Model, Engine | None]:
    """A model and its engine; -v tells of it."""
    from localllm.server.loading import load

    progress = Counted(Progress())
    with timed("loaded") as found:
        made = load(path, settings, progress)
        found += [*where(path), *loaded_facts(made[0], progress)]
    return made


def named_models(model: str | None, aliases: Sequence[str]) -> dict[str, str]:
    """Names of the model on the command line -> its path."""
    if model is None:
        if aliases:
            raise UsageError("--alias names MODEL, and none is given")
        return {}
    from localllm.store.catalog import find_entry
    from localllm.store.filenames import stem
    from localllm.store.resolve import resolve

    path = resolve(model, fetch=True)
    entry = None if os.path.isfile(model) else find_entry(model)
    return dict.fromkeys(aliases or [entry.name if entry else stem(path)], path)


def _default(library: Library) -> str | None:
    """Which model is meant where a client names none: the catalog's default, if it is here."""
    from localllm.store.catalog import catalog

    return library.find(catalog().default.name)


def _keys(given: Mapping[str, Any]) -> tuple[str, ...]:
    """From options, the file and the variable. Raises FileError and UsageError."""
    keys = _parts(given["api_key"])
    path = given["api_key_file"]
    if path is not None:
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"--api-key-file {path}: {getattr(error, 'strerror', None) or error}") from None
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found:
            raise UsageError(f"--api-key-file {path}: there is no key in it")
        keys += found
    return tuple(keys)


def _parts(values: Sequence[str]) -> list[str]:
    """Values of an option that may be given several times, and may hold several with commas between them."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _serve(
    models: Models, name: str | None, sock: socket.socket, keys: tuple[str, ...], given: Mapping[str, Any]
) -> None:
    from localllm.server import logs
    from localllm.server.app import busy_app, create_app
    from localllm.server.listener import Limits, address, run
    from localllm.server.options import ServerOptions

    logs.configure(given["log_requests"])
    settings = ServerOptions(
        keys, tuple(_parts(given["allowed_host"])), tuple(_parts(given["allowed_origin"])), given["max_body"],
        timeout=given["timeout"], log_prompts=given["log_prompts"], slots=given["slots"], metrics=given["metrics"],
    )  # fmt: skip
    life = _Life(models, name, address(sock))
    run(
        create_app(models, settings),
        sock,
        Limits(connections=given["max_connections"]),
        given["drain"],
        life,
        busy_app(),
    )
    if life.failed is not None:
        raise life.failed


class _Life:
    """Loads the model at the start, and tells of it in one line; see localllm.server.listener's Life."""

    def __init__(self, models: Models, name: str | None, url: str) -> None:
        self._models, self._name, self._url = models, name, url
        self._task: asyncio.Task[None] | None = None
        self.failed: BaseException | None = None

    def begin(self, stop: Callable[[], None]) -> None:
        self._models.is_starting = self._name is not None
        import asyncio

        self._task = asyncio.ensure_future(self._load(stop))

    async def _load(self, stop: Callable[[], None]) -> None:
        from localllm.server.endpoint import ApiError

        if self._name is None:
            note(f"{self._url} serves {len(self._models.names())} models, loaded when they are asked for")
            return
        try:
            note(f"{self._url} serves {described(await self._models.preload(self._name))}")
        except ApiError as error:
            cause = error.__cause__
            self.failed = cause if isinstance(cause, LocalllmError) else LocalllmError(error.message)
            stop()
        except Exception as error:  # no memory, or a bug: without its model the server would wait for nothing
            self.failed = error
            stop()

    def draining(self) -> None:
        self._models.draining()
        if n := self._models.n_calls:
            note(f"{n} {'answers come' if n > 1 else 'answer comes'} to an end first; Ctrl-C ends at once")

    async def end_answers(self) -> None:
        await self._models.end_answers()

    def is_stuck(self) -> bool:
        return bool(self._models.loading())


def described(served: Served) -> str:
    """A model that is loaded: "smollm2-135m: 98 MB, 4 × 8192 tokens of context (755 MB when full)"."""
    text = f"{served.name}: {size(served.model.n_bytes)}"
    if served.engine is None:
        return f"{text}, embeds only"
    n_ctx, n_seq = served.engine.n_ctx, served.engine.options.n_seq
    contexts = size(served.model.memory(n_seq).need(n_ctx).states)
    return f"{text}, {n_seq} × {n_ctx} tokens of context ({contexts} when full)"


def need_extra() -> None:
    try:
        import msgspec  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise LocalllmError(f"serving needs {error.name}: pip install 'localllm[server]'") from None
