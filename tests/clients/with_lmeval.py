"""The package `lm-eval`: a task of a local file by `local-completions`, with the server's own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.tasks import TaskManager

from tests.clients.script import Given, main

QUESTIONS: list[dict[str, Any]] = [
    {"question": "The capital of France is", "choices": ["Paris", "a cold potato", "Rome"], "answer": 0},
    {"question": "Two and two make", "choices": ["seven hats", "four"], "answer": 1},
    {"question": "Water is", "choices": ["wet", "made by bakers at night"], "answer": 0},
]
RESULTS = "likelihoods.json"


def task(folder: Path) -> dict[str, Any]:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return {
        "task": "local_questions",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(folder / "datasets")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }


def multiple_choice(given: Given) -> None:
    """run.py compares what is written here with the model's own logits."""
    results = []
    for tokens in (True, False):
        settings = {
            "model": given.model, "base_url": f"{given.url}/v1/completions", "auth_token": given.key,
            "header": {"Authorization": f"Bearer {given.key}"}, "tokenized_requests": tokens, "num_concurrent": 3,
            "max_retries": 1,
        }  # fmt: skip
        results.append(lm_eval.simple_evaluate(
            "local-completions", model_args=settings, tasks=[task(Path(given.folder))], task_manager=TaskManager(),
            bootstrap_iters=0, log_samples=True,
        ))  # fmt: skip
    samples = [result["samples"]["local_questions"] for result in results]
    told = [
        {
            "target": sample["target"],
            "choices": [
                {"context": context, "continuation": text, "logprob": float(logprob), "greedy": str(greedy) == "True"}
                for (context, text), ((logprob, greedy),) in zip(sample["arguments"], sample["resps"], strict=True)
            ],
        }
        for sample in samples[0]
    ]
    assert [len(row["choices"]) for row in told] == [len(row["choices"]) for row in QUESTIONS]
    assert [sample["resps"] for sample in samples[0]] == [sample["resps"] for sample in samples[1]]
    scores = results[0]["results"]["local_questions"]
    Path(given.folder, RESULTS).write_text(json.dumps({"told": told, "accuracy": scores["acc,none"]}))


if __name__ == "__main__":
    main("lm-eval", multiple_choice)
