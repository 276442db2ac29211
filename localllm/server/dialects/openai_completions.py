"""/v1/completions: text that goes on from a prompt. OpenAI's API reference, in its old form of logprobs; what lm-eval's
local-completions asks for (echo, logprobs, prompts of ids) is part of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from localllm.engine.request import Ended, Event, PromptRead, Reading, Request, Said
from localllm.generate.piece import TokenLogprob
from localllm.server.answers import events
from localllm.server.call import Call
from localllm.server.chat import Usage, check_fits, check_may_fit, reason_of
from localllm.server.dialects import openai_fields
from localllm.server.dialects.openai_common import (
    FINGERPRINT,
    MAX_TOP_LOGPROBS,
    Progress,
    Timings,
    UsageBody,
    new_id,
    now,
    refuse,
    timings,
    usage_body,
)
from localllm.server.dialects.openai_fields import MAX_ANSWERS, GenerationFields
from localllm.server.dialects.openai_logprobs import OldLogprobs, PromptText, Teller
from localllm.server.endpoint import Endpoint
from localllm.server.merged import merged
from localllm.server.models import Served
from localllm.server.streams import sse
from localllm.text.infill import infill_prompt

MAX_PROMPTS = 2048
MAX_TOGETHER = 8192
"""Answers to all prompts of a request."""


class CompletionBody(GenerationFields, kw_only=True):
    prompt: str | list[str | int | list[int]] | None = None
    """A text, ids, or a list of either."""
    suffix: str | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=MAX_ANSWERS)] | None = None


class CompletionChoice(msgspec.Struct):
    index: int
    text: str
    logprobs: OldLogprobs | None = None
    finish_reason: str | None = None


class Completion(msgspec.Struct, kw_only=True):
    """Also the form of a stream's chunks."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    system_fingerprint: str
    usage: UsageBody | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
    prompt_progress: Progress | UnsetType = UNSET


# --- what is asked


def prompts(body: CompletionBody, served: Served) -> list[PromptText]:
    """Raises ApiError."""
    given = "" if body.prompt is None else body.prompt
    if isinstance(given, str):
        return [_prompt(given, body, served, "prompt")]
    if not given:
        raise refuse("prompt: the list is empty", "prompt")
    if len(given) > MAX_PROMPTS and not isinstance(given[0], int):
        raise refuse(f"prompt: there are {len(given)}, {MAX_PROMPTS} are the most at once", "prompt")
    if all(isinstance(item, int) for item in given):
        return [_prompt(given, body, served, "prompt")]
    if any(isinstance(item, int) for item in given):
        raise refuse("prompt: ids and texts cannot stand in one list", "prompt")
    return [_prompt(item, body, served, f"prompt[{i}]") for i, item in enumerate(given)]


def _prompt(given: Any, body: CompletionBody, served: Served, where: str) -> PromptText:
    n_vocab = served.model.config.n_vocab
    if isinstance(given, str):
        check_may_fit([given, body.suffix or ""], served, where)
        if body.suffix is not None:
            ids = infill_prompt(served.tokenizer(), given, body.suffix)
        else:
            ids = served.tokenizer().encode(given, add_special=True, parse_special=True)
        prompt = PromptText(ids, given)
    elif body.suffix is not None:
        raise refuse("suffix: goes with a prompt that is a text", "suffix")
    elif wrong := next((i for i in given if not 0 <= i < n_vocab), None):
        raise refuse(f"{where}: token id {wrong}: ids go from 0 to {n_vocab - 1}", where)
    else:
        prompt = PromptText(given, None)
    if not prompt.ids:
        raise refuse(f"{where}: is empty, and this model has no token that begins a text", where)
    check_fits(len(prompt.ids), served, where)
    return prompt


@dataclass(frozen=True)
class _Plan:
    """What is asked of the engine: `n` answers to each prompt, of which the `keep` best are told."""

    prompts: list[PromptText]
    requests: list[Request]
    n: int
    keep: int


