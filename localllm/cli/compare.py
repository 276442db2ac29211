"""`localllm compare`: files of one model side by side, and which to take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from localllm.cli.common import Progress, load_model, note, options
from localllm.errors import FileError, UsageError

if TYPE_CHECKING:
    from localllm.generate.session import Model

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def parse_size(text: str | None) -> int | None:
    """Bytes of "4G", "900M", "1.5 GB". Raises UsageError."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)B?\s*", text, re.IGNORECASE)
    if not found:
        raise UsageError(f"{text!r} is no size: write 900M or 1.5G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


@click.command("compare", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--base", metavar="MODEL", help="The file that stands for the exact model. [default: most bits a weight]")
@click.option("-f", "--file", "text", metavar="FILE", help="Text that is predicted. [default: a text of the package]")
@click.option("-c", "--ctx-size", type=click.IntRange(4), default=512, show_default=True, help="Tokens of a chunk.")
@click.option("--chunks", type=click.IntRange(1), metavar="N", help="Maximum number of chunks. [default: all]")
@click.option(
    "--need", type=click.Choice(["balance", "quality", "speed", "memory"]), default="balance", show_default=True,
    help="What counts in the recommendation.",
)  # fmt: skip
@click.option("--memory", metavar="SIZE", help="Memory that a model may take, with a context of 4096 tokens: 4G.")
@click.option("-r", "--repetitions", type=click.IntRange(1), default=3, show_default=True, help="Runs of each speed.")
@click.option("--html", "page", metavar="FILE", help="Write one page of HTML with plots (extra `plots`).")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form.")
@options("threads")
def command(
    models: tuple[str, ...], base: str | None, text: str | None, ctx_size: int, chunks: int | None, need: str,
    memory: str | None, repetitions: int, page: str | None, output: str, threads: int | None,
) -> None:  # fmt: skip
    """Compare files of one model: size, memory, speed here, and how far their predictions are from a base file's.

    MODEL is the path of a GGUF file or a name of `localllm list`.
    """
    from localllm.store.catalog import resolve
    from localllm.tools import compare, likelihood, recommend, report

    limit = parse_size(memory)
    if page:
        report.check_plots()
    paths = [resolve(name, fetch=True) for name in models]
    base_path = resolve(base, fetch=True) if base else compare.largest(paths)
    if len({*paths, base_path}) < 2:
        raise UsageError("one file alone has nothing to be compared with: name several, or --base")
    words = likelihood.read_text(text) if text else compare.evaluation_text()
    plan = compare.Plan(n_ctx=ctx_size, n_chunks=chunks, repetitions=repetitions)

    def load(path: str) -> Model:
        return load_model(path, n_threads=threads)

    found = compare.compare(paths, base_path, words, plan, load, Progress())
    best, sentence = recommend.recommend(found, base_path, need, limit)
    if page:
        _write(page, report.page(found, base_path, plan.prompts, sentence, best.path))
    if output == "json":
        rows = [c.as_dict() for c in found]
        click.echo(json.dumps({"base": base_path, "models": rows, "best": best.path, "recommendation": sentence}))
        return
    click.echo("\n".join(report.markdown(found)))
    for i, prompt in enumerate(plan.prompts):
        click.echo(f"\n> {prompt}")
        for c in found:
            click.echo(f"\n[{Path(c.path).name}] {' '.join(c.answers[i].split())}")
    click.echo(f"\n{sentence}")
    if page:
        note(f"wrote {page}")


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from None
