"""The package `anthropic`: messages, streams, tools, thinking, structured output, counting of tokens, errors."""

from __future__ import annotations

import json
from typing import Any, Literal

import anthropic
from anthropic import Anthropic
from pydantic import BaseModel

from tests.clients.script import CITY, THOUGHTS, Given, main

QUESTION: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
TOOLS: Any = [
    {"name": name, "description": f"The {name} of a city", "input_schema": CITY} for name in ("weather", "population")
]
GREEDY = {"temperature": 0}
"""The client has no argument for it any more."""


class Weather(BaseModel):
    city: Literal["Paris", "Rome"]
    is_warm: bool


def client(given: Given, **settings: Any) -> Anthropic:
    return Anthropic(base_url=given.url, **{"api_key": given.key, "max_retries": 0, "timeout": 120.0} | settings)


def create(given: Given) -> None:
    got = client(given).messages.create(
        model=given.model, system="Be brief.", messages=QUESTION, max_tokens=12, extra_body=GREEDY
    )
    assert (got.type, got.role, got.model) == ("message", "assistant", given.model)
    assert got.content[0].type == "text"
    assert got.content[0].text
    assert got.stop_reason in ("end_turn", "max_tokens")
    assert got.usage.input_tokens + (got.usage.cache_read_input_tokens or 0) > 0
    assert 0 < got.usage.output_tokens <= 12


def stream(given: Given) -> None:
    asked: Any = {"model": given.model, "messages": QUESTION, "max_tokens": 12, "extra_body": GREEDY}
    whole = client(given).messages.create(**asked)
    with client(given).messages.stream(**asked) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    kinds = [event.type for event in client(given).messages.create(**asked, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def stop_sequences(given: Given) -> None:
    asked: Any = {"model": given.model, "messages": QUESTION, "max_tokens": 12, "extra_body": GREEDY}
    text = client(given).messages.create(**asked).content[0].text
    got = client(given).messages.create(**asked, stop_sequences=[text[3:5]])
    assert (got.stop_reason, got.stop_sequence) == ("stop_sequence", text[3:5])
    assert got.content[0].text == text[: text.index(text[3:5])]


def tools(given: Given) -> None:
    asked: Any = {"model": given.model, "tools": TOOLS, "max_tokens": 120}
    any_one: Any = {"type": "any", "disable_parallel_tool_use": True}
    named: Any = {"type": "tool", "name": "population", "disable_parallel_tool_use": True}
    for choice, names in ((any_one, ("weather", "population")), (named, ("population",))):
        got = client(given).messages.create(**asked, messages=QUESTION, tool_choice=choice)
        assert got.stop_reason == "tool_use"
        (use,) = [block for block in got.content if block.type == "tool_use"]
        assert use.name in names
        assert use.input["city"] in ("Paris", "Rome")
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "warm"}
        told: Any = [*QUESTION, {"role": "assistant", "content": got.content}, {"role": "user", "content": [result]}]
        after = client(given).messages.create(**asked, messages=told, tool_choice={"type": "none"})
        assert [block.type for block in after.content] == ["text"]
    auto = client(given).messages.create(**asked, messages=QUESTION)
    assert auto.content


def streamed_tools(given: Given) -> None:
    choice: Any = {"type": "any", "disable_parallel_tool_use": True}
    with client(given).messages.stream(
        model=given.model, messages=QUESTION, tools=TOOLS, tool_choice=choice, max_tokens=120
    ) as events:
        parts = [event.partial_json for event in events if event.type == "input_json"]
        final = events.get_final_message()
    (use,) = [block for block in final.content if block.type == "tool_use"]
    assert json.loads("".join(parts)) == use.input
    assert use.input["city"] in ("Paris", "Rome")


def thinking(given: Given) -> None:
    wanted: Any = {"type": "enabled", "budget_tokens": THOUGHTS}
    asked: Any = {"model": given.thinker, "messages": QUESTION, "max_tokens": THOUGHTS + 60, "extra_body": GREEDY}
    got = client(given).messages.create(**asked, thinking=wanted)
    assert [block.type for block in got.content] == ["thinking", "text"]
    assert got.content[0].thinking
    told: Any = [*QUESTION, {"role": "assistant", "content": got.content}, *QUESTION]
    with client(given).messages.stream(**asked | {"messages": told}, thinking=wanted) as events:
        kinds = {event.type for event in events}
        assert [block.type for block in events.get_final_message().content] == ["thinking", "text"]
    assert {"thinking", "text"} <= kinds
    assert [block.type for block in client(given).messages.create(**asked).content] == ["text"]


def structured(given: Given) -> None:
    got = client(given).messages.parse(model=given.model, messages=QUESTION, output_format=Weather, max_tokens=120)
    assert isinstance(got.parsed_output, Weather)


def count_tokens(given: Given) -> None:
    counted = client(given).messages.count_tokens(model=given.model, messages=QUESTION)
    usage = client(given).messages.create(model=given.model, messages=QUESTION, max_tokens=1).usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def errors(given: Given) -> None:
    def refused(kind: type[anthropic.APIStatusError], **asked: Any) -> anthropic.APIStatusError:
        settings = {"api_key": asked.pop("api_key", given.key)}
        try:
            client(given, **settings).messages.create(
                **{"model": given.model, "messages": QUESTION, "max_tokens": 4} | asked
            )
        except kind as error:
            return error
        raise AssertionError(f"{asked} is not refused")

    assert refused(anthropic.NotFoundError, model="nobody").type == "not_found_error"
    long = [{"role": "user", "content": "so " * 2 * given.n_ctx}]
    assert refused(anthropic.BadRequestError, messages=long).type == "invalid_request_error"
    assert refused(anthropic.BadRequestError, messages=long, stream=True).type == "invalid_request_error"
    assert "top_p" in str(refused(anthropic.BadRequestError, extra_body={"top_p": 7}))
    assert refused(anthropic.AuthenticationError, api_key="another").type == "authentication_error"


if __name__ == "__main__":
    main(
        "anthropic", create, stream, stop_sequences, tools, streamed_tools, thinking, structured, count_tokens, errors
    )  # fmt: skip
