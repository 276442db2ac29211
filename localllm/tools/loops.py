"""The loops of a kernel's assembly, and of what kinds their instructions are: text of LLVM for x86-64 and ARM."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from localllm.errors import LocalllmError


@dataclass(frozen=True)
class Instruction:
    """One line of assembly: `name` is the mnemonic."""

    name: str
    operands: str

    def __str__(self) -> str:
        return f"\t{self.name}\t{self.operands}".rstrip()


@dataclass(frozen=True)
class Loop:
    """What lies between a label and the last branch back to it."""

    label: str
    instructions: tuple[Instruction, ...]

    def __str__(self) -> str:
        return "\n".join((f"{self.label}:", *map(str, self.instructions)))


@dataclass(frozen=True)
class Dialect:
    """How the assembly of an architecture is read."""

    comment: str
    branch: re.Pattern[str]
    byte_dots: tuple[tuple[re.Pattern[str], int], ...]
    """Mnemonic and first operand of dot products of bytes, and how many products one is."""
    dots: re.Pattern[str]
    """All that multiplies integers in vectors, or floats."""
    moves: re.Pattern[str]
    """What brings lanes to other places, or widens and narrows them."""
    loads: Callable[[Instruction], bool]
    stores: Callable[[Instruction], bool]
    stack: str
    """What an operand in the frame of the function contains."""


_IN_MEMORY = re.compile(r"\([^)]*\)(\{[^}]*\})*$")
_X86_STORES = re.compile(r"v?mov|vextract|vpextr|vpmov|set")
_NO_ACCESS = ("lea", "prefetch", "nop")


def _x86_writes(one: Instruction) -> bool:
    """In AT&T's order what is written comes last."""
    return bool(_IN_MEMORY.search(one.operands) and _X86_STORES.match(one.name))


def _x86_reads(one: Instruction) -> bool:
    return "(" in one.operands and not _x86_writes(one) and not one.name.startswith(_NO_ACCESS)


DIALECTS = {
    "x86_64": Dialect(
        comment="#",
        branch=re.compile(r"j[a-z]+$"),
        byte_dots=(
            (re.compile(r"v?p(maddubsw|dpbusd) .*%zmm"), 64),
            (re.compile(r"v?p(maddubsw|dpbusd) .*%ymm"), 32),
            (re.compile(r"v?p(maddubsw|dpbusd) .*%xmm"), 16),
        ),
        dots=re.compile(r"v?pmadd|v?pdp|v?pmul|vfn?m(add|sub)|v?mulps"),
        moves=re.compile(
            r"v?pshuf|v?p?unpck|vperm|v?palignr|valign|v?p?inser|v?p?extr|v?p?blend|v?pack|v?p(ack|insr|extr)|v?shuf"
            r"|vp?broadcast|v?pmov[sz]x|vpmov|vpexpand|v?mov(dq|ap|up|[dq]$|ddup|s[hl]dup|hlps|lhps)"
        ),
        loads=_x86_reads,
        stores=_x86_writes,
        stack="(%rsp",
    ),
    "aarch64": Dialect(
        comment="//",
        branch=re.compile(r"(b|b\..+|cbn?z|tbn?z)$"),
        byte_dots=(
            (re.compile(r"(us|s|u|su)dot v\d+\.4s"), 16),
            (re.compile(r"(us|s|u|su)dot v\d+\.2s"), 8),
            (re.compile(r"(us|s|u)mmla "), 32),
        ),
        dots=re.compile(r"(us|s|u|su)dot|(us|s|u)mmla|[su]m(ull|lal|lsl)2? |ml[as] |f?mul v|fml[as]"),
        moves=re.compile(
            r"(zip|uzp|trn)[12]|ext|tb[lx]|dup|(mov|ins|umov|smov|fmov) .*v\d|rev\d|s?q?xtu?n|[su]xtl|[su]shll|fmov"
        ),
        loads=lambda one: one.name.startswith("ld"),
        stores=lambda one: one.name.startswith("st"),
        stack="[sp",
    ),
}  # fmt: skip
"""By machine, as targets name it."""

