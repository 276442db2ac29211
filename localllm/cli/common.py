"""What the verbs share: options under llama.cpp's names, loading with progress, statistics, small terminal matters."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from localllm.chat.notes import note as note
from localllm.cli.sampling_options import MORE_SAMPLING, SAMPLING, SECTIONS, given_sampling
from localllm.cli.settings import default_model
from localllm.cli.verbose import Counted, loaded_facts, timed, where
from localllm.errors import LocalllmError, UsageError
from localllm.terminal.progress import Progress as Progress
from localllm.terminal.screen import Screen

if TYPE_CHECKING:
    from localllm.generate.answer import TextModel
    from localllm.generate.params import Sampling
    from localllm.generate.prompt_cache import CacheOptions
    from localllm.generate.session import Model
    from localllm.generate.speculation.options import Guessing

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Size(click.ParamType):  # type: ignore[type-arg]  # older versions of click have no arguments there
    name = "size"

    def __init__(self, or_none: bool = False) -> None:
        self._or_none = or_none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if self._or_none and str(value) == "0":
            return 0
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([MG])B?", str(value), re.IGNORECASE)
        n_bytes = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
        if n_bytes < 1:
            self.fail(f"{value!r} is no size: write 900M or 1.5G", param, ctx)
        return n_bytes


_UNITS = {"M": 10**6, "G": 10**9}
SIZE = _Size()
"""The type of an option that is a number of bytes, at least one: 900M, 1.5G."""
SIZE_OR_NONE = _Size(or_none=True)
"""The same, or 0."""


def _check_memory(_ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """The callback of --no-memory-check: whatever is loaded in this process, and in those that it starts."""
    if not wanted:
        os.environ["LOCALLLM_MEMORY_CHECK"] = "off"


def _row(*names: str, env: bool = True, **options: Any) -> tuple[tuple[str, ...], bool, dict[str, Any]]:
    return names, env, options


OPTIONS: dict[str, tuple[tuple[str, ...], bool, dict[str, Any]]] = {
    "model": _row(
        "-m", "--model", "-hf", "--hf-repo", env=False, metavar="MODEL",
        help="A GGUF file, a name of `localllm list`, ORG/REPO[:QUANT] of a hub, or an address.",
    ),
    "prompt": _row("-p", "--prompt", env=False, metavar="TEXT", help="The prompt."),
    "system": _row("-sys", "--system", "--system-prompt", default="", metavar="TEXT", help="The system message."),
    "chat_template": _row(
        "--chat-template", "--chat-template-file", metavar="NAME|FILE",
        help="Chat template in place of the model's own: a name (chatml, llama3, gemma, mistral-v7, phi4, ...), or a "
        "file in Jinja. [default: the file's own; where it has none, what its vocabulary asks for]",
    ),
    "predict": _row(
        "-n", "--predict", "--n-predict", type=click.IntRange(-1), default=-1, metavar="N",
        help="Maximum number of tokens to generate; -1: until the model ends its answer. [default: -1]",
    ),
    "ctx_size": _row(
        "-c", "--ctx-size", type=click.IntRange(0), metavar="N",
        help="Size of the context in tokens; 0: what the model was trained for. [default: what suits the model]",
    ),
    "memory_check": _row(
        "--memory-check/--no-memory-check", default=True, expose_value=False, callback=_check_memory,
        help="Refuse a model or a context that does not fit into the free memory. [default: memory-check]",
    ),
    "threads": _row(
        "-t", "--threads", type=click.IntRange(1), metavar="N",
        help="Number of threads. [default: what `bench --tune` found, or else one per core]",
    ),
    "batch_size": _row(
        "-b", "--batch-size", type=click.IntRange(1, 512), default=512, show_default=True, metavar="N",
        help="Maximum number of prompt tokens that are processed at once.",
    ),
    "swa_full": _row(
        "--swa-full", is_flag=True,
        help="Layers with a sliding window keep all tokens: more memory, but a conversation can be cut anywhere.",
    ),
    "draft": _row(
        "--draft", "-md", "--model-draft", "--spec-draft-model", default="text", show_default=True,
        metavar="text|mtp|off|MODEL",
        help="Who guesses tokens to come, several of which are verified in one pass: the text so far, the model's own "
        "layer for that (MTP), or a small MODEL of the same vocabulary. The answer is the same, and comes sooner where "
        "guesses are right.",
    ),
    "kv_type": _row(
        "--kv-type", type=click.Choice(["f16", "f32", "q8_0", "q4_0"]), default="f16", show_default=True,
        help="Data type of the key-value cache; q8_0 takes half the memory of f16, with a small loss of quality, "
        "q4_0 a bit more than a quarter, with a larger one.",
    ),
    "precision": _row(
        "--precision", type=click.Choice(["normal", "high"]), default="normal", show_default=True,
        help="Of activations in products: high loses half of what normal does, or less, for a tenth of the speed.",
    ),
    **{name: row for rows in SECTIONS.values() for name, (_, row) in rows.items()},
    "cache": _row(
        "--cache/--no-cache", env=False, default=True,
        help="Keep on disk what was computed for prompts of 256 tokens and more: one that begins alike is answered "
        "at once, in another process, too. [default: cache]",
    ),
    "cache_dir": _row(
        "--cache-dir", "--prompt-cache", type=click.Path(file_okay=False), metavar="DIR",
        help="Folder of what is kept of prompts (llama.cpp's --prompt-cache names a file). [default: the user's cache "
        "folder]",
    ),
    "cache_size": _row(
        "--cache-size", type=SIZE, default="2G", show_default=True, metavar="SIZE",
        help="What is kept of prompts may take so much, for all models: 900M, 5G; what is unused for longest goes.",
    ),
}  # fmt: skip
"""Parameter name -> option names, whether LOCALLLM_<NAME> may set it, and the settings for click."""

OWN = ("text", "mtp")
"""Values of --draft that need no other model."""

GENERATION = (
    "predict", "chat_template", "ctx_size", "memory_check", "threads", "batch_size", "swa_full", "kv_type", "precision",
    "draft",
    "cache", "cache_dir", "cache_size", *SAMPLING, *MORE_SAMPLING,
)  # fmt: skip

GENERATION_SECTIONS = {
    "Structured answers": ("json", "json_schema", "regex", "grammar"),
    "Memory and speed": (
        "ctx_size",
        "memory_check",
        "threads",
        "batch_size",
        "swa_full",
        "kv_type",
        "precision",
        "draft",
    ),
    "Prompt cache": ("cache", "cache_dir", "cache_size"),
    **SECTIONS,
}
"""Headings of the help of commands that write text -> parameters."""
VARIABLES = "Options may be set by variables, too: LOCALLLM_TEMP=0 for --temp 0. The command line goes first."


def options(*names: str) -> Callable[[_Command], _Command]:
    """A decorator that adds rows of OPTIONS to a command, in the order given."""

    def add(function: _Command) -> _Command:
        for name in reversed(names):
            flags, env, settings = OPTIONS[name]
            variable = f"LOCALLLM_{name.upper()}" if env else None
            function = click.option(name, *flags, envvar=variable, **settings)(function)
        return function

    return add


def shared_options() -> list[click.Parameter]:
    """All rows of OPTIONS."""
    return [click.Option([name, *flags], **settings) for name, (flags, _, settings) in OPTIONS.items()]


@dataclass(frozen=True)
class Generation:
    """The values of the options of GENERATION."""

    given: Mapping[str, Any]
    """Fields of Sampling."""
    max_tokens: int | None
    n_ctx: int | None
    n_threads: int | None
    n_batch: int
    swa_full: bool
    kv_type: str
    cache_dir: str | None = ""
    """None: prompts are not kept; "": in the user's cache folder."""
    cache_size: int = 2 * _UNITS["G"]
    chat_template: str | None = None
    """A name, or a file; None: the model's own."""
    draft: str = "text"
    """Who guesses: "text", "mtp", "off" or the name of a model."""
    precision: str = "normal"
    notes: list[str] = field(default_factory=list)
    """What the cache has to say."""
    _small: list[Model] = field(default_factory=list)
    """The model that guesses, once it is loaded."""

    def guessing(self) -> Guessing | None:
        """Who guesses the tokens to come; a model is loaded the first time, and lives until `close`."""
        if self.draft == "off":
            return None
        from localllm.generate.speculation.options import Guessing

        if self.draft in OWN:
            return Guessing(mtp=self.draft == "mtp")
        if not self._small:
            self._small.append(load_model(self.draft, self.n_ctx, self.n_threads))
        return Guessing(self._small[0])

    def close(self) -> None:
        """Release the model that guesses."""
        while self._small:
            self._small.pop().close()

    def cache(self) -> CacheOptions | None:
        """Where prompts are kept: on disk alone, as the context holds the last one."""
        if self.cache_dir is None:
            return None
        from localllm.generate.prompt_cache import CacheOptions

        return CacheOptions(cache_folder(self.cache_dir), self.cache_size, 0, self.notes.append)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Generation:
        n = given["predict"]
        limit = None if n < 0 else n
        return cls(
            given_sampling(given), limit, given["ctx_size"], given["threads"], given["batch_size"], given["swa_full"],
            given["kv_type"], (given["cache_dir"] or "") if given["cache"] else None, given["cache_size"],
            given["chat_template"], given["draft"], given["precision"],
        )  # fmt: skip

    def sampling(self, model: TextModel) -> Sampling:
        """What was given, over what the model's file says."""
        return replace(model.default_sampling, **self.given)