async def _plan(call: Call, served: Served) -> _Plan:
    body: CompletionBody = call.body
    n = body.n or 1
    best_of = body.best_of or n
    if best_of < n:
        raise refuse(f"best_of is {best_of}: it must be n ({n}) or more", "best_of")
    if best_of > n and body.stream:
        raise refuse("best_of: the best is known at the end: it cannot be streamed", "best_of")
    if body.suffix is not None and body.echo:
        raise refuse("suffix: cannot be combined with echo", "suffix")
    asked = await asyncio.to_thread(prompts, body, served)
    if len(asked) * best_of > MAX_TOGETHER:
        raise refuse(f"prompt: {len(asked)} times {best_of} answers, {MAX_TOGETHER} are the most at once", "prompt")
    logprobs = body.logprobs if body.logprobs is not None or best_of == n else 0
    request = Request(
        ids=(),
        sampling=openai_fields.sampling(body, served),
        max_tokens=openai_fields.max_tokens(body),
        stop=openai_fields.stops(body.stop),
        n=best_of,
        constraint=await openai_fields.constraint(body, served),
        logprobs=logprobs,
        prompt_logprobs=body.logprobs if body.echo else None,
        ignore_eog=bool(body.ignore_eos),
        use_cache=body.cache_prompt is not False,
        user=openai_fields.user(body, call),
    )
    return _Plan(asked, [replace(request, ids=prompt.ids) for prompt in asked], best_of, n)


async def _events(served: Served, request: Request, call: Call) -> AsyncGenerator[Event, None]:
    with events(served, request, call) as answer:
        async for event in answer:
            yield event


def _all(plan: _Plan, served: Served, call: Call) -> AsyncGenerator[tuple[int, Event], None]:
    """Events of all requests; as many at once as the engine has slots, so that one call does not fill its queue."""
    return merged([_events(served, request, call) for request in plan.requests], served.generating().options.n_seq)


# --- what is answered


async def completions(call: Call) -> Any:
    if call.body.stream:
        return await sse(call, _chunks(call))
    async with call.model(call.body.model) as served:
        created, plan = now(), await _plan(call, served)
        answers = [[_Answer(prompt, call.body, served) for _ in range(plan.n)] for prompt in plan.prompts]
        usages = [Usage() for _ in plan.prompts]
        first = None
        async with aclosing(_all(plan, served, call)) as found:
            async for place, event in found:
                if isinstance(event, PromptRead):
                    for answer in answers[place]:
                        answer.read(event)
                elif isinstance(event, Said):
                    answers[place][event.index].said(event)
                elif isinstance(event, Ended):
                    answers[place][event.index].ended(event)
                    usages[place].add(event.stats)
                    first = first or event.stats
        kept = [answer for group in answers for answer in _best(group, plan.keep)]
        assert first
        return Completion(
            id=new_id("cmpl-"),
            created=created,
            model=served.name,
            choices=[answer.choice(index) for index, answer in enumerate(kept)],
            system_fingerprint=FINGERPRINT,
            usage=usage_body(_sum(usages)),
            timings=timings(first),
        )


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(*(sum(getattr(u, name) for u in usages) for name in ("prompt", "cached", "completion")))


def _best(answers: list[_Answer], keep: int) -> list[_Answer]:
    """Those with the highest mean logprob, best first; all of them as they are where all are kept."""
    if keep == len(answers):
        return answers
    return sorted(answers, key=lambda answer: answer.mean_logprob, reverse=True)[:keep]


class _Answer:
    """One answer, put together. It begins with the prompt where that is echoed."""

    def __init__(self, prompt: PromptText, body: CompletionBody, served: Served) -> None:
        self._teller = Teller(prompt, served.model.tokenizer, bool(body.echo))
        self._wanted = body.logprobs is not None
        self._text, self._logprobs, self._reason = [self._teller.echo], OldLogprobs(), ""
        self._sum, self._n = 0.0, 0

    def read(self, event: PromptRead) -> None:
        self._logprobs.add(self._teller.of_prompt(event.logprobs))

    def said(self, event: Said) -> None:
        self._text.append(event.piece.text)
        self._sum += sum(token.logprob for token in event.piece.logprobs)
        self._n += len(event.piece.logprobs)
        self._logprobs.add(self._teller.of_answer(event.piece.logprobs))

    def ended(self, event: Ended) -> None:
        self._reason = reason_of(event.stats)
        self._logprobs.add(self._teller.of_end(event))

    @property
    def mean_logprob(self) -> float:
        return self._sum / self._n if self._n else float("-inf")

    def choice(self, index: int) -> CompletionChoice:
        logprobs = self._logprobs if self._wanted else None
        return CompletionChoice(index, "".join(self._text), logprobs, self._reason)


