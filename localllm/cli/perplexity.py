"""`localllm perplexity`: how well a model predicts a text, alone or beside a base model's predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from localllm.cli.common import Progress, load_model, options
from localllm.cli.streams import echo, echo_json
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.generate.session import Model

DEFAULT_N_CTX = 512


@click.command("perplexity", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("-f", "--file", "text", metavar="FILE", help="The text, UTF-8.")
@click.option(
    "-c", "--ctx-size", type=click.IntRange(4), metavar="N",
    help="Tokens of a chunk; the second half of each is scored. [default: 512]",
)  # fmt: skip
@click.option("--chunks", type=click.IntRange(1), metavar="N", help="Maximum number of chunks. [default: all]")
@click.option(
    "--ppl-stride", type=click.IntRange(0), default=0, metavar="N",
    help="Chunks that overlap: each begins N tokens after the one before, and its last N tokens are scored.",
)  # fmt: skip
@click.option(
    "--kl-divergence-base", "--save-all-logits", "logits", metavar="FILE",
    help="Write the predictions into FILE, for each scored token of the text two bytes a token of the vocabulary, and "
    "replace an older file; with --kl-divergence: read the base model's predictions from it.",
)  # fmt: skip
@click.option("--kl-divergence", is_flag=True, help="Compare with a base model's predictions, in place of -f.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="What is printed."
)
@options("threads", "kv_type", "precision")
def command(
    model: str, text: str | None, ctx_size: int | None, chunks: int | None, ppl_stride: int, logits: str | None,
    kl_divergence: bool, output: str, threads: int | None, kv_type: str, precision: str,
) -> None:  # fmt: skip
    """Measure the perplexity of a text under MODEL, the path of a GGUF file or a name of `localllm list`.

    Figures are those of llama-perplexity: the text is cut into chunks, each evaluated from an empty context.

    \b
    localllm perplexity f16.gguf -f text.txt --kl-divergence-base base.kld
    localllm perplexity q4.gguf --kl-divergence --kl-divergence-base base.kld
    """
    _check(text, ctx_size, ppl_stride, logits, kl_divergence)
    with load_model(model, n_threads=threads, kv_type=kv_type, precision=precision) as loaded:
        if kl_divergence:
            assert logits
            _compare(loaded, logits, chunks, output)
        else:
            assert text
            _measure(loaded, text, ctx_size or DEFAULT_N_CTX, chunks, ppl_stride, logits, output)


def _check(text: str | None, n_ctx: int | None, stride: int, logits: str | None, compare: bool) -> None:
    if compare and not logits:
        raise UsageError("--kl-divergence needs the base model's predictions: --kl-divergence-base FILE")
    if compare and (text or stride or n_ctx):
        raise UsageError(
            "--kl-divergence reads the text from the base model's file: -f, -c and --ppl-stride have no use"
        )
    if not compare and not text:
        raise UsageError("no text: -f FILE")
    if logits and stride:
        raise UsageError("--kl-divergence-base takes whole chunks: it cannot be used with --ppl-stride")


def _measure(
    model: Model, text: str, n_ctx: int, n_chunks: int | None, stride: int, logits: str | None, output: str
) -> None:
    import numpy as np

    from localllm.runtime.whole import check_writable
    from localllm.tools import likelihood, perplexity

    if logits:
        check_writable(logits, [model.path, text])
    ids = likelihood.text_ids(model, likelihood.read_text(text))
    if logits:
        nll = perplexity.save_logits(model, ids, n_ctx, logits, n_chunks, Progress())
    else:
        parts = likelihood.chunks(model, ids, n_ctx, n_chunks, stride)
        nll = np.concatenate(list(perplexity.negative_log_likelihoods(model, parts, Progress())))
    found = likelihood.perplexity(nll)
    if output == "json":
        echo_json({"n_tokens": len(nll), "ppl": found.value, "ppl_error": found.error})
    else:
        echo(f"PPL = {found.value:.4f} ± {found.error:.5f} over {len(nll)} tokens")


def _compare(model: Model, logits: str, n_chunks: int | None, output: str) -> None:
    from localllm.tools.divergence import Divergence
    from localllm.tools.logits_file import LogitsFile
    from localllm.tools.perplexity import divergences

    found = Divergence.joined(list(divergences(model, LogitsFile(logits), n_chunks, Progress())))
    if output == "json":
        echo_json(found.as_dict())
    else:
        echo("\n".join(found.report()))
