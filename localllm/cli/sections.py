"""Help whose options stand in sections, so that a long list can be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

_FIRST = "Options"


class Sectioned(click.Command):
    """A command whose options stand under headings; those that none claims come first."""

    def __init__(self, *args: Any, sections: Mapping[str, Iterable[str]], **settings: Any) -> None:
        """sections: heading -> names of parameters."""
        super().__init__(*args, **settings)
        self._heading = {name: heading for heading, names in sections.items() for name in names}
        self._headings = (_FIRST, *sections)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self._headings}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                records[self._heading.get(param.name or "", _FIRST)].append(record)
        for heading, rows in records.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
