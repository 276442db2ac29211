"""The configuration file: defaults of options, by command.

    [default]               # every command that has the option
    model = "qwen3:4b"
    threads = 4

    [run]                   # one command; goes before [default]
    temp = 0.2

The command line goes before variables (LOCALLLM_..., then LLAMA_ARG_...), these before the file, and the file before
what is built in.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from localllm.errors import FileError, UsageError

DEFAULT = "default"
"""The section of all commands."""
_MAX_BYTES = 1 << 20
_MODEL = "model"
_MOST_SHOWN = 80
MODEL_VARIABLES = ("LOCALLLM_MODEL", "LLAMA_ARG_MODEL", "LLAMA_ARG_HF_REPO")
"""The first that is set names the model that is used where none is named."""


def config_path() -> Path:
    """LOCALLLM_CONFIG, or config.toml in LOCALLLM_HOME, or in the user's configuration folder."""
    chosen = os.environ.get("LOCALLLM_CONFIG")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("LOCALLLM_HOME")
    if home:
        return Path(home).expanduser() / "config.toml"
    from platformdirs import user_config_path

    return user_config_path("localllm", appauthor=False) / "config.toml"


def _read(path: Path) -> bytes:
    """Raises OSError, or FileError for a pipe, which would be waited for, and for what never ends. /dev/null is an
    empty file."""
    if stat.S_ISFIFO(path.stat().st_mode):
        raise FileError(f"{path}: is a pipe: the configuration must be a file")
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise FileError(f"{path}: the configuration is larger than {_MAX_BYTES >> 20} MB")
    return data


@dataclass(frozen=True)
class Value:
    """A value of the file, and where it stands."""

    text: str | bool | list[str]
    """As on the command line; a bool for a flag, a list for an option that may be given more than once."""
    section: str
    key: str


@dataclass(frozen=True)
class Settings:
    """What the file says; nothing where there is none."""

    path: Path
    verbs: Iterable[str] = ()
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    there: bool = False
    """Whether there is a file."""

    @classmethod
    def read(cls, verbs: Iterable[str]) -> Settings:
        """Raises FileError for a file that cannot be read, UsageError for one that is not as it should be."""
        path = config_path()
        try:
            text = _read(path).decode("utf-8-sig")
        except FileNotFoundError:
            if os.environ.get("LOCALLLM_CONFIG"):
                raise FileError(f"LOCALLLM_CONFIG={path}: no such file") from None
            return cls(path)
        except OSError as error:
            raise FileError(f"{path}: the configuration cannot be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: is not UTF-8 text (byte {error.start})") from None
        import tomllib

        try:
            sections = tomllib.loads(text)
        except ValueError as error:  # TOMLDecodeError, and what Python says of numbers with thousands of digits
            raise UsageError(f"{path}: {str(error)[:1].lower()}{str(error)[1:]}") from None
        except RecursionError:
            raise UsageError(f"{path}: is nested too deeply") from None
        found = cls(path, tuple(verbs), sections, there=True)
        found._check_sections()
        return found

    def _check_sections(self) -> None:
        known = (DEFAULT, *self.verbs)
        for name, section in self.sections.items():
            if not isinstance(section, dict):
                raise self._wrong(f"{_short(name)} stands in no section: write it below [{DEFAULT}], or below [run]")
            if name not in known:
                raise self._wrong(f"[{_short(name)}] is no command{nearest(name, known, '[', ']')}")

    def values(self, verb: str, command: click.Command, shared: Iterable[click.Parameter]) -> dict[str, Value]:
        """Parameter -> what the file says of it, for a command.

        shared: what [default] may name beside the command's own options; it is left out where the command lacks it.
        Raises UsageError for a key or a kind of value that cannot be.
        """
        own, found = keys_of(command.params), {}
        for section, known in ((DEFAULT, keys_of(shared)), (verb, own)):
            for key, value in self.sections.get(section, {}).items():
                name = key.replace("-", "_")
                if name not in known and not (section == DEFAULT and name in own):
                    raise self._wrong(f"[{section}] has no {_short(key)!r}{nearest(name, {*known, *own}, repr_=True)}")
                if name in own:
                    param = own[name]
                    assert param.name
                    found[param.name] = Value(self._text(section, key, value, param), section, key)
        return found

    def _text(self, section: str, key: str, value: Any, param: click.Option) -> str | bool | list[str]:
        """The value as the command line would have it."""
        import json

        what = f"[{section}] {key} = {_short(json.dumps(value, default=str))}"
        if param.is_flag != isinstance(value, bool):
            raise self._wrong(f"{what}: must be {'true or false' if param.is_flag else 'a value, not true or false'}")
        if isinstance(value, bool):
            return value
        values = value if isinstance(value, list) else [value]
        if any(not isinstance(one, str | int | float) or isinstance(one, bool) for one in values):
            raise self._wrong(f"{what}: must be text or a number")
        if param.multiple:
            return [str(one) for one in values]
        if isinstance(value, list):
            raise self._wrong(f"{what}: is one value, not a list")
        return str(value)

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{self.path}: {what}")


def _short(text: str) -> str:
    """The beginning of what a file says, for an error."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def keys_of(params: Iterable[click.Parameter]) -> dict[str, click.Option]:
    """Keys of a section -> options: names of parameters, and long options; with _ for -."""
    keys: dict[str, click.Option] = {}
    for param in params:
        if isinstance(param, click.Option) and param.name and not param.hidden and param.name != "help":
            names = [flag[2:].replace("-", "_") for flag in param.opts if flag.startswith("--")]
            keys |= dict.fromkeys([*names, param.name], param)
    return keys


def nearest(name: str, known: Iterable[str], before: str = "", after: str = "", repr_: bool = False) -> str:
    """ "; near it: a, b", or "" where nothing is."""
    import difflib

    near = difflib.get_close_matches(name, list(known), 2, 0.6)
    shown = [repr(one) if repr_ else f"{before}{one}{after}" for one in near]
    return f"; near it: {', '.join(shown)}" if near else ""


@dataclass(frozen=True)
class Chosen:
    """What the file says for the command that runs; an object of click's context."""

    path: Path
    values: Mapping[str, Value]

    def default_map(self) -> dict[str, Any]:
        """For click. The model stays out: a model that is named as an argument must not meet another one."""
        return {name: value.text for name, value in self.values.items() if not _is_model(value)}

    def model(self) -> str | None:
        return next((str(value.text) for value in self.values.values() if _is_model(value)), None)

    def place(self, param: str) -> str | None:
        """Where a parameter's value stands: "FILE: [run] temp"."""
        value = self.values.get(param)
        return f"{self.path}: [{value.section}] {value.key}" if value else None


def _is_model(value: Value) -> bool:
    return value.key.replace("-", "_") == _MODEL


def default_model() -> str | None:
    """The model that is used where none is named: LOCALLLM_MODEL, llama.cpp's variables, the configuration file; None:
    the catalog's default."""
    for variable in MODEL_VARIABLES:
        if value := os.environ.get(variable):
            return value
    ctx = click.get_current_context(silent=True)
    chosen = ctx.find_object(Chosen) if ctx else None
    return chosen.model() if chosen else None
