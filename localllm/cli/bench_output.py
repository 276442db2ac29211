"""What `localllm bench` writes: llama-bench's forms of output (tools/llama-bench/llama-bench.cpp), row by row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from localllm.cli.bench_card import params_text, size_text

if TYPE_CHECKING:
    from localllm.tools.bench import Result

Columns = tuple[tuple[str, int, "Callable[[Result], str]"], ...]
COLUMNS: Columns = (
    ("model", -30, lambda r: r.model["model_type"]),
    ("size", 10, lambda r: size_text(r.model["model_size"])),
    ("params", 10, lambda r: params_text(r.model["model_n_params"])),
    ("backend", -10, lambda r: r.model["backends"]),
    ("threads", 7, lambda r: str(r.model["n_threads"])),
    ("test", 15, lambda r: r.test.name),
    ("t/s", 20, lambda r: "{avg_ts:.2f} ± {stddev_ts:.2f}".format(**r.fields())),
)
"""Header, width (negative: to the left) and cell of the Markdown table: llama-bench's."""


def _beside(r: Result) -> str:
    f = r.fields()
    unit = {"gb_s": "GB/s", "gmac_s": "GMAC/s"}[f["limited_by"]]
    return "{speed:.1f} of {limit:.1f} {}".format(unit, **f)


LIMITED_COLUMNS = (
    *COLUMNS,
    ("speed", 22, _beside),
    ("share", 5, lambda r: "{share:.0%}".format(**r.fields())),
)


def _cell(text: str, width: int) -> str:
    return f" {text.ljust(-width) if width < 0 else text.rjust(width)} |"


def markdown(results: Iterable[Result], columns: Columns = COLUMNS) -> Iterator[str]:
    fields: dict[str, Any] = {}
    for result in results:
        if not fields:  # no head before the model is known to load
            yield "|" + "".join(_cell(name, width) for name, width, _ in columns)
            yield "|" + "".join(f" {'-' * (abs(width) - 1)}{':' if width > 0 else '-'} |" for _, width, _ in columns)
        fields = result.fields()
        yield "|" + "".join(_cell(cell(result), width) for _, width, cell in columns)
    yield "\nbuild: {build_commit}, {cpu_info}".format(**fields)


def _whole(result: Result) -> dict[str, object]:
    return {**result.fields(), "samples_ns": result.samples_ns, "samples_ts": result.samples_ts}


def as_json(results: Iterable[Result]) -> Iterator[str]:
    yield json.dumps([_whole(result) for result in results], indent=2, ensure_ascii=False)


def as_jsonl(results: Iterable[Result]) -> Iterator[str]:
    return (json.dumps(_whole(result), ensure_ascii=False) for result in results)


def as_csv(results: Iterable[Result]) -> Iterator[str]:
    head = False
    for result in results:
        fields = result.fields()
        if not head:
            yield ",".join(fields)
            head = True
        line = io.StringIO()
        csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(fields.values())
        yield line.getvalue()


_SQL_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT"}


def as_sql(results: Iterable[Result]) -> Iterator[str]:
    """For sqlite3: a table of llama-bench's name, and a row each."""
    head = False
    for result in results:
        fields = result.fields()
        if not head:
            columns = ",\n".join(f"  {name} {_SQL_TYPES[type(value)]}" for name, value in fields.items())
            yield f"CREATE TABLE IF NOT EXISTS llama_bench (\n{columns}\n);\n"
            head = True
        values = ", ".join("'" + str(value).replace("'", "''") + "'" for value in fields.values())
        yield f"INSERT INTO llama_bench ({', '.join(fields)}) VALUES ({values});"


WRITERS: dict[str, Callable[[Iterable[Result]], Iterator[str]]] = {
    "md": markdown,
    "json": as_json,
    "jsonl": as_jsonl,
    "csv": as_csv,
    "sql": as_sql,
}
"""-o -> lines of text, each written as soon as it is known."""
