"""Whole kernels for ARM: that they compile, complete, to dot products; and, where qemu is installed, what they give."""

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from localllm.kernels.formats import table
from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import current
from tests.kernels import bits, blocks, emulated, harness, test_products
from tests.kernels.test_targets import outermost

pytestmark = pytest.mark.slow

FORMATS = {"neon": ("Q8_0", "IQ2_XXS"), "neoni8mm": ("Q8_0", "Q4_K")}
"""One whose codes have 8 bits, and one whose codes have fewer."""
_SDOT = (0x4E809400, 0xFFE0FC00), (0x4F80E000, 0xFFC0F400)
_USDOT = (0x4E809C00, 0xFFE0FC00), (0x4F80F000, 0xFFC0F400)
DOTS = {"neon": _SDOT, "neoni8mm": _SDOT + _USDOT}
"""sdot and usdot of 128 bits, by vector and by element: bits of the instruction, and which of them count (Arm
Architecture Reference Manual, C7.2)."""

needs_qemu = pytest.mark.skipif(emulated.QEMU is None, reason="no qemu-aarch64(-static): Debian's qemu-user-static")
needs_fma = pytest.mark.skipif(current().name == "generic", reason="rounds otherwise than targets with FMA")


def keys(target: str) -> list[Key]:
    modules = [table.FORMATS[name].module for name in FORMATS[target]]
    return [Key(m, f, (module,)) for module in modules for m, f in (("matvec", "rows"), ("matmul", "tiles"))]


@pytest.fixture(scope="module")
def objects() -> Callable[[str], dict[Key, bytes]]:
    """Kernels of a target, compiled once."""
    made: dict[str, dict[Key, bytes]] = {}

    def of(target: str) -> dict[Key, bytes]:
        if target not in made:
            made[target] = emulated.compiled(target, keys(target))
        return made[target]

    return of


@outermost
@pytest.mark.parametrize("target", FORMATS)
def test_whole_kernels_come_out_with_dot_products(target, objects):
    for key, named_object in objects(target).items():
        code, entry = emulated.link(named_object)  # which refuses what needs anything from outside
        words = struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])
        found = sum(any(word & mask == bits_ for bits_, mask in DOTS[target]) for word in words)
        assert found >= 16, f"{key}: {found} dot products"
        assert emulated.CODE <= entry < emulated.CODE + len(code)


@pytest.fixture
def emulator(monkeypatch, tmp_path) -> Callable[[dict[Key, bytes]], None]:
    """From then on the harness's kernels are emulated."""

    def start(objects: dict[Key, bytes]) -> None:
        machine = emulated.Emulator(tmp_path, objects)
        monkeypatch.setattr(harness, "buffer", machine.buffer)
        monkeypatch.setattr(harness, "run", machine.run)
        monkeypatch.setattr(harness, "margin", machine.margin)

    return start


@outermost
@needs_qemu
@needs_fma
@pytest.mark.parametrize("target", FORMATS)
def test_products_give_the_same_bits_on_arm(target, objects, emulator):
    def products() -> list[np.ndarray]:
        out = []
        for name in FORMATS[target]:
            for k in test_products.lengths(name)[1:4]:
                raw, x = blocks.weights(name, 37, k, np.random.default_rng(0)), test_products.inputs(19, k, 1)
                out += [test_products.matvec(name, raw, x[:1]).copy(), test_products.matmul(name, raw, x).copy()]
        return out

    here = products()
    emulator(objects(target))
    for a, b in zip(here, products(), strict=True):
        np.testing.assert_array_equal(a, b)


@outermost
@needs_qemu
@needs_fma
@pytest.mark.parametrize("target", FORMATS)
def test_everything_gives_the_same_bits_on_arm(target, emulator, monkeypatch):
    """All formats, attention, norms, RoPE: some minutes of compiling."""
    used: dict[Key, None] = {}
    run = harness.run

    def noting(name: str, *arguments, **fields) -> None:
        module, factory = name.split(".")
        used[Key(module, factory, arguments)] = None
        run(name, *arguments, **fields)

    monkeypatch.setattr(harness, "run", noting)
    here = bits.hashes()
    wanted = list(used)
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(lambda part: emulated.compiled(target, part), (wanted[::2], wanted[1::2]))
        emulator({key: made for half in halves for key, made in half.items()})
    assert bits.hashes() == here
