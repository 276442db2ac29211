"""`localllm bench`: the tests, columns and keys of llama-bench."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

import localllm
from localllm.cli.common import load_model, note, one_model, options
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.generate.session import Model
    from localllm.tools.bench import Result

    _ParamType = click.ParamType[tuple[int, ...]]
else:
    _ParamType = click.ParamType  # generic since click 8.4 only


class Numbers(_ParamType):
    """Whole numbers separated by commas: 128,512."""

    name = "N,N..."

    def __init__(self, low: int, high: int = 2**31 - 1) -> None:
        self.low, self.high = low, high

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers, such as 128,512", param, ctx)
        for number in numbers:
            if not self.low <= number <= self.high:
                self.fail(f"{number} must lie between {self.low} and {self.high}", param, ctx)
        return numbers


@click.command("bench", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("positional", metavar="[MODEL]", required=False)
@options("model")
@click.option("-p", "--n-prompt", type=Numbers(0), default="512", show_default=True, help="Number of prompt tokens.")
@click.option("-n", "--n-gen", type=Numbers(0), default="128", show_default=True, help="Number of tokens to generate.")
@click.option("-d", "--n-depth", type=Numbers(0), default="0", show_default=True, help="Tokens before the test.")
@click.option("-b", "--batch-size", type=Numbers(1, 512), default="512", show_default=True, help="Maximum batch size.")
@click.option("-t", "--threads", type=Numbers(1), help="Number of threads. [default: one per core]")
@options("swa_full", "kv_type")
@click.option("-r", "--repetitions", type=click.IntRange(1), default=5, show_default=True, help="Runs of each test.")
@click.option("-o", "--output", type=click.Choice(["md", "json", "jsonl", "csv"]), default="md", show_default=True)
@click.option("--no-warmup", is_flag=True, help="Skip the warm-up run before each test.")
@click.option("--formats", is_flag=True, help="Measure the matrix products of each tensor format; needs no model.")
@click.option("--limits", is_flag=True, help="Compare with the machine's memory bandwidth and compute limits.")
@click.option("--profile", is_flag=True, help="Show each operation's time in a pass of -p tokens (1 to 512).")
@click.option("--against", metavar="PEER", help="Compare with llamacpp (extra `peer`), in alternating runs.")
def command(
    positional: str | None,
    model: str | None,
    n_prompt: tuple[int, ...],
    n_gen: tuple[int, ...],
    n_depth: tuple[int, ...],
    batch_size: tuple[int, ...],
    threads: tuple[int, ...] | None,
    swa_full: bool,
    kv_type: str,
    repetitions: int,
    output: str,
    no_warmup: bool,
    formats: bool,
    limits: bool,
    profile: bool,
    against: str | None,
) -> None:
    """Measure prompt processing (pp) and text generation (tg) in tokens a second.

    Takes several values separated by commas, as llama-bench does, and runs all combinations.
    """
    from localllm.tools import bench

    if formats:
        _formats((threads or (None,))[0], repetitions, output)
        return
    name = one_model(positional, model)
    if profile:
        sizes = min(512, max(1, n_prompt[0])), n_depth[0]
        with load_model(name, n_threads=(threads or (None,))[0], kv_type=kv_type) as model_:
            _profile(model_, *sizes, repetitions, output)
        return
    if against and (swa_full or kv_type != "f16"):
        raise UsageError("--against compares defaults: it cannot be used with --swa-full or --kv-type")
    if against:
        if any(len(values) != 1 for values in (n_prompt, n_gen, n_depth, threads or (1,))):
            raise UsageError("--against compares one test at a time: give one number for each of -p, -n, -d and -t")
        _against(name, against, (threads or (None,))[0], (n_prompt[0], n_gen[0], n_depth[0]), repetitions, output)
        return
    rows = bench.combinations(n_prompt, n_gen, n_depth, batch_size, threads or (None,))
    if not rows:
        raise UsageError("nothing to measure: -p and -n are both 0")

    def load(n_threads: int | None) -> Model:
        return load_model(name, n_threads=n_threads, swa_full=swa_full, kv_type=kv_type)

    build = f"localllm {localllm.__version__}"
    if limits:
        from localllm.tools import limits as beside

        limited = beside.run(load, rows, repetitions, not no_warmup, kv_type, build)
        texts = markdown(limited, LIMITED_COLUMNS) if output == "md" else WRITERS[output](limited)
    else:
        texts = WRITERS[output](bench.run(load, rows, repetitions, not no_warmup, kv_type, build))
    for text in texts:
        click.echo(text)


def _formats(n_threads: int | None, repetitions: int, output: str) -> None:
    """The products of every tensor format beside the machine's limits."""
    from localllm.runtime.processors import default_threads
    from localllm.tools import formats

    count = n_threads or default_threads()
    speeds = formats.run(count, runs=repetitions)
    if output == "md":
        for line in formats.markdown(speeds, count):
            click.echo(line)
    elif output == "jsonl":
        for speed in speeds:
            click.echo(json.dumps({"n_threads": count, **speed.fields()}))
    elif output == "json":
        click.echo(json.dumps([{"n_threads": count, **speed.fields()} for speed in speeds], indent=2))
    else:
        raise UsageError("--formats writes md, json or jsonl")


