"""The package `langchain-openai`: invoke, streams, batches, tools, structured output, embeddings, responses."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.clients.script import Given, main

QUESTION = [HumanMessage("How is the weather in Paris?")]


class Weather(BaseModel):
    """How the weather is."""

    city: Literal["Paris", "Rome"]
    is_warm: bool


@tool
def weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather of a city."""
    return f"In {city} it is warm."


def model(given: Given, max_tokens: int = 12, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=given.model, base_url=f"{given.url}/v1", api_key=given.key, max_tokens=max_tokens, temperature=0,
        max_retries=0, **more,
    )  # fmt: skip


def invoke(given: Given) -> None:
    got = model(given).invoke(QUESTION)
    assert isinstance(got, AIMessage)
    assert got.content
    assert got.usage_metadata
    assert got.usage_metadata["output_tokens"] > 0
    assert got.response_metadata["finish_reason"] in ("stop", "length")
    both = model(given).batch([QUESTION, QUESTION])
    assert [answer.content for answer in both] == [got.content] * 2


def stream(given: Given) -> None:
    chunks = list(model(given, stream_usage=True).stream(QUESTION))
    whole = sum(chunks[1:], chunks[0])
    assert whole.content == model(given).invoke(QUESTION).content
    assert whole.usage_metadata["output_tokens"] > 0

    async def ask() -> str:
        return "".join([chunk.content async for chunk in model(given).astream(QUESTION)])

    assert asyncio.run(ask()) == whole.content


def bind_tools(given: Given) -> None:
    able = model(given, 120).bind_tools([weather], tool_choice="required", parallel_tool_calls=False)
    got = able.invoke(QUESTION)
    (call,) = got.tool_calls
    assert call["name"] == "weather"
    assert call["args"]["city"] in ("Paris", "Rome")
    chunks = list(able.stream(QUESTION))
    assert sum(chunks[1:], chunks[0]).tool_calls[0]["args"]["city"] in ("Paris", "Rome")
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert model(given).invoke([*QUESTION, got, result]).content


def with_structured_output(given: Given) -> None:
    for method in ("json_schema", "function_calling"):
        got = model(given, 120).with_structured_output(Weather, method=method).invoke(QUESTION)
        assert isinstance(got, Weather), method


def embeddings(given: Given) -> None:
    embedder = OpenAIEmbeddings(
        model=given.embedder, base_url=f"{given.url}/v1", api_key=given.key, check_embedding_ctx_length=False
    )
    rows = embedder.embed_documents(["one", "two"])
    assert len(rows) == 2
    assert max(abs(a - b) for a, b in zip(embedder.embed_query("one"), rows[0], strict=True)) < 1e-6


def responses(given: Given) -> None:
    got = model(given, use_responses_api=True).invoke(QUESTION)
    assert got.text
    chunks = list(model(given, use_responses_api=True).stream(QUESTION))
    assert sum(chunks[1:], chunks[0]).text == got.text


if __name__ == "__main__":
    main(
        "langchain-openai", invoke, stream, bind_tools, with_structured_output, embeddings, responses
    )  # fmt: skip
