"""`localllm quantize`: a GGUF file or a Hugging Face folder in, a GGUF file of smaller numbers out."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from localllm.cli import budget
from localllm.cli.common import SIZE, Progress, note, options
from localllm.cli.streams import echo
from localllm.errors import FileError, UsageError
from localllm.kernels.formats.table import FORMATS, Format
from localllm.quantize.methods import METHODS, method
from localllm.quantize.mixture import COPY, MIXTURES, Mixture, Overrides, choose, describe, mixture, needs_importance
from localllm.runtime.whole import check_writable

if TYPE_CHECKING:
    from localllm.quantize.budget import Budget
    from localllm.quantize.calibration import Calibration
    from localllm.quantize.encode import Encoder
    from localllm.quantize.methods import Method
    from localllm.quantize.source import Source, Typed
    from localllm.quantize.writer import Planned

_METHODS = "; ".join(f"{name} ({row.about})" for name, row in METHODS.items())


@click.command(
    "quantize",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"FORMAT is one of {', '.join(MIXTURES)}, or COPY.",
)
@click.argument("source", metavar="SOURCE")
@click.argument("out", metavar="OUT.gguf")
@click.argument("format", metavar="[FORMAT]", required=False)
@click.option("--imatrix", metavar="FILE", help="Calibration: what `localllm calibrate` or llama-imatrix wrote.")
@click.option(
    "--method", metavar="NAME", help=f"How to round: {_METHODS}. [default: imatrix with --imatrix, else plain]"
)
@click.option(
    "--tensor-type",
    metavar="PATTERN=FORMAT",
    multiple=True,
    help="Format of the tensors whose names hold PATTERN; may be repeated, the first that fits counts.",
)
@click.option("--output-tensor-type", metavar="FORMAT", help="Format of output.weight.")
@click.option("--token-embedding-type", metavar="FORMAT", help="Format of the token embeddings.")
@click.option("--leave-output-tensor", is_flag=True, help="Leave output.weight as it is.")
@click.option("--bits", type=click.FloatRange(1, 16), metavar="N", help="Instead of FORMAT: at most N bits per weight.")
@click.option("--max-size", type=SIZE, metavar="SIZE", help="Instead of FORMAT: a file of at most SIZE, such as 900M.")
@click.option("--pure", is_flag=True, help="No mixture: all matrices get the same format.")
@click.option("--allow-requantize", is_flag=True, help="Quantize what is quantized already; the errors add up.")
@click.option("--split-max-size", type=SIZE, metavar="SIZE", help="Write several files, each of at most SIZE.")
@click.option("--vocab-only", is_flag=True, help="Write metadata and vocabulary alone; takes no FORMAT.")
@click.option(
    "--metadata", metavar="KEY=VALUE", multiple=True, help="Change a key; KEY:TYPE=VALUE adds one. May be repeated."
)
@click.option("--keep-grid", is_flag=True, help="QAT checkpoints: blocks that lie on the format's grid stay exact.")
@click.option("--pre", metavar="NAME", help="Pre-tokenizer of a folder whose tokenizer.json is not recognised.")
@click.option("--dry-run", is_flag=True, help="Show the format of each tensor, and the size; write nothing.")
@click.option("--force", is_flag=True, help="Overwrite OUT.gguf.")
@options("threads")
def command(source: str, out: str, format: str | None, **given: Any) -> None:
    """Write a model as a GGUF file whose tensors have fewer bits.

    SOURCE is a GGUF file with F32, F16 or BF16 tensors, or the folder of a Hugging Face model. FORMAT is a mixture of
    llama.cpp, such as Q4_K_M, Q8_0 or IQ4_XS, and gives each tensor the format that llama-quantize gives it; COPY
    leaves all formats as they are. In place of FORMAT, --bits or --max-size give a size, and each matrix gets the
    format that serves the model best within it; OUT.budget.md says why. PATTERN is a regular expression. TYPE is str,
    bool, u32, i32, f32, ..., or arr:TYPE with a JSON array. SIZE counts in millions (900M) or billions (1.5G) of
    bytes.
    """
    # Before NumPy is imported: one thread, so that sums have one order; small products are faster so, too.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    searched = budget.check(format, given)
    row = COPY if searched else _mixture(format, given["vocab_only"])
    name, overrides = _method(given), _overrides(given)
    if not given["dry_run"]:
        _check_free(out, given["force"], [source])
        if searched:
            _check_free(budget.table_path(out), given["force"], [source])
    with ExitStack() as stack:
        calibration = _calibration(given["imatrix"], stack)
        calibrated = calibration if METHODS[name].calibrated else None
        encoder = None if given["dry_run"] and not searched else _encoder(given["threads"], stack)
        model = _open(source, encoder, given, stack)
        if searched:
            assert calibration
            assert encoder
            chosen = _Chosen.within(budget.search(model, given, calibration, encoder))
        else:
            formats = {} if given["vocab_only"] else choose(model, row.name, calibrated is not None, overrides)
            chosen = _Chosen(row, formats)
        if given["dry_run"]:
            _show(model, chosen.formats)
            _tell_fallbacks(model, chosen.formats, chosen.row)
        else:
            assert encoder
            _write(model, out, chosen, name, given, calibrated, encoder)


@dataclass(frozen=True)
class _Chosen:
    """What is written: a mixture, the format of each tensor, and how they were found where a size was given."""

    row: Mixture
    formats: Mapping[str, Format]
    found: Budget | None = None

    @classmethod
    def within(cls, found: Budget) -> _Chosen:
        budget.report(found)
        return cls(budget.mixture_of(found), dict(found.formats), found)


def _write(
    model: Source,
    out: str,
    chosen: _Chosen,
    name: str,
    given: Mapping[str, Any],
    calibration: Calibration | None,
    encoder: Encoder,
) -> None:
    """Checks what can be checked before, quantizes by the method `name`, and tells what was written."""
    from localllm.quantize.job import plan, quantize
    from localllm.quantize.writer import shard_paths

    row, formats, split_max_size = chosen.row, chosen.formats, given["split_max_size"] or 0
    paths = shard_paths(out, plan(model, formats), split_max_size)
    for path in paths:
        _check_free(path, given["force"], model.files)
    _check_calibrated(formats, row, calibration, given["method"])
    _tell_fallbacks(model, formats, row)
    metadata = _metadata(model, row, formats, given, calibration)
    made, model = _prepared(name, given["keep_grid"], model, formats, calibration, encoder)
    if given["method"] is None and row.quantized and row is not COPY:
        note(f"method: {name}" + ("" if calibration else "; with --imatrix FILE, weights that matter are nearer"))
    summary = quantize(model, out, metadata, formats, made, encoder, split_max_size=split_max_size, progress=_Shown())
    if chosen.found:
        budget.write(chosen.found, out)
    for text in made.notes():
        note(text)
    size = f"{summary.n_bytes / 1e6:,.1f} MB, {summary.bits_per_weight:.2f} bits per weight"
    echo(f"{' '.join(paths)}: {size} ({_counts(formats)}) in {summary.seconds:.1f} s")


def _prepared(
    name: str,
    keep_grid: bool,
    model: Source,
    formats: Mapping[str, Format],
    calibration: Calibration | None,
    encoder: Encoder,
) -> tuple[Method, Source]:
    """The method, with what is done around each; and the source as the method wants it."""
    from localllm.quantize.methods.few_bits import FewBits
    from localllm.quantize.methods.keep_grid import KeepGrid

    made = method(name)(calibration, encoder)
    if keep_grid:
        made = KeepGrid(made)
    made = FewBits(made, encoder)
    return made, made.prepare(model, formats)


def _mixture(format: str | None, vocab_only: bool) -> Mixture:
    if vocab_only and format is not None:
        raise UsageError(f"--vocab-only writes no tensors: it takes no format, not {format!r}")
    if not vocab_only and format is None:
        raise UsageError(f"give a format: one of {', '.join(MIXTURES)}, or COPY")
    return mixture(format or COPY.name)


def _method(given: Mapping[str, Any]) -> str:
    """The method that was asked for, or the one that suits what is given."""
    if given["vocab_only"] and given["method"]:
        raise UsageError("--vocab-only writes no tensors: --method has no use")
    name = given["method"] or ("imatrix" if given["imatrix"] else "plain")
    method(name)
    if METHODS[name].calibrated and not given["imatrix"]:
        raise UsageError(f"--method {name} needs a file of calibration: --imatrix FILE, made by `localllm calibrate`")
    if given["imatrix"] and not METHODS[name].calibrated:
        note(f"--method {name} does not use the calibration of {given['imatrix']}")
    return name


def _overrides(given: Mapping[str, Any]) -> Overrides:
    types = []
    for text in given["tensor_type"]:
        pattern, equals, name = text.rpartition("=")
        if not equals or not pattern:
            raise UsageError(f"--tensor-type {text!r}: must be PATTERN=FORMAT")
        try:
            types.append((re.compile(pattern), _format("--tensor-type", name)))
        except re.error as error:
            raise UsageError(f"--tensor-type {text!r}: {pattern!r} is no regular expression: {error}") from None
    output, embedding = (
        given[key] and _format(f"--{key.replace('_', '-')}", given[key])
        for key in ("output_tensor_type", "token_embedding_type")
    )
    return Overrides(tuple(types), output, embedding, given["leave_output_tensor"], given["pure"])


def _format(option: str, name: str) -> Format:
    found = FORMATS.get(name.upper())
    if found is None or not found.supported:
        names = ", ".join(format.name for format in FORMATS.values() if format.supported)
        raise UsageError(f"{option}: there is no tensor format {name!r}; formats are {names}")
    return found


def _check_free(path: str, force: bool, sources: Sequence[str]) -> None:
    check_writable(path, sources)
    if os.path.exists(path) and not force:
        raise FileError(f"{path}: exists already; --force overwrites it")


def _calibration(path: str | None, stack: ExitStack) -> Calibration | None:
    if path is None:
        return None
    from localllm.quantize.calibration import Calibration

    return stack.enter_context(Calibration.open(path))


def _encoder(n_threads: int | None, stack: ExitStack) -> Encoder:
    from localllm.quantize.encode import Encoder

    line = Progress()
    return stack.enter_context(Encoder(n_threads, lambda done, total: line("Compiling kernels", done, total)))


def _open(path: str, encoder: Encoder | None, given: Mapping[str, Any], stack: ExitStack) -> Source:
    from localllm.quantize.sources import open_source
    from localllm.store.resolve import resolve

    decode = encoder.decode if encoder else None
    found = open_source(
        path if os.path.exists(path) else resolve(path), decode, given["allow_requantize"], given["pre"]
    )
    stack.callback(found.close)
    return found


def _check_calibrated(
    formats: Mapping[str, Format], row: Mixture, calibration: Calibration | None, asked: str | None
) -> None:
    """Formats of 1 and 2 bits are of no use without calibration: only who names the method plain gets them."""
    poor = [
        tensor
        for tensor, format in formats.items()
        if needs_importance(tensor, format, row) and (calibration is None or tensor not in calibration)
    ]
    if not poor:
        return
    problem = f"{poor[0]} and {len(poor) - 1} more tensors in {formats[poor[0]].name} have no calibration"
    if asked != "plain":
        hint = "make one by `localllm calibrate`, and give it as --imatrix FILE; --method plain rounds without"
        raise UsageError(f"{problem}, without which they are of little use: {hint}")
    note(f"{problem}: the answers of such a model are poor")


def _tell_fallbacks(model: Source, formats: Mapping[str, Format], row: Mixture) -> None:
    """Files are larger than their name says where rows are no whole blocks."""
    block = FORMATS[row.format].block if row is not COPY else 1
    n = sum(model.tensors[name].k % block > 0 and format.block > 1 for name, format in formats.items())
    if n:
        note(f"{n} tensors have rows of no whole blocks of {block}, as {row.format} needs: theirs have smaller blocks")


def _metadata(
    model: Source,
    row: Mixture,
    formats: Mapping[str, Format],
    given: Mapping[str, Any],
    calibration: Calibration | None,
) -> dict[str, Typed]:
    from localllm.quantize.metadata import with_calibration, with_changes, with_format

    metadata = dict(model.metadata)
    if row is not COPY:
        metadata = with_format(metadata, row.file_type)
    rounded = any(model.tensors[name].format != format.name for name, format in formats.items())
    if calibration is not None and rounded:
        metadata = with_calibration(metadata, given["imatrix"], calibration)
    return with_changes(metadata, given["metadata"])


def _show(model: Source, formats: Mapping[str, Format]) -> None:
    """The table of --dry-run."""
    from localllm.quantize.job import plan

    tensors = plan(model, formats)
    for line in _table(model, tensors):
        echo(line)
    n_bytes, n_weights = sum(t.n_bytes for t in tensors), sum(t.n_weights for t in model.tensors.values())
    echo(f"{n_bytes / 1e6:,.1f} MB, {8 * n_bytes / max(1, n_weights):.2f} bits per weight ({_counts(formats)})")


def _table(model: Source, tensors: list[Planned]) -> Iterator[str]:
    width = max((len(tensor.name) for tensor in tensors), default=0)
    for tensor in tensors:
        shape = " × ".join(map(str, tensor.shape))
        old, new = model.tensors[tensor.name].format, tensor.format.name
        formats = f"{old:>7}   {'':7}" if old == new else f"{old:>7} → {new:7}"
        yield f"{tensor.name:{width}}  {shape:>20} {formats} {tensor.n_bytes / 1e6:10,.2f} MB"


def _counts(formats: Mapping[str, Format]) -> str:
    counts = ", ".join(f"{n} {name}" for name, n in describe(formats).items())
    return f"tensors: {counts}" if counts else "no tensors"


class _Shown:
    """Progress in millions of weights, with the rate."""

    def __init__(self) -> None:
        self._line = Progress()
        self._started = time.monotonic()

    def __call__(self, number: int, n_tensors: int, done: int, total: int) -> None:
        rate = done / max(1e-3, time.monotonic() - self._started) / 1e6
        text = f"Tensor {number} of {n_tensors}, {rate:.1f} M weights/s, M weights"
        whole = -(-total // 10**6)
        self._line(text, whole if done == total else done // 10**6, whole)
