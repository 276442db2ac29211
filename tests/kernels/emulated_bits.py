"""All kernels on emulated processors, beside this one: the same bits, of formats, attention, norms, and of variants.

    python -m tests.kernels.emulated_bits [TARGET ...]        takes some ten minutes a target

Debian's packages: qemu-user-static for ARM, bochs for AVX-512. A short part of it is a test: test_emulated.py.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from localllm.kernels.formats.table import FORMATS
from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import ALL_TARGETS
from tests.kernels import bits, emulated
from tests.kernels.emulated_arm import Arm
from tests.kernels.emulated_avx512 import Avx512

MACHINES: dict[str, type[Arm] | type[Avx512]] = {
    "neon": Arm, "neoni8mm": Arm, "avx512vnni": Avx512, "avx512vnni,avx512vbmi,avx512vbmi2": Avx512,
}  # fmt: skip
"""By target, with features that it can use and does not require. gfni is none of them: Bochs 2.7 gives the complement
of what an affine transformation is."""
TILED = ("Q4_1", "Q4_K", "Q6_K", "NVFP4")
"""Formats whose products' variants are run, as in test_variants.py."""


def tiles_of(target: str) -> list[str]:
    """The variants of a matrix product, without the default."""
    name = target.partition(",")[0]
    return [f"{rows}x{vectors}" for t in ALL_TARGETS if t.name == name for rows, vectors in t.tiles[1:]]


def differences(target: str, wanted: Callable[[str], object] = bool, tile: str = "") -> tuple[int, list[str]]:
    """How many outcomes of bits.py there are, and the names of those that differ. tile: a variant of matrix products
    that is run there in the place of the default."""
    with emulated.noted_keys() as keys:
        here = bits.hashes(wanted)
    variants = {Key(k.module, k.factory, (*k.arguments, tile)) if tile and k.module == "matmul" else k: k for k in keys}
    objects = {variants[key]: made for key, made in emulated.compiled(target, list(variants)).items()}
    with (
        tempfile.TemporaryDirectory() as folder,
        emulated.emulating(MACHINES[target](Path(folder)), objects),
    ):
        there = bits.hashes(wanted)
    return len(here), [name for name, found in here.items() if there[name] != found]


def main() -> None:
    status = 0
    for target in sys.argv[1:] or MACHINES:
        if MACHINES[target].PROGRAM is None:
            print(f"{target}: its emulator is not installed")
            continue
        tiled = {f"matmul {name}" for name in TILED if FORMATS[name].supported}
        for tile, wanted in [("", bool), *((tile, tiled.__contains__) for tile in tiles_of(target))]:
            n, found = differences(target, wanted, tile)
            print(f"{target} {tile}: {n} outcomes, {len(found)} of other bits", *found, sep="\n  ", flush=True)
            status |= bool(found)
    sys.exit(status)


if __name__ == "__main__":
    main()
