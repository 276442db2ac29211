"""`localllm batch` over a tiny model: from its start to its end, stopped in the middle, and what is refused."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from tests.server import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("batch") / "tiny.gguf")


def request(name, n=5, url="/v1/chat/completions", **fields):
    body = {"model": "gpt", "messages": [{"role": "user", "content": name}], "max_tokens": n, "temperature": 0}
    return {"custom_id": name, "method": "POST", "url": url, "body": body | fields}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def files(tmp_path):
    """in.jsonl, written from requests, and out.jsonl."""

    def write(*requests):
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in requests))
        return tmp_path / "in.jsonl", tmp_path / "out.jsonl"

    return write


@pytest.mark.slow
def test_a_batch(call, files, model):
    source, target = files(
        *(request(f"r{i}") for i in range(6)),
        request("of a text", url="/v1/completions", prompt="abc", messages=None),
        request("refused", top_p=7),
        request("elsewhere", url="/v1/files"),
        {"id": "unnamed"},
    )
    result = call("batch", source, target, model, "-c", 256, "--no-cache", "-np", 3)
    assert (result.status, result.out) == (0, ""), result.err
    assert result.err.splitlines()[-1] == f"{target}: 7 answered, 1 refused, 2 no requests"
    rows = lines(target)
    by_name = {row["custom_id"]: row for row in rows}
    assert len(rows) == len(by_name) == 10
    assert by_name["r3"]["response"]["body"]["choices"][0]["message"]["content"]
    assert by_name["of a text"]["response"]["body"]["object"] == "text_completion"
    assert by_name["refused"]["response"]["status_code"] == 400
    assert by_name["refused"]["response"]["body"]["error"]["param"] == "top_p"
    assert (by_name["elsewhere"]["response"], by_name["elsewhere"]["error"]["line"]) == (None, 9)
    assert by_name[None]["error"]["line"] == 10
    assert [row["custom_id"] for row in rows if row["error"]] == ["elsewhere", None]

    before = target.read_bytes()
    again = call("batch", source, target, "no-such-model.gguf")  # nothing is left for it
    assert again.status == 0, again.err
    assert target.read_bytes() == before
    alone = files(request("r3"))[0].parent / "alone.jsonl"
    assert call("batch", source, alone, model, "-c", 256, "--no-cache", "-np", 1).status == 0
    told = lines(alone)[0]["response"]["body"]["choices"]
    assert told == by_name["r3"]["response"]["body"]["choices"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_stopped_in_the_middle(call, files, model, number, status):
    source, target = files(*(request(f"r{i}", n=100, ignore_eos=True) for i in range(40)))
    command = [sys.executable, "-m", "localllm.cli.main", "batch", source, target, model, "-c", "256", "--no-cache"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if re.match(r"Answering: \d", line):
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    kept = lines(target)
    assert 0 < len(kept) < 40
    if status > 0:
        assert err.splitlines()[-1].startswith(f"stopped: {target} holds {len(kept)} of 40 answers")
    result = call("batch", source, target, model, "-c", 256, "--no-cache")
    assert result.status == 0, result.err
    rows = lines(target)
    assert rows[: len(kept)] == kept
    assert sorted(row["custom_id"] for row in rows) == sorted(f"r{i}" for i in range(40))
    assert all(row["response"]["status_code"] == 200 for row in rows)


def one_line(result, status, *parts):
    assert result.status == status, result.err
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert all(str(part) in result.err for part in parts), result.err


def test_what_is_refused(call, files, monkeypatch):
    source, target = files(request("a"), request("b"), request("a"))
    monkeypatch.setenv("LOCALLLM_HOME", str(source.parent / "home"))
    one_line(call("batch", source, target), 2, source, "line 3", "line 1", "'a'")
    one_line(call("batch", source, source), 2, "IN and OUT")
    one_line(call("batch", source.parent / "none", target), 1, "none: No such file")
    assert not target.exists()
    files(request("a"))
    one_line(call("batch", source, target), 2, "no model", "localllm pull")
    one_line(call("batch", source, target, "--workers", 2), 2, "--ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    one_line(call("batch", source, target, "some.gguf", "--ray"), 1, "pip install 'localllm[ray]'")
    one_line(call("batch", source, target, "none.gguf"), 1, "none.gguf", "no such file")
    (source.parent / "notes").write_text("notes\n")
    one_line(call("batch", source, source.parent / "notes"), 1, "notes", "line 1", "no answer of a batch")
