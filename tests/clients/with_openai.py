"""The package `openai`: chat, streams, tools, structured output, completions, embeddings, responses, models, errors."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import openai
from openai import OpenAI
from pydantic import BaseModel

from tests.clients.script import CITY, Given, main

QUESTION: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": f"The {name} of a city", "parameters": CITY}}
    for name in ("weather", "population")
]
NAMED: Any = {"type": "function", "function": {"name": "population"}}
SHORT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "word", "schema": {"type": "string", "enum": ["good", "bad"]}, "strict": True},
}
"""Answers that come to an end, whatever the model."""
PROMPT = "The capital of France is"


class Weather(BaseModel):
    city: Literal["Paris", "Rome"]
    is_warm: bool


def client(given: Given, **settings: Any) -> OpenAI:
    return OpenAI(base_url=f"{given.url}/v1", **{"api_key": given.key, "max_retries": 0, "timeout": 120.0} | settings)


def chat(given: Given) -> None:
    got = client(given).chat.completions.create(model=given.model, messages=QUESTION, temperature=0, max_tokens=12)
    assert got.object == "chat.completion"
    assert got.model == given.model
    assert got.choices[0].message.content
    assert got.choices[0].finish_reason in ("stop", "length")
    assert got.usage
    assert 0 < got.usage.completion_tokens <= 12
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens


def stream(given: Given) -> None:
    asked: Any = {"model": given.model, "messages": QUESTION, "temperature": 0, "max_tokens": 12}
    whole = client(given).chat.completions.create(**asked)
    chunks = list(client(given).chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert not chunks[-1].choices
    assert whole.usage
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert ends == [whole.choices[0].finish_reason]


def stream_helper(given: Given) -> None:
    with client(given).chat.completions.stream(
        model=given.model, messages=QUESTION, response_format=SHORT, stream_options={"include_usage": True}
    ) as events:
        kinds = {event.type for event in events}
        got = events.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert got.choices[0].message.content
    assert got.usage


def tools(given: Given) -> None:
    asked: Any = {
        "model": given.model,
        "messages": QUESTION,
        "tools": TOOLS,
        "temperature": 0,
        "max_tokens": 120,
        "parallel_tool_calls": False,
    }
    for choice, names in (("required", {"weather", "population"}), (NAMED, {"population"})):
        got = client(given).chat.completions.create(**asked, tool_choice=choice).choices[0]
        assert got.message.tool_calls
        assert got.finish_reason in ("tool_calls", "stop")
        for call in got.message.tool_calls:
            assert call.function.name in names
            assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
        messages = [*QUESTION, got.message, *(result(call) for call in got.message.tool_calls)]
        after = client(given).chat.completions.create(**asked | {"messages": messages, "tool_choice": "none"})
        assert after.choices[0].message.content
        assert not after.choices[0].message.tool_calls
    auto = client(given).chat.completions.create(**asked, tool_choice="auto").choices[0]
    assert auto.message.content or auto.message.tool_calls


def result(call: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call.id, "content": "warm"}


def streamed_tools(given: Given) -> None:
    with client(given).chat.completions.stream(
        model=given.model,
        messages=QUESTION,
        tools=TOOLS,
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=120,
    ) as events:
        deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
        (choice,) = events.get_final_completion().choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    first = [event.arguments_delta for event in deltas if event.index == 0]
    assert "".join(first) == choice.message.tool_calls[0].function.arguments
    assert json.loads(choice.message.tool_calls[0].function.arguments)["city"] in ("Paris", "Rome")


def structured(given: Given) -> None:
    asked: Any = {"model": given.model, "messages": QUESTION, "response_format": Weather, "max_tokens": 120}
    parsed = client(given).chat.completions.parse(**asked).choices[0].message.parsed
    assert isinstance(parsed, Weather)
    with client(given).chat.completions.stream(**asked) as events:
        assert isinstance(events.get_final_completion().choices[0].message.parsed, Weather)
    choice = (
        client(given)
        .chat.completions.parse(
            model=given.model,
            messages=QUESTION,
            tools=[openai.pydantic_function_tool(Weather, name="tell")],
            tool_choice="required",
            parallel_tool_calls=False,
            max_tokens=120,
        )
        .choices[0]
    )
    assert choice.message.tool_calls
    assert isinstance(choice.message.tool_calls[0].function.parsed_arguments, Weather)


def logprobs(given: Given) -> None:
    got = client(given).chat.completions.create(
        model=given.model, messages=QUESTION, temperature=0, max_tokens=6, logprobs=True, top_logprobs=3
    )
    tokens = got.choices[0].logprobs
    assert tokens
    assert tokens.content
    assert got.usage
    assert len(tokens.content) <= got.usage.completion_tokens
    for token in tokens.content:
        assert len(token.top_logprobs) == 3
        assert token.logprob == max(top.logprob for top in token.top_logprobs) <= 0


def several(given: Given) -> None:
    got = client(given).chat.completions.create(
        model=given.model, messages=QUESTION, n=3, seed=1, temperature=1.0, max_tokens=8
    )
    assert [choice.index for choice in got.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in got.choices}) > 1


def completions(given: Given) -> None:
    asked: Any = {"model": given.model, "prompt": PROMPT, "temperature": 0, "max_tokens": 5}
    got = client(given).completions.create(**asked, echo=True, logprobs=2)
    choice = got.choices[0]
    assert choice.text.startswith(PROMPT)
    assert choice.logprobs
    tokens, values, tops = choice.logprobs.tokens, choice.logprobs.token_logprobs, choice.logprobs.top_logprobs
    assert tokens
    assert values
    assert tops
    assert "".join(tokens) == choice.text
    assert values[0] is None
    assert all(value <= 0 for value in values[1:] if value is not None)
    assert len(values) == len(tops) == len(tokens)
    assert choice.logprobs.text_offset == [len("".join(tokens[:i])) for i in range(len(tokens))]
    plain = client(given).completions.create(**asked)
    assert PROMPT + plain.choices[0].text == choice.text
    streamed = client(given).completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == plain.choices[0].text
    many = client(given).completions.create(**asked | {"prompt": [PROMPT, "1 2 3 4"]})
    assert [choice.index for choice in many.choices] == [0, 1]
    assert many.choices[0].text == plain.choices[0].text


def embeddings(given: Given) -> None:
    floats = client(given).embeddings.create(model=given.embedder, input=["one", "two"], encoding_format="float")
    packed = client(given).embeddings.create(model=given.embedder, input=["one", "two"])  # as base64
    assert [row.index for row in floats.data] == [0, 1]
    assert math.isclose(sum(x * x for x in floats.data[0].embedding), 1.0, rel_tol=1e-4)
    for a, b in zip(floats.data, packed.data, strict=True):
        assert all(
            math.isclose(x, y, rel_tol=1e-5, abs_tol=1e-7) for x, y in zip(a.embedding, b.embedding, strict=True)
        )
    assert floats.usage.prompt_tokens > 0


def responses(given: Given) -> None:
    asked: Any = {
        "model": given.model,
        "input": "Say hello.",
        "text": {"format": {"type": "json_schema"} | SHORT["json_schema"]},
    }
    with client(given) as c:
        got = c.responses.create(**asked)
        assert got.output_text
        assert got.status == "completed"
        with c.responses.stream(**asked) as events:
            text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            assert events.get_final_response().output_text == text in ('"good"', '"bad"')
        more = c.responses.create(**asked | {"input": "And again."}, previous_response_id=got.id)
        assert more.usage
        assert got.usage
        assert more.usage.input_tokens > got.usage.input_tokens
        assert len(c.responses.input_items.list(more.id).data) == 3
        assert c.responses.retrieve(got.id).output_text == got.output_text
        c.responses.delete(got.id)


def responses_tools(given: Given) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}
    asked: Any = {"model": given.model, "tools": [tool], "max_output_tokens": 120, "parallel_tool_calls": False}
    question: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
    with client(given) as c:
        with c.responses.stream(**asked, input=question, tool_choice="required") as events:
            arguments = "".join(
                event.delta for event in events if event.type == "response.function_call_arguments.delta"
            )
            got = events.get_final_response()
        (call,) = [item for item in got.output if item.type == "function_call"]
        assert call.name == "weather"
        assert call.arguments == arguments
        assert json.loads(arguments)["city"] in ("Paris", "Rome")
        told: Any = [*question, call, {"type": "function_call_output", "call_id": call.call_id, "output": "warm"}]
        assert c.responses.create(**asked, input=told, tool_choice="none").output_text
        parsed = c.responses.parse(model=given.model, input=question, text_format=Weather, max_output_tokens=120)
        assert isinstance(parsed.output_parsed, Weather)


def models(given: Given) -> None:
    names = [model.id for model in client(given).models.list()]
    assert given.model in names
    assert client(given).models.retrieve(given.model).id == given.model


def errors(given: Given) -> None:
    def refused(kind: type[openai.APIStatusError], **asked: Any) -> openai.APIStatusError:
        settings = {"api_key": asked.pop("api_key", given.key)}
        try:
            client(given, **settings).chat.completions.create(
                **{"model": given.model, "messages": QUESTION, "max_tokens": 4} | asked
            )
        except kind as error:
            return error
        raise AssertionError(f"{asked} is not refused")

    assert refused(openai.NotFoundError, model="nobody").code == "model_not_found"
    long = [{"role": "user", "content": "so " * 2 * given.n_ctx}]
    assert refused(openai.BadRequestError, messages=long).code == "context_length_exceeded"
    assert refused(openai.BadRequestError, messages=long, stream=True).code == "context_length_exceeded"
    assert refused(openai.BadRequestError, top_p=7).param == "top_p"
    assert refused(openai.AuthenticationError, api_key="another").code == "invalid_api_key"


if __name__ == "__main__":
    main(
        "openai", chat, stream, stream_helper, tools, streamed_tools, structured, logprobs, several, completions,
        embeddings, responses, responses_tools, models, errors,
    )  # fmt: skip
