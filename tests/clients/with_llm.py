"""The command `llm`, with the server's models in its extra-openai-models.yaml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.clients.script import CITY, Given, main


def llm(given: Given, *arguments: str) -> str:
    """Standard output of the command."""
    models = [
        {
            "model_id": name,
            "model_name": name,
            "api_base": f"{given.url}/v1",
            "api_key_name": "server",
            "supports_schema": True,
            "supports_tools": True,
        }
        for name in (given.model, "nobody")
    ]
    Path(given.folder, "extra-openai-models.yaml").write_text(json.dumps(models))  # which is YAML, too
    Path(given.folder, "keys.json").write_text(json.dumps({"server": given.key}))
    env = os.environ | {"LLM_USER_PATH": given.folder}
    command = [sys.executable, "-m", "llm", *arguments]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def asked(given: Given, *more: str) -> tuple[str, ...]:
    return "-m", given.model, "-o", "temperature", "0", "-o", "max_tokens", "40", "How is the weather in Paris?", *more


def prompt(given: Given) -> None:
    text = llm(given, *asked(given, "--no-stream"))
    assert text.strip()
    assert llm(given, *asked(given)) == text
    (logged,) = json.loads(llm(given, "logs", "-n", "1", "--json"))
    assert logged["response"].strip() == text.strip()
    assert logged["output_tokens"] > 0


def conversation(given: Given) -> None:
    first = llm(given, *asked(given))
    second = llm(given, *asked(given, "--continue"))
    assert first.strip()
    assert second.strip()


def schema(given: Given) -> None:
    assert json.loads(llm(given, *asked(given, "--schema", json.dumps(CITY))))["city"] in ("Paris", "Rome")


def tools(given: Given) -> None:
    function = "def weather(city: str) -> str:\n    'The weather of a city'\n    return 'warm'"
    assert llm(given, *asked(given, "--functions", function, "--chain-limit", "3")) is not None


def errors(given: Given) -> None:
    try:
        llm(given, "-m", "nobody", "Hello.")
    except subprocess.CalledProcessError as error:
        told: Any = error.stderr
        assert "nobody" in told
        assert "Traceback" not in told
    else:
        raise AssertionError("a model that is not here was found")


if __name__ == "__main__":
    main("llm", prompt, conversation, schema, tools, errors)
