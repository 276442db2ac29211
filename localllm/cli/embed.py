"""`localllm embed`: numbers for texts that lie near each other where their meanings do, or scores of documents."""

from __future__ import annotations

import click

from localllm.cli.common import load_model, options
from localllm.cli.questions import all_of_stdin
from localllm.cli.streams import echo, echo_json
from localllm.errors import UsageError


@click.command("embed", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--query", metavar="TEXT", help="Score the texts as answers to this query (rerankers).")
@click.option(
    "--pooling", type=click.Choice(["mean", "cls", "last", "rank"]),
    help="How a text's tokens become one row. [default: as the file says]",
)  # fmt: skip
@click.option("--normalize/--no-normalize", default=True, show_default=True, help="Rows of length 1.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form.")
@options("ctx_size", "memory_check", "threads", "kv_type", "precision")
def command(
    model: str, texts: tuple[str, ...], query: str | None, pooling: str | None, normalize: bool, output: str,
    ctx_size: int | None, threads: int | None, kv_type: str, precision: str,
) -> None:  # fmt: skip
    """Print a line of numbers for each TEXT, or each line of standard input; with --query a score for each.

    MODEL is the path of a GGUF file or a name of `localllm list`.
    """
    if query is not None and pooling is not None:
        raise UsageError("--query ranks: --pooling cannot be used with it")
    wanted = list(texts) or all_of_stdin().splitlines()
    with load_model(model, ctx_size, threads, kv_type=kv_type, precision=precision) as loaded:
        if query is None:
            rows = loaded.embed(wanted, pooling, normalize).tolist()
        else:
            rows = [[score] for score in loaded.rank(query, wanted).tolist()]
    if output == "json":
        echo_json(rows if query is None else [score for (score,) in rows])
        return
    for row in rows:
        echo(" ".join(f"{x:.7g}" for x in row))
