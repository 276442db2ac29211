from __future__ import annotations

import unicodedata

import pytest

from localllm.terminal.safe import visible


@pytest.mark.parametrize("unicode", [True, False])
def test_no_control_character_is_left(unicode):
    text = "".join(map(chr, range(0x110000)))
    left = {c for c in visible(text, unicode) if unicodedata.category(c) in ("Cc", "Cs")}
    assert left == {"\n", "\t"}


@pytest.mark.parametrize(
    ("text", "shown", "ascii"),
    [
        ("a\x1b[31mb", "a␛[31mb", "a^[[31mb"),
        ("\x1b]0;title\x07", "␛]0;title␇", "^[]0;title^G"),
        ("\x9b2J", "<U+009B>2J", "<U+009B>2J"),
        ("a\x7f\x08b", "a␡␈b", "a^?^Hb"),
        ("a\r\nb\rc", "a\nb␍c", "a\nb^Mc"),
        ("a\u202eb\u2066c", "a<U+202E>b<U+2066>c", "a<U+202E>b<U+2066>c"),
        ("\ud800", "\ufffd", "?"),
        ("\u2028", "<U+2028>", "<U+2028>"),
    ],
)
def test_what_stands_in_their_place(text, shown, ascii):
    assert visible(text) == shown
    assert visible(text, unicode=False) == ascii


@pytest.mark.parametrize("text", ["a\tb\nc", "שלום\u200f!", "می\u200cخواهم", "👩\u200d💻❤️", "e\u0301", ""])
def test_the_rest_is_left_alone(text):
    assert visible(text) == text
