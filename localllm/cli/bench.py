"""`localllm bench`: a card for everybody, and the tests, columns and keys of llama-bench."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

import localllm
from localllm.cli import bench_card
from localllm.cli.bench_output import LIMITED_COLUMNS, WRITERS, markdown
from localllm.cli.common import OWN, Progress, load_model, note, one_model, options
from localllm.cli.streams import echo, echo_json
from localllm.errors import LocalllmError, UsageError
from localllm.terminal.screen import Screen

if TYPE_CHECKING:
    from localllm.generate.session import Model
    from localllm.tools import against
    from localllm.tools.tune import Tuned

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


_THREADS = "Number of threads. [default: what --tune found, or else one per core]"


@click.command("bench", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("positional", metavar="[MODEL]", required=False)
@options("model")
@click.option("-p", "--n-prompt", type=Numbers(0), default="512", show_default=True, help="Number of prompt tokens.")
@click.option("-n", "--n-gen", type=Numbers(0), default="128", show_default=True, help="Number of tokens to generate.")
@click.option("-d", "--n-depth", type=Numbers(0), default="0", show_default=True, help="Tokens before the test.")
@click.option("-b", "--batch-size", type=Numbers(1, 512), default="512", show_default=True, help="Maximum batch size.")
@click.option("-t", "--threads", type=Numbers(1, 512), envvar="LOCALLLM_THREADS", help=_THREADS)
@options("memory_check", "swa_full", "kv_type", "precision")
@click.option("-r", "--repetitions", type=click.IntRange(1), default=5, show_default=True, help="Runs of each test.")
@click.option("-o", "--output", type=click.Choice(list(WRITERS)), default="md", show_default=True)
@click.option("--no-warmup", is_flag=True, help="Skip the warm-up run before each test.")
@click.option("--card", is_flag=True, help="Write a card with the machine, the model and their speed. [default]")
@click.option(
    "--plot",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Draw tokens a second over threads, batches and depth: a picture (.svg, .png, .pdf), or text.",
)
@click.option("--tune", is_flag=True, help="Find the fastest numbers of threads, and keep them for later runs.")
@click.option("--forget", is_flag=True, help="With --tune: forget what was kept.")
@click.option("--formats", is_flag=True, help="Measure the matrix products of each tensor format; needs no model.")
@click.option("--limits", is_flag=True, help="Compare with the machine's memory bandwidth and compute limits.")
@click.option("--profile", is_flag=True, help="Show each operation's time in a pass of -p tokens (1 to 512).")
@click.option(
    "--against",
    metavar="PEER",
    help="Compare with llamacpp (extra `peer`), llamacpp-avx2, -avx512 or -native, or ik, in alternating runs.",
)
@click.option(
    "--draft",
    "-md",
    metavar="text|mtp|MODEL",
    help="Measure answers with guesses (see run --draft) beside those without.",
)
@click.pass_context
def command(ctx: click.Context, /, positional: str | None, model: str | None, **given: Any) -> None:
    """Measure prompt processing (pp) and text generation (tg) in tokens a second.

    Without any argument: a card of the default model on this machine, to be shown to others. With arguments: the tests
    of llama-bench. Takes several values separated by commas, as llama-bench does, and runs all combinations.
    """
    typed = frozenset(n for n in ctx.params if ctx.get_parameter_source(n) is ParameterSource.COMMANDLINE)
    wish = Wish(one_model(positional, model), typed, **given)
    chosen = [name for name in MODES if given.get(name) not in (None, False)]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} cannot be used together")
    if given["forget"] and chosen != ["tune"]:
        raise UsageError("--forget goes with --tune")
    mode = MODES[chosen[0] if chosen else "" if typed else "card"]
    unused = [name for name in ctx.params if name in typed - {"positional", "model", *chosen, *mode.uses.split()}]
    if unused:
        what = f"--{chosen[0]}" if chosen else "without --card, --plot and --tune, bench"
        raise UsageError(f"{what} makes no use of --{unused[0].replace('_', '-')}")
    mode.run(wish)


@dataclass(frozen=True)
class Wish:
    """What the command line says."""

    name: str | None
    """The model."""
    typed: frozenset[str]
    """The parameters that it names."""
    n_prompt: tuple[int, ...]
    n_gen: tuple[int, ...]
    n_depth: tuple[int, ...]
    batch_size: tuple[int, ...]
    threads: tuple[int, ...] | None
    swa_full: bool
    kv_type: str
    precision: str
    repetitions: int
    output: str
    no_warmup: bool
    card: bool
    plot: str | None
    tune: bool
    forget: bool
    formats: bool
    limits: bool
    profile: bool
    against: str | None
    draft: str | None

    @property
    def one_thread_count(self) -> int | None:
        return self.threads[0] if self.threads else None

    def load(self, n_threads: int | None = None) -> Model:
        how = {"swa_full": self.swa_full, "kv_type": self.kv_type, "precision": self.precision}
        return load_model(self.name, n_threads=n_threads, **how)  # type: ignore[arg-type]

    def single(self, what: str) -> None:
        """Refuse several values."""
        if any(len(values) != 1 for values in (self.n_prompt, self.n_gen, self.n_depth, self.threads or (1,))):
            raise UsageError(f"{what} one test at a time: give one number for each of -p, -n, -d and -t")

    def form(self, what: str, *forms: str) -> None:
        """Refuse other forms of output."""
        if self.output not in forms:
            raise UsageError(f"{what} writes {', '.join(forms[:-1])} or {forms[-1]}")


def _tests(wish: Wish) -> None:
    """llama-bench's."""
    from localllm.tools import bench

    rows = bench.combinations(wish.n_prompt, wish.n_gen, wish.n_depth, wish.batch_size, wish.threads or (None,))
    if not rows:
        raise UsageError("nothing to measure: -p and -n are both 0")
    build, how = f"localllm {localllm.__version__}", (wish.repetitions, not wish.no_warmup, wish.kv_type)
    if wish.limits:
        from localllm.tools import limits

        limited = limits.run(wish.load, rows, *how, build)
        texts = markdown(limited, LIMITED_COLUMNS) if wish.output == "md" else WRITERS[wish.output](limited)
    else:
        texts = WRITERS[wish.output](bench.run(wish.load, rows, *how, build))
    for text in texts:
        echo(text)


