"""The package `ollama`: chat, generate, streams, tools, forms, thinking, embeddings, models, errors, asyncio."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ollama import AsyncClient, Client, ResponseError

from tests.clients.script import CITY, THOUGHTS, Given, main

QUESTION: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
SHORT: Any = {"temperature": 0, "num_predict": 12}


def client(given: Given, key: str | None = None) -> Client:
    return Client(given.url, headers={"authorization": f"Bearer {key or given.key}"}, timeout=120.0)


def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Name of the city
    """
    return f"In {city} it is warm."


def chat(given: Given) -> None:
    got = client(given).chat(given.model, QUESTION, options=SHORT)
    assert got.model == given.model
    assert got.message.role == "assistant"
    assert got.message.content
    assert got.done
    assert got.done_reason in ("stop", "length")
    assert got.prompt_eval_count
    assert got.eval_count
    assert got.total_duration
    parts = list(client(given).chat(given.model, QUESTION, options=SHORT, stream=True))
    assert "".join(part.message.content or "" for part in parts) == got.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == got.eval_count


def generate(given: Given) -> None:
    got = client(given).generate(given.model, "Say hello.", system="Be brief.", options=SHORT)
    assert got.response
    parts = list(client(given).generate(given.model, "Say hello.", system="Be brief.", options=SHORT, stream=True))
    assert "".join(part.response or "" for part in parts) == got.response
    raw = client(given).generate(given.model, "The capital of France is", raw=True, options=SHORT)
    assert raw.response != got.response
    stopped = client(given).generate(given.model, "Say hello.", system="Be brief.", options=SHORT | {
        "stop": [got.response[2:4]]
    })  # fmt: skip
    assert stopped.response == got.response[: got.response.index(got.response[2:4])]


def logprobs(given: Given) -> None:
    got = client(given).chat(given.model, QUESTION, options=SHORT, logprobs=True, top_logprobs=2)
    assert got.logprobs
    for token in got.logprobs:
        assert token.top_logprobs
        assert len(token.top_logprobs) == 2
        assert token.logprob == token.top_logprobs[0].logprob <= 0


def tools(given: Given) -> None:
    asked: Any = {"model": given.able or given.model, "options": {"temperature": 0, "num_predict": 80}}
    got = client(given).chat(**asked, messages=QUESTION, tools=[weather]).message
    assert got.content or got.tool_calls
    if given.able:  # Ollama's API cannot require a call
        assert got.tool_calls
        assert (got.tool_calls[0].function.name, got.tool_calls[0].function.arguments) == ("weather", {"city": "Paris"})
        streamed = client(given).chat(**asked, messages=QUESTION, tools=[weather], stream=True)
        (call,) = [call for part in streamed for call in part.message.tool_calls or ()]
        assert call == got.tool_calls[0]
    called: Any = {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}],
    }
    result: Any = {"role": "tool", "tool_name": "weather", "content": weather("Paris")}
    after = client(given).chat(**asked, messages=[*QUESTION, called, result])
    assert after.message.content


def forms(given: Given) -> None:
    got = client(given).chat(given.model, QUESTION, format=CITY, options={"num_predict": 120})
    assert json.loads(got.message.content or "")["city"] in ("Paris", "Rome")
    got = client(given).generate(given.model, "Where is it warm?", format=CITY, options={"num_predict": 120})
    assert json.loads(got.response or "")["city"] in ("Paris", "Rome")


def think(given: Given) -> None:
    options: Any = {"temperature": 0, "num_predict": THOUGHTS}
    got = client(given).chat(given.thinker, QUESTION, think=True, options=options).message
    assert got.thinking
    assert not got.content
    parts = list(client(given).chat(given.thinker, QUESTION, think=True, options=options, stream=True))
    assert any(part.message.thinking for part in parts)
    got = client(given).chat(given.thinker, QUESTION, think=False, options=options).message
    assert got.content
    assert not got.thinking


def embed(given: Given) -> None:
    got = client(given).embed(given.embedder, ["one", "two"])
    assert len(got.embeddings) == 2
    assert abs(sum(x * x for x in got.embeddings[0]) - 1) < 1e-4
    assert list(client(given).embed(given.embedder, "one").embeddings[0]) == list(got.embeddings[0])
    assert len(client(given).embeddings(given.embedder, "one").embedding) == len(got.embeddings[0])


def models(given: Given) -> None:
    client(given).generate(given.model)  # loads it, and says nothing
    assert given.model in [model.model for model in client(given).list().models]
    assert given.model in [model.model for model in client(given).ps().models]
    shown = client(given).show(given.model)
    assert shown.details
    assert shown.details.quantization_level
    assert shown.modelinfo
    assert "general.architecture" in shown.modelinfo
    assert "completion" in (shown.capabilities or ())
    assert "embedding" in (client(given).show(given.embedder).capabilities or ())


def errors(given: Given) -> None:
    def refused(asked: Any) -> ResponseError:
        try:
            asked()
        except ResponseError as error:
            return error
        raise AssertionError("it is not refused")

    assert refused(lambda: client(given).chat("nobody", QUESTION)).status_code == 404
    assert refused(lambda: client(given).pull("nobody-has-this")).status_code == 404
    assert refused(lambda: list(client(given).pull("nobody-has-this", stream=True))).status_code == 404
    assert refused(lambda: client(given).delete(given.model)).status_code == 403
    long = "so " * 2 * given.n_ctx
    assert refused(lambda: client(given).generate(given.model, long)).status_code == 400
    assert refused(lambda: list(client(given).generate(given.model, long, stream=True))).status_code == 400
    assert refused(lambda: client(given, "another").chat(given.model, QUESTION)).status_code == 401


def asynchronous(given: Given) -> None:
    async def ask() -> None:
        c = AsyncClient(given.url, headers={"authorization": f"Bearer {given.key}"}, timeout=120.0)
        whole = await c.chat(given.model, QUESTION, options=SHORT)
        parts = [part async for part in await c.chat(given.model, QUESTION, options=SHORT, stream=True)]
        assert "".join(part.message.content or "" for part in parts) == whole.message.content
        both = await asyncio.gather(*(c.generate(given.model, text, options=SHORT) for text in ("One.", "Two.")))
        assert all(answer.response for answer in both)

    asyncio.run(ask())


if __name__ == "__main__":
    main(
        "ollama", chat, generate, logprobs, tools, forms, think, embed, models, errors, asynchronous
    )  # fmt: skip
