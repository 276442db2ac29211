"""Kernels for ARM and for AVX-512 on an emulated processor: the bits of this one. All of them: emulated_bits.py; whole
programs: emulated_program.py."""

import pytest

from localllm.kernels.simd.targets import current, host_features
from tests.kernels import emulated_bits, harness
from tests.kernels.emulated_avx512 import Avx512
from tests.kernels.test_targets import outermost
from tests.server import tiny

pytestmark = [
    pytest.mark.slow,
    outermost,
    pytest.mark.skipif(current().name == "generic", reason="rounds otherwise than targets with FMA"),
]

CHOSEN = {
    "neon": ("matmul IQ2_XXS", "matvec Q5_0", "matvec Q8_0", "attention q8_0 4"),
    "neoni8mm": ("matmul Q4_K", "matvec IQ2_XXS", "scan ('head', 3, 20, 3, 37)"),
    "avx512vnni": ("matmul Q4_K", "matvec IQ2_XXS", "attention q4_0 4 split", "compress"),
    "avx512vnni,avx512vbmi,avx512vbmi2": (
        "matmul IQ2_XXS",
        "matvec Q5_0",
        "matvec Q5_K",
        "attention f16 8",
        "rounding Q4_K",
    ),
}
"""Formats of codes of 8 bits and of fewer, and what calls for operations of other kinds."""

LOGITS = """
import hashlib, sys
import localllm

model = localllm.load(sys.argv[1], n_ctx=64)
print(model.target, hashlib.sha256(model.logits([7 * i % 96 for i in range(40)]).tobytes()).hexdigest())
"""


@pytest.mark.parametrize("target", emulated_bits.MACHINES)
def test_some_kernels_give_the_same_bits(target):
    if emulated_bits.MACHINES[target].PROGRAM is None:
        pytest.skip("no emulator: Debian's qemu-user-static and bochs")
    n, found = emulated_bits.differences(target, CHOSEN[target].__contains__)
    assert (n >= len(CHOSEN[target]), found) == (True, [])


@pytest.mark.skipif("avx512vnni" in host_features(), reason="this processor has them: test_variants.py")
@pytest.mark.skipif(Avx512.PROGRAM is None, reason="no bochs: Debian's package of this name")
def test_a_tile_of_avx_512_gives_the_same_bits():
    assert emulated_bits.differences("avx512vnni", "matmul Q4_K".__eq__, "8x1") == (1, [])


@pytest.mark.skipif(Avx512.PROGRAM is None, reason="no bochs: Debian's package of this name")
def test_a_model_gives_the_same_logits_with_avx_512(tmp_path):
    (tmp_path / "logits.py").write_text(LOGITS)
    arguments = (str(tmp_path / "logits.py"), str(tiny.write(tmp_path / "m.gguf")))
    here = harness.python(current().name, *arguments)
    there = harness.python(current().name, "-m", "tests.kernels.emulated_program", "avx512vnni", *arguments)
    assert here.stdout.startswith(current().name), here.stderr
    assert there.stdout == here.stdout.replace(current().name, "avx512vnni"), there.stderr
