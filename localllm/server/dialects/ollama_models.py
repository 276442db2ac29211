"""Ollama's /api/tags, ps, show, version, pull and embed (its docs/api.md)."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator
from functools import lru_cache
from typing import Any

from localllm.errors import LocalllmError
from localllm.generate.params import Sampling, defaults_of
from localllm.gguf.file_types import FILE_TYPES
from localllm.gguf.reader import GGUFFile, open_gguf
from localllm.server.call import Call
from localllm.server.dialects import ollama_types as types
from localllm.server.dialects.ollama_messages import keep_alive
from localllm.server.dialects.openai_common import refuse, timestamp
from localllm.server.dialects.openai_embeddings import check_length, shortened
from localllm.server.endpoint import ApiError, Endpoint
from localllm.server.models import Loaded, Models, Served
from localllm.server.streams import ndjson
from localllm.store.catalog import find_entry
from localllm.store.hub_address import address, is_address, short_name
from localllm.store.names import ModelName

_MAX_LISTED = 32
"""Elements of an array of metadata that /api/show tells; longer ones need verbose."""
_OLLAMA = "0.12.0"
"""The version of Ollama whose API this is: clients look at it to know what they may ask."""


async def version(call: Call) -> types.Version:
    return types.Version(_OLLAMA)


# --- what there is


async def tags(call: Call) -> types.Tags:
    found = call.server.models
    rows = []
    for name in found.names():
        details = await asyncio.to_thread(_details_of, found, name)
        size, modified = found.n_bytes(name), timestamp(found.created(name))
        digest = _digest(found, name)
        rows.append(
            types.ListedModel(name=name, model=name, modified_at=modified, size=size, digest=digest, details=details)
        )
    return types.Tags(rows)


async def ps(call: Call) -> types.Running:
    found = call.server.models
    rows = []
    for loaded in found.loaded():
        name = loaded.served.name
        rows.append(_running(loaded, _digest(found, name), await asyncio.to_thread(_details_of, found, name)))
    return types.Running(rows)


def _digest(models: Models, name: str) -> str:
    """What tells one file from another: clients cut 12 digits off it. Files are not read for it."""
    return hashlib.sha256(f"{name} {models.n_bytes(name)} {models.created(name)}".encode()).hexdigest()


def _running(loaded: Loaded, digest: str, details: types.Details) -> types.RunningModel:
    left = loaded.expires - time.monotonic()
    until = _FAR if math.isinf(left) else timestamp(time.time() + max(0.0, left))
    name = loaded.served.name
    return types.RunningModel(
        name=name, model=name, size=loaded.n_bytes, digest=digest, details=details, expires_at=until,
        context_length=loaded.served.n_ctx,
    )  # fmt: skip


_FAR = "2999-12-31T00:00:00Z"
"""Of a model that stays."""


def _details_of(models: Models, name: str) -> types.Details:
    path = models.library.files().get(name, "")
    try:
        stat = os.stat(path)
        return _read_details(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, LocalllmError):
        return types.Details()


@lru_cache(maxsize=256)
def _read_details(path: str, mtime_ns: int, size: int) -> types.Details:
    """From the head of a file, which is read once."""
    with open_gguf(path) as file:
        return _details(file)


def _details(file: GGUFFile) -> types.Details:
    formats: Counter[str] = Counter()
    for tensor in file.tensors.values():
        formats[tensor.format.name] += tensor.n_elements
    family = file.get("general.architecture", str, "")
    n_params = formats.total()
    label = file.get("general.size_label", str, "") or (
        f"{n_params / 1e9:.1f}B" if n_params >= 1e9 else f"{n_params / 1e6:.0f}M"
    )
    level = FILE_TYPES.get(file.get("general.file_type", int, -1)) or (formats.most_common(1)[0][0] if formats else "")
    return types.Details(family=family, families=[family], parameter_size=label, quantization_level=level)


async def show(call: Call) -> types.Shown:
    body: types.ShowBody = call.body
    name = call.server.models.name(_named(body))
    return await asyncio.to_thread(_shown, call.server.models, name, bool(body.verbose))


def _named(body: types.ShowBody | types.PullBody) -> str:
    name = body.model or body.name
    if not name:
        raise refuse("model: is missing", "model")
    return name


def _shown(models: Models, name: str, verbose: bool) -> types.Shown:
    with open_gguf(models.library.files()[name]) as file:
        template = file.metadata.get("tokenizer.chat_template")
        text = template if isinstance(template, str) else ""
        licence = file.metadata.get("general.license")
        return types.Shown(
            modelfile=f"FROM {name}",
            parameters=_parameters(defaults_of(file.metadata)),
            template=text,
            details=_details(file),
            model_info={key: _told(value, verbose) for key, value in file.metadata.items()},
            capabilities=_capabilities(file, text),
            modified_at=timestamp(models.created(name)),
            **({"license": licence} if isinstance(licence, str) else {}),
        )


def _parameters(sampling: Sampling) -> str:
    """As a Modelfile has them."""
    names = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n")
    return "\n".join(f"{name:<30} {getattr(sampling, name):g}" for name in names)


def _told(value: Any, verbose: bool) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if not verbose and len(value) > _MAX_LISTED:
        return None
    return [_told(element, verbose) for element in (value.tolist() if hasattr(value, "tolist") else value)]


def _capabilities(file: GGUFFile, template: str) -> list[str]:
    """What Ollama's clients ask before they send tools, thinking or a suffix."""
    if any(f"{file.get('general.architecture', str, '')}.pooling_type" == key for key in file.metadata):
        return ["embedding"]
    found = ["completion"]
    if "tools" in template:
        found.append("tools")
    if any(f"tokenizer.ggml.{key}_token_id" in file.metadata for key in ("prefix", "fim_pre")):
        found.append("insert")
    if any(word in template for word in ("enable_thinking", "<think>", "reasoning_effort")):
        found.append("thinking")
    return found


