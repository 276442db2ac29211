"""From a file to a model with its engine, as the command line wants them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec

from localllm.engine.engine import Engine
from localllm.engine.options import EngineOptions
from localllm.generate.grammar_vocabulary import vocabulary_of
from localllm.generate.samplers.breakers import pieces_of
from localllm.generate.samplers.row import KEYS as SAMPLER_KERNELS
from localllm.generate.session import Model
from localllm.generate.token_mask import KEY as MASK_KERNEL
from localllm.kernels.objects import load as load_kernels
from localllm.store import records

_log = logging.getLogger("localllm.server")
_CONTEXTS = (32768, 16384, 8192)
"""Sizes that are tried where none is asked for, as far as the model has learned so many positions."""
_KERNELS = [*SAMPLER_KERNELS, MASK_KERNEL]
_WARM_TOKENS = 4
_SHARE = 0.25
"""Of the free memory, that contexts may take then."""


@dataclass(frozen=True)
class ModelSettings:
    """See LoadedModel.load and EngineOptions (whose n_ctx None means: as large as memory allows for; 0: what
    the model was trained for). embed_only: no
    engine is made. chat_template: see Model.with_template."""

    engine: EngineOptions
    n_threads: int | None = None
    kv_type: str = "f16"
    swa_full: bool = False
    embed_only: bool = False
    chat_template: str | None = None
    precision: str = "normal"


Progress = Callable[[str, int, int], None]


def load(path: str, settings: ModelSettings, progress: Progress | None = None) -> tuple[Model, Engine | None]:
    """A model and its engine; None for one that embeds texts only. Raises LocalllmError."""
    wanted = settings.engine
    model = Model.load(
        path,
        n_ctx=wanted.n_ctx,
        n_threads=settings.n_threads,
        kv_type=settings.kv_type,
        swa_full=settings.swa_full,
        progress=progress,
        precision=settings.precision,
    ).with_template(settings.chat_template)
    records.used(path)
    for text in model.notes:
        _log.warning("%s", text)
    try:
        network = model.network
        if model.tokenizer is not None:
            model.tokenizer.encode("warm")  # makes its tables, and finds out whether they can be made
        if settings.embed_only or not network.causal or network.output is None:
            return model, None
        if model.template.is_fallback:
            _log.warning("%s: %s", model.description, model.template.advice)
        load_kernels(_KERNELS, progress and partial(progress, "Compiling kernels of the sampler (happens once)"))
        n_ctx = roomy_context(model, wanted.n_seq) if wanted.n_ctx is None else model.default_n_ctx
        # Before the weights are read.
        if text := model.memory(wanted.n_seq, wanted.n_batch).check(n_ctx, wanted.cache_bytes or 0):
            _log.warning("%s", text)
        with ThreadPoolExecutor(1, "localllm-vocabulary") as beside:
            reading = beside.submit(_read_vocabulary, model)
            _warm(model)
            reading.result()
        return model, Engine(model, replace(wanted, n_ctx=n_ctx))
    except BaseException:
        model.close()
        raise


def _warm(model: Model) -> None:
    """Read the weights once, and let the threads start, before anybody waits for it."""
    context = model.context(n_ctx=_WARM_TOKENS, n_batch=_WARM_TOKENS)
    try:
        context.forward([0] * (_WARM_TOKENS - 1))
        context.forward([0])
    finally:
        context.close()


def _read_vocabulary(model: Model) -> None:
    """Make what grammars and DRY look up in a vocabulary: it takes up to a second, in which nothing else would go on if
    a request had to wait for it."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        return
    pieces_of(tokenizer)
    if find_spec("llguidance") is None:
        return
    try:
        vocabulary_of(tokenizer)
    except Exception as error:
        _log.warning("grammars cannot be used with %s: %s", model.description, error)


def roomy_context(model: Model, n_seq: int) -> int:
    """Tokens of a context, n_seq of which take a moderate part of the free memory."""
    memory = model.memory(n_seq)
    budget = _SHARE * memory.free().n_bytes
    for n_ctx in _CONTEXTS:
        if n_ctx <= model.config.n_ctx_train and memory.need(n_ctx).states <= budget:
            return n_ctx
    return model.default_n_ctx
