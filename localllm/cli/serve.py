"""`localllm serve`: models behind HTTP, for the clients of OpenAI, Anthropic, Ollama and llama.cpp."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.common import SIZE, Progress, note, one_model, options
from localllm.errors import FileError, LocalllmError, UsageError

if TYPE_CHECKING:
    from localllm.server.models import Models, Served

_UNITS = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_GB = 1e9
_CONTEXTS = (32768, 16384, 8192, 4096)
"""Sizes of contexts that are tried where none is asked for, as far as the model has learned them."""
_SHARE = 0.25
"""Of the free memory, that contexts may take then."""


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


@click.command("serve", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False, metavar="[MODEL]")
@options("model")
@_option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@_option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0: any that is free.")
@_option("--models-dir", metavar="FOLDER", help="Serve the models of this folder, and of the folders in it, by name.")
@_option("-a", "--alias", metavar="NAME", multiple=True, help="Name of MODEL for clients; more than one may be given.")
@_option("--only", is_flag=True, help="Serve MODEL alone, whatever name clients ask for.")
@options("ctx_size", "threads", "batch_size", "kv_type", "swa_full")
@_option("-np", "--parallel", type=click.IntRange(1, 256), default=4, show_default=True, metavar="N",
         help="Answers at the same time; each has a context of its own.")
@_option("--embedding", "--embeddings", is_flag=True, help="Embed only: no memory is kept for answers.")
@_option("--keep-alive", type=_Seconds(), metavar="TIME",
         help="Drop a model that nobody asked for so long; -1: never. [default: 5m; MODEL: never]")
@_option("--max-queue", type=click.IntRange(0), default=256, show_default=True, metavar="N",
         help="Requests that may wait; more are refused (429).")
@_option("--timeout", type=_Seconds(), metavar="TIME", help="End answers after so long. [default: never]")
@_option("--drain", type=_Seconds(), default="30s", show_default=True, metavar="TIME",
         help="What answers have to come to their end after SIGTERM or Ctrl-C; a second one ends at once.")
@_option("--api-key", metavar="KEY", multiple=True, help="Ask clients for this key; more than one may be given.")
@_option("--api-key-file", metavar="FILE", help="Keys, one a line; lines that begin with # are comments.")
@_option("--without-key", is_flag=True, help="Let others on the network in without a key.")
@_option("--allowed-host", metavar="NAME", multiple=True,
         help="Name by which the server may be reached, beside addresses and local names; *: any.")
@_option("--allowed-origin", metavar="ORIGIN", multiple=True,
         help="Let pages of this origin use the server (CORS), such as https://example.org; *: of any.")
@_option("--max-body", type=SIZE, default="32M", show_default=True, help="Size of a request, at most.")
@_option("--max-connections", type=click.IntRange(1), default=512, show_default=True, metavar="N",
         help="Connections at the same time.")
@_option("--slots/--no-slots", default=True, help="Tell at /slots what the slots do. [default: slots]")
@_option("--metrics/--no-metrics", default=True, help="Count at /metrics, for Prometheus. [default: metrics]")
@_option("--log-requests", is_flag=True, help="Log a line for each request.")
@_option("--log-prompts", is_flag=True, help="Log prompts, as the model reads them.")
def command(model: str | None, **given: Any) -> None:
    """Serve models over HTTP, to clients of OpenAI, Anthropic, Ollama and llama.cpp, and to a browser.

    MODEL is the path of a GGUF file or a name of `localllm list`. It is loaded at once; other models, those of the
    store and of --models-dir, when a client names them.
    """
    raise NotImplementedError


def _need(extra: str = "server") -> None:
    try:
        import msgspec  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise LocalllmError(f"serving needs {error.name}: pip install 'localllm[{extra}]'") from None