def _card(wish: Wish) -> None:
    """The machine, the model, their speed beside limits and peer."""
    wish.form("--card", "md", "json")
    wish.single("--card measures")
    from localllm.tools import bench, card

    tests = bench.combinations(wish.n_prompt, wish.n_gen, wish.n_depth, wish.batch_size[:1], (None,))
    if not tests:
        raise UsageError("nothing to measure: -p and -n are both 0")
    how = wish.repetitions, not wish.no_warmup, wish.kv_type, wish.swa_full
    made = card.measure(lambda: wish.load(wish.one_thread_count), tests, *how, note)
    if wish.output == "json":
        echo_json(made.fields(), indent=2, ascii=False)
        return
    for line in bench_card.markdown(made):
        echo(line)


def _plot(wish: Wish) -> None:
    """Curves, as a picture or as text."""
    from localllm.tools import curves, disturbance, plot, tune

    wish.form("--plot", "md", "json")
    if wish.plot:
        plot.check(wish.plot)
    from localllm.runtime.processors import processors

    asked = curves.Wish(
        wish.threads or tune.candidates(processors()),
        wish.batch_size if "batch_size" in wish.typed else curves.BATCHES,
        wish.n_depth if "n_depth" in wish.typed else curves.DEPTHS,
        n_prompt=max(1, wish.n_prompt[0]),
        n_gen=max(1, wish.n_gen[0]) if "n_gen" in wish.typed else curves.Wish.n_gen,
        runs=wish.repetitions if "repetitions" in wish.typed else curves.Wish.runs,
    )
    with wish.load() as model:
        title = f"{model.description} on {_here(model)}; medians of {asked.runs} runs"
        before = disturbance.read()
        found = curves.curves(model, asked, note)
        meanwhile = disturbance.between(before, disturbance.read(), disturbance.on_battery())
    for warning in disturbance.warnings({}, meanwhile):
        note(warning)
    if wish.plot:
        plot.picture(found, title, wish.plot)
        note(f"{wish.plot}: written")
    if wish.output == "json":
        echo_json({"title": title, "curves": [curve.fields() for curve in found]}, ascii=False)
    elif not wish.plot:
        for line in plot.text(found, title, Screen().unicode):
            echo(line)


