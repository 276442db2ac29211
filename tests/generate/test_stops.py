from __future__ import annotations

import itertools

import pytest

from localllm.generate.stops import StopStrings

TEXTS = ["", "hello", "abcabd", "aab", "xx<|end|>yy", "<|en", "ab<|e<|end|>", "aaab", "abab"]
STOPS = [(), ("",), ("b",), ("abd",), ("<|end|>",), ("aab", "b"), ("abcd", "bc"), ("abab", "ba")]


def slow(text, stops):
    """The text before the stop string that is complete first (the leftmost of those)."""
    for end in range(len(text) + 1):
        hits = [text[:end].rfind(s) for s in stops if s and text[:end].endswith(s)]
        if hits:
            return text[: min(hits)]
    return text


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("stops", STOPS)
def test_every_way_to_cut_two_pieces_and_letters(text, stops):
    cuts = [(text[:i], text[i:]) for i in range(len(text) + 1)] + [tuple(text)]
    for pieces in cuts:
        watch = StopStrings(stops)
        got = "".join(watch.push(p) for p in pieces) + watch.finish()
        if len(pieces) == len(text):  # letter by letter the first one complete is known
            assert got == slow(text, stops)
        assert bool(watch.found) == any(s in text for s in stops if s)
        assert not any(s in got for s in stops if s)
        assert text.startswith(got)


def test_only_possible_heads_are_held_back():
    watch = StopStrings(["<|end|>", "STOP"])
    shown = [watch.push(c) for c in "a<b<|e STx"]
    assert list(itertools.accumulate(shown)) == ["a", "a", "a<b", "a<b", "a<b", "a<b", "a<b<|e ", "a<b<|e ", "a<b<|e ",
                                                 "a<b<|e STx"]  # fmt: skip


def test_nothing_follows_a_stop():
    watch = StopStrings(["!"])
    assert [watch.push("a!b"), watch.push("c"), watch.finish()] == ["a", "", ""]
    assert watch.found == "!"