_LABEL = re.compile(r"([^\s:]+):")


def loops(text: str, dialect: Dialect) -> Iterator[Loop]:
    """All loops, inner and outer ones."""
    code: list[Instruction] = []
    places: dict[str, int] = {}
    ends: dict[str, int] = {}
    for line in text.splitlines():
        line = line.split(f"\t{dialect.comment}")[0].strip()
        if found := _LABEL.match(line):
            places[found[1]] = len(code)
        elif line and not line.startswith("."):
            name, _, operands = line.removeprefix("{vex}").replace("\t", " ").lstrip().partition(" ")
            code.append(Instruction(name, operands.strip()))
            to = code[-1].operands.rpartition(",")[2].strip()
            if dialect.branch.match(name) and to in places:
                ends[to] = len(code)
    for label, end in ends.items():
        yield Loop(label, tuple(code[places[label] : end]))


def hottest(text: str, dialect: Dialect, products: int = 0, runs: int = 1) -> Loop:
    """Of the loops with products and no such loop inside them, the one with the most, of bytes above all; of several,
    the shortest, which a kernel takes where it can. Where so many products of bytes are wanted, the loop around it, in
    which it is run until there are so many; so many runs where the target's products are not known for what they are.

    Raises LocalllmError."""
    multiplying = [loop for loop in loops(text, dialect) if count(loop, dialect)["dots"]]
    inner = [a for a in multiplying if not any(b is not a and _is_in(b, a) for b in multiplying)]
    if not inner:
        raise LocalllmError("no loop with products was found in the assembly")
    found = max(
        inner,
        key=lambda loop: (byte_products(loop, dialect), count(loop, dialect)["dots"], -len(loop.instructions)),
    )
    around = [a for a in multiplying if _is_in(found, a)]
    in_one = byte_products(found, dialect)
    if not products or not around:
        return found
    times = max(1, products // in_one) if in_one else runs
    return _written_out(found, min(around, key=lambda loop: len(loop.instructions)), times)


def _written_out(inner: Loop, outer: Loop, times: int) -> Loop:
    """The outer loop with the inner one so many times in its place."""
    first = next(i for i, one in enumerate(outer.instructions) if one is inner.instructions[0])
    after = outer.instructions[first + len(inner.instructions) :]
    return Loop(outer.label, (*outer.instructions[:first], *inner.instructions * times, *after))


def _is_in(inner: Loop, outer: Loop) -> bool:
    """Instructions are compared by identity: equal ones stand in many places."""
    first, there = inner.instructions[0], {id(one) for one in outer.instructions}
    return id(first) in there and len(inner.instructions) < len(outer.instructions)


def count(loop: Loop, dialect: Dialect) -> dict[str, int]:
    """How many instructions there are of each kind. One can be of several: x86 multiplies what lies in memory."""
    kinds: dict[str, Callable[[Instruction], bool]] = {
        "instructions": lambda one: True,
        "loads": dialect.loads,
        "stores": dialect.stores,
        "dots": lambda one: bool(dialect.dots.match(_plain(one))),
        "moves": lambda one: bool(dialect.moves.match(_plain(one))) and not _touches(one, dialect),
        "stack": lambda one: dialect.stack in one.operands and _touches(one, dialect),
    }
    return {kind: sum(map(belongs, loop.instructions)) for kind, belongs in kinds.items()}


def _plain(one: Instruction) -> str:
    return f"{one.name} {one.operands}"


def _touches(one: Instruction, dialect: Dialect) -> bool:
    return dialect.loads(one) or dialect.stores(one)


def byte_products(loop: Loop, dialect: Dialect) -> int:
    """How many products of bytes the loop's dot products are."""
    return sum(n for one in loop.instructions for kind, n in dialect.byte_dots if kind.match(_plain(one)))
