"""`localllm list`: the catalog, and the other models in the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

from localllm.store.catalog import catalog, files_here
from localllm.store.entry import Entry
from localllm.store.paths import store_dir


@click.command()
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
@click.option("--architectures", is_flag=True, help="List the supported architectures instead.")
def command(output: str, architectures: bool) -> None:
    """List the installed models, and those of the catalog that `localllm pull NAME` downloads."""
    if architectures:
        known = _architectures()
        text = table([["ARCHITECTURE", "MODELS"], *([name, about] for name, about in known.items())])
        click.echo(json.dumps(known, indent=1) if output == "json" else text)
        return
    rows = [_entry_row(entry) for entry in catalog().entries.values()] + list(_other_rows())
    click.echo(json.dumps({"store": str(store_dir()), "models": rows}, indent=1) if output == "json" else _text(rows))


def _architectures() -> dict[str, str]:
    """Values of general.architecture, and the models each is known from."""
    from localllm.model.spec import architectures, spec_for

    return {name: spec_for(name).about for name in architectures()}


def _entry_row(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "here": entry.is_here,
        "default": entry is catalog().default,
        "size": entry.size,
        "quantization": entry.quantization,
        "licence": entry.licence,
        "about": entry.about,
        "path": str(entry.path) if entry.is_here else None,
    }


def _other_rows() -> Iterable[dict[str, Any]]:
    """Files of the store that the catalog does not name; what a `show` would tell of them stays out: it opens each."""
    known = {entry.file for entry in catalog().entries.values()}
    for path in files_here():
        if path.name not in known:
            row = dict.fromkeys(("quantization", "licence", "about"), "")
            yield (
                {"name": path.stem, "here": True, "default": False, "size": path.stat().st_size}
                | row
                | {"path": str(path)}
            )


def _text(rows: list[dict[str, Any]]) -> str:
    cells = [["NAME", "", "SIZE", "FORMAT", "LICENCE", "ABOUT"]]
    for row in rows:
        name = row["name"] + (" *" if row["default"] else "")
        size = f"{row['size'] / 1e6:.0f} MB"
        state = "here" if row["here"] else "to fetch"
        cells.append([name, state, size, row["quantization"], row["licence"], row["about"]])
    return f"{table(cells, right=(2,))}\n\n* is the default. The store is {store_dir()}"


def table(rows: list[list[str]], right: tuple[int, ...] = (), indent: str = "") -> str:
    """Rows of cells as aligned columns; `right` names the columns that are flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: list[str]) -> str:
        aligned = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return indent + "  ".join(aligned).rstrip()

    return "\n".join(line(row) for row in rows)
