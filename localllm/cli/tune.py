"""`localllm tune`: which variants of kernels are the fastest on this processor, measured anew and kept."""

from __future__ import annotations

from collections.abc import Iterator

import click

from localllm.cli.common import Progress, note, one_model, options
from localllm.cli.streams import echo, echo_json
from localllm.errors import UsageError
from localllm.kernels.variants import Choice


@click.command("tune")
@click.argument("positional", metavar="[MODEL]", required=False)
@options("model")
@click.option("--all", "every", is_flag=True, help="All formats, not a model's.")
@click.option("-t", "--threads", type=click.IntRange(1, 512), envvar="LOCALLLM_THREADS", help="Number of threads.")
@click.option("--forget", is_flag=True, help="Forget what was kept; nothing is measured.")
@click.option("-o", "--output", type=click.Choice(["md", "json"]), default="md", show_default=True, help="Form.")
def command(
    positional: str | None, model: str | None, every: bool, threads: int | None, forget: bool, output: str
) -> None:
    """Measure which variants of kernels are the fastest on this processor, for the formats of a model.

    The first start of a model does so for a while, at most 20 seconds; this measures everything, and anew. Variants
    give the same bits. LOCALLLM_VARIANTS=default does without. (`bench --tune` finds the best numbers of threads.)
    """
    from localllm.kernels import variants

    name = one_model(positional, model)
    if (every and name) or (forget and (every or name)):
        raise UsageError("--all takes no model, and --forget takes neither")
    if forget:
        echo("forgotten" if variants.forget() else "nothing was kept")
        return
    found = _measure(name, every, threads)
    if output == "json":
        echo_json([{"product": p, "format": f, **_fields(choice)} for (p, f), choice in found.items()], indent=2)
    else:
        for line in markdown(found):
            echo(line)
    pinned = f", once {variants.PINNED} is unset" if variants.pins() is not None else ""
    note(f"Kept for this processor; later starts use it{pinned}.")


def _measure(name: str | None, every: bool, threads: int | None) -> dict[tuple[str, str], Choice]:
    from localllm.gguf.reader import open_gguf
    from localllm.kernels import variants as kernels
    from localllm.kernels.formats.table import FORMATS
    from localllm.runtime.processors import default_threads
    from localllm.store.resolve import resolve
    from localllm.tools import variants

    if every:
        modules = [row.module for row in FORMATS.values() if row.supported]
    else:
        with open_gguf(resolve(name, fetch=True)) as file:
            modules = file.matrix_formats()
    return variants.race(kernels.of_formats(modules), threads or default_threads(), Progress())


def _fields(choice: Choice) -> dict[str, object]:
    return {"variant": choice.variant, "gain": round(choice.gain, 3), "speeds": dict(choice.speeds)}


def markdown(found: dict[tuple[str, str], Choice]) -> Iterator[str]:
    """A table; the default is the first of the speeds."""
    from localllm.kernels.variants import products

    yield "| product | format | variant | beside the default | all, the default first |"
    yield "| --- | --- | ---: | ---: | --- |"
    for (product, fmt), choice in found.items():
        unit = products()[product].unit
        speeds = ", ".join(f"{name}: {speed:.1f}" for name, speed in choice.speeds.items())
        yield f"| {product} | {fmt} | {choice.variant} | {choice.gain:.2f} | {speeds} {unit} |"
    for name, product_ in products().items():
        yield f"\n{name}: {product_.about}." if any(p == name for p, _ in found) else ""
