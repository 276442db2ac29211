"""What shells complete: names of models and commands, files. Nothing heavy is imported: an answer takes some 100 ms."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from localllm.errors import LocalllmError
from localllm.terminal.figures import size

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_LOCALLLM_COMPLETE"
"""Which click looks at, for a program of this name."""

_FILES = re.compile(r"(?:FILE|IN|OUT)\b")
_FOLDERS = re.compile(r"(?:DIR|FOLDER)\b")
_PLAIN = re.compile(r"[\w.:/@+#-]+")
"""Names that a shell takes as they are: a file may be called anything, and bash does not quote what it completes."""


class _Completed(click.ParamType):  # type: ignore[type-arg]
    """Text that shells complete by `complete`."""

    def __init__(self, name: str, complete: Callable[[click.Context, str], Iterable[CompletionItem]]) -> None:
        self.name, self._complete = name, complete

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return list(self._complete(ctx, incomplete))


def completing(param: click.Parameter) -> click.Parameter:
    """The parameter; where its metavar speaks of models, files or folders, shells complete them."""
    shown = param.metavar or (param.human_readable_name if isinstance(param, click.Argument) else "")
    kind = next((kind for fits, kind in _KINDS if fits(shown)), None)
    if kind is None or not isinstance(param.type, click.types.StringParamType):
        return param
    made = copy.copy(param)
    made.type = kind
    return made


def _models(ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    try:
        found = [item for item in _NAMES.get(ctx.info_name or "", _here_and_catalog)() if _begins(item, incomplete)]
    except (LocalllmError, OSError):
        found = []
    return found or [_item(incomplete, type="file")]


def _item(value: str, type: str = "plain", help: str | None = None) -> CompletionItem:
    from click.shell_completion import CompletionItem

    return CompletionItem(value, type, help)


def _begins(item: CompletionItem, incomplete: str) -> bool:
    return str(item.value).lower().startswith(incomplete.lower())


def _here(owned: bool = False) -> Iterator[CompletionItem]:
    from localllm.store.found import found_models

    for model in found_models():
        if (model.owned or not owned) and _PLAIN.fullmatch(model.name):
            yield _item(model.name, help=f"{model.origin}, {size(model.size)}")


def _catalog() -> Iterator[CompletionItem]:
    from localllm.store.catalog import catalog

    for entry in catalog().entries.values():
        yield _item(entry.name, help=entry.about)


def _here_and_catalog() -> Iterator[CompletionItem]:
    seen = set()
    for item in (*_here(), *_catalog()):
        if item.value not in seen:
            seen.add(item.value)
            yield item


_NAMES: dict[str, Callable[[], Iterable[CompletionItem]]] = {"pull": _catalog, "rm": lambda: _here(owned=True)}
"""Verbs that take other models than those that are here or in the catalog."""


def _templates(ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    from localllm.text.templates import TEMPLATES

    rows = (_item(name, help=row.models) for name, row in sorted(TEMPLATES.items()))
    return [item for item in rows if _begins(item, incomplete)] or [_item(incomplete, type="file")]


def _verbs(ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    top = ctx.find_root().command
    return top.shell_complete(ctx.find_root(), incomplete) if isinstance(top, click.Group) else ()


_KINDS: tuple[tuple[Callable[[str], object], _Completed], ...] = (
    (lambda shown: "MODEL" in shown or "NAME..." in shown, _Completed("model", _models)),
    (lambda shown: shown == "NAME|FILE", _Completed("template", _templates)),
    (lambda shown: "COMMAND" in shown, _Completed("command", _verbs)),
    (_FILES.search, _Completed("file", lambda _, text: [_item(text, type="file")])),
    (_FOLDERS.search, _Completed("folder", lambda _, text: [_item(text, type="dir")])),
)
"""Whether a metavar asks for it -> what completes. The first counts."""
