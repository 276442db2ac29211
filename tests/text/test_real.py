"""Tokenizers of real models, where they are at hand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from localllm.gguf.reader import open_gguf
from localllm.text.template import chat_template
from localllm.text.tokenizer import Tokenizer, load_tokenizer
from tests.text.build import tokenizer_of

MODELS = Path.home() / ".cache" / "localllm-test-models"
SMOLLM, GEMMA = "smollm2-135m-instruct-q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"
QWEN = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
TEXT = "Hello,  world!\n\tI'm naïve — 12345 你好 👩‍👩‍👧 \x00\r\n<b>x</b>\u3000ſ ‏עברית"

pytestmark = pytest.mark.real


def load(name: str) -> tuple[Tokenizer, dict[str, object]]:
    path = MODELS / name
    if not path.exists():
        pytest.skip(f"no {path}")
    with open_gguf(str(path)) as file:
        tokenizer = load_tokenizer(file.metadata, str(path))
        template = {key: file.metadata[key] for key in file.metadata if key.startswith("tokenizer.chat_template")}
    assert tokenizer is not None
    return tokenizer, template


@pytest.mark.parametrize("name", [SMOLLM, GEMMA, QWEN])
def test_round_trip_after_the_file_is_closed(name: str) -> None:
    tokenizer, _ = load(name)
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    stream = tokenizer.stream()
    assert "".join(map(stream.push, ids)) + stream.finish() == TEXT


# Ids computed by llama.cpp (release of October 2026)
@pytest.mark.parametrize(
    ("name", "text", "ids"),
    [
        (SMOLLM, "Hello, world!", [19556, 28, 905, 17]),
        (GEMMA, "Hello, world!", [9259, 236764, 1902, 236888]),
        (QWEN, "Hello, world!", [9707, 11, 1879, 0]),
    ],
)
def test_ids(name: str, text: str, ids: list[int]) -> None:
    assert load(name)[0].encode(text) == ids


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        (SMOLLM, {"<|endoftext|>", "<|im_end|>"}),
        (GEMMA, {"<eos>", "<end_of_turn>"}),
        (QWEN, {"<|endoftext|>", "<|im_end|>"}),
    ],
)
def test_ends(name: str, ends: set[str]) -> None:
    tokenizer, _ = load(name)
    assert {tokenizer.token_text(i) for i in tokenizer.eog_ids} >= ends


def test_templates() -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]
    want = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    for name in (SMOLLM, QWEN):
        tokenizer, metadata = load(name)
        text = chat_template(metadata, tokenizer).render(messages)
        assert text == want
        ids = tokenizer.encode(text, parse_special=True)
        assert tokenizer.token_text(ids[0]) == "<|im_start|>"
        assert tokenizer.decode(ids, special=True) == text
    tokenizer, metadata = load(GEMMA)
    assert chat_template(metadata, tokenizer).is_fallback


@pytest.mark.parametrize("name", [SMOLLM, GEMMA, QWEN])
def test_loading_is_fast(name: str) -> None:
    """A warm start to the first token has 1.2 s; 0.25 s of that for the largest vocabulary here, on two slow cores."""
    path = MODELS / name
    if not path.exists():
        pytest.skip(f"no {path}")
    with open_gguf(str(path)) as file:
        start = time.thread_time()
        tokenizer_of(file.metadata).encode("hi")
        assert time.thread_time() - start < 2
