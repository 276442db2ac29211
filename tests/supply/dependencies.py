"""What localllm needs at run time, directly and through others, as it is installed here: versions and licences."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
EXTRAS = ("server", "structured", "hub")
"""Those that users install; others are tools of development."""

ALLOWED = frozenset(
    (
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CNRI-Python", "ISC", "MIT", "MIT-0", "MPL-2.0", "NCSA",
        "PSF-2.0", "Unlicense", "Zlib", "LLVM-exception", "CC0-1.0", "BlueOak-1.0.0",
    )
)  # fmt: skip
"""SPDX names. All may be used beside a program under MIT, without conditions on that program itself."""

CLASSIFIERS = {
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "OSI Approved :: BSD License": "BSD-3-Clause",
    "OSI Approved :: MIT License": "MIT",
    "OSI Approved :: ISC License (ISCL)": "ISC",
    "OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "OSI Approved :: Python Software Foundation License": "PSF-2.0",
    "OSI Approved :: The Unlicense (Unlicense)": "Unlicense",
}
"""Of packages that do not say it as SPDX yet."""
SPELLINGS = {
    "APACHE 2.0": "Apache-2.0", "APACHE LICENSE 2.0": "Apache-2.0", "APACHE": "Apache-2.0", "BSD": "BSD-3-Clause",
    "BSD LICENSE": "BSD-3-Clause", "NEW BSD": "BSD-3-Clause", "BSD 3-CLAUSE": "BSD-3-Clause", "MIT LICENSE": "MIT",
    "APACHE LICENSE, VERSION 2.0": "Apache-2.0", "3-CLAUSE BSD LICENSE": "BSD-3-Clause",
    "APACHE SOFTWARE LICENSE": "Apache-2.0",
}  # fmt: skip


@dataclass(frozen=True)
class Dependency:
    """A package that is installed here, or that should be."""

    name: str
    version: str
    licence: str
    """As SPDX, or as the package says it; "" where it says nothing."""

    @property
    def is_allowed(self) -> bool:
        """Whether each part of an expression (`A AND B`), or one of each choice (`A OR B`), is on the list."""
        if not self.licence:
            return False
        terms = re.split(r"\s+AND\s+", self.licence.replace("(", " ").replace(")", " ").strip())
        return all(any(_known(name) for name in re.split(r"\s+OR\s+", term)) for term in terms)


def _known(term: str) -> bool:
    return all(part in ALLOWED for part in re.split(r"\s+WITH\s+", term.strip()))


def licence_of(found: Distribution) -> str:
    """By the field of PEP 639, then a short text in the old field, then the classifiers."""
    meta = found.metadata
    fields = {key: str(value) for key, value in meta.json.items() if isinstance(value, str)}
    if "license_expression" in fields:
        return fields["license_expression"]
    told = fields.get("license", "").strip()
    if told.upper() in SPELLINGS or told in ALLOWED:
        return SPELLINGS.get(told.upper(), told)
    names = [value.removeprefix("License :: ") for value in meta.get_all("Classifier") or ()]
    known = sorted({CLASSIFIERS[name] for name in names if name in CLASSIFIERS})
    return " AND ".join(known) or told[:60]


def dependencies() -> list[Dependency]:
    """All, by name. Raises PackageNotFoundError where one is not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for e in EXTRAS for line in project["optional-dependencies"][e])]
    found: dict[str, Dependency] = {}
    waiting = [requirement for line in wanted for requirement in _needed(line, "")]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        installed = distribution(requirement.name)
        found[name] = Dependency(name, installed.version, licence_of(installed))
        waiting += [
            inner
            for line in installed.requires or ()
            for extra in ("", *requirement.extras)
            for inner in _needed(line, extra)
        ]
    return [found[name] for name in sorted(found)]


def _needed(line: str, extra: str) -> Iterator[Requirement]:
    requirement = Requirement(line)
    if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
        yield requirement