def _here(model: Model) -> str:
    from localllm.tools.machine import machine

    found = machine()
    return f"{found.processor}, {found.cores}, {model.target}; localllm {localllm.__version__}"


def _tune(wish: Wish) -> None:
    """The fastest numbers of threads, kept; or what was kept, forgotten."""
    from localllm.runtime import tuned

    if wish.forget:
        done = tuned.forget()
        echo(f"{tuned.path()}: removed" if done else "nothing was kept")
        return
    wish.form("--tune", "md", "json")
    from localllm.runtime.processors import processors
    from localllm.tools import disturbance, tune

    numbers, most = sorted(set(wish.threads or tune.candidates(processors()))), processors().most
    if numbers[-1] > most:
        raise UsageError(f"--tune -t {numbers[-1]}: this process may use {most} threads at a time")
    with wish.load() as model:
        before = disturbance.read()
        found = tune.tune(model, numbers, Progress())
        n_bytes = model.n_bytes
        meanwhile = disturbance.between(before, disturbance.read(), disturbance.on_battery())
    path = None if meanwhile.is_busy else tuned.keep(n_bytes, found.threads)
    warnings = disturbance.warnings({}, meanwhile)
    if wish.output == "json":
        echo_json({**found.fields(), "kept": path and str(path), "warnings": warnings}, indent=2)
    else:
        for line in _tuned_lines(found, numbers):
            echo(line)
    if path is None:
        raise LocalllmError(f"bench --tune: the machine was busy, nothing is kept. {' '.join(warnings)}")
    for warning in warnings:
        note(warning)
    note(f"Kept for models of {tuned.size_class(n_bytes)} on this machine, where -t is not given: {path}")


def _tuned_lines(found: Tuned, numbers: Sequence[int]) -> Iterator[str]:
    yield "| threads | prompt t/s | generation t/s |"
    yield "| ------: | ---------: | -------------: |"
    for n in numbers:
        yield f"| {n:7} | {found.prompt.medians[n]:10.1f} | {found.decode.medians[n]:14.1f} |"
    yield f"\nFastest: {found.threads.prompt} for prompts, {found.threads.decode} for generation."


def _formats(wish: Wish) -> None:
    """The products of every tensor format beside the machine's limits."""
    from localllm.runtime.processors import default_threads
    from localllm.tools import formats

    wish.form("--formats", "md", "json", "jsonl")
    count = wish.one_thread_count or default_threads()
    speeds = formats.run(count, runs=wish.repetitions)
    if wish.output == "md":
        for line in formats.markdown(speeds, count):
            echo(line)
    elif wish.output == "jsonl":
        for speed in speeds:
            echo_json({"n_threads": count, **speed.fields()})
    else:
        echo_json([{"n_threads": count, **speed.fields()} for speed in speeds], indent=2)


def _profile(wish: Wish) -> None:
    """Operation kinds by their time, the slowest first."""
    from localllm.tools import profile

    n_rows = min(512, max(1, wish.n_prompt[0]))
    with wish.load(wish.one_thread_count) as model:
        rows = profile.profile(model, n_rows, wish.repetitions, wish.n_depth[0])
    if wish.output == "md":
        for line in profile.markdown(rows):
            echo(line)
    else:
        echo_json([row.fields() for row in rows], indent=2)


