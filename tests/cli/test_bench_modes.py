"""What `localllm bench` does for everybody: the card, curves, the fastest number of threads."""

from __future__ import annotations

import importlib
import json
import os
from types import SimpleNamespace

import pytest

from localllm.runtime import processors, tuned
from localllm.runtime.processors import Processors
from localllm.runtime.tuned import Threads
from localllm.tools import against, bench, card, curves, disturbance, limits, tune
from localllm.tools.disturbance import Disturbance
from localllm.tools.machine import Machine
from tests.server import tiny


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with four cores; `busy`: cores that others use."""
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    cores = Processors(8, 4, 4)
    made = SimpleNamespace(busy=0.0)
    for module in (tuned, processors, importlib.import_module("localllm.tools.machine")):
        monkeypatch.setattr(module, "processors", lambda: cores)
    monkeypatch.setattr(disturbance, "between", lambda *_: Disturbance(made.busy, 0, 0, False))
    return made


class TestTune:
    @pytest.fixture
    def tune(self, machine, monkeypatch):
        """Three threads are the fastest for prompts, two for generation."""
        outcomes = [tune.Outcome({n: [speed] for n in (1, 2, 3)}, n) for n, speed in ((3, 90.0), (2, 9.0))]
        machine.asked = []

        def measure(model, numbers, say):
            machine.asked.append(numbers)
            return tune.Tuned(*outcomes)

        monkeypatch.setattr(tune, "tune", measure)
        return machine

    def test_is_kept(self, call, fake, tune):
        result = call("bench", "--tune", "-t", "3,1,2")
        assert tune.asked == [[1, 2, 3]]
        lines = result.out.splitlines()
        assert lines[0] == "| threads | prompt t/s | generation t/s |"
        assert lines[4] == "|       3 |       90.0 |            9.0 |"
        assert lines[-1] == "Fastest: 3 for prompts, 2 for generation."
        assert str(tuned.path()) in result.err
        assert tuned.kept() == {"up to 256 MB": Threads(2, 3)}
        assert call("bench", "--tune", "--forget").out == f"{tuned.path()}: removed\n"
        assert tuned.kept() == {}
        assert call("bench", "--tune", "--forget").out == "nothing was kept\n"

    def test_candidates_of_the_machine(self, call, fake, tune):
        call("bench", "--tune", "-o", "json")
        assert tune.asked == [[1, 2, 3, 4, 6, 8]]

    def test_json(self, call, fake, tune):
        whole = json.loads(call("bench", "--tune", "-o", "json", "-t", "1,2,3").out)
        assert whole["prompt"]["n_threads"] == 3
        assert whole["decode"]["samples_ts"]["2"] == [9.0]
        assert whole["kept"] == str(tuned.path())

    def test_a_busy_machine_keeps_nothing(self, call, fake, tune):
        tune.busy = 1.5
        result = call("bench", "--tune", "-t", "1,2,3")
        assert result.status == 1
        assert "1.5 cores" in result.err
        assert "nothing is kept" in result.err
        assert tuned.kept() == {}


class TestCard:
    @pytest.fixture
    def made(self, machine, monkeypatch):
        """A card of measurements of this test's; `asked`: what `card.measure` was told."""
        machine.asked, machine.peer = [], ()
        tests = bench.combinations([512], [128])
        model = {"n_threads": 2, "model_filename": "m.gguf", "model_type": "llama 1B Q4_K", "model_size": 10**9}
        model |= {"model_n_params": 10**9, "type_k": "f16", "type_v": "f16", "backends": "avx2"}

        def measure(load, tests, repetitions, warmup, kv_type, swa_full, say):
            with load():
                machine.asked.append((tests, repetitions, warmup, kv_type))
            results = [bench.Result(test, model, "", [10**9, 12 * 10**8]) for test in tests]
            about = {"file": "m.gguf", "name": "", "type": "llama 1B Q4_K", "size": 10**9, "n_params": 10**9}
            return card.Card(
                "2026-11-26",
                Machine("A processor with a long name @ 2.40GHz", Processors(8, 4, 4), "avx2", (), 16 * 10**9, "Debian",
                        "Linux 6.1.0-with-a-long-version-amd64", "a container in a virtual machine"),
                about | {"architecture": "llama", "format": "Q4_K"}, Threads(2, 4), True,
                tuple(limits.beside(r, (10**10, 10**11), {2: {"gb_s": 20.0, "gmac_s": 400.0}}) for r in results),
                0.31, 10**9, machine.peer, "To see llama.cpp beside it: pip install 'localllm[peer]'",
                ("The figures scatter (pp512 by 9%): they say little beside others.", "Something else."),
                Disturbance(0, 0, 0, False),
            )  # fmt: skip

        monkeypatch.setattr(card, "measure", measure)
        self.tests = tests
        return machine

    def test_without_arguments(self, call, fake, made):
        result = call("bench")
        assert made.asked == [(self.tests, 5, True, "f16")]
        assert fake.loaded[0].name is None
        assert all(len(line) <= 78 for line in result.out.splitlines())
        for words in ("0.31 s", "4 for prompts, 2 for generation, found by --tune", "16.0 GB", "pip install"):
            assert words in result.out
        assert "> The figures scatter" in result.out
        rows = [[c.strip() for c in line.split("|")[1:-1]] for line in result.out.splitlines() if line.startswith("|")]
        assert ["test", "t/s", "limit", "share"] in rows
        assert ["tg128", "117.3 ± 15.1", "20.0 GB/s read", "45%"] in rows

    def test_it_is_markdown(self, call, fake, made):
        """Two tables, each cell of which is where a reader of Markdown finds it, and quotes."""
        from markdown_it import MarkdownIt

        tokens = MarkdownIt("commonmark").enable("table").parse(call("bench").out)
        kinds = [token.type for token in tokens]
        assert kinds.count("table_open") == 2
        assert kinds.count("blockquote_open") == 2
        heads = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "th_open"]
        assert heads == ["localllm", "2026-11-26", "test", "t/s", "limit", "share"]

    def test_beside_the_peer(self, call, fake, made):
        made.peer = tuple(
            against.Comparison(name, [10.0, 12.0, 11.0], [5.0, 5.0, 5.5], [0.0] * 3) for name in ("pp512", "tg128")
        )  # fmt: skip
        out = call("bench").out
        assert "llama.cpp t/s | ratio |" in out
        assert "|          5.00 |  2.00 |" in out
        assert all(len(line) <= 78 for line in out.splitlines())

    def test_options(self, call, fake, made):
        result = call("bench", "--card", "-p", 64, "-n", 0, "-r", 2, "-t", 3, "--no-warmup", "-o", "json")
        assert made.asked == [(bench.combinations([64], []), 2, False, "f16")]
        assert fake.loaded[0].n_threads == 3
        assert json.loads(result.out)["tests"][0]["limited_by"] == "gmac_s"

    def test_a_variable_is_no_argument(self, call, fake, made, monkeypatch):
        monkeypatch.setenv("LOCALLLM_THREADS", "3")
        call("bench")
        assert fake.loaded[0].n_threads == 3
        assert made.asked

    def test_one_argument_gives_what_llama_bench_does(self, call, fake, made):
        assert call("bench", "-r", 1, "-p", 4, "-n", 0).out.startswith("| model ")
        assert not made.asked


