"""The package `litellm`, by three of its providers: OpenAI's, Anthropic's and Ollama's."""

from __future__ import annotations

import json
from typing import Any

import litellm

from tests.clients.script import CITY, Given, main

QUESTION: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "description": "The weather of a city", "parameters": CITY}}
]


def asked(given: Given, provider: str, **more: Any) -> dict[str, Any]:
    base = f"{given.url}/v1" if provider == "openai" else given.url
    common = {"model": f"{provider}/{given.model}", "api_base": base, "api_key": given.key, "num_retries": 0}
    return common | {"messages": QUESTION, "max_tokens": 12, "temperature": 0} | more


def _chat(given: Given, provider: str) -> None:
    got = litellm.completion(**asked(given, provider))
    text = got.choices[0].message.content
    assert text
    assert got.choices[0].finish_reason in ("stop", "length")
    assert got.usage.completion_tokens > 0
    parts = litellm.completion(**asked(given, provider), stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == text
    try:
        litellm.completion(**asked(given, provider, model=f"{provider}/nobody"))
    except litellm.NotFoundError:
        return
    raise AssertionError("a model that is not here was found")


def openai(given: Given) -> None:
    _chat(given, "openai")


def anthropic(given: Given) -> None:
    _chat(given, "anthropic")


def ollama(given: Given) -> None:
    _chat(given, "ollama_chat")
    generated = litellm.completion(**asked(given, "ollama"))
    assert generated.choices[0].message.content


def tools(given: Given) -> None:
    for provider in ("openai", "anthropic"):
        wanted = asked(given, provider, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_tokens=120)
        (call,) = litellm.completion(**wanted).choices[0].message.tool_calls
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
        chunks = list(litellm.completion(**wanted, stream=True))
        (call,) = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls
        assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")


def structured(given: Given) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY, "strict": True}}
    for provider in ("openai", "ollama_chat"):
        got = litellm.completion(**asked(given, provider, response_format=form, max_tokens=120))
        assert json.loads(got.choices[0].message.content)["city"] in ("Paris", "Rome")


def embeddings(given: Given) -> None:
    rows = litellm.embedding(
        model=f"openai/{given.embedder}", api_base=f"{given.url}/v1", api_key=given.key, input=["one", "two"]
    ).data
    assert len(rows) == 2
    assert len(rows[0]["embedding"]) == len(rows[1]["embedding"]) > 0


if __name__ == "__main__":
    main("litellm", openai, anthropic, ollama, tools, structured, embeddings)
