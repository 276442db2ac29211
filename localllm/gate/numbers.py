"""Checks of how numbers of metadata depend on each other, and on what an architecture makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable

from localllm.errors import UnsupportedError
from localllm.gate.check import Place, check
from localllm.gate.keys import HUGE, MAX_LAYERS, MAX_VOCAB

Cells = tuple[int, int, int]


@check("a key that must be there", "is in the file", 53)
def present(place: Place, has: bool) -> bool:
    if not has:
        raise place.error("is missing")
    return has


@check("general.architecture", "one that has a spec", 53, error=UnsupportedError)
def architecture(path: str, name: str, known: Collection[str]) -> str:
    if name not in known:
        raise UnsupportedError(
            f"{path}: architecture {name!r:.80} is not supported; supported: {', '.join(sorted(known))}"
        )
    return name


@check("a key of what is not computed here", "0, or not there", error=UnsupportedError)
def not_known_yet(place: Place, value: object) -> object:
    if value:
        shown = f"{value!r:.40}" if isinstance(value, str | int | float) else "a list"
        raise place.error(f"is {shown}, which is not supported yet", UnsupportedError)
    return value


@check("type of a value", "the one that its key has: an integer, a number, a bool or a string", 14, 24, 78)
def type_of_value(place: Place, stored: type, wanted: type, shown: Callable[[], str]) -> type:
    """A number may be asked for as float whatever its type. shown: gives the value, for people."""
    if stored is not wanted and not (wanted is float and stored is int):
        raise place.error(f"is {shown()}, must be {_NAMES[wanted]}")
    return wanted


_NAMES = {int: "an integer", float: "a number", bool: "a bool", str: "a string"}


@check("a real number", "finite", 18, 63, 64)
def finite(place: Place, value: float) -> float:
    if not math.isfinite(value):
        raise place.error(f"is {value}, must be a finite number")
    return value


@check("type of an array and of its elements", "the one that its key has", 24, 70)
def type_of_array(place: Place, is_array: bool, stored: type, wanted: type, shown: Callable[[], str]) -> type:
    if not is_array or stored is not wanted:
        raise place.error(f"is {shown()}, must be an array of {wanted.__name__}")
    return wanted


@check("a list with a number for each layer, or for each of something else", "as long as there are", 66)
def list_length(place: Place, length: int, n: int) -> int:
    """The rest of a longer list is for layers that are left alone."""
    if length < n:
        raise place.error(f"has {length} elements, must have one a layer, {n}")
    return length


@check("layers, times how often they are applied", f"{MAX_LAYERS}", 57)
def n_layers(place: Place, n_block: int, n_loops: int) -> int:
    if n_block * n_loops > MAX_LAYERS:
        raise place.error(f"{n_block} layers are applied {n_loops} times, the limit is {MAX_LAYERS}")
    return n_block * n_loops


@check("rows of the embedding matrix", f"1 to {MAX_VOCAB}", 68, 69)
def n_vocab(place: Place, n: int) -> int:
    if not 1 <= n <= MAX_VOCAB:
        raise place.error(f"has {n} rows, must have 1 to {MAX_VOCAB}")
    return n


@check("heads of a layer that has attention", "1 or more", 58, 59)
def has_heads(place: Place, n: int, layer: int, is_stated: bool = True) -> int:
    if n < 1:
        problem = f"is {n}" if is_stated else "is missing"
        raise place.error(f"{problem}, must be 1 or more for layer {layer}, which has attention")
    return n


@check("a width of a block that is used", "1 or more; 2 where a deviation is taken", 55)
def at_least(place: Place, n: int, least: int = 1) -> int:
    if n < least:
        raise place.error(f"is {n}, must be {least} or more")
    return n


@check("key-value heads, groups, heads and chunks", "divide what is shared out", 59, 60, 65)
def divides(place: Place, value: int, *wholes: tuple[str, int]) -> int:
    """wholes: names of what is divided, and their values."""
    if value < 1 or any(whole % value for _, whole in wholes):
        told = ", and ".join(f"{name}, {whole}" for name, whole in wholes)
        raise place.error(f"is {value}, must divide {told}")
    return value


@check("numbers that are shared out in whole groups", "a multiple of the group's size", 62)
def multiple(place: Place, value: int, unit: int, of: str) -> int:
    if value % unit:
        raise place.error(f"is {value}, must be a multiple of {of}, {unit}")
    return value


@check("numbers that a block has twice, or that others make up", "the same", 55, 57)
def same(place: Place, value: int, wanted: int, of: str) -> int:
    if value != wanted:
        raise place.error(f"is {value}, must be {of}, {wanted}")
    return value


@check("numbers that others bound, such as elements with RoPE by a head's", "at most those", 62, 65)
def at_most(place: Place, value: int, most: int, of: str) -> int:
    if value > most:
        raise place.error(f"is {value}, must be at most {of}, {most}")
    return value


@check("elements with RoPE", "even, and at most a head's", 62)
def rope_dimensions(place: Place, n: int, head: int) -> int:
    if n % 2:
        raise place.error(f"is {n}, must be even")
    return at_most(place, n, head, "a head's size")


@check("experts of a token", "1 to those of the layer, or of the groups that are chosen", 65)
def experts_used(place: Place, used: int, n_expert: int, n_groups: int, n_group_used: int) -> int:
    """n_groups: 0 where experts lie in none."""
    if not 1 <= used <= n_expert:
        raise place.error(f"is {used}, must be 1 to {n_expert}")
    if n_groups and used > n_expert // n_groups * n_group_used:
        raise place.error(f"is {used}, more than the experts of {n_group_used} groups")
    return used


@check("groups of experts", "more than one expert each", 65)
def expert_groups(place: Place, n: int, n_expert: int) -> int:
    if n >= n_expert:
        raise place.error(f"is {n}, must divide expert_count, {n_expert}")
    return divides(place, n, ("expert_count", n_expert))


@check("groups of experts that are chosen", "1 to all but one", 65)
def groups_used(place: Place, used: int, n: int) -> int:
    if not 1 <= used < n:
        raise place.error(f"is {used}, must be 1 to {n - 1}")
    return used


@check("epsilon of norms", "above 0, but for architectures whose files may lack it", 64)
def epsilon(place: Place, value: float, may_be_0: bool) -> float:
    if value == 0 and not may_be_0:
        raise place.error(f"is {value}, must be above 0")
    return value


@check("base of RoPE's frequencies, as an architecture makes it of several numbers", "finite, above 1", 63)
def rope_base(place: Place, value: float) -> float:
    if not 1 < value <= HUGE:
        raise place.error(f"is {value}, must be above 1, at most {HUGE:g}")
    return value


@check("factors of RoPE's frequencies", "finite, above 0", 18, 63)
def rope_factors(place: Place, least: float, greatest: float) -> tuple[float, float]:
    """NaN among them makes both NaN."""
    if not (least > 0 and greatest < math.inf):
        raise place.error("has elements that are no numbers above 0")
    return least, greatest


@check(
    "a number or name that an architecture gives a meaning to", "one of those that are supported", 53, 65, 77,
    error=UnsupportedError,
)  # fmt: skip
def one_of(place: Place, value: object, known: Iterable[object]) -> object:
    values = list(known)
    if value not in values:
        shown = f"{value!r:.40}" if isinstance(value, str) else _shown(value)
        raise place.error(f"is {shown}; supported: {', '.join(map(_shown, values))}", UnsupportedError)
    return value


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@check("a key that must be a list", "is one, with a number for each layer", 24, 66)
def is_list(place: Place, has: bool) -> bool:
    if not has:
        raise place.error("is not there, or no list of a number for each layer")
    return has


@check("an earlier layer whose cells or choice a layer shares", "there is one", 66)
def has_source(place: Place, layer: int, has: bool) -> bool:
    if not has:
        raise place.error(f"layer {layer} has no layer like it before it, whose cells or choice it could share")
    return has


@check("heads of a layer that uses another's keys and values", "as many, of the same sizes", 55, 59)
def same_cells(place: Place, own: Cells, source: int, other: Cells) -> Cells:
    """Key-value heads, elements of their keys and of their values: of the layer, and of layer `source`."""
    if own != other:
        raise place.error(
            f"uses the keys and values of layer {source}: it has {own[0]} heads of {own[1]} and {own[2]} elements, "
            f"that one {other[0]} of {other[1]} and {other[2]}"
        )
    return own
