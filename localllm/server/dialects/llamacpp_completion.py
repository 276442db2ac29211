"""llama.cpp's /completion: what it takes, and what becomes of it in an engine; and /infill, which makes a prompt
of what stands around a gap.

Fields, their limits and names are those of tools/server/README.md and server-schema.cpp.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from localllm.engine.request import Ended, Event, Reading, Request, Said
from localllm.server.answers import events
from localllm.server.call import Call
from localllm.server.chat import check_fits, check_may_fit
from localllm.server.dialects import openai_fields
from localllm.server.dialects.llamacpp_answers import Clock, Final, LlamaAnswer, Partial, chosen
from localllm.server.dialects.llamacpp_status import settings
from localllm.server.dialects.llamacpp_tokens import mixed_ids
from localllm.server.dialects.openai_common import refuse
from localllm.server.dialects.openai_fields import Count, CountOrAll, GenerationFields
from localllm.server.endpoint import ApiError, Endpoint
from localllm.server.merged import merged
from localllm.server.models import Served
from localllm.server.streams import sse

MAX_PROMPTS = 2048


class PromptObject(msgspec.Struct):
    prompt_string: str
    multimodal_data: list[str] = []


Prompt = str | int | list[str | int] | PromptObject


class CompletionFields(GenerationFields, kw_only=True):
    """What is asked beside the prompt."""

    n_cmpl: Annotated[int, Meta(ge=1, le=openai_fields.MAX_ANSWERS)] | None = None
    max_completion_tokens: CountOrAll | None = None
    n_probs: Annotated[int, Meta(ge=0, le=1000)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=1000)] | None = None
    """Another name of n_probs."""
    post_sampling_probs: bool = False
    t_max_predict_ms: CountOrAll | None = None
    timings_per_token: bool = False
    return_tokens: bool = False
    response_fields: list[str] | None = None
    id_slot: int | None = None
    """Any: which slot is best is the engine's matter."""
    n_keep: CountOrAll | None = None
    n_discard: Count | None = None
    """Nothing is ever discarded: a context that is full ends the answer."""
    lora: list[dict[str, Any]] | None = None


class CompletionBody(CompletionFields, kw_only=True):
    prompt: str | PromptObject | list[str | int | list[str | int] | PromptObject]


# --- what is asked


def prompts_of(given: Any) -> list[Prompt]:
    """The prompts: numbers, alone or with texts between them, are one; texts alone, lists and objects are several."""
    if not isinstance(given, list):
        return [given]
    if not given:
        raise refuse("prompt: there is none in the list", "prompt")
    if int in (kinds := set(map(type, given))) and kinds <= {int, str}:
        return [given]
    if len(given) > MAX_PROMPTS:
        raise refuse(f"prompt: {len(given)} prompts, at most {MAX_PROMPTS} are taken", "prompt")
    return given


async def prompt_ids(served: Served, prompt: Prompt) -> list[int]:
    """A prompt's ids, checked to fit. BOS goes before a text, not before ids."""
    if isinstance(prompt, PromptObject):
        if prompt.multimodal_data:
            raise refuse("multimodal_data: this server takes text alone", "prompt")
        prompt = prompt.prompt_string
    parts = prompt if isinstance(prompt, list) else [prompt]
    check_may_fit((part for part in parts if isinstance(part, str)), served, "prompt")
    ids = await mixed_ids(served, prompt, add_special=True)
    check_prompt(served, ids)
    return ids


def check_prompt(served: Served, ids: Sequence[int]) -> None:
    if not ids:
        raise refuse("prompt: it has no tokens, there is nothing to go on from", "prompt")
    check_fits(len(ids), served, "prompt")


