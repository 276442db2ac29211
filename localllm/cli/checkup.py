"""What `localllm doctor` finds out: facts of the machine and of this installation, and what is wrong with them.

A section is a function from a Report to facts, as JSON has them: names that end in `bytes` are numbers of bytes. What
it finds wrong, and what to do, goes into the report.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import localllm
from localllm.cli.tables import ago
from localllm.errors import LocalllmError
from localllm.terminal.figures import size

Facts = dict[str, Any]
_LOW_MEMORY = 1 << 30
_LOW_DISK = 2 << 30
_PACKAGES = ("numpy", "numba", "llvmlite", "gguf", "sentencepiece", "click", "prompt_toolkit")
_OUTPUTS = ("stdin", "stdout", "stderr")


@dataclass
class Report:
    """What was found so far."""

    facts: dict[str, Facts] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What is wrong, and what to do: a line each."""


def check(quick: bool = False) -> Report:
    """All sections, in their order; the quick ones alone where `quick` is true."""
    report = Report()
    for name, section in SECTIONS.items():
        if quick and section is _speed:
            continue
        try:
            report.facts[name] = section(report)
        except (LocalllmError, OSError) as error:
            what = f"{error.filename or name}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
            report.problems.append(what)
            report.facts[name] = {}
    return report


def _versions(report: Report) -> Facts:
    found: Facts = {
        "localllm": localllm.__version__,
        "installed_in": str(Path(localllm.__file__ or "").parent),
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})",
        "system": platform.platform(),
    }
    for name in _PACKAGES:
        found[name] = _version(name)
        if found[name] is None:
            report.problems.append(f"{name} is not installed: pip install {name}")
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extras(_report: Report) -> Facts:
    """Which extras are here, and how to get the others."""
    needs: dict[str, list[str]] = {}
    for line in metadata.requires("localllm") or () if _version("localllm") else ():
        found = re.match(r"([\w.-]+).*;\s*extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if found and found[1] != "localllm":
            needs.setdefault(found[2], []).append(found[1])
    missing = {extra: [name for name in names if _version(name) is None] for extra, names in needs.items()}
    return {
        extra: f"missing: {', '.join(names)}; pip install 'localllm[{extra}]'" if names else "here"
        for extra, names in missing.items()
    }


def _processor(report: Report) -> Facts:
    from localllm.runtime import tuned
    from localllm.runtime.processors import processor_name, processors

    count = processors()
    found: Facts = {
        "name": processor_name(),
        "machine": platform.machine(),
        "logical_processors": count.logical,
        "cores": count.physical,
        "threads_by_default": count.default,
    }
    for models, threads in tuned.kept(report.problems.append).items():
        found[f"threads_found_by_tuning, models {models}"] = f"{threads.decode}, for prompts {threads.prompt}"
    if count.fast != count.physical:
        found["fast_cores"] = count.fast
    if count.quota:
        found["quota_of_cores"] = count.quota
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        found["load"] = f"{load:.1f}{'; others use the processor, too' if load > count.physical else ''}"
    return found


def _target(report: Report) -> Facts:
    from localllm.kernels.simd.targets import TARGETS, current, host_features

    chosen, forced = current(), os.environ.get("LOCALLLM_TARGET")
    features = host_features()
    runs = [name for name, target in TARGETS.items() if features.issuperset(target.requires)]
    better = list(TARGETS)[: list(TARGETS).index(runs[0])]
    missing = {name: sorted(set(TARGETS[name].requires) - features) for name in better}
    if chosen.name != runs[0]:
        report.problems.append(f"LOCALLLM_TARGET={forced}: {runs[0]} is faster on this processor; unset it")
    elif chosen.name == "generic" and len(TARGETS) > 1:
        report.problems.append(
            "this processor has none of the instructions that kernels are written for "
            f"({', '.join(name for name in TARGETS if name != 'generic')}): answers are slow"
        )
    return {
        "chosen": chosen.name,
        "because": "LOCALLLM_TARGET says so" if forced else "it is the best that this processor has",
        "runs_here": ", ".join(runs),
        **{f"{name}_lacks": ", ".join(lacks) for name, lacks in missing.items()},
    }


def _kernels(_report: Report) -> Facts:
    from localllm.kernels import objects, variants

    pinned = os.environ.get("LOCALLLM_VARIANTS")
    chosen = {
        f"{product} of {fmt}": f"{choice.variant}, {choice.gain - 1:.0%} faster"
        for (product, fmt), choice in variants.choices().items()
        if choice.gain > 1
    }
    mine = objects.folder()  # refuses one that others can write to
    files = list(mine.glob("*.o"))
    newest = max((path.stat().st_mtime for path in files), default=None)
    others = [path for path in objects.root().iterdir() if path.is_dir() and path != mine]
    return {
        "folder": str(mine),
        "compiled": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "newest": None if newest is None else ago(time.time() - newest),
        "folders_of_other_targets_and_versions": len(others),
        "variants_measured": f"no: LOCALLLM_VARIANTS={pinned}"
        if pinned
        else sum(bool(choice.speeds) for choice in variants.choices().values()),
        "variants_chosen": chosen or "none",
    }


def _memory(report: Report) -> Facts:
    from localllm.runtime.system import free_memory, swap_memory, total_memory

    free = free_memory()
    if free.n_bytes < _LOW_MEMORY:
        report.problems.append(
            f"only {size(free.n_bytes)} of memory are free ({free.limit}): end other programs, raise the limit, "
            "or take a smaller model"
        )
    return {
        "total_bytes": total_memory(),
        "free_bytes": free.n_bytes,
        "limited_by": free.limit,
        "swap_bytes": swap_memory(),
    }


def _speed(_report: Report) -> Facts:
    from localllm.runtime.processors import default_threads
    from localllm.tools.limits import measured

    n_threads = default_threads()
    found = measured(n_threads)
    return {
        "threads": n_threads,
        "gb_read_a_second": round(found["gb_s"], 1),
        "thousand_million_products_a_second": round(found["gmac_s"]),
    }


def _places(report: Report) -> Facts:
    from localllm.chat.places import database_path
    from localllm.cli.settings import config_path
    from localllm.generate.saved_folder import default_folder
    from localllm.kernels.objects import root
    from localllm.runtime import tuned
    from localllm.store.paths import store_dir
    from localllm.store.records import records_path

    places = {
        "configuration": config_path(),
        "models": store_dir(),
        "records_of_models": records_path(),
        "conversations": database_path(),
        "threads_found_by_tune": tuned.path(),
        "kernels": root(),
        "prompts": default_folder(),
    }
    return {name: _place(name, path, report) for name, path in places.items()}


def _place(name: str, path: Path, report: Report) -> Facts:
    """A file or a folder: whether it is there, how large, whether it can be written; of a folder, room on its disk."""
    found: Facts = {"path": str(path), "there": path.exists()}
    there = next((folder for folder in (path, *path.parents) if folder.exists()), None)
    variable = "LOCALLLM_CACHE" if name in ("kernels", "prompts") else "LOCALLLM_HOME"
    if there is None:  # Windows
        report.problems.append(f"{path}: there is no such drive ({name}): set {variable} to another folder")
        return found
    if path.is_file():
        found["bytes"] = path.stat().st_size
    elif path.is_dir():
        sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
        found |= {"files": len(sizes), "bytes": sum(sizes)}
    if hasattr(os, "getuid") and path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
        found["mode"] = f"{mode:04o}"
        if name == "prompts" and mode & 0o022:
            report.problems.append(f"{path}: others may write there, so no prompts are kept: chmod go-w {path}")
    if not os.access(there, os.W_OK):
        report.problems.append(f"{there}: cannot be written ({name}): chmod it, or set {variable} to another folder")
    free = shutil.disk_usage(there).free
    found["free_on_disk_bytes"] = free
    if free < _LOW_DISK and name in ("models", "prompts"):
        report.problems.append(f"{there}: only {size(free)} are free on its disk ({name})")
    return found


def _stores(_report: Report) -> Facts:
    from localllm.store.origins import origins

    found: Facts = {}
    for origin in origins():
        passed_over: list[str] = []
        models = list(origin.models(lambda *text, _to=passed_over: _to.append(str(text))))
        folders = [f"{folder}{'' if folder.is_dir() else ' (not there)'}" for folder in origin.folders()]
        found[origin.name] = {
            "models": len(models),
            "bytes": sum(model.size for model in models),
            "folders": ", ".join(folders),
            **({"passed_over": len(passed_over)} if passed_over else {}),
        }
    return found


def _terminal(report: Report) -> Facts:
    from localllm.terminal.screen import Screen

    screen = Screen(sys.stdout)
    if not screen.unicode:
        report.problems.append(
            f"the terminal's characters are {screen.encoding}: set LANG=C.UTF-8 or PYTHONUTF8=1, so that all are shown"
        )
    return {
        "terminals": ", ".join(name for name in _OUTPUTS if _is_terminal(name)) or "none",
        "term": os.environ.get("TERM", "not set"),
        "colours": screen.colours,
        "unicode": screen.unicode,
        "encoding": screen.encoding,
        "size": f"{screen.width} × {screen.height}",
        "no_color": bool(os.environ.get("NO_COLOR")),
    }


def _is_terminal(name: str) -> bool:
    stream = getattr(sys, name)
    try:
        return bool(stream and stream.isatty())
    except ValueError:  # it is closed
        return False


def _network(_report: Report) -> Facts:
    from localllm.store.hf_cache import endpoint, is_offline, token

    proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")]
    return {
        "hub": re.sub(r"//[^/@]*@", "//", endpoint()),  # without a password
        "offline": is_offline(),
        "token": "there is one" if token() else "none",
        "proxies_set_by": ", ".join(sorted(proxies)) or "none",
    }


def _settings(report: Report) -> Facts:
    from localllm.cli.main import VERBS
    from localllm.cli.settings import Settings

    names = sorted(name for name in os.environ if name.startswith(("LOCALLLM_", "LLAMA_ARG_")))
    found: Facts = {"variables": ", ".join(names) or "none"}
    try:
        settings = Settings.read(VERBS)
        found["file_sets"] = (
            ", ".join(f"{s}.{key}" for s, keys in settings.sections.items() for key in keys) or "nothing"
        )
    except LocalllmError as error:
        report.problems.append(str(error))
    return found


SECTIONS: dict[str, Callable[[Report], Facts]] = {
    "versions": _versions,
    "extras": _extras,
    "processor": _processor,
    "target": _target,
    "kernels": _kernels,
    "memory": _memory,
    "speed": _speed,
    "places": _places,
    "models": _stores,
    "terminal": _terminal,
    "network": _network,
    "settings": _settings,
}
"""Name -> what finds its facts."""
