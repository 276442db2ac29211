"""`localllm calibrate`: an importance matrix, and second moments, of a text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from localllm.cli.common import Progress, load_model, note, options
from localllm.cli.streams import echo
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.generate.session import Model


@click.command("calibrate", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("-f", "--file", "text", metavar="FILE", help="The text, UTF-8. [default: one that comes with localllm]")
@click.option(
    "-o",
    "--output",
    default="calib.gguf",
    show_default=True,
    metavar="FILE",
    help="The file to write; an older one is replaced.",
)
@click.option(
    "--hessians",
    is_flag=True,
    help="Write second moments, too, which the methods gptq, awq and auto need, into a file beside: "
    "calib.hessians.gguf for calib.gguf.",
)
@click.option(
    "-c", "--ctx-size", type=click.IntRange(16), default=512, show_default=True, metavar="N", help="Tokens of a chunk."
)
@click.option("--chunks", type=click.IntRange(1), metavar="N", help="Maximum number of chunks. [default: all]")
@click.option("--process-output", is_flag=True, help="Calibrate output.weight, too.")
@options("threads")
def command(
    model: str,
    text: str | None,
    output: str,
    hessians: bool,
    ctx_size: int,
    chunks: int | None,
    process_output: bool,
    threads: int | None,
) -> None:
    """Run a text through MODEL and write which columns of its matrices' inputs are large: an importance matrix.

    MODEL is the path of a GGUF file or a name of `localllm list`; the less it is quantized, the better. The file is one
    of llama-imatrix's, for llama-quantize, too.

    \b
    localllm calibrate model-f16.gguf
    localllm quantize model-f16.gguf model-q4.gguf Q4_K_M --imatrix calib.gguf
    """
    # Threads share the columns of second moments: products in NumPy need none of their own, which would wait in loops.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with load_model(model, n_threads=threads) as loaded:
        _calibrate(loaded, text, output, hessians, ctx_size, chunks, process_output)


def _calibrate(
    model: Model, text: str | None, output: str, with_hessians: bool, n_ctx: int, n_chunks: int | None, outputs: bool
) -> None:
    from localllm.quantize.calibrate import Options, calibrate, chunks_of, hessian_bytes
    from localllm.quantize.calibration_text import OUR_OWN, ids_of_file, our_own_ids
    from localllm.quantize.hessians import beside
    from localllm.quantize.imatrix import write_imatrix
    from localllm.runtime.whole import check_writable

    second = beside(output)
    for path in (output, second) if with_hessians else (output,):
        check_writable(path, [model.path, *([text] if text else [])])
    if not with_hessians and os.path.exists(second):
        raise UsageError(f"{second} is of an earlier calibration: delete it, add --hessians, or take another name (-o)")
    wanted = Options(n_ctx, n_chunks, outputs)
    ids = our_own_ids(model) if text is None else ids_of_file(model, text)
    n = len(chunks_of(model, ids, wanted))
    more = f"; {second} takes {hessian_bytes(model, wanted) / 1e6:.0f} MB" if with_hessians else ""
    note(f"{n} chunks of {n_ctx} tokens{more}")
    found = calibrate(model, ids, wanted, second if with_hessians else None, text or OUR_OWN, Progress())
    write_imatrix(output, found)
    missing = {name for name, entry in found.entries.items() if not entry.counts.all()}
    if missing:
        note(f"{len(missing)} matrices have experts that no token went to: a longer text would reach them")
    echo(f"{output}: {len(found.entries)} matrices" + (f"; second moments: {second}" if with_hessians else ""))