def cache_folder(chosen: str | None) -> Path:
    """Where prompts are kept."""
    from localllm.generate.saved_folder import default_folder

    return Path(chosen) if chosen else default_folder()


def one_model(positional: str | None, option: str | None) -> str | None:
    """The model that was named, at most once; where none was, the user's default, or None."""
    if positional is not None and option is not None:
        raise UsageError(f"the model is given twice: {option!r} by -m, and {positional!r}")
    named = option if positional is None else positional
    return default_model() if named is None else named


def _fit(model: Model) -> None:
    """Where nothing is known of this processor and the model's formats: measure which variants of kernels are the
    fastest, once and for a while. Where that cannot be (a cache that is read alone, little memory) defaults do."""
    from localllm.kernels.variants import untried

    wanted = untried(model.file.matrix_formats())
    if wanted:
        from localllm.tools import variants

        try:
            with timed("variants"), Progress() as progress:
                variants.race(wanted, model.n_threads, progress, variants.SECONDS)
        except (LocalllmError, MemoryError) as error:
            why = str(error) or "there is not enough memory"
            note(f"variants of kernels were not measured: {why}; LOCALLLM_VARIANTS=default does without")


def load_model(
    name: str | None,
    n_ctx: int | None = None,
    n_threads: int | None = None,
    swa_full: bool = False,
    kv_type: str = "f16",
    chat_template: str | None = None,
    precision: str = "normal",
) -> Model:
    """Load by path or name (None: the catalog's default), fetching what is not here; shows progress.

    chat_template: see Model.with_template.
    """
    from localllm.store.resolve import resolve

    with timed("model") as found:
        path = resolve(name, fetch=True)
        found += where(path)
    with timed("imports"):
        from localllm.generate.session import Model
    progress = Counted(Progress())
    with timed("loaded") as found:
        model = Model.load(
            path,
            n_ctx=n_ctx,
            n_threads=n_threads,
            kv_type=kv_type,
            swa_full=swa_full,
            progress=progress,
            precision=precision,
        ).with_template(chat_template)
        found += loaded_facts(model, progress)
    _fit(model)
    for text in model.notes:
        note(text)
    return model


def dimmed(text: str) -> str:
    """A text for stderr, dim where that is a terminal that has colours."""
    return click.style(text, dim=True) if Screen(sys.stderr).colours else text
