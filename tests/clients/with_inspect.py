"""The package `inspect-ai`: a task of two samples with a tool, by its provider for servers of OpenAI's kind."""

from __future__ import annotations

import os
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, ResponseSchema
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import Tool, tool
from inspect_ai.util import json_schema
from pydantic import BaseModel

from tests.clients.script import Given, main

ASKED: list[tuple[int, int]] = []


@tool
def multiply() -> Tool:
    async def execute(x: int, y: int) -> str:
        """Multiply two numbers.

        Args:
            x: The first number.
            y: The second number.
        """
        ASKED.append((x, y))
        return str(x * y)

    return execute


class Number(BaseModel):
    number: int


def run(given: Given, task: Task, **settings: object) -> list[str]:
    """Status of the run, and the answers."""
    os.environ |= {"SERVER_BASE_URL": f"{given.url}/v1", "SERVER_API_KEY": given.key}
    (log,) = eval(
        task, model=f"openai-api/server/{given.model}", log_dir=str(Path(given.folder, "logs")), display="none",
        max_connections=2, temperature=0, max_retries=0, **settings,
    )  # fmt: skip
    assert log.status == "success", log.error
    assert log.samples
    assert all(used.output_tokens > 0 for sample in log.samples for used in sample.model_usage.values())
    return [sample.output.completion for sample in log.samples]


def tools(given: Given) -> None:
    samples = [Sample("Multiply 127 by 3.", target="381"), Sample("Multiply 45 by 11.", target="495")]
    solver = [use_tools(multiply()), generate()]
    answers = run(given, Task(samples, solver=solver, scorer=includes()), max_tokens=200)
    assert len(answers) == 2
    assert {(127, 3), (45, 11)} <= {tuple(pair) for pair in ASKED} | {pair[::-1] for pair in ASKED}


def structured(given: Given) -> None:
    form = ResponseSchema(name="number", json_schema=json_schema(Number))
    config = GenerateConfig(response_schema=form)
    for answer in run(given, Task([Sample("Two and two?")], solver=[generate()], config=config), max_tokens=60):
        Number.model_validate_json(answer)


if __name__ == "__main__":
    main("inspect-ai", tools, structured)
