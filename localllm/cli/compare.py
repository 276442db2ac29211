"""`localllm compare`: files of one model side by side, and which to take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from localllm.cli.common import SIZE, Progress, load_model, note, options
from localllm.cli.streams import echo, echo_json
from localllm.errors import UsageError
from localllm.terminal.safe import visible

if TYPE_CHECKING:
    from localllm.generate.session import Model


@click.command("compare", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--base", metavar="MODEL", help="The file that stands for the exact model. [default: most bits a weight]")
@click.option(
    "-f",
    "--file",
    "text",
    metavar="FILE",
    help="Text that is predicted, UTF-8. [default: one that comes with localllm]",
)
@click.option(
    "-c", "--ctx-size", type=click.IntRange(4), default=512, show_default=True, metavar="N", help="Tokens of a chunk."
)
@click.option("--chunks", type=click.IntRange(1), metavar="N", help="Maximum number of chunks. [default: all]")
@click.option(
    "--need", type=click.Choice(["balance", "quality", "speed", "memory"]), default="balance", show_default=True,
    help="What counts in the recommendation; all but quality prefer files that hardly differ from the base.",
)  # fmt: skip
@click.option(
    "--memory", type=SIZE, metavar="SIZE",
    help="Recommend only files that take at most so much memory with a context of 4096 tokens, such as 4G.",
)  # fmt: skip
@click.option(
    "-r", "--repetitions", type=click.IntRange(1), default=3, show_default=True, metavar="N",
    help="Each speed is the median of N runs.",
)  # fmt: skip
@click.option("--html", "page", metavar="FILE", help="Write one page of HTML with plots, too (extra `plots`).")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="What is printed: a table with answers, or one JSON object.",
)  # fmt: skip
@options("threads")
def command(
    models: tuple[str, ...], base: str | None, text: str | None, ctx_size: int, chunks: int | None, need: str,
    memory: int | None, repetitions: int, page: str | None, output: str, threads: int | None,
) -> None:  # fmt: skip
    """Compare files of one model: size, memory, speed here, and how far their predictions are from a base file's.

    MODEL is the path of a GGUF file or a name of `localllm list`.
    """
    from localllm.runtime.whole import check_writable, write_whole
    from localllm.store.resolve import resolve
    from localllm.tools import compare, likelihood, recommend, report

    if page:
        report.check_plots()
    paths = [resolve(name, fetch=True) for name in models]
    base_path = resolve(base, fetch=True) if base else compare.largest(paths)
    if page:
        check_writable(page, [*paths, base_path, *([text] if text else [])])
    if len({os.path.realpath(path) for path in (*paths, base_path)}) < 2:
        raise UsageError("one file alone has nothing to be compared with: name several, or --base")
    if memory is not None:
        recommend.check_memory({path: compare.memory_of(path) for path in (*paths, base_path)}, memory)
    words = likelihood.read_text(text) if text else compare.evaluation_text()
    plan = compare.Plan(n_ctx=ctx_size, n_chunks=chunks, repetitions=repetitions)

    def load(path: str) -> Model:
        return load_model(path, n_threads=threads)

    found = compare.compare(paths, base_path, words, plan, load, Progress())
    best, sentence = recommend.recommend(found, base_path, need, memory)
    if page:
        write_whole(page, report.page(found, base_path, plan.prompts, sentence, best.path))
    if output == "json":
        rows = [c.as_dict() for c in found]
        echo_json({"base": base_path, "models": rows, "best": best.path, "recommendation": sentence})
        return
    echo("\n".join(report.markdown(found)))
    for i, prompt in enumerate(plan.prompts):
        echo(f"\n> {prompt}")
        for c in found:
            echo(visible(f"\n[{Path(c.path).name}] {' '.join(c.answers[i].split())}"))
    echo(f"\n{sentence}")
    if page:
        note(f"wrote {page}")
