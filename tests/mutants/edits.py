"""Changes of records: what somebody writes who knows the format. Lengths and counts go along, so that the reader takes
most of them, and what stands behind it has to judge."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from localllm.kernels.formats.table import BY_ID
from tests.gguf.build import ARR, BOOL, CODES, F32, F64, I32, STR, U32, pack, string
from tests.mutants.layout import Info, Layout, Pair, n_bytes
from tests.mutants.numbers import RANGES, another_float, another_integer

Edit = Callable[[Random, Layout, Layout, tuple[str, ...]], None]
"""(random numbers, the layout to change, another seed's, keys of all seeds)"""
UNUSUAL = (*(f.id for f in BY_ID.values() if not f.supported), 4, 5, 31, 99, 2**31, 2**32 - 1)
"""Types without kernels, removed ones, and none."""
MAX_DATA = 1 << 21
"""Bytes of a tensor that was made longer."""
WORDS = (
    b"", b"linear", b"yarn", b"longrope", b"none", b"mean", b"gpt2", b"llama", b"bert", b"t5", b"rwkv", b"no_vocab",
    b"qwen2", b"llama-bpe", b"default", b"silu", b"gelu", b"a\xff", b"\0", b"\x1b[2J", b"\xed\xa0\x80", b"x" * 70_000,
    b"{{ messages[0] }}", b"{% for i in range(9999) %}{{ i }}{% endfor %}", b"{{ ''.__class__ }}", b"{% if", b"<0xZZ>",
    b"a b c", b" ", b"<|end|>", "é".encode(),
)  # fmt: skip


def _scalar(rng: Random, pair: Pair) -> bytes:
    if pair.kind in (F32, F64):
        code = CODES[pair.kind]
        value = another_float(rng, struct.unpack("<" + code, pair.raw)[0])
        try:
            return pack(code, value)
        except OverflowError:
            return pack(code, float("inf"))
    low, high = RANGES[pair.kind]
    value = another_integer(rng, int.from_bytes(pair.raw, "little", signed=low < 0))
    return pack(CODES[pair.kind], min(max(value, low), high))


def _pick(rng: Random, layout: Layout, *kinds: int) -> int | None:
    """The place of a pair of one of these kinds."""
    places = [i for i, pair in enumerate(layout.pairs) if pair.kind in kinds]
    return rng.choice(places) if places else None


def value(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """A number."""
    if (i := _pick(rng, layout, *CODES)) is not None:
        pair = layout.pairs[i]
        layout.pairs[i] = Pair(pair.key, pair.kind, _scalar(rng, pair))


def value_of_another(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """A value from a key beside it, or from another model."""
    i, source = rng.randrange(len(layout.pairs)), rng.choice((layout, other))
    pair, taken = layout.pairs[i], rng.choice(source.pairs)
    layout.pairs[i] = Pair(pair.key, taken.kind, taken.raw)


def value_type(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """The same number in another type; or one where text was, or an array of it."""
    i = rng.randrange(len(layout.pairs))
    pair = layout.pairs[i]
    kind = rng.choice((*CODES, STR, ARR))
    layout.pairs[i] = Pair(pair.key, kind, _as_type(pair, kind))


def _as_type(pair: Pair, kind: int) -> bytes:
    if pair.kind in (STR, ARR):
        number: float = len(pair.raw)
    else:
        number = struct.unpack("<" + CODES[pair.kind], pair.raw)[0]
    if kind == STR:
        return string(str(number))
    if kind == ARR:
        element = pair.kind if pair.kind in CODES else U32
        return pack("IQ", element, 3) + 3 * (pair.raw if pair.kind in CODES else bytes(4))
    if kind in (F32, F64):
        return pack(CODES[kind], number if abs(number) < 1e38 else 0.0)
    low, high = RANGES[kind]
    whole = int(number) if number == number and abs(number) < 2**70 else 0
    return pack(CODES[kind], min(max(whole, low), high))


def text(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """A string: another word, cut, or with another byte."""
    if (i := _pick(rng, layout, STR)) is not None:
        pair = layout.pairs[i]
        layout.pairs[i] = Pair(pair.key, STR, string(_text(rng, pair.raw[8:])))


def _text(rng: Random, old: bytes) -> bytes:
    how = rng.randrange(4)
    if how == 0 or not old:
        return rng.choice(WORDS)
    at = rng.randrange(len(old))
    if how == 1:
        return old[:at]
    return old[:at] + bytes([rng.randrange(256 if how == 2 else 128)]) + old[at + 1 :]


def key(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """A key gets another's name, or one with another byte."""
    i = rng.randrange(len(layout.pairs))
    pair = layout.pairs[i]
    name = _key(rng, layout, keys) if rng.randrange(4) else _text(rng, pair.key)
    layout.pairs[i] = Pair(name, pair.kind, pair.raw)


def _key(rng: Random, layout: Layout, keys: tuple[str, ...]) -> bytes:
    suffix = rng.choice(keys)
    of_none = suffix.startswith(("general.", "tokenizer.", "xielu."))
    return (suffix if of_none else f"{layout.architecture}.{suffix}").encode()


def key_added(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """A key of another model, with its value or a small number; one that is there already keeps its place."""
    if rng.randrange(2):
        taken = rng.choice(other.pairs)
        name = taken.suffix(other.architecture)
        of_none = name.startswith(("general.", "tokenizer.", "xielu."))
        made = Pair((name if of_none else f"{layout.architecture}.{name}").encode(), taken.kind, taken.raw)
    else:
        kind, number = rng.choice(((U32, "I"), (F32, "f"), (BOOL, "B"), (I32, "i")))
        made = Pair(_key(rng, layout, keys), kind, pack(number, rng.choice((0, 1, 1, 2, 4, 8, 16, 32))))
        if kind == BOOL:
            made = Pair(made.key, BOOL, rng.choice((b"\0", b"\1")))
    rest = [pair for pair in layout.pairs if pair.key != made.key or rng.randrange(50) == 0]
    rest.insert(rng.randrange(len(rest) + 1), made)
    layout.pairs[:] = rest


def key_removed(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    del layout.pairs[rng.randrange(len(layout.pairs))]


def keys_swapped(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """Two values change places."""
    i, j = rng.randrange(len(layout.pairs)), rng.randrange(len(layout.pairs))
    a, b = layout.pairs[i], layout.pairs[j]
    layout.pairs[i], layout.pairs[j] = Pair(a.key, b.kind, b.raw), Pair(b.key, a.kind, a.raw)


def array(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """An array: shorter, longer, empty, shuffled, with another element, or of what was one number."""
    i = _pick(rng, layout, ARR)
    if i is None or rng.randrange(8) == 0:
        i = _pick(rng, layout, U32, F32, I32, BOOL)
        if i is not None:
            pair = layout.pairs[i]
            new = [pair.raw if rng.randrange(3) else _scalar(rng, pair) for _ in range(rng.choice((0, 1, 2, 3, 4, 8)))]
            layout.pairs[i] = Pair(pair.key, ARR, pack("IQ", pair.kind, len(new)) + b"".join(new))
        return
    pair = layout.pairs[i]
    element, items = _items(pair.raw)
    if items is not None:
        changed = _changed(rng, element, items)
        layout.pairs[i] = Pair(pair.key, ARR, pack("IQ", element, len(changed)) + b"".join(changed))


def _items(raw: bytes) -> tuple[int, list[bytes] | None]:
    """Element type and elements of an array; None: of arrays."""
    element, count = struct.unpack_from("<IQ", raw)
    if element == ARR:
        return element, None
    if element != STR:
        width = struct.calcsize(CODES[element])
        return element, [raw[12 + width * i : 12 + width * (i + 1)] for i in range(count)]
    items, at = [], 12
    for _ in range(count):
        end = at + 8 + int.from_bytes(raw[at : at + 8], "little")
        items.append(raw[at:end])
        at = end
    return element, items


def _changed(rng: Random, element: int, items: list[bytes]) -> list[bytes]:
    how = rng.randrange(8)
    if how == 0 or not items:
        return []
    if how == 1:
        return items[: rng.randrange(len(items))]
    if how == 2:
        return items + rng.choices(items, k=rng.choice((1, 2, 7, 300)))
    if how == 3:
        return rng.sample(items, len(items))
    at, made = rng.randrange(len(items)), list(items)
    if how == 4:
        made[at] = rng.choice(items)
    elif how == 5:
        other = rng.randrange(len(items))
        made[at], made[other] = made[other], made[at]
    elif element == STR:
        made[at] = string(_text(rng, items[at][8:]))
    else:
        made[at] = _scalar(rng, Pair(b"", element, items[at]))
    return made


def tensor_names(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """Two tensors change names."""
    i, j = rng.randrange(len(layout.infos)), rng.randrange(len(layout.infos))
    a, b = layout.infos[i], layout.infos[j]
    layout.infos[i] = Info(b.name, a.dims, a.kind, a.data, a.offset)
    layout.infos[j] = Info(a.name, b.dims, b.kind, b.data, b.offset)


def tensor_name(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """A tensor gets a name of another model's, or one with another byte."""
    i = rng.randrange(len(layout.infos))
    info = layout.infos[i]
    name = rng.choice(other.infos).name if rng.randrange(2) else _text(rng, info.name)
    layout.infos[i] = Info(name, info.dims, info.kind, info.data, info.offset)


def tensor_removed(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    del layout.infos[rng.randrange(len(layout.infos))]
    if not layout.infos:
        layout.infos.append(rng.choice(other.infos))


def tensor_added(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """One of another model, or one of its own again, perhaps of another layer."""
    taken = rng.choice(rng.choice((layout, other)).infos)
    name = taken.name
    if name.startswith(b"blk.") and rng.randrange(2):
        name = b"blk.%d.%s" % (rng.choice((0, 1, 2, 3, 9, 4096)), name.split(b".", 2)[-1])
    layout.infos.insert(rng.randrange(len(layout.infos) + 1), Info(name, taken.dims, taken.kind, taken.data))


def _filled(data: bytes, n: int) -> bytes:
    if not 0 <= n <= MAX_DATA:
        return data
    return (data * (n // max(len(data), 1) + 1))[:n] if data else bytes(n)


def tensor_shape(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """Other dimensions, with data of that size."""
    i = rng.randrange(len(layout.infos))
    info = layout.infos[i]
    dims, at = list(info.dims), rng.randrange(len(info.dims))
    how = rng.randrange(6)
    if how == 0:
        rng.shuffle(dims)
    elif how == 1:
        dims.append(rng.choice((1, 1, 2, 3)))
    elif how == 2 and len(dims) > 1:
        dims.pop(at)
    elif how == 3 and len(dims) > 1:
        dims[at - 1] *= dims.pop(at)
    elif how == 4:
        dims[at] += rng.choice((-32, -2, -1, 1, 2, 32))
    else:
        dims[at] = another_integer(rng, dims[at])
    shape = tuple(size if 0 <= size < 2**64 else 0 for size in dims)
    layout.infos[i] = Info(info.name, shape, info.kind, _filled(info.data, n_bytes(shape, info.kind)))


def tensor_format(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """Another format, mostly one of this file, with as many bytes as it takes."""
    i = rng.randrange(len(layout.infos))
    info = layout.infos[i]
    here = sorted({x.kind for x in layout.infos})
    fitting = [kind for kind in here if kind in BY_ID and info.dims[0] % BY_ID[kind].block == 0]
    kind = rng.choice(fitting or here) if rng.randrange(6) else rng.choice(UNUSUAL)
    layout.infos[i] = Info(info.name, info.dims, kind, _filled(info.data, n_bytes(info.dims, kind)))


def size(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """A size takes another value wherever it stands: in all shapes (or those of one kind of tensor) and, mostly, in the
    metadata."""
    info = rng.choice(layout.infos)
    old = rng.choice(info.dims)
    new = max(1, rng.choice((old // 2, old * 2, old - 32, old + 32, old - 8, old + 8, old + 1, old - 1, 1, 32, 64)))
    part = rng.choice((b"", b"", info.name.split(b".")[-2:][0]))
    for i, info in enumerate(layout.infos):
        if old in info.dims and part in info.name:
            shape = tuple(new if x == old else x for x in info.dims)
            total = n_bytes(shape, info.kind)
            if total <= MAX_DATA:
                layout.infos[i] = Info(info.name, shape, info.kind, _filled(info.data, total))
    if rng.randrange(4):
        for i, pair in enumerate(layout.pairs):
            if pair.kind == U32 and int.from_bytes(pair.raw, "little") == old:
                layout.pairs[i] = Pair(pair.key, U32, pack("I", new))


def layers(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """Another number of layers: those too many go, those that lack are copies."""
    by_layer: dict[bytes, list[Info]] = {}
    for info in layout.infos:
        if info.name.startswith(b"blk."):
            by_layer.setdefault(info.name.split(b".", 2)[1], []).append(info)
    if not by_layer:
        return
    n = rng.choice((1, 2, 3, 4, 5, len(by_layer) + 1))
    rest = [info for info in layout.infos if not info.name.startswith(b"blk.")]
    sources = list(by_layer.values())
    for i in range(n):
        for info in sources[i % len(sources)]:
            name = b"blk.%d.%s" % (i, info.name.split(b".", 2)[-1])
            rest.append(Info(name, info.dims, info.kind, info.data))
    layout.infos[:] = rest
    count = f"{layout.architecture}.block_count".encode()
    layout.pairs[:] = [Pair(p.key, p.kind, pack("I", n)) if p.key == count else p for p in layout.pairs]


def architecture(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """The file says that it is of another architecture, and all its keys agree."""
    old, new = layout.architecture.encode(), other.architecture.encode()
    for i, pair in enumerate(layout.pairs):
        if pair.key == b"general.architecture":
            layout.pairs[i] = Pair(pair.key, STR, string(new))
        elif pair.key.startswith(old + b"."):
            layout.pairs[i] = Pair(new + pair.key[len(old) :], pair.kind, pair.raw)


def splice(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """Metadata of one model with another's tensors, or a part of either."""
    how = rng.randrange(4)
    if how == 0:
        layout.infos[:] = other.infos
    elif how == 1:
        names = {pair.key for pair in other.pairs if pair.key.startswith(b"tokenizer.")}
        kept = [pair for pair in layout.pairs if not pair.key.startswith(b"tokenizer.")]
        layout.pairs[:] = kept + [pair for pair in other.pairs if pair.key in names]
    elif how == 2:
        at = rng.randrange(len(layout.infos))
        names = {info.name for info in layout.infos[:at]}
        layout.infos[at:] = [info for info in other.infos if info.name not in names]
    else:
        at = rng.randrange(len(layout.pairs))
        names = {pair.key for pair in layout.pairs[:at]}
        layout.pairs[at:] = [pair for pair in other.pairs if pair.key not in names]


SPECIAL = (
    b"\0\x7c", b"\0\xfc", b"\0\x7e", b"\xff\x7b", b"\xff\xfb", b"\1\0", b"\0\0", b"\xff\xff", b"\0\x80", b"\x80\x7f",
    b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f", b"\1\0\0\0", b"\0\0\0\x80", b"\xff" * 16,
)  # fmt: skip
"""Inf, NaN, the largest, the least, zeros of binary16, bfloat16 and binary32; all bits."""


def data(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """A tensor's data: a special number somewhere, at each block's beginning or everywhere; or anything."""
    i = rng.randrange(len(layout.infos))
    info = layout.infos[i]
    if not info.data:
        return
    how, block = rng.randrange(5), BY_ID[info.kind].bytes if info.kind in BY_ID else 4
    if how == 0:
        made = bytearray(rng.randbytes(len(info.data)))
    elif how == 1:
        made = bytearray(_filled(rng.choice(SPECIAL), len(info.data)))
    else:
        made, special = bytearray(info.data), rng.choice(SPECIAL)
        within = rng.randrange(0, max(1, block - 1), 2)
        n_blocks = len(made) // block
        places = range(n_blocks) if how == 2 else [rng.randrange(n_blocks)] if n_blocks else []
        for number in places:
            at = number * block + within
            made[at : at + len(special)] = special[: len(made) - at]
    layout.infos[i] = Info(info.name, info.dims, info.kind, bytes(made), info.offset)


def offset(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """A tensor's offset, or the file's alignment."""
    if rng.randrange(3) == 0:
        layout.alignment = rng.choice((8, 16, 64, 128, 4096))
        if rng.randrange(4):
            layout.pairs.append(Pair(b"general.alignment", U32, pack("I", layout.alignment)))
        return
    i = rng.randrange(len(layout.infos))
    info = layout.infos[i]
    at = sum(len(x.data) + -len(x.data) % layout.alignment for x in layout.infos[:i])
    layout.infos[i] = Info(info.name, info.dims, info.kind, info.data, another_integer(rng, at))


def order(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    """Keys and tensors in another order, which changes nothing."""
    rng.shuffle(layout.pairs)
    rng.shuffle(layout.infos)


def counts(rng: Random, layout: Layout, other: Layout, keys: tuple[str, ...]) -> None:
    n_infos, n_pairs = len(layout.infos), len(layout.pairs)
    of_infos, by = rng.randrange(2), rng.choice((-3, -1, 1, 3))
    layout.counts = (max(0, n_infos + by), n_pairs) if of_infos else (n_infos, max(0, n_pairs + by))


EDITS: tuple[tuple[Edit, int], ...] = (
    (value, 18), (value_of_another, 4), (value_type, 4), (text, 4), (key, 4), (key_added, 8), (key_removed, 3),
    (keys_swapped, 3), (array, 9), (tensor_names, 3), (tensor_name, 3), (tensor_removed, 2), (tensor_added, 3),
    (tensor_shape, 6), (tensor_format, 9), (size, 9), (layers, 4), (architecture, 4), (splice, 4), (data, 14),
    (offset, 2), (order, 1), (counts, 1),
)  # fmt: skip
"""With how often each is taken."""