async def request_of(call: Call, served: Served) -> Request:
    """What the engine is asked but for the prompt's ids."""
    body: CompletionFields = call.body
    if body.lora:
        raise refuse("lora: is not supported", "lora")
    n_probs = body.n_probs if body.n_probs is not None else body.logprobs
    return Request(
        ids=(),
        sampling=openai_fields.sampling(body, served),
        max_tokens=openai_fields.max_tokens(body, body.n_predict, body.max_completion_tokens),
        stop=openai_fields.stops(body.stop),
        n=body.n_cmpl or body.n or 1,
        constraint=await openai_fields.constraint(body, served),
        logprobs=n_probs or None,
        sampled_logprobs=body.post_sampling_probs,
        ignore_eog=bool(body.ignore_eos),
        use_cache=body.cache_prompt is not False,
        user=openai_fields.user(body, call),
    )


# --- what is answered


async def complete(call: Call, served: Served, prompts: Sequence[Sequence[int]], is_list: bool) -> Any:
    """The answers to prompts, complete: an object, or a list of them where several were asked for."""
    request = await request_of(call, served)
    answers = _answers(call, served, request, prompts)
    async with aclosing(_events(call, served, request, prompts, answers)) as found:
        async for answer, event in found:
            if isinstance(event, Said):
                answer.add(event)
            elif isinstance(event, Ended):
                answer.end(event)
    told = [chosen(answer.final(answer.text), call.body.response_fields) for answer in answers]
    return told if is_list or len(told) > 1 else told[0]


async def streamed(
    call: Call, served: Served, prompts: Sequence[Sequence[int]]
) -> AsyncGenerator[Partial | Final | dict[str, Any], None]:
    """The answers piece by piece."""
    body: CompletionFields = call.body
    request = await request_of(call, served)
    answers = _answers(call, served, request, prompts)
    async with aclosing(_events(call, served, request, prompts, answers)) as found:
        async for answer, event in found:
            match event:
                case Reading() if body.return_progress:
                    answer.reading(event)
                    yield answer.partial("", prompt_progress=answer.progress(event))
                case Reading():
                    answer.reading(event)
                case Said():
                    answer.add(event)
                    if event.piece.text:
                        yield answer.partial(event.piece.text)
                case Ended():
                    if answer.held:
                        yield answer.partial("")
                    answer.end(event)
                    yield chosen(answer.final(""), body.response_fields)


def _answers(call: Call, served: Served, request: Request, prompts: Sequence[Sequence[int]]) -> list[LlamaAnswer]:
    """Answer k to prompt p has the index p * n + k."""
    body: CompletionFields = call.body
    shown = _settings(body, served, request)
    with_tokens = body.return_tokens and not body.stream
    every = [ids for ids in prompts for _ in range(request.n)]
    return [
        LlamaAnswer(i, served, ids, shown, with_tokens, body.timings_per_token, body.post_sampling_probs)
        for i, ids in enumerate(every)
    ]


def _settings(body: CompletionFields, served: Served, request: Request) -> dict[str, Any]:
    """generation_settings: what was asked, as it was understood (task_params::to_json, server-task.cpp)."""
    told = settings(request.sampling)
    if request.ignore_eog and served.model.tokenizer is not None:
        told["logit_bias"] += [{"id": token, "bias": None} for token in sorted(served.model.tokenizer.eog_ids)]
    n_predict = -1 if request.max_tokens is None else request.max_tokens
    return told | {
        "n_ctx": served.n_ctx, "model": served.name, "n_predict": n_predict, "max_tokens": n_predict,
        "stop": list(request.stop), "stream": bool(body.stream), "ignore_eos": request.ignore_eog,
        "n_probs": request.logprobs or 0, "grammar": body.grammar or "", "timings_per_token": body.timings_per_token,
        "post_sampling_probs": body.post_sampling_probs, "n_keep": 0, "n_discard": 0, "lora": [],
    }  # fmt: skip


async def _events(
    call: Call, served: Served, request: Request, prompts: Sequence[Sequence[int]], answers: list[LlamaAnswer]
) -> AsyncGenerator[tuple[LlamaAnswer, Event], None]:
    """Events of all prompts, each with the answer that it belongs to."""
    limit = call.body.t_max_predict_ms
    sources = [_of_prompt(call, served, replace(request, ids=ids), limit) for ids in prompts]
    async with aclosing(merged(sources, served.generating().options.n_seq)) as found:
        async for place, event in found:
            index = event.index if isinstance(event, Said | Ended) else 0
            yield answers[place * request.n + index], event


