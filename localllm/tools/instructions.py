"""Instructions of the products' inner loops, for any target: `python -m localllm.tools.instructions -h`.

What a token costs (matvec) and a prompt (matmul), counted in what LLVM makes of a kernel, in the loop that has the most
dot products. Where llvm-mca is installed, cycles of a processor are computed too: of one that is not at hand, this is
what can be said. Targets are compiled with all that they can use.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from localllm.errors import LocalllmError, UsageError
from localllm.kernels import formats, matmul_super
from localllm.kernels.formats.table import FORMATS, Format
from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import ALL_TARGETS, TARGETS, Target, current
from localllm.terminal.safe import visible
from localllm.tools import assembly, cycles, loops

_ROWS = 4
"""Of weights, which a matrix-vector product takes together."""


@dataclass(frozen=True)
class Work:
    """What one run through a loop multiplies: rows of weights x elements of each x rows of activations."""

    rows: int
    columns: int
    tokens: int
    runs: int = 0
    """Of a loop inside it, which has the products."""

    @property
    def products(self) -> int:
        return self.rows * self.columns * self.tokens


def _matvec(fmt: Format, target: Target) -> Work:
    """As matvec_float, matvec_super, matvec_grids, matvec_sixteens, matvec_nibbles and matvec_block32 step."""
    format_ = formats.module(fmt.module)
    if format_.KIND != "block32":
        runs = 4 if formats.optional(format_, "entries") and not target.scales_by_lane else 0
        return Work(_ROWS, {"float": 32, "super": 256}[format_.KIND], 1, runs)
    many = formats.optional(format_, "SCALES") > 1 or formats.optional(format_, "halves")
    return Work(_ROWS, 128 if many else 64, 1)


def _matmul(fmt: Format, target: Target) -> Work:
    """As the tiles of matmul, matmul_super and matmul_float step: what is scaled together."""
    format_ = formats.module(fmt.module)
    if format_.KIND == "float":
        return Work(target.tile_rows, 32, target.tile_vectors)
    is_super = format_.KIND == "super"
    group = matmul_super.run(format_, target) if is_super else 32 // formats.optional(format_, "SCALES")
    runs = 1 if target.adds_pairs and format_.KIND == "block32" else 0
    return Work(target.tile_rows, group, 16 * target.tile_vectors, runs)


@dataclass(frozen=True)
class Product:
    """A product: its kernel, what a run through its loop multiplies, and what its figures are for."""

    kernel: tuple[str, str]
    work: Callable[[Format, Target], Work]
    unit: int
    """Products that counts are given for."""
    about: str
    speed: str
    """A key of `Count.speeds`."""

    def key(self, fmt: Format, target: Target) -> Key:
        """Where squares are the default, the tile of registers: how long squares take, no model knows."""
        is_square = target.squares and self.kernel[0] == "matmul" and formats.module(fmt.module).KIND != "float"
        tile = (f"{target.tile_rows}x{target.tile_vectors}",) if is_square else ()
        return Key(*self.kernel, (fmt.module, *tile))


PRODUCTS = {
    "matvec": Product(("matvec", "rows"), _matvec, 64, "a token: for 64 weights; bytes of weights a cycle", "bytes"),
    "matmul": Product(("matmul", "tiles"), _matmul, 1024, "a prompt: for 64 x 16 products; products a cycle", "macs"),
}


@dataclass(frozen=True)
class Count:
    """What was found of one product of a format on a target: counts of the whole loop."""

    format: str
    target: str
    product: str
    rows: int
    columns: int
    tokens: int
    instructions: int
    loads: int
    stores: int
    dots: int
    moves: int
    stack: int
    cpu: str
    cycles: float | None
    bytes_per_cycle: float | None
    macs_per_cycle: float | None

    def of_unit(self, number: float) -> float:
        """A number of the whole loop, for so many products as figures are given for."""
        return number * PRODUCTS[self.product].unit / (self.rows * self.columns * self.tokens)

    @property
    def speed(self) -> float | None:
        """What is said of the product: bytes of weights a cycle, or products."""
        return {"bytes": self.bytes_per_cycle, "macs": self.macs_per_cycle}[PRODUCTS[self.product].speed]


def loop_of(fmt: Format, target: Target, product: str, text: str) -> loops.Loop:
    """The loop of a kernel, whose assembly is `text`. Raises LocalllmError."""
    dialect, work = loops.DIALECTS[target.machine], PRODUCTS[product].work(fmt, target)
    try:
        return loops.hottest(text, dialect, work.products if work.runs else 0, work.runs)
    except LocalllmError as error:
        raise LocalllmError(f"{product} of {fmt.name} for {target.name}: {error}") from None


def counted(fmt: Format, target: Target, product: str, text: str, cpu: str) -> Count:
    """The figures of a kernel, whose assembly is `text`; of cycles, where there is a cpu. Raises LocalllmError."""
    dialect, work = loops.DIALECTS[target.machine], PRODUCTS[product].work(fmt, target)
    loop = loop_of(fmt, target, product, text)
    # The compiler may have made one run of several. Some dot products more are of what a code's offset takes off.
    times = max(1, loops.byte_products(loop, dialect) // work.products)
    took = cycles.of(loop, target, cpu) if cpu else None
    n_bytes = times * work.rows * work.columns * fmt.bits_per_weight / 8
    return Count(
        fmt.name, target.name, product, work.rows, times * work.columns, work.tokens, **loops.count(loop, dialect),
        cpu=cpu, cycles=took, bytes_per_cycle=n_bytes / took if took else None,
        macs_per_cycle=times * work.products / took if took else None,
    )  # fmt: skip


def run(
    wanted: Sequence[Format], on: Sequence[Target], products: Sequence[str], cpus: dict[str, str]
) -> Iterator[tuple[Count, str]]:
    """Each kernel's figures and its loop, target by target. cpus: by machine, where other than cycles.CPUS."""
    for target in on:
        cpu = cpus.get(target.machine, cycles.CPUS.get(target.name, "")) if cycles.program() else ""
        of = {PRODUCTS[product].key(fmt, target): (fmt, product) for fmt in wanted for product in products}
        for key, text in assembly.of_kernels(target, of):
            fmt, product = of[key]
            yield counted(fmt, target, product, text, cpu), str(loop_of(fmt, target, product, text))


