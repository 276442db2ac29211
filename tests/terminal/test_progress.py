from __future__ import annotations

import pytest

from localllm.terminal.progress import Progress
from localllm.terminal.width import width
from tests.terminal.streams import Stream


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def lines(stream):
    return stream.getvalue().replace("\r", "\n").split("\n")


@pytest.mark.parametrize("in_bytes", [False, True])
def test_wide_names_stay_within_the_line(clock, in_bytes):
    """Each takes two columns: a line that goes on in the next row could not be cleared."""
    stream = Stream(terminal=True)
    progress = Progress(stream, in_bytes)
    progress("模" * 200, 0, 100)
    progress("a", 0, 100)
    progress.clear()
    first, second, erased = (part for part in stream.getvalue().split("\r") if part)
    assert 0 < width(first) < 80
    assert width(first) <= width(second) <= width(erased) < 80
    assert erased.isspace()


class TestBytes:
    def test_a_terminal_sees_a_bar_the_rate_and_the_time_left(self, clock):
        stream = Stream(terminal=True)
        progress = Progress(stream, in_bytes=True)
        for done in (0, 40_000_000, 80_000_000, 100_000_000):
            progress("fetching m", done, 100_000_000)
            clock[0] += 4
        assert [line.rstrip() for line in lines(stream)[1:4]] == [
            "fetching m: ──────────────────── 0 of 100 MB",
            "fetching m: ━━━━━━━━──────────── 40 of 100 MB, 10 MB/s, 0:06 left",
            "fetching m: ━━━━━━━━━━━━━━━━──── 80 of 100 MB, 10 MB/s, 0:02 left",
        ]
        assert lines(stream)[-2].strip() == lines(stream)[-1] == ""

    def test_a_terminal_is_not_flooded(self, clock):
        stream = Stream(terminal=True)
        progress = Progress(stream, in_bytes=True)
        for done in range(1000):
            progress("m", done, 10**9)
        assert stream.getvalue().count("\r") == 1

    def test_elsewhere_a_line_now_and_then(self, clock):
        stream = Stream(terminal=False)
        progress = Progress(stream, in_bytes=True)
        for done in range(0, 101, 10):
            progress("m", done * 10**6, 10**8)
            clock[0] += 1
        assert lines(stream) == [
            "m: 0 of 100 MB", "m: 50 of 100 MB, 10 MB/s, 0:05 left", "m: 100 of 100 MB, 10 MB/s", "",
        ]  # fmt: skip

    def test_an_unknown_total(self, clock):
        stream = Stream(terminal=False)
        progress = Progress(stream, in_bytes=True)
        progress("m", 0, None)
        clock[0] += 5
        progress("m", 5_000_000, None)
        assert lines(stream) == ["m: 0.0 MB", "m: 5.0 MB, 1.0 MB/s", ""]

    def test_another_text_is_other_work(self, clock):
        stream = Stream(terminal=False)
        progress = Progress(stream, in_bytes=True)
        progress("fetching m", 10**7, 10**7)
        progress("checking m", 10**7, 10**7)
        assert lines(stream) == ["fetching m: 10 of 10 MB", "checking m: 10 of 10 MB", ""]


def test_what_is_resumed_has_the_rate_of_this_time(clock):
    stream = Stream(terminal=False)
    progress = Progress(stream, in_bytes=True)
    progress("m", 90_000_000, 10**8)
    clock[0] += 5
    progress("m", 95_000_000, 10**8)
    assert lines(stream)[1] == "m: 95 of 100 MB, 1.0 MB/s, 0:05 left"


def test_a_message_stands_on_a_line_of_its_own(clock):
    stream = Stream(terminal=True)
    progress = Progress(stream)
    progress("Reading", 1, 2)
    progress("another process fetches it", 0, 0)
    assert stream.getvalue() == "\rReading: 1/2\r              \ranother process fetches it\n"


def test_the_line_goes_when_the_work_is_broken_off(clock):
    stream = Stream(terminal=True)
    with Progress(stream) as progress:
        progress("Reading", 1, 2)
    assert stream.getvalue().endswith("\r" + " " * len("Reading: 1/2^C") + "\r")


def test_a_line_is_no_longer_than_the_terminal(clock):
    stream = Stream(terminal=True)
    Progress(stream)("x" * 500, 1, 2)
    assert len(stream.getvalue()) == len("\r") + 77  # ^C has room behind it


def test_a_name_cannot_control_the_terminal(clock):
    stream = Stream(terminal=True)
    Progress(stream)("a\x1b[2Jb", 1, 2)
    assert stream.getvalue() == "\ra␛[2Jb: 1/2"


def test_a_unit_has_a_rate(clock):
    stream = Stream(terminal=True)
    progress = Progress(stream, unit="tokens")
    for done in (0, 512, 1024):
        progress("reading", done, 2048)
        clock[0] += 2
    assert [line.rstrip() for line in lines(stream)[1:]] == [
        "reading: 0/2,048 tokens", "reading: 512/2,048 tokens, 256.0 t/s",
        "reading: 1,024/2,048 tokens, 256.0 t/s, 0:04 left",
    ]  # fmt: skip
