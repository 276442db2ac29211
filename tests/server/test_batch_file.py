"""Lines of a batch: what is read, what is refused, and a file of answers that goes on where it broke off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localllm.errors import FileError, UsageError
from localllm.server.batch_file import Answer, AnswerFile, Task, open_answers, plan, read_task


def line(**fields):
    given = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"n": 1}} | fields
    return json.dumps({k: v for k, v in given.items() if v is not None}).encode() + b"\n"


def test_a_request_is_read():
    assert read_task(line(), 3) == Task(3, "a", "/v1/chat/completions", b'{"n": 1}')
    assert read_task(line(method=None), 3).error == ""


@pytest.mark.parametrize(
    ("raw", "custom_id", "parts"),
    [
        (b"junk\n", None, ["not JSON"]),
        (b'{"custom_id": "a"', None, ["not JSON"]),
        (b"\xff\n", None, ["not JSON"]),
        (b"[]\n", None, ["object"]),
        (b"[" * 100_000, None, ["object"]),
        (b'{"custom_id": ' + b"[" * 100_000, None, ["custom_id"]),
        (line().replace(b"1", b"[" * 100_000), None, ["not JSON"]),
        (line(custom_id=None), None, ["custom_id"]),
        (line(custom_id=7), None, ["custom_id"]),
        (line(body=None), "a", ["body"]),
        (line(body=[1]), "a", ["object"]),
        (line(method="GET"), "a", ["GET", "method"]),
        (line(url="/v1/models"), "a", ["/v1/models", "/v1/embeddings"]),
        (line(body={"stream": True}), "a", ["stream"]),
    ],
)
def test_what_is_no_request_says_why(raw, custom_id, parts):
    task = read_task(raw, 3)
    assert (task.number, task.custom_id) == (3, custom_id)
    assert "line 3" in task.error
    assert all(part in task.error for part in parts), task.error


def test_what_is_left(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_bytes(
        b"\xef\xbb\xbf" + line() + b"\n" + line(custom_id="b") + b"junk\n" + line(custom_id="c").rstrip()
    )
    wanted = plan(source, frozenset({"b", "of an earlier file"}))
    assert (wanted.total, wanted.n_done) == (4, 1)
    assert [(task.number, task.key) for task in wanted.left()] == [(1, "a"), (4, 4), (5, "c")]
    assert [task.key for task in plan(source, frozenset({4})).left()] == ["a", "b", "c"]


def test_two_lines_of_one_name(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_bytes(line() + line(custom_id="b") + line())
    with pytest.raises(UsageError, match=r"in\.jsonl, line 3: its custom_id 'a' is that of line 1"):
        plan(source, frozenset())
    with pytest.raises(FileError, match=r"none\.jsonl: No such file"):
        plan(tmp_path / "none.jsonl", frozenset())


def written(path, *names):
    with open_answers(path) as answers:
        for number, name in enumerate(names, 1):
            answers.write(Task(number, name), Answer(200, "r", b'{"x": [1, 2]}'))
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_answers_are_appended(tmp_path):
    path = tmp_path / "out.jsonl"
    (first,) = written(path, "a")
    assert first == {
        "id": first["id"],
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "r", "body": {"x": [1, 2]}},
        "error": None,
    }
    with open_answers(path) as answers:
        answers.write(Task(7, None, error="line 7 is not JSON"), None)
    assert json.loads(path.read_text().splitlines()[1]) | {"id": ""} == {
        "id": "",
        "custom_id": None,
        "response": None,
        "error": {"code": "invalid_line", "message": "line 7 is not JSON", "line": 7},
    }
    with open_answers(path) as answers:
        assert answers.done == {"a", 7}
        assert not answers.torn


def test_every_way_to_tear_the_last_line_is_mended(tmp_path):
    path = tmp_path / "out.jsonl"
    written(path, "a", "b")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        with open_answers(path) as answers:
            kept = (end >= first - 1) + (end >= len(whole) - 1)
            assert answers.done == frozenset(["a", "b"][:kept])
            assert answers.torn == (end not in (0, first - 1, first, len(whole) - 1, len(whole)))
        missing = ["a", "b"][kept:]
        assert [row["custom_id"] for row in written(path, *missing)] == ["a", "b"]


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "out.jsonl"
    for text in (line(), b'{"id": 3}\n', b"notes\nmore\n", b"\xff\n"):
        path.write_bytes(text)
        with pytest.raises(FileError, match=r"out\.jsonl, line 1: is no answer of a batch"), open_answers(path):
            pass
        assert path.read_bytes() == text
    with pytest.raises(FileError, match="no/out"), open_answers(tmp_path / "no/out"):
        pass


def test_two_processes_do_not_write_one_file(tmp_path):
    path = tmp_path / "out.jsonl"
    with open_answers(path), pytest.raises(UsageError, match="another process"), open_answers(path):
        pass
    with open_answers(path):
        pass


def test_a_full_disk_is_one_line():
    with open("/dev/full", "wb") as full, pytest.raises(FileError, match=r"^out\.jsonl: No space left"):
        AnswerFile(Path("out.jsonl"), full.fileno()).write(Task(1, "a"), Answer(200, "", b"{}"))
