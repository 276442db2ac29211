"""What begins behind a text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from localllm.generate.after_text import AfterText
from localllm.generate.grammar import Grammar, compile_grammar
from localllm.text.bytelevel import BYTE_TO_CHAR
from tests.generate.grammars import VOCABULARIES, vocabulary
from tests.text import build

SCHEMA = Grammar(
    "json_schema",
    json.dumps(
        {
            "type": "object",
            "properties": {"a": {"enum": [1, 2]}},
            "required": ["a"],
            "additionalProperties": False,
        }
    ),
)


def with_tokens(*texts, control=()):
    """A byte-level vocabulary with further tokens; those of `control` are control tokens."""
    data = build.byte_level()
    tokens, types = data["tokenizer.ggml.tokens"], data["tokenizer.ggml.token_type"]
    data["tokenizer.ggml.eos_token_id"] = tokens.index("<|end|>")
    data["tokenizer.ggml.tokens"] = [*tokens, *texts, *control]
    data["tokenizer.ggml.token_type"] = [*types, *(4 for _ in texts), *(3 for _ in control)]
    return build.tokenizer_of(data)


def walk(tokenizer, constraint, seed, n_tokens, bonus=None):
    rng = np.random.default_rng(seed)
    ids: list[int] = []
    while len(ids) < n_tokens and not constraint.finished:
        logits = rng.standard_normal(tokenizer.n_vocab).astype(np.float32) + (0 if bonus is None else bonus)
        constraint.mask(logits)
        token = int(np.argmax(logits))
        assert np.isfinite(logits[token])
        if token in tokenizer.eog_ids:
            break
        ids += [token, *constraint.accept(token)]
    return ids


def allowed(tokenizer, constraint):
    logits = np.zeros(tokenizer.n_vocab, np.float32)
    constraint.mask(logits)
    return {tokenizer.tokens[i] for i in np.flatnonzero(np.isfinite(logits))}


def take(tokenizer, constraint, text):
    """Accept a text token by token; each must be allowed."""
    forced: list[int] = []
    for token in tokenizer.encode_inside(text):
        if forced:
            assert forced.pop(0) == token
            continue
        logits = np.zeros(tokenizer.n_vocab, np.float32)
        constraint.mask(logits)
        assert np.isfinite(logits[token]), tokenizer.tokens[token]
        forced = list(constraint.accept(token))
    assert not forced


@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize("seed", range(3))
def test_first_any_text_then_the_grammar(name, seed):
    tokenizer = vocabulary(name)
    bonus = np.array([8.0 * (tokenizer.token_bytes(i)[:1] == b"!") for i in range(tokenizer.n_vocab)], np.float32)
    constraint = AfterText(tokenizer, "!!", compile_grammar(tokenizer, Grammar("regex", "[0-9]{3}")))
    ids = walk(tokenizer, constraint, seed, 400, bonus)
    text = b"".join(tokenizer.token_bytes(i) for i in ids).decode("utf-8", "replace")
    _, _, answer = text.partition("!!")
    assert constraint.finished
    assert answer.strip().isdigit()
    assert len(answer.strip()) == 3


def test_the_answer_cannot_end_before():
    tokenizer = with_tokens("</think>")
    constraint = AfterText(tokenizer, "</think>", compile_grammar(tokenizer, SCHEMA))
    assert "<|end|>" not in allowed(tokenizer, constraint)
    assert "</think>" in allowed(tokenizer, constraint)
    constraint.accept(tokenizer.tokens.index("</think>"))
    assert {t for t in allowed(tokenizer, constraint) if t.strip("ĠĊĉč")} == {"{"}
    take(tokenizer, constraint, '\n\n{"a": 2}')
    assert constraint.finished


def test_without_an_inner_constraint_everything_is_allowed():
    tokenizer = with_tokens("</think>")
    constraint = AfterText(tokenizer, "</think>", None, budget=100)
    everything = set(tokenizer.tokens)
    assert allowed(tokenizer, constraint) == everything
    take(tokenizer, constraint, "well</think>\n\nyes")
    assert allowed(tokenizer, constraint) == everything
    assert not constraint.finished


def test_no_token_runs_past_the_closing_text():
    tokenizer = with_tokens(">\n", "/think>{", "x</think>y", "</think>")
    constraint = AfterText(tokenizer, "</think>", compile_grammar(tokenizer, SCHEMA))
    assert {">\n", "/think>{", "</think>"} <= allowed(tokenizer, constraint)
    assert "x</think>y" not in allowed(tokenizer, constraint)
    constraint.accept(tokenizer.tokens.index("<"))
    assert "/think>{" not in allowed(tokenizer, constraint)
    assert ">\n" in allowed(tokenizer, constraint)
    for c in "/think":
        constraint.accept(tokenizer.tokens.index(c))
    assert ">\n" not in allowed(tokenizer, constraint)
    assert ">" in allowed(tokenizer, constraint)


def test_a_control_token_closes_and_text_that_looks_like_it_does_not():
    tokenizer = with_tokens(control=["<|done|>"])
    constraint = AfterText(tokenizer, "<|done|>", compile_grammar(tokenizer, SCHEMA))
    take(tokenizer, constraint, "<|done|> said")  # encode_inside: plain text
    constraint.accept(tokenizer.tokens.index("<|done|>"))
    take(tokenizer, constraint, '{"a": 1}')
    assert constraint.finished


def test_an_opening_token_may_be_left_out():
    tokenizer = with_tokens("<think>", "</think>")
    for text, whole in (('{"a": 1}', True), ('<think>so</think>{"a": 1}', True), ("<think>so", False)):
        constraint = AfterText(tokenizer, "</think>", compile_grammar(tokenizer, SCHEMA), opening="<think>")
        assert allowed(tokenizer, constraint) == {"{", "<think>"}
        take(tokenizer, constraint, text)
        assert constraint.finished == whole


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_a_budget(budget):
    tokenizer = with_tokens("<think>", "</think>")
    constraint = AfterText(
        tokenizer, "</think>", compile_grammar(tokenizer, SCHEMA), budget=budget, forced="\n</think>\n\n"
    )
    ids = walk(tokenizer, constraint, 1, 100)
    text = b"".join(tokenizer.token_bytes(i) for i in ids)
    _, _, answer = text.partition(b"\n</think>\n\n")
    assert json.loads(answer)["a"] in (1, 2)
    closing = tokenizer.encode_inside("\n</think>\n\n")
    n = next(i for i in range(len(ids)) if ids[i : i + len(closing)] == closing)
    assert budget <= n <= budget + 3  # no character is cut into halves


def test_a_budget_cuts_no_character():
    tokenizer = with_tokens("</think>")
    constraint = AfterText(tokenizer, "</think>", None, budget=1)
    first, *rest = "é".encode()
    constraint.accept(tokenizer.tokens.index(BYTE_TO_CHAR[first]))
    assert len(allowed(tokenizer, constraint)) == tokenizer.n_vocab
    constraint.accept(tokenizer.tokens.index(BYTE_TO_CHAR[rest[0]]))
    assert allowed(tokenizer, constraint) == {"</think>"}
