"""Variants of the products: ways to compute the same bits, of which the fastest depends on the processor.

A product with weights of a format has a default, by its target, and others. What `localllm.tools.variants` measured to
be the fastest on this processor is kept beside the object code. A choice costs or gains speed, never bits
(tests/kernels/test_variants.py).

LOCALLLM_VARIANTS pins them: `default`, or products with a variant each, such as `matmul=2x2,matvec=4096`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from localllm.errors import FileError, UsageError

from . import formats, matmul, matvec, objects
from .objects import Key, Progress
from .simd.targets import host_cpu

Variant = str | int
PINNED = "LOCALLLM_VARIANTS"
_FILE = "variants"
_VERSION = 1


@dataclass(frozen=True)
class Product:
    """What has variants: the second argument of the factories of these kernels."""

    kernels: tuple[tuple[str, str], ...]
    """Module and factory; what is measured is the first one."""
    variants: tuple[Variant, ...]
    """On this target, the default first."""
    about: str
    unit: str
    """Of its speed."""


@dataclass(frozen=True)
class Choice:
    """The variant of a product with weights of a format, and what each was measured to reach: nothing where there was
    no time for it."""

    variant: Variant
    speeds: Mapping[str, float] = field(default_factory=dict)

    @property
    def gain(self) -> float:
        """Of the chosen one over the default, which comes first in `speeds`."""
        return self.speeds[str(self.variant)] / next(iter(self.speeds.values())) if self.speeds else 1.0


@cache
def products() -> dict[str, Product]:
    """By name; measured and shown in this order."""
    return {
        "matmul": Product(
            (("matmul", "tiles"), ("experts", "tiles"), ("heads", "tiles")), matmul.tile_names(),
            "rows of weights x vectors of 16 tokens whose sums stay in registers", "gmac_s",
        ),
        "matvec": Product(
            (("matvec", "rows"), ("matvec_fours", "rows"), ("experts", "rows"), ("heads", "rows")), matvec.AHEADS,
            "bytes that weights are prefetched ahead", "gb_s",
        ),
    }  # fmt: skip


def of_format(product: str, fmt: str) -> tuple[Variant, ...]:
    """The variants of a product with weights of a format, by its module's name; the default first."""
    found = products()[product].variants
    return found[:1] if product == "matmul" and formats.module(fmt).KIND == "float" else found


def of_formats(modules: Iterable[str]) -> list[tuple[str, str]]:
    """(Product, format) where there is something to choose, format by format."""
    return [(name, fmt) for fmt in modules for name in products() if len(of_format(name, fmt)) > 1]


def untried(modules: Iterable[str]) -> list[tuple[str, str]]:
    """Those about which nothing is kept for this processor; none where variants are pinned."""
    return [] if pins() is not None else [pair for pair in of_formats(modules) if pair not in choices()]


def with_variant(key: Key, variant: Variant) -> Key:
    """The kernel of a variant; that of the default has no further argument."""
    name = product_of(key)
    assert name is not None
    if variant == of_format(name, str(key.arguments[0]))[0]:
        return key
    return Key(key.module, key.factory, (*key.arguments, variant))


def product_of(key: Key) -> str | None:
    """The name of the product that a kernel is of; None where it has no variants, or names one."""
    kernel = key.module, key.factory
    return next((n for n, p in products().items() if kernel in p.kernels and len(key.arguments) == 1), None)


def chosen(key: Key) -> Key:
    """The kernel in the variant that is pinned, or chosen for this processor."""
    name = product_of(key)
    if name is None:
        return key
    fmt = str(key.arguments[0])
    pinned = pins()
    if pinned is not None:
        variant = pinned.get(name)
        return with_variant(key, variant) if variant in of_format(name, fmt) else key
    choice = choices().get((name, fmt))
    return with_variant(key, choice.variant) if choice else key


def load(keys: Iterable[Key], progress: Progress | None = None) -> dict[Key, int]:
    """objects.load of the chosen variants, by the keys that stand for all variants."""
    of = {key: chosen(key) for key in keys}
    addresses = objects.load(of.values(), progress)
    return {key: addresses[variant] for key, variant in of.items()}


def pins() -> dict[str, Variant] | None:
    """What LOCALLLM_VARIANTS says; None where it says nothing. Raises UsageError."""
    return _pins(os.environ.get("LOCALLLM_VARIANTS", ""))


@cache
def _pins(text: str) -> dict[str, Variant] | None:
    if text in ("", "default"):
        return None if not text else {}
    found: dict[str, Variant] = {}
    for part in text.split(","):
        name, _, wanted = part.partition("=")
        product = products().get(name)
        variant = next((v for v in product.variants if str(v) == wanted), None) if product else None
        if variant is None:
            there = "; ".join(f"{n}={'|'.join(map(str, p.variants))}" for n, p in products().items())
            raise UsageError(f"{PINNED}={text}: {part!r} is no variant here; there is default; {there}")
        found[name] = variant
    return found


# --- kept in the folder of the object code: {"version", "processors": {processor: {"product format": choice}}}


@cache
def choices() -> dict[tuple[str, str], Choice]:
    """(Product, format) -> what was chosen on this processor."""
    kept = _read().get("processors", {}).get(host_cpu(), {})
    found = {}
    for name, given in kept.items() if isinstance(kept, dict) else ():
        product, _, fmt = name.partition(" ")
        if product in products() and (choice := _checked(product, given)):
            found[product, fmt] = choice
    return found


def _checked(product: str, given: Any) -> Choice | None:
    """None for what this version does not know, or did not write."""
    if not isinstance(given, dict) or given.get("variant") not in products()[product].variants:
        return None
    speeds = given.get("speeds")
    if not isinstance(speeds, dict) or (speeds and str(given["variant"]) not in speeds):
        return None
    if not all(isinstance(speed, (int, float)) and speed > 0 for speed in speeds.values()):
        return None
    return Choice(given["variant"], speeds)


def keep(found: Mapping[tuple[str, str], Choice]) -> None:
    """Keep choices of this processor; others stay. Raises FileError."""
    whole = _read() or {"version": _VERSION, "processors": {}}
    kept = whole["processors"].setdefault(host_cpu(), {})
    kept |= {f"{product} {fmt}": asdict(choice) for (product, fmt), choice in found.items()}
    objects.write(objects.folder() / _FILE, json.dumps(whole).encode())
    choices.cache_clear()


def forget() -> bool:
    """Remove what was chosen on all processors; False where nothing was. Raises FileError."""
    choices.cache_clear()
    path = objects.folder() / _FILE
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FileError(f"{path}: cannot be removed: {error.strerror}") from None
    return True


def _read() -> dict[str, Any]:
    """The file, or nothing where there is none, or no whole one of this version."""
    content = objects.read(objects.folder() / _FILE)
    try:
        whole = json.loads(content) if content else {}
    except ValueError:
        return {}
    ours = isinstance(whole, dict) and whole.get("version") == _VERSION and isinstance(whole.get("processors"), dict)
    return whole if ours else {}
