from __future__ import annotations

import csv
import io
import json
import sqlite3
import statistics

import pytest

from localllm.tools import against, bench, limits
from localllm.tools.disturbance import Disturbance

KEYS = [
    *("cpu_info", "backends", "model_filename", "model_type", "model_size", "model_n_params", "n_batch", "n_ubatch"),
    *("n_threads", "type_k", "type_v", "n_prompt", "n_gen", "n_depth", "test_time"),
    *("avg_ns", "stddev_ns", "avg_ts", "stddev_ts"),
]
"""Of llama-bench."""


def test_markdown(call, fake):
    result = call("bench", "-m", "x", "-p", 16, "-n", "4,8", "-r", 2)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.out.splitlines() if "|" in line]
    assert result.status == 0
    assert lines[0] == ["model", "size", "params", "backend", "threads", "test", "t/s"]
    assert [row[5] for row in lines[2:]] == ["pp16", "tg4", "tg8"]
    assert lines[2][:5] == ["fake 64 F32", "4.71 MiB", "1.23 M", "generic", "2"]
    assert all(len(row) == 7 and " ± " in row[6] for row in lines[2:])
    assert len({len(line) for line in result.out.splitlines()[:2]}) == 1


def test_json(call, fake):
    rows = json.loads(call("bench", "-p", 16, "-n", 4, "-r", 3, "-o", "json").out)
    assert len(rows) == 2
    for row in rows:
        assert [key for key in row if key in KEYS] == KEYS
        assert len(row["samples_ns"]) == len(row["samples_ts"]) == 3
        n = row["n_prompt"] + row["n_gen"]
        assert row["samples_ts"] == [1e9 * n / ns for ns in row["samples_ns"]]
        assert row["avg_ts"] == pytest.approx(statistics.mean(row["samples_ts"]))
        assert row["stddev_ts"] == pytest.approx(statistics.stdev(row["samples_ts"]))
    assert [(row["n_prompt"], row["n_gen"]) for row in rows] == [(16, 0), (0, 4)]
    assert rows[0]["model_filename"] == "fake.gguf"


def test_jsonl_and_csv_hold_the_same(call, fake):
    lines = call("bench", "-p", 16, "-n", 4, "-r", 1, "-o", "jsonl").out.splitlines()
    rows = list(csv.DictReader(io.StringIO(call("bench", "-p", 16, "-n", 4, "-r", 1, "-o", "csv").out)))
    assert [row["n_prompt"] for row in rows] == [str(json.loads(line)["n_prompt"]) for line in lines]
    assert list(rows[0]) == [key for key in json.loads(lines[0]) if not key.startswith("samples")]


def test_threads_load_the_model_again(call, fake):
    call("bench", "-t", "1,2", "-p", 8, "-n", 0, "-r", 1)
    assert [loaded.n_threads for loaded in fake.loaded] == [1, 2]
    assert fake.closed


@pytest.mark.parametrize("verb", ["bench", "run", "chat"])
def test_swa_full(call, fake, verb):
    arguments = {"bench": ("-p", 4, "-n", 0, "-r", 1), "run": ("-m", "x.gguf", "hi", "-n", 4), "chat": ()}[verb]
    for flags in ((), ("--swa-full",)):
        assert call(verb, *arguments, *flags).status == 0
    assert [loaded.swa_full for loaded in fake.loaded] == [False, True]


@pytest.mark.parametrize("verb", ["bench", "run", "chat"])
def test_precision(call, fake, verb):
    arguments = {"bench": ("-p", 4, "-n", 0, "-r", 1), "run": ("-m", "x.gguf", "hi", "-n", 4), "chat": ()}[verb]
    for flags in ((), ("--precision", "high")):
        assert call(verb, *arguments, *flags).status == 0
    assert [loaded.precision for loaded in fake.loaded] == ["normal", "high"]


@pytest.mark.parametrize("verb", ["bench", "run", "chat"])
def test_kv_type(call, fake, verb):
    arguments = {
        "bench": ("-p", 4, "-n", 0, "-r", 1, "-o", "json"),
        "run": ("-m", "x.gguf", "hi", "-n", 4),
        "chat": (),
    }[verb]
    for flags in ((), ("--kv-type", "q8_0"), ("--kv-type", "q4_0")):
        result = call(verb, *arguments, *flags)
        assert result.status == 0
    assert [loaded.kv_type for loaded in fake.loaded] == ["f16", "q8_0", "q4_0"]
    if verb == "bench":
        assert json.loads(result.out)[0]["type_k"] == "q4_0"


@pytest.mark.parametrize("flags", [("--swa-full",), ("--kv-type", "f32")])
def test_defaults_alone_are_compared(call, fake, flags):
    assert "--kv-type" in call("bench", "--against", "llamacpp", *flags).err


@pytest.mark.parametrize(
    ("busy", "status", "cell", "words"),
    [
        (0.0, 0, "| 2.00 |", ["pair 3, 3 wanted"]),
        (1.0, 1, "| – |", ["not counted, others used 50% of the cores", "localllm: No ratio: during 3 of 3 pairs"]),
    ],
)
def test_beside_a_peer(call, fake, monkeypatch, busy, status, cell, words):
    """No ratio is told where other programs used the cores; the pairs are in the JSON in any case."""
    pair = against.Pair((30.0, 10.0), (4.0, 2.0), Disturbance(busy, 0.0, 0.0, False, 2))

    def compare(job, peer, repetitions, progress):
        pairs = [pair] * repetitions
        progress(pairs)
        return pairs

    monkeypatch.setattr(against, "compare", compare)
    monkeypatch.setattr(against, "describe", lambda job, peer: {"peer": peer})
    result = call("bench", "--against", "llamacpp", "-p", 8, "-n", 4, "-r", 3)
    assert (result.status, cell in result.out) == (status, True)
    assert all(word in result.err for word in words)
    result = call("bench", "--against", "llamacpp", "-p", 8, "-n", 4, "-r", 3, "-o", "json")
    assert result.status == status
    assert json.loads(result.out)["tests"][0]["ratios"] == [3.0] * 3