def _profile(model: Model, n_rows: int, n_depth: int, repetitions: int, output: str) -> None:
    """Operation kinds by their time, the slowest first."""
    from localllm.tools import profile

    rows = profile.profile(model, n_rows, repetitions, n_depth)
    if output == "md":
        for line in profile.markdown(rows):
            click.echo(line)
    else:
        click.echo(json.dumps([row.fields() for row in rows], indent=2))


def _against(
    name: str | None, peer: str, n_threads: int | None, counts: tuple[int, int, int], repetitions: int, output: str
) -> None:
    """Medians of both sides, and the median of the ratios pair by pair."""
    from localllm.tools import against

    with load_model(name, n_threads=n_threads) as model:
        job = against.Job(model.path, model.n_threads, *counts)
        description = model.description
    pairs = against.compare(job, peer, repetitions, lambda done: note(f"pair {done} of {repetitions}"))
    rows = against.comparisons(job, pairs)
    if output != "md":
        whole = {**against.describe(job, peer), "model_type": description, "tests": [row.fields() for row in rows]}
        click.echo(json.dumps(whole, indent=2 if output == "json" else None, ensure_ascii=False))
        return
    click.echo(f"| model | threads | test | localllm t/s | {peer} t/s | ratio (median of {repetitions} pairs) |")
    click.echo("| --- | ---: | ---: | ---: | ---: | ---: |")
    for f in (row.fields() for row in rows):
        speeds_text = f"{f['median_ours']:.1f} | {f['median_theirs']:.1f} | {f['median_ratio']:.2f}"
        click.echo(f"| {description} | {job.n_threads} | {f['test']} | {speeds_text} |")


def _size(n: int) -> str:
    return f"{n / 2**20:.2f} MiB" if n < 2**30 else f"{n / 2**30:.2f} GiB"


def _params(n: int) -> str:
    return f"{n / 1e6:.2f} M" if n < 1e9 else f"{n / 1e9:.2f} B"


Columns = tuple[tuple[str, int, "Callable[[Result], str]"], ...]
COLUMNS: Columns = (
    ("model", -30, lambda r: r.model["model_type"]),
    ("size", 10, lambda r: _size(r.model["model_size"])),
    ("params", 10, lambda r: _params(r.model["model_n_params"])),
    ("backend", -10, lambda r: r.model["backends"]),
    ("threads", 7, lambda r: str(r.model["n_threads"])),
    ("test", 15, lambda r: r.test.name),
    ("t/s", 20, lambda r: "{avg_ts:.2f} ± {stddev_ts:.2f}".format(**r.fields())),
)
"""Header, width (negative: to the left) and cell of the Markdown table: llama-bench's."""


def _beside(r: Result) -> str:
    f = r.fields()
    unit = {"gb_s": "GB/s", "gmac_s": "GMAC/s"}[f["limited_by"]]
    return "{speed:.1f} of {limit:.1f} {}".format(unit, **f)


LIMITED_COLUMNS = (
    *COLUMNS,
    ("speed", 22, _beside),
    ("share", 5, lambda r: "{share:.0%}".format(**r.fields())),
)


def _cell(text: str, width: int) -> str:
    return f" {text.ljust(-width) if width < 0 else text.rjust(width)} |"


def markdown(results: Iterable[Result], columns: Columns = COLUMNS) -> Iterator[str]:
    fields: dict[str, Any] = {}
    for result in results:
        if not fields:  # no head before the model is known to load
            yield "|" + "".join(_cell(name, width) for name, width, _ in columns)
            yield "|" + "".join(f" {'-' * (abs(width) - 1)}{':' if width > 0 else '-'} |" for _, width, _ in columns)
        fields = result.fields()
        yield "|" + "".join(_cell(cell(result), width) for _, width, cell in columns)
    yield "\nbuild: {build_commit}, {cpu_info}".format(**fields)


def _whole(result: Result) -> dict[str, object]:
    return {**result.fields(), "samples_ns": result.samples_ns, "samples_ts": result.samples_ts}


def as_json(results: Iterable[Result]) -> Iterator[str]:
    yield json.dumps([_whole(result) for result in results], indent=2, ensure_ascii=False)


def as_jsonl(results: Iterable[Result]) -> Iterator[str]:
    return (json.dumps(_whole(result), ensure_ascii=False) for result in results)


def as_csv(results: Iterable[Result]) -> Iterator[str]:
    head = False
    for result in results:
        fields = result.fields()
        if not head:
            yield ",".join(fields)
            head = True
        line = io.StringIO()
        csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(fields.values())
        yield line.getvalue()


WRITERS: dict[str, Callable[[Iterable[Result]], Iterator[str]]] = {
    "md": markdown,
    "json": as_json,
    "jsonl": as_jsonl,
    "csv": as_csv,
}
"""-o -> lines of text, each written as soon as it is known."""