# --- as text


_HEAD = (
    "format", "target", "instructions", "loads", "dots", "moves", "stores", "stack", "cycles", "a cycle", "processor"
)  # fmt: skip
_NAMES = ("format", "target", "processor")
"""Columns that are flush left."""


def _cells(c: Count) -> tuple[str, ...]:
    numbers = (c.instructions, c.loads, c.dots, c.moves, c.stores, c.stack)
    figures = (f"{c.of_unit(number):.1f}" for number in numbers)
    took = "" if c.cycles is None else f"{c.of_unit(c.cycles):.1f}"
    return c.format, c.target, *figures, took, "" if c.speed is None else f"{c.speed:.1f}", c.cpu


def _tables(counts: Sequence[Count]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Of each product what it is, and its rows: those of a format beside each other."""
    for name, product in PRODUCTS.items():
        found = [c for c in counts if c.product == name]
        names = list(dict.fromkeys(c.format for c in found))
        if found:
            yield f"{name}, {product.about}", [_cells(c) for c in sorted(found, key=lambda c: names.index(c.format))]


def _text(counts: Sequence[Count]) -> Iterator[str]:
    for about, rows in _tables(counts):
        widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
        yield f"{about}\n"
        for row in (_HEAD, *rows):
            cells = zip(_HEAD, row, widths, strict=True)
            yield "  ".join(c.ljust(n) if name in _NAMES else c.rjust(n) for name, c, n in cells).rstrip()
        yield ""


def _markdown(counts: Sequence[Count]) -> Iterator[str]:
    for about, rows in _tables(counts):
        yield f"{about}\n"
        yield f"| {' | '.join(_HEAD)} |"
        yield f"|{'|'.join('---' if name in _NAMES else '---:' for name in _HEAD)}|"
        yield from (f"| {' | '.join(row)} |" for row in rows)
        yield ""


def _json(counts: Sequence[Count]) -> Iterator[str]:
    yield json.dumps([asdict(c) for c in counts], indent=2)


WRITERS: dict[str, Callable[[Sequence[Count]], Iterator[str]]] = {"text": _text, "md": _markdown, "json": _json}


# --- the command


def named(names: Iterable[str], known: dict[str, Any], what: str) -> list[Any]:
    """The rows of a table by their names, in whatever case. Raises UsageError."""
    by_name = {name.lower(): row for name, row in known.items()}
    for name in names:
        if name.lower() not in by_name:
            raise UsageError(f"{name}: no such {what}; there is {', '.join(known)}")
    return [by_name[name.lower()] for name in names]


def _by_machine(cpus: Iterable[str]) -> dict[str, str]:
    """Processors by the machine that they are of; nothing where cycles cannot be computed. Raises UsageError."""
    found: dict[str, str] = {}
    for cpu in cpus if cycles.program() else ():
        machines = [machine for machine in assembly.TRIPLES if cycles.knows(machine, cpu)]
        if not machines:
            lists = " or ".join(f"`{cycles.lists(machine)}`" for machine in assembly.TRIPLES)
            raise UsageError(f"--cpu {cpu}: no such processor; {lists} lists them")
        found |= dict.fromkeys(machines, cpu)
    return found


def _without_cycles(counts: Sequence[Count]) -> str:
    """Why cycles are missing, if any are."""
    if cycles.program() is None:
        return "llvm-mca is not on PATH, so that no cycles are computed; Debian has it in the package llvm."
    missing = [c for c in counts if c.cpu and c.cycles is None]
    cpus = ", ".join(dict.fromkeys(c.cpu for c in missing))
    return f"{Path(cycles.program() or '').name} has no model of all instructions for {cpus}." if missing else ""


def _report(
    wanted: Sequence[str], on: Sequence[str], products: Sequence[str], cpus: Sequence[str], output: str, listing: bool
) -> None:
    supported = {name: fmt for name, fmt in FORMATS.items() if fmt.supported}
    all_targets = {t.name: t for t in ALL_TARGETS if t.name != "generic" or t.name in TARGETS}
    formats_ = named(wanted or ("Q4_0", "Q8_0", "Q4_K", "Q6_K"), supported, "format")
    targets = named(on or (current().name,), all_targets, "target")
    by_machine = _by_machine(cpus)
    n = len(formats_) * len(targets) * len(products)
    counts: list[Count] = []
    with click.progressbar(length=n, label="Compiling", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for found, loop in run(formats_, targets, products, by_machine):
            counts.append(found)
            bar.update(1)
            if listing:
                click.echo(f"# {found.product} of {found.format} for {found.target}\n{loop}\n")
    if not listing:
        click.echo("\n".join(WRITERS[output](counts)).rstrip())
    if said := _without_cycles(counts):
        click.echo(said, err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("wanted", metavar="[FORMAT]...", nargs=-1)
@click.option("-t", "--target", "on", multiple=True, help="avx2, neon, ...; more than one if repeated.")
@click.option("-p", "--product", "products", multiple=True, type=click.Choice(list(PRODUCTS)), default=list(PRODUCTS))
@click.option("--cpu", "cpus", multiple=True, help="Whose cycles are computed: neoverse-n1, znver3, ...")
@click.option("-o", "--output", type=click.Choice(list(WRITERS)), default="text", show_default=True)
@click.option("--listing", is_flag=True, help="Print the loops themselves instead.")
def main(
    wanted: Sequence[str], on: Sequence[str], products: Sequence[str], cpus: Sequence[str], output: str, listing: bool
) -> None:
    """Count the instructions of the products of FORMATs (Q4_0, Q4_K, ...), on this machine's target or any other."""
    try:
        _report(wanted, on, products, cpus, output, listing)
    except LocalllmError as error:
        click.echo(f"instructions: {visible(str(error))}", err=True)
        sys.exit(error.status)


if __name__ == "__main__":
    main()