def test_limits(call, fake, monkeypatch):
    """Generation beside what is read, a prompt beside what is multiplied: two columns, or four keys, more."""
    monkeypatch.setattr(limits, "measured", lambda n_threads: {"gb_s": 20.0, "gmac_s": 400.0})
    monkeypatch.setattr(limits, "work", lambda model, test: (10**6, 10**7))
    rows = json.loads(call("bench", "--limits", "-p", 8, "-n", 4, "-r", 1, "-o", "json").out)
    assert [(row["limited_by"], row["limit"]) for row in rows] == [("gmac_s", 400.0), ("gb_s", 20.0)]
    for row, work in zip(rows, (10**7, 10**6), strict=True):
        assert row["speed"] == pytest.approx(work / row["avg_ns"], rel=1e-3)
        assert row["share"] == row["speed"] / row["limit"]
    lines = call("bench", "--limits", "-p", 8, "-n", 4, "-r", 1).out.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[-3:-1]] == ["speed", "share"]
    assert " of 400.0 GMAC/s |" in lines[2]
    assert " of 20.0 GB/s |" in lines[3]
    assert "share" in call("bench", "--limits", "-p", 8, "-n", 0, "-r", 1, "-o", "csv").out


def test_sql(call, fake):
    """What sqlite3 takes: a row each, with numbers where they are."""
    base = sqlite3.connect(":memory:")
    base.executescript(call("bench", "-p", 16, "-n", 4, "-r", 1, "-o", "sql").out)
    rows = base.execute("SELECT n_prompt, n_gen, model_type, avg_ts > 0 FROM llama_bench").fetchall()
    assert rows == [(16, 0, "fake 64 F32", 1), (0, 4, "fake 64 F32", 1)]


class TestMeasure:
    def test_work_done(self, fake):
        test = bench.Test(n_prompt=20, n_gen=0, n_depth=0, n_batch=8, n_threads=None)
        result = bench.measure(fake, test, repetitions=2)
        context = fake.contexts[0]
        assert [len(c) for c in context.calls] == [8, 8, 4] * 3  # the first is the warm-up
        assert context.n_ctx == 20
        assert context.closed
        assert len(result.samples_ns) == 2

    def test_generation_feeds_one_token_a_pass(self, fake):
        bench.measure(fake, bench.Test(0, 5, 0, 8, None), repetitions=1)
        assert [len(c) for c in fake.contexts[0].calls] == [1] + [1] * 5

    @pytest.mark.parametrize("can_cut", [True, False])
    def test_depth_is_there_before_each_repetition(self, fake, can_cut):
        fake.can_cut = can_cut
        fed = [1] * 3
        bench.measure(fake, bench.Test(0, 3, 10, 8, None), repetitions=2, warmup=False)
        depth = [8, 2]
        want = depth + fed + ([] if can_cut else depth) + fed
        assert [len(c) for c in fake.contexts[0].calls] == want

    def test_one_repetition_has_no_deviation(self, fake):
        assert bench.measure(fake, bench.Test(4, 0, 0, 8, None), 1).fields()["stddev_ts"] == 0.0


def test_names():
    assert bench.Test(512, 0, 0, 512, None).name == "pp512"
    assert bench.Test(0, 128, 4096, 512, None).name == "tg128 @ d4096"


def test_all_combinations():
    rows = bench.combinations([512, 0], [128], [0, 64], [256, 512], [1, 2])
    assert len(rows) == 2 * 2 * 2 * 2
    assert [row.n_threads for row in rows] == [1] * 8 + [2] * 8


class TestFormats:
    def test_every_supported_format_beside_the_limits(self, call, monkeypatch):
        from localllm.tools import formats

        measured = formats.Speed("", 0.0, 20.0, 400.0, 400.0), formats.Speed("Q4_0", 4.5, 10.0, 18.0, 100.0)
        monkeypatch.setattr(formats, "run", lambda n_threads, runs: iter(measured))
        lines = call("bench", "--formats", "-t", 2, "-r", 1).out.splitlines()
        assert lines[0].endswith("2 threads: reads 20.0 GB/s, products 400 GMAC/s")
        assert lines[-1] == "| Q4_0 | 4.5 | 10.0 | 50% | 18 | 100 | 25% |"
        rows = json.loads(call("bench", "--formats", "-t", 2, "-o", "json").out)
        assert [row["format"] for row in rows] == ["", "Q4_0"]
        assert call("bench", "--formats", "-o", "csv").status == 2

    def test_a_measurement_is_one(self):
        """A small one, of one format of each kind."""
        from localllm.kernels.formats.table import FORMATS
        from localllm.tools.formats import Bench

        bench = Bench(n_threads=2, megabytes=4, runs=1)
        try:
            limits = bench.limits()
            assert limits.decode_gb_s > 0.1
            for name in ("F16", "Q4_0", "Q4_K"):
                speed = bench.speed(FORMATS[name])
                assert (speed.format, speed.decode_gb_s > 0.01, speed.prompt_gmac_s > 0.1) == (name, True, True)
        finally:
            bench.close()