# --- pull


async def pull(call: Call) -> Any:
    name = _named(call.body)
    wanted = _fetchable(name)
    if wanted is None:
        raise ApiError(
            404, f"the model {name:.100} is not in the catalog, and no hf.co/ORG/REPO:QUANT", param="model",
            code="model_not_found",
        )  # fmt: skip
    if call.body.stream is not False:
        return await ndjson(call, _pulled(call, wanted))
    last = None
    async for status in _pulled(call, wanted):
        last = status
    return last


def _fetchable(name: str) -> ModelName | None:
    """A model of the catalog or of the hub. A client may name no other address, and no path: it would ask for us."""
    if find_entry(name.removesuffix(":latest")) is not None:
        return ModelName("catalog", name.removesuffix(":latest"))
    hub = address(name) if is_address(name) else short_name(name)
    return ModelName("hub", name, hub) if hub else None


async def _pulled(call: Call, wanted: ModelName) -> AsyncGenerator[types.PullStatus, None]:
    """What the download says, until it is whole. It goes on when the client leaves: another one finds it."""
    from localllm.store.fetch import fetch

    loop, news = asyncio.get_running_loop(), asyncio.Queue[types.PullStatus | None](64)

    def report(text: str, done: int, total: int) -> None:
        status = types.PullStatus(status=" ".join(text.split()), total=total, completed=done)
        loop.call_soon_threadsafe(lambda: None if news.full() else news.put_nowait(status))

    yield types.PullStatus(status="pulling manifest")
    fetching = asyncio.ensure_future(asyncio.to_thread(fetch, wanted, report))
    while not fetching.done():
        try:
            told = await asyncio.wait_for(news.get(), 0.2)
        except TimeoutError:
            continue
        if told is not None:
            yield told
    await fetching
    call.server.models.library.refresh()
    yield types.PullStatus(status="success")


# --- embeddings


async def embed(call: Call) -> types.EmbedAnswer:
    body: types.EmbedBody = call.body
    begun = time.perf_counter_ns()
    async with call.model(body.model, keep_alive(body.keep_alive)) as served:
        loaded = time.perf_counter_ns() - begun
        given = [body.input] if isinstance(body.input, str) else body.input
        texts = [await _ids(text, served, i, bool(body.truncate)) for i, text in enumerate(given)]
        rows = shortened(await served.embeddings.embed(texts), body.dimensions).tolist() if texts else []
        return types.EmbedAnswer(
            model=served.name,
            embeddings=rows,
            total_duration=time.perf_counter_ns() - begun,
            load_duration=loaded,
            prompt_eval_count=sum(map(len, texts)),
        )


async def _ids(text: str, served: Served, place: int, truncate: bool) -> list[int]:
    n_ctx, where = served.n_ctx, f"input[{place}]"
    if not truncate:
        check_length(served.at_least(text), n_ctx, where, "at least ")
    ids = await served.encode(text, add_special=True)
    if not ids:
        raise refuse(f"{where}: has no tokens: there is nothing to embed", "input")
    if truncate and len(ids) > n_ctx:
        tokenizer = served.tokenizer()
        n_end = int(tokenizer.add_eos) + int(tokenizer.add_sep)
        return [*ids[: n_ctx - n_end], *ids[len(ids) - n_end :]]
    check_length(len(ids), n_ctx, where)
    return ids


async def old_embed(call: Call) -> types.OldEmbedAnswer:
    """/api/embeddings, which /api/embed has replaced. Its rows are not of length 1."""
    body: types.OldEmbedBody = call.body
    async with call.model(body.model, keep_alive(body.keep_alive)) as served:
        ids = await _ids(body.prompt, served, 0, False)
        (row,) = await served.embeddings.embed([ids], normalize=False)
        return types.OldEmbedAnswer(row.tolist())


# --- what is not done here


async def refused(call: Call) -> Any:
    raise ApiError(
        403, f"{call.endpoint.path}: models are made and removed on the command line, not through the server"
    )


ENDPOINTS = (
    Endpoint("GET", "/api/version", version, None, types.Version, "The version of Ollama whose API this is"),
    Endpoint("GET", "/api/tags", tags, None, types.Tags, "Models that may be asked for"),
    Endpoint("GET", "/api/ps", ps, None, types.Running, "Models that are loaded"),
    Endpoint("POST", "/api/show", show, types.ShowBody, types.Shown, "What a model is"),
    Endpoint("POST", "/api/pull", pull, types.PullBody, types.PullStatus, "Fetch a model", types.PullStatus),
    Endpoint("POST", "/api/embed", embed, types.EmbedBody, types.EmbedAnswer, "Embeddings of texts"),
    Endpoint("POST", "/api/embeddings", old_embed, types.OldEmbedBody, types.OldEmbedAnswer, "Embedding of a text"),
    *(Endpoint("POST", f"/api/{verb}", refused, summary="Not done here") for verb in ("create", "copy", "push")),
    Endpoint("POST", "/api/blobs/{digest}", refused, summary="Not done here"),
    Endpoint("DELETE", "/api/delete", refused, summary="Not done here"),
)  # fmt: skip