class TestPlot:
    @pytest.fixture
    def asked(self, machine, monkeypatch):
        wishes = []

        def measure(model, wish, say):
            wishes.append(wish)
            return [curves.Curve("prompt", "threads", {1: [10.0], 2: [20.0]})]

        monkeypatch.setattr(curves, "curves", measure)
        return wishes

    def test_text(self, call, fake, asked):
        lines = call("bench", "--plot").out.splitlines()
        assert lines[0].startswith("fake 64 F32 on ")
        assert lines[-1].endswith("20.0 ± 0.0")
        assert asked == [curves.Wish([1, 2, 3, 4, 6, 8])]

    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "value"), [("LC_ALL", "C"), ("PYTHONIOENCODING", "ascii")])
    def test_text_without_blocks(self, command, tmp_path, name, value):
        """In a process of its own, with a model of its own."""
        path = tiny.write(tmp_path / "tiny.gguf")
        options = ("-t", 1, "-p", 8, "-n", 2, "-r", 1, "-d", 0)
        done = command("bench", "-m", path, "--plot", "", *options, env=os.environ | {name: value})
        assert done.returncode == 0
        assert done.stdout.isascii()
        assert "########" in done.stdout

    def test_a_picture(self, call, fake, asked, tmp_path):
        path = tmp_path / "speed.svg"
        result = call("bench", "--plot", path, "-t", "1,4", "-d", "0,64", "-b", 256, "-p", 128, "-n", 8, "-r", 2)
        assert result.out == ""
        assert f"{path}: written" in result.err
        assert b"<svg" in path.read_bytes()
        assert asked == [curves.Wish((1, 4), (256,), (0, 64), n_prompt=128, n_gen=8, runs=2)]

    def test_json(self, call, fake, asked, tmp_path):
        whole = json.loads(call("bench", "--plot", "-o", "json").out)
        assert whole["curves"][0]["samples_ts"] == {"1": [10.0], "2": [20.0]}

    def test_a_model_is_no_picture(self, call, fake, asked):
        result = call("bench", "--plot", "model.gguf")
        assert (result.status, asked) == (2, [])
        assert ".svg" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--card", "--tune"), "--card and --tune cannot be used together"),
        (("--plot", "x.svg", "--profile"), "--plot and --profile cannot be used together"),
        (("--forget",), "--forget goes with --tune"),
        (("--card", "-p", "1,2"), "--card measures one test at a time"),
        (("--card", "-o", "csv"), "--card writes md or json"),
        (("--tune", "-o", "sql"), "--tune writes md or json"),
        (("--card", "-p", "0", "-n", "0"), "nothing to measure"),
        (("--tune", "-t", "0"), "between 1 and 512"),
        (("--plot", "-t", "513"), "between 1 and 512"),
        (("--tune", "-t", "1,9"), "this process may use 8 threads"),
        (("--tune", "-p", "64"), "--tune makes no use of --n-prompt"),
        (("--formats", "--limits"), "--formats makes no use of --limits"),
        (("--profile", "--swa-full"), "--profile makes no use of --swa-full"),
    ],
)
def test_wrong_usage(call, fake, machine, arguments, words):
    result = call("bench", *arguments)
    assert result.status == 2
    assert words in result.err
    assert not fake.loaded
