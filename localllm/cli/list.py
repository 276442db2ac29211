"""`localllm list`: the models on this machine, whichever program put them there, and those of the catalog."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from localllm.cli.streams import echo, echo_json
from localllm.cli.tables import ago, one_line, table
from localllm.cli.verbose import tell
from localllm.store.catalog import catalog
from localllm.store.entry import Entry
from localllm.store.found import found_models
from localllm.store.origins import ORIGINS
from localllm.store.paths import store_dir
from localllm.store.stored import StoredModel
from localllm.terminal.figures import size

_UNTRIED = "? is one that we have never downloaded: others have published the size and SHA-256 that are checked."


@click.command()
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
@click.option("--architectures", "only_architectures", is_flag=True, help="List the supported architectures instead.")
def command(output: str, only_architectures: bool) -> None:
    """List the models that are here: what `localllm pull` downloaded, and what Hugging Face's programs, llama.cpp, LM
    Studio and Ollama did, which is used where it lies; and the models of the catalog that can be downloaded.

    With -v, what was passed over, and why.
    """
    if only_architectures:
        from localllm.model.spec import architectures, spec_for

        known = {name: spec_for(name).about for name in architectures()}
        text = table([["ARCHITECTURE", "MODELS"], *([name, about] for name, about in known.items())])
        echo(json.dumps(known, indent=1) if output == "json" else text)
        return
    here = [_stored_row(model) for model in found_models(tell)]
    names = {row["name"] for row in here}
    there = [_entry_row(entry) for entry in catalog().entries.values() if entry.name not in names]
    if output == "json":
        echo_json({"store": str(store_dir()), "models": here + there}, indent=1)
    else:
        echo(_text(here, there))


def _stored_row(model: StoredModel) -> dict[str, Any]:
    from localllm.model.spec import architectures
    from localllm.store.summary import summary

    found = summary(model)
    entry = catalog().entries.get(model.name)
    unknown = found.architecture and found.architecture not in architectures()
    return {
        "name": model.name,
        "here": True,
        "default": entry is not None and entry is catalog().default,
        "origin": model.origin,
        "architecture": found.architecture,
        "size": model.size,
        "quantization": found.format,
        "licence": entry.licence if entry else "",
        "about": entry.about if entry else "",
        "use": entry.use if entry else "",
        "fetched": True,
        "path": str(model.path),
        "parts": len(model.parts),
        "owned": model.owned,
        "last_used": model.last_used,
        "problem": "the architecture is not supported" if unknown and not found.problem else found.problem,
    }


def _entry_row(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "here": False,
        "default": entry is catalog().default,
        "origin": None,
        "architecture": entry.architecture,
        "size": entry.size,
        "quantization": entry.quantization,
        "licence": entry.licence,
        "about": entry.about,
        "use": entry.use,
        "fetched": entry.fetched,
        "path": None,
        "parts": 1,
        "owned": False,
        "last_used": None,
        "problem": "",
    }


def _text(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> str:
    parts = []
    if here:
        parts.append(_here_table(here))
    if there:
        parts.append(f"To download with `localllm pull NAME`:\n{_there_table(there)}")
    problems = [f"  {one_line(row['name'])}: {one_line(row['problem'])}" for row in here if row["problem"]]
    if problems:
        parts.append("\n".join(["Cannot be run:", *problems]))
    notes = ["* is the default."] if any(row["default"] for row in here + there) else []
    notes += [] if all(row["fetched"] for row in there) else [_UNTRIED]
    parts.append("\n".join([*notes, f"The store is {store_dir()}"]))
    return "\n\n".join(parts)


def _here_table(rows: list[dict[str, Any]]) -> str:
    cells = [["NAME", "FROM", "ARCHITECTURE", "FORMAT", "SIZE", "USED"]]
    for row in rows:
        used = ago(time.time() - row["last_used"]) if row["last_used"] else ""
        origin = ORIGINS[row["origin"]].title
        cells.append([_name(row), origin, row["architecture"], row["quantization"], size(row["size"]), used])
    return table(cells, right=(4,), narrow={2: 6, 5: 12, 3: 6})


def _there_table(rows: list[dict[str, Any]]) -> str:
    cells = [["NAME", "SIZE", "FORMAT", "FOR", "ABOUT"]]
    for row in rows:
        cells.append([_name(row), size(row["size"]), row["quantization"], row["use"], row["about"]])
    return table(cells, right=(1,), narrow={4: 8, 3: 9})


def _name(row: dict[str, Any]) -> str:
    return str(row["name"]) + (" *" if row["default"] else "") + ("" if row["fetched"] else " ?")