async def _of_prompt(call: Call, served: Served, request: Request, limit_ms: int | None) -> AsyncGenerator[Event, None]:
    """Events of one prompt. After limit_ms, counted from the first token, it ends, if a line has been ended."""
    with events(served, request, call) as answer:
        clock = Clock(limit_ms, answer)
        async for event in answer:
            yield clock.seen(event)


# --- endpoints


async def completion(call: Call) -> Any:
    return await _completion(call, _given_prompts)


async def infill(call: Call) -> Any:
    return await _completion(call, _infill_prompts)


async def _given_prompts(call: Call, served: Served) -> list[list[int]]:
    return [await prompt_ids(served, prompt) for prompt in prompts_of(call.body.prompt)]


async def _completion(call: Call, prompts: Callable[[Call, Served], Awaitable[list[list[int]]]]) -> Any:
    if call.body.stream:
        return await sse(call, _stream(call, prompts))
    async with call.model(call.body.model) as served:
        is_list = isinstance(getattr(call.body, "prompt", None), list) and len(prompts_of(call.body.prompt)) > 1
        return await complete(call, served, await prompts(call, served), is_list)


async def _stream(
    call: Call, prompts: Callable[[Call, Served], Awaitable[list[list[int]]]]
) -> AsyncGenerator[Any, None]:
    async with (
        call.model(call.body.model) as served,
        aclosing(streamed(call, served, await prompts(call, served))) as s,
    ):
        async for item in s:
            yield item


class Extra(msgspec.Struct):
    """A file beside the one with the gap."""

    text: str
    filename: str = "tmp"


class InfillBody(CompletionFields, kw_only=True):
    input_prefix: str
    input_suffix: str
    input_extra: tuple[Extra, ...] = ()
    prompt: str = ""
    """What the text in the gap begins with."""


_NEEDED = ("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id")
_SNIPPET = "\n\n--- snippet ---\n\n"


async def _infill_prompts(call: Call, served: Served) -> list[list[int]]:
    """As format_prompt_infill of server-common.cpp orders it (arXiv:2409.12186), but nothing is cut off."""
    body: InfillBody = call.body
    known: dict[str, int] = served.tokenizer().infill_ids
    missing = [name for name in _NEEDED if name not in known]
    if missing:
        text = f"the model {served.name!r} cannot fill in: its vocabulary has no {', '.join(missing)}"
        raise ApiError(400, text, "not_supported_error", param="model")
    texts = (body.input_prefix, body.input_suffix, body.prompt, *(extra.text for extra in body.input_extra))
    check_may_fit(texts, served, "input_prefix")
    before, after, middle = (known[name] for name in _NEEDED)
    separator, repository = known.get("fim_sep_token_id"), known.get("fim_rep_token_id")
    ids: list[int] = []
    if repository is not None:
        ids += [repository, *await served.encode("myproject\n")]
    for extra in body.input_extra:
        head = _SNIPPET if separator is None else extra.filename + "\n"
        ids += [*_one(separator), *await served.encode(head), *await served.encode(extra.text)]
    if separator is not None:
        ids += [separator, *await served.encode("filename\n")]
    ids += [before, *await served.encode(body.input_prefix), after, *await served.encode(body.input_suffix), middle]
    ids += await served.encode(body.prompt, False, True)
    tokenizer = served.tokenizer()
    ids = [*_one(tokenizer.bos_id if tokenizer.add_bos else None), *ids]
    check_prompt(served, ids)
    return [ids]


def _one(token: int | None) -> list[int]:
    return [] if token is None else [token]


ENDPOINTS = (
    *(
        Endpoint(
            "POST", path, completion, CompletionBody, (Final, list[Final]), "Go on from a prompt", (Partial, Final)
        )
        for path in ("/completion", "/completions")
    ),
    Endpoint("POST", "/infill", infill, InfillBody, Final, "Fill a gap in a text", (Partial, Final)),
)