def _against(wish: Wish) -> None:
    """Medians of both sides, and the median of the ratios pair by pair."""
    if wish.swa_full or wish.kv_type != "f16" or wish.precision != "normal":
        raise UsageError("--against compares defaults: it cannot be used with --swa-full, --kv-type or --precision")
    wish.single("--against compares")
    from localllm.tools import against, peers

    counts = wish.n_prompt[0], wish.n_gen[0], wish.n_depth[0]
    with load_model(wish.name, n_threads=wish.one_thread_count) as model:
        job = peers.Job(model.path, model.n_threads, *counts, model.n_threads_batch)
        description = model.description
    peer, runs = str(wish.against), wish.repetitions
    pairs = against.compare(job, peer, runs, lambda pairs: note(_told(pairs[-1], len(pairs), runs)))
    rows = against.comparisons(job, pairs, runs)
    if wish.output == "md":
        for line in against.markdown(rows, description, job.n_threads, peer):
            echo(line)
    else:
        whole = {**against.describe(job, peer), "model_type": description, "tests": [row.fields() for row in rows]}
        echo_json(whole, indent=2 if wish.output == "json" else None, ascii=False)
    if not rows[0].has_ratio:
        raise LocalllmError(against.doubts(rows))
    if doubt := against.doubts(rows):
        note(doubt)


def _told(pair: against.Pair, done: int, runs: int) -> str:
    """Progress; a pair that others disturbed is measured again."""
    busy = "" if pair.is_quiet else f": not counted, others used {pair.others:.0%} of the cores"
    return f"pair {done}, {runs} wanted{busy}"


def _draft(wish: Wish) -> None:
    """Answers with guesses beside those without, in alternating runs."""
    wish.form("--draft", "md", "json")
    from localllm.generate.speculation.options import Guessing
    from localllm.tools import guesses

    n_gen = max(2, wish.n_gen[0])
    with ExitStack() as models:
        model = models.enter_context(wish.load(wish.one_thread_count))
        small = None
        if wish.draft not in OWN:
            small = models.enter_context(load_model(wish.draft, n_threads=wish.one_thread_count))
        gains = guesses.measure(model, Guessing(small, wish.draft == "mtp"), n_gen, wish.repetitions, note)
        title = f"{model.description} on {_here(model)}; {n_gen} tokens each, guessed by the {_guesser(wish.draft)}"
    if wish.output == "json":
        echo_json({"title": title, "tasks": [gain.fields() for gain in gains]}, ascii=False)
        return
    echo(f"{title}\n")
    for line in guesses.markdown(gains):
        echo(line)


def _guesser(draft: str | None) -> str:
    return {"text": "text so far", "mtp": "model's own layer (MTP)"}.get(str(draft), f"model {draft}")


class Mode(NamedTuple):
    """A way to measure. uses: the parameters that it heeds; others are refused."""

    run: Callable[[Wish], None]
    uses: str


_TESTS = "n_prompt n_gen n_depth batch_size threads swa_full kv_type precision repetitions output"
MODES = {
    "card": Mode(_card, f"{_TESTS} no_warmup"),
    "plot": Mode(_plot, _TESTS),
    "tune": Mode(_tune, "threads swa_full kv_type precision output forget"),
    "formats": Mode(_formats, "threads repetitions output"),
    "profile": Mode(_profile, "n_prompt n_depth threads kv_type precision repetitions output"),
    "against": Mode(_against, "n_prompt n_gen n_depth threads repetitions output swa_full kv_type precision"),
    "draft": Mode(_draft, "n_gen threads kv_type swa_full precision repetitions output"),
    "": Mode(_tests, f"{_TESTS} no_warmup limits"),
}
"""Option that chooses what is measured -> how it is done; without one, llama-bench's tests."""