async def _chunks(call: Call) -> AsyncGenerator[Any, None]:
    body: CompletionBody = call.body
    async with call.model(body.model) as served:
        plan = await _plan(call, served)
        stream = _Stream(plan, body, served)
        async with aclosing(_all(plan, served, call)) as found:
            async for place, event in found:
                for chunk in stream.chunks(place, event):
                    yield chunk
        if stream.with_usage:
            yield stream.last()
        yield "[DONE]"


class _Stream:
    """Makes the chunks of one answer, which share id and time. Choice k of prompt p has the index p * n + k."""

    def __init__(self, plan: _Plan, body: CompletionBody, served: Served) -> None:
        self.with_usage = bool(body.stream_options and body.stream_options.include_usage)
        self._plan, self._body = plan, body
        tokenizer = served.model.tokenizer
        self._tellers = [Teller(p, tokenizer, bool(body.echo)) for p in plan.prompts for _ in range(plan.n)]
        self._usages = [Usage() for _ in plan.prompts]
        self._timings: Any = UNSET
        self._started = time.monotonic()
        self._is_echoed = [False] * len(plan.prompts)
        self._head: dict[str, Any] = {
            "id": new_id("cmpl-"), "created": now(), "model": served.name, "system_fingerprint": FINGERPRINT,
            "usage": None if self.with_usage else UNSET,
        }  # fmt: skip

    def chunks(self, place: int, event: Event) -> list[Completion]:
        match event:
            case Reading() if self._body.return_progress:
                elapsed = round(1000 * (time.monotonic() - self._started))
                progress = Progress(event.total, event.cached, event.done, elapsed)
                return [self._chunk(place * self._plan.n, "", prompt_progress=progress)]
            case PromptRead():
                return self._echo(place, event.logprobs)
            case Said():
                index = place * self._plan.n + event.index
                logprobs = self._teller_logprobs(index, event.piece.logprobs)
                return [*self._echo(place), self._chunk(index, event.piece.text, logprobs)]
            case Ended():
                self._usages[place].add(event.stats)
                self._timings = timings(event.stats)
                index = place * self._plan.n + event.index
                reason = reason_of(event.stats)
                logprobs = self._tellers[index].of_end(event) if event.ending else None
                return [*self._echo(place), self._chunk(index, "", logprobs, reason, timings=self._timings)]
        return []

    def last(self) -> Completion:
        return Completion(**self._head | {"usage": usage_body(_sum(self._usages))}, choices=[], timings=self._timings)

    def _echo(self, place: int, logprobs: Sequence[TokenLogprob] | None = None) -> list[Completion]:
        """The prompt, before anything else of an answer, where it is echoed."""
        if self._is_echoed[place] or not self._body.echo:
            return []
        self._is_echoed[place] = True
        indices = range(place * self._plan.n, (place + 1) * self._plan.n)
        told = [(i, None if logprobs is None else self._tellers[i].of_prompt(logprobs)) for i in indices]
        return [self._chunk(i, self._tellers[i].echo, entries) for i, entries in told]

    def _teller_logprobs(self, index: int, logprobs: Sequence[TokenLogprob]) -> OldLogprobs | None:
        return self._tellers[index].of_answer(logprobs) if logprobs and self._body.logprobs is not None else None

    def _chunk(
        self, index: int, text: str, logprobs: OldLogprobs | None = None, reason: str | None = None, **more: Any
    ) -> Completion:
        return Completion(**self._head, choices=[CompletionChoice(index, text, logprobs, reason)], **more)


ENDPOINTS = (
    Endpoint("POST", "/v1/completions", completions, CompletionBody, Completion, "Go on from a text", Completion),
)
