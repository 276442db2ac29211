"""`localllm config`: the configuration file, what is set, and where each setting comes from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import click

from localllm.cli.common import note, shared_options
from localllm.cli.settings import DEFAULT, MODEL_VARIABLES, Chosen, Settings, config_path, keys_of, nearest
from localllm.cli.streams import echo, echo_json
from localllm.cli.tables import table
from localllm.cli.variables import HONOURED, VARIABLES
from localllm.errors import UsageError

_SECRET = re.compile("(?:^|_)(?:KEY|TOKEN)$", re.IGNORECASE)


@click.command("config")
@click.argument("verb", metavar="[COMMAND]", required=False)
@click.option("--path", is_flag=True, help="Print the path of the file, whether it is there or not.")
@click.option("--variables", is_flag=True, help="List the environment variables that stand for no option.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form.")
@click.pass_context
def command(ctx: click.Context, verb: str | None, path: bool, variables: bool, output: str) -> None:
    """Show what is set by the configuration file and by variables; with COMMAND, all its options as they would be.

    \b
    The file is TOML; a key is the long name of an option:
    [default]                 # all commands that have the option
    model = "qwen3:4b"        # where none is named
    threads = 4
    [run]                     # one command; goes before [default]
    temp = 0.2

    The command line goes before variables (LOCALLLM_TEMP, else LLAMA_ARG_TEMPERATURE), these before the file.
    """
    if path:
        echo(str(config_path()))
        return
    if variables:
        known = VARIABLES | HONOURED
        echo(json.dumps(known, indent=1) if output == "json" else table([list(row) for row in known.items()]))
        return
    top = ctx.find_root().command
    assert isinstance(top, click.Group)
    settings = Settings.read(top.list_commands(ctx))
    rows = list(_set(top, ctx, settings)) if verb is None else list(_all(top, ctx, settings, verb))
    if output == "json":
        echo_json({"file": str(settings.path), "there": bool(settings.there), "settings": rows}, indent=1)
        return
    echo(f"{settings.path}{'' if settings.there else ' (there is none)'}")
    if rows:
        head = ["COMMAND", "SETTING", "VALUE", "FROM"]
        cells = [[row["command"], row["setting"], _shown(row["value"]), row["from"]] for row in rows]
        echo("\n" + table([head, *cells]))
    else:
        echo("\nNothing is set: every option is as built in.")
    for line in _without_effect(top, ctx):
        note(line)


def _without_effect(top: click.Group, ctx: click.Context) -> Iterator[str]:
    """Variables by our name that stand for nothing: slips of the pen."""
    known = set(VARIABLES)
    for found in filter(None, (top.get_command(ctx, verb) for verb in top.list_commands(ctx))):
        for param in found.params:
            known.update([param.envvar] if isinstance(param.envvar, str) else param.envvar or ())
    for name in sorted(name for name in os.environ if name.startswith("LOCALLLM_") and name not in known):
        yield f"{name} is set, but stands for no option{nearest(name, sorted(known))}"


def _set(top: click.Group, ctx: click.Context, settings: Settings) -> Iterator[dict[str, Any]]:
    """What the file and variables say, once each."""
    commands = {verb: found for verb in top.list_commands(ctx) if (found := top.get_command(ctx, verb))}
    for variable in (*VARIABLES, *MODEL_VARIABLES[1:]):
        if variable in os.environ:
            yield _row("", variable, os.environ[variable], variable)
    seen: dict[str, list[str]] = {}
    for verb, found in commands.items():
        settings.values(verb, found, shared_options())  # refuses what is wrong
        for param in found.params:
            if isinstance(param, click.Option) and (name := _variable(param)):
                seen.setdefault(f"{name} {_flag(param)}", []).append(verb)
    for key, verbs in seen.items():
        name, flag = key.split(" ")
        yield _row(", ".join(verbs), flag, os.environ[name], name)
    for section in settings.sections:
        known = keys_of(commands[section].params) if section in commands else {}
        for key, value in settings.sections[section].items():
            option = known.get(key.replace("-", "_"))
            flag = _flag(option) if option else key
            yield _row("all" if section == DEFAULT else section, flag, value, f"{settings.path.name} [{section}]")


def _all(top: click.Group, ctx: click.Context, settings: Settings, verb: str) -> Iterator[dict[str, Any]]:
    """Every option of a command."""
    name, found, _ = top.resolve_command(ctx, [verb])
    if found is None or name is None:
        raise UsageError(f"{verb!r} is no command")
    chosen = Chosen(settings.path, settings.values(name, found, shared_options()))
    for param in found.params:
        if not isinstance(param, click.Option) or param.hidden or param.name in ("help", None):
            continue
        variable, value = _variable(param), chosen.values.get(str(param.name))
        flag = _flag(param)
        if variable:
            yield _row(name, flag, os.environ[variable], variable)
        elif value:
            yield _row(name, flag, value.text, f"{settings.path.name} [{value.section}]")
        else:
            yield _row(name, flag, _default(param), "built in")


def _flag(param: click.Option) -> str:
    """The first long name."""
    return next((flag for flag in param.opts if flag.startswith("--")), param.opts[0])


def _default(param: click.Option) -> Any:
    value = param.to_info_dict()["default"]
    if value in (None, "", [], ()) or not isinstance(value, str | int | float | list | tuple):
        found = re.search(r"\[default: (.*)\]$", param.help or "")
        return found[1] if found else None
    return value


def _variable(param: click.Option) -> str | None:
    """The variable that sets the option now."""
    names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or ()
    if "--model" in param.opts:
        names = MODEL_VARIABLES
    return next((name for name in names if os.environ.get(name)), None)


def _row(verb: str, setting: str, value: Any, source: str) -> dict[str, Any]:
    secret = _SECRET.search(setting.replace("-", "_"))
    return {"command": verb, "setting": setting, "value": "(not shown)" if secret else value, "from": source}


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
