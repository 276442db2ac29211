"""Matrix products against the exact product of the dequantized weights and the quantized activations, in float64.

The integer part of a product is exact, so what is left are roundings to f32: two for the scales of a block and one for
each of the k / 32 / 2 or k / 256 additions of a lane, then five halvings. They are random, of 6e-8 of the sum so far:
measured, at most 7e-8 of |w| |x| for quantized and 1.6e-7 for float formats, whose lanes add up k / 16 terms.
(llama.cpp's own bound for a product, NMSE 5e-4, is 2e-2 by this measure.)
"""

import numpy as np
import pytest

from localllm.kernels import formats, matmul_super
from localllm.kernels.formats.table import FORMATS
from tests import reference
from tests.kernels import blocks, harness

BUDGET = 4e-7
NAMES = [f.name for f in harness.SUPPORTED]
LENGTHS = {
    1: (1, 31, 96, 577, 576, 640, 896), 32: (32, 96, 288, 576, 640, 896, 2080),
    64: (64, 192, 320, 576, 640, 896, 2112), 128: (128, 384, 640, 896, 2176), 256: (256, 512, 1536, 2304),
}  # fmt: skip
MAX_SCALED = {"Q6_K": 128 * 32, "IQ4_XS": 32 * 127}
"""The greatest product of a code and its integer scale."""
TOKENS = (1, 3, 16, 17, 48, 65)


def lengths(name: str) -> tuple[int, ...]:
    return LENGTHS[FORMATS[name].block]


def group_of(name: str) -> int:
    """Activations a scale; 0 where they stay f32."""
    return {"float": 0, "block32": 32, "super": 256}[formats.module(FORMATS[name].module).KIND]


def inputs(n: int, k: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, k)).astype(np.float32)


def seen(name: str, x: np.ndarray) -> np.ndarray:
    """What the kernel sees of the activations, float64."""
    return reference.activations(x, group_of(name)) if group_of(name) else x.astype(np.float64)


def vector_fields(name: str, x: np.ndarray) -> dict[str, np.ndarray | int]:
    """Activations of a few rows, made by the twin, so that this test stands alone; what lies behind them is garbage."""
    group = group_of(name)
    if not group:
        return {"x": harness.placed(x), "x_row": 4 * x.shape[1]}
    codes, d = reference.quantize(x, group)
    s = d * reference.sums(codes, 32).astype(np.float32) if group == 32 else reference.sums(codes, 16).astype(np.int16)
    codes = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 64)), constant_values=-1)
    fields = {"x": harness.placed(codes), "x_d": harness.placed(d), "x_s": harness.placed(s)}
    return fields | {"x_row": codes.shape[1], "d_row": d.strides[0], "s_row": s.strides[0]}


def tile_fields(name: str, x: np.ndarray) -> dict[str, np.ndarray]:
    group = group_of(name)
    if not group:
        return {"x": harness.placed(x)}
    codes, d = reference.quantize(x, group)
    s = reference.sums(codes, 32 if group == 32 else 16)
    s32 = reference.sums(codes, 32)
    p = reference.to_tiles(d * s32.astype(np.float32), 1) if group == 32 else reference.pairs(codes)
    tiles = {
        "x": reference.to_tiles(codes, 4),
        "x_d": reference.to_tiles(d, 1),
        "x_s": reference.to_tiles(s, 1),
        "x_p": p,
    }
    return {field: harness.placed(np.ascontiguousarray(v)) for field, v in tiles.items()}


def matvec(
    name: str, raw: np.ndarray, x: np.ndarray, chunk: int = 4, kernel: str = "matvec.rows", **more
) -> np.ndarray:
    raw, out = harness.placed(raw), harness.buffer((len(x), len(raw)))
    fields = (
        {"row_bytes": raw.shape[1], "n": len(raw), "k": x.shape[1], "chunk": chunk, "stride": 4 * len(raw), "out": out}
        | vector_fields(name, x)
        | more
    )
    harness.run(kernel, FORMATS[name].module, n_rows_at=np.array([len(x)]), w=raw, **fields)
    return out


def fours(name: str, raw: np.ndarray, x: np.ndarray, **more) -> np.ndarray:
    return matvec(name, raw, x, kernel="matvec_fours.rows", **more)


def matmul(name: str, raw: np.ndarray, x: np.ndarray, **more) -> np.ndarray:
    raw, out = harness.placed(raw), harness.buffer((len(x), len(raw)))
    fields = (
        {"row_bytes": raw.shape[1], "n": len(raw), "k": x.shape[1], "stride": 4 * len(raw), "out": out}
        | tile_fields(name, x)
        | more
    )
    harness.run("matmul.tiles", FORMATS[name].module, n_rows_at=np.array([len(x)]), w=raw, **fields)
    return out


def assert_close(got: np.ndarray, name: str, raw: np.ndarray, x: np.ndarray, extra=0.0, budget: float = BUDGET) -> None:
    w, x = reference.dequantize(name, raw).astype(np.float64), seen(name, x)
    scale = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(w, axis=1) + np.abs(extra)
    error = np.abs(got - (x @ w.T + extra)) / scale
    assert not (error > budget).any(), (
        f"{name} k={x.shape[1]}: {error.max():.2e} at {np.unravel_index(error.argmax(), error.shape)}"
    )
    assert np.isfinite(got).all()


@pytest.mark.parametrize("name", ["Q4_0", "Q5_1", "Q4_K", "Q2_0", "Q1_0"])
def test_activations_of_the_longest_rows_fit_scratch_when_they_are_arranged(name):
    k = 65024  # see weights._MAX_K
    raw, x = blocks.weights(name, 5, k, np.random.default_rng(1)), inputs(8, k, 1)
    assert_close(fours(name, raw, x), name, raw, x)
    assert_close(matvec(name, raw, x[:1]), name, raw, x[:1])


@pytest.mark.parametrize("name", NAMES)
def test_matvec(name):
    for k in lengths(name):
        for n, chunk in ((1, 2), (5, 4), (37, 8), (64, 16)):
            raw, x = blocks.weights(name, n, k, np.random.default_rng(k + n)), inputs(1, k, n)
            assert_close(matvec(name, raw, x, chunk), name, raw, x)


@pytest.mark.parametrize("name", NAMES)
def test_matvec_bias_and_residual(name):
    k, n = lengths(name)[2], 37
    raw, x = blocks.weights(name, n, k, np.random.default_rng(1)), inputs(1, k, 2)
    bias, add = harness.placed(inputs(1, n, 3)[0]), harness.placed(inputs(1, n, 4)[0])
    plain = matvec(name, raw, x)
    np.testing.assert_array_equal(matvec(name, raw, x, bias=bias), plain + bias)
    np.testing.assert_array_equal(matvec(name, raw, x, bias=bias, add=add), plain + bias + add)
    in_place = harness.placed(add)
    matvec(name, raw, x, out=in_place, add=in_place)
    np.testing.assert_array_equal(in_place, (plain + add)[0])


@pytest.mark.parametrize("name", NAMES)
def test_products_into_the_logits_of_the_step(name):
    k, n = lengths(name)[1], 37
    raw, x = blocks.weights(name, n, k, np.random.default_rng(5)), inputs(3, k, 6)
    logits = harness.buffer((3, n))
    step, _alive = harness.step(n_rows=3, logits=logits)
    matvec(name, raw, x[:1], out=0, step=step)
    np.testing.assert_array_equal(logits[:1], matvec(name, raw, x[:1]))
    matmul(name, raw, x, out=0, step=step)
    np.testing.assert_array_equal(logits, matmul(name, raw, x))


@pytest.mark.parametrize("name", NAMES)
def test_matmul(name):
    for k in lengths(name):
        for n in (1, 33, 70):
            raw, x = blocks.weights(name, n, k, np.random.default_rng(k + n)), inputs(65, k, n)
            assert_close(matmul(name, raw, x), name, raw, x)


@pytest.mark.parametrize("name", NAMES)
def test_matmul_gives_a_token_the_same_bits_whatever_stands_beside_it(name):
    k, n = lengths(name)[3], 35
    raw, x = blocks.weights(name, n, k, np.random.default_rng(7)), inputs(65, k, 8)
    whole = matmul(name, raw, x)
    for n_tokens in TOKENS:
        np.testing.assert_array_equal(matmul(name, raw, x[:n_tokens]), whole[:n_tokens])
    np.testing.assert_array_equal(matmul(name, raw, x[40:57]), whole[40:57])


@pytest.mark.parametrize("name", NAMES)
def test_matmul_bias_residual_and_stride(name):
    k, n = lengths(name)[2], 37
    raw, x = blocks.weights(name, n, k, np.random.default_rng(9)), inputs(17, k, 10)
    plain = matmul(name, raw, x)
    bias = harness.placed(inputs(1, n, 11)[0])
    wide = harness.buffer((17, n + 11))
    wide[...] = inputs(17, n + 11, 12)
    expected = wide.copy()
    expected[:, :n] = plain + bias + wide[:, :n]
    matmul(name, raw, x, bias=bias, add=wide, out=wide, stride=4 * (n + 11))
    np.testing.assert_array_equal(wide, expected)  # columns past n are not touched


@pytest.mark.parametrize("name", [n for n in NAMES if n in blocks.SCALES])
def test_extreme_codes_do_not_overflow(name):
    """Codes, K-scales and activations at the ends of their ranges: no 16-bit sum saturates. Rows of four blocks at once
    and more, where a way of the product takes so many."""
    block = FORMATS[name].block
    k = 5 * block
    for byte in (0x00, 0xFF, 0x80, 0x7F):
        raw = blocks.filled_rows(name, byte, int(np.float16(0.01).view(np.uint16)), 5, k)
        for x in (np.ones((17, k)), -np.ones((17, k)), np.resize([1.0, -1.0], (17, k))):
            x = x.astype(np.float32)
            for got in (matvec(name, raw, x[:1]), fours(name, raw, x[:4]), matmul(name, raw, x)):
                exact = seen(name, x[: len(got)]) @ reference.dequantize(name, raw).astype(np.float64).T
                # The greatest sum of terms, minimums apart: scale * K-scale * code + scale * minimum.
                terms = k * 0.01 * MAX_SCALED.get(name, 32 * 63 if group_of(name) == 256 else 129)
                np.testing.assert_allclose(got, exact, rtol=0, atol=1e-6 * terms)


@pytest.mark.parametrize("name", [n for n in NAMES if n in blocks.SCALES and group_of(n) == 256])
@pytest.mark.parametrize("tokens", [1, 17, 65])
def test_activations_around_the_limit_of_sums_of_16_bits(name, tokens):
    """Groups of 16 whose magnitudes come to just as much as a product of a prompt takes for small, and to one more,
    where codes are extreme: the bits of matvec, in a batch with others that are small or large."""
    k = 2 * 256
    few = matmul_super.FEW
    for byte in (0x00, 0xFF, 0x80, 0x7F):
        raw = blocks.filled_rows(name, byte, int(np.float16(0.01).view(np.uint16)), 37, k)
        for total in (few, few + 1):
            codes = np.full(16, total // 16, np.float32)
            codes[: total % 16] += 1
            x = np.zeros((tokens, k), np.float32)
            x[:, 255::256] = 127.0  # what the scale comes from; of the last group of 16 alone
            x[:, 0:16], x[:, 256 + 32 : 256 + 48], x[-1, 64:80] = codes, -codes, codes
            np.testing.assert_array_equal(reference.quantize(x, 256)[0], x)
            got = matmul(name, raw, x)
            np.testing.assert_array_equal(got, np.concatenate([matvec(name, raw, row[None]) for row in x]))


@pytest.mark.parametrize("name", ["Q1_0", "Q2_0", "TQ1_0", "TQ2_0"])
def test_each_byte_of_packed_codes(name):
    """All 256 are allowed; a row holds one of them, everywhere."""
    k = 9 * FORMATS[name].block
    scale = int(np.float16(0.01).view(np.uint16))
    raw = np.concatenate([blocks.filled_rows(name, byte, scale, 1, k) for byte in range(256)])
    x = inputs(3, k, 32)
    got = matvec(name, raw, x)
    assert_close(got, name, raw, x)
    np.testing.assert_array_equal(got, matmul(name, raw, x))


@pytest.mark.parametrize("name", [n for n in NAMES if n in blocks.SCALES])
def test_zero_weights_and_zero_activations(name):
    k = 3 * FORMATS[name].block
    zero = np.zeros((3, FORMATS[name].row_bytes(k)), np.uint8)
    raw = blocks.weights(name, 3, k, np.random.default_rng(13))
    for weights, x in ((zero, inputs(17, k, 14)), (raw, np.zeros((17, k), np.float32))):
        assert (matvec(name, weights, x[:1]) == 0).all()
        assert (matmul(name, weights, x) == 0).all()


@pytest.mark.parametrize("n", [512, 1100])
def test_chunks_that_fit_in_scratch_and_more(n):
    """512 tokens at once, as a decoder's largest batch, and a long text of an encoder."""
    for name in ("F32", "Q8_0", "Q5_K"):
        k = lengths(name)[-1]
        raw, x = blocks.weights(name, 70, k, np.random.default_rng(15)), inputs(n, k, 16)
        got = matmul(name, raw, x)
        assert_close(got, name, raw, x)
        np.testing.assert_array_equal(got[-30:], matmul(name, raw, x[-30:]))


@pytest.mark.parametrize("name", NAMES)
def test_matvec_and_matmul_give_the_same_bits(name):
    """A token alone, among a few and in a batch: floats are added in one order."""
    k, n = lengths(name)[-1], 37
    raw, x = blocks.weights(name, n, k, np.random.default_rng(17)), inputs(3, k, 18)
    np.testing.assert_array_equal(matvec(name, raw, x[1:2]), matvec(name, raw, x)[1:2])
    np.testing.assert_array_equal(matvec(name, raw, x), matmul(name, raw, x))


@pytest.mark.parametrize("name", NAMES)
def test_fours_of_rows_give_the_same_bits(name):
    for k in lengths(name):
        raw, x = blocks.weights(name, 37, k, np.random.default_rng(k)), inputs(9, k, 25)
        alone = matvec(name, raw, x)
        for n_tokens in range(1, 10):
            np.testing.assert_array_equal(fours(name, raw, x[:n_tokens], chunk=8), alone[:n_tokens])


@pytest.mark.parametrize("name", ["Q8_0", "Q4_1", "Q4_K", "Q6_K", "F16"])
def test_fours_of_rows_with_bias_residual_stride_and_logits(name):
    k, n = lengths(name)[2], 38
    raw, x = blocks.weights(name, n, k, np.random.default_rng(26)), inputs(7, k, 27)
    plain, bias = matvec(name, raw, x), harness.placed(inputs(1, n, 28)[0])
    wide = harness.buffer((7, n + 11))
    wide[...] = inputs(7, n + 11, 29)
    expected = wide.copy()
    expected[:, :n] = plain + bias + wide[:, :n]
    fours(name, raw, x, bias=bias, add=wide, out=wide, stride=4 * (n + 11))
    np.testing.assert_array_equal(wide, expected)  # columns past n are not touched
    logits = harness.buffer((7, n))
    step, _alive = harness.step(n_rows=7, logits=logits)
    fours(name, raw, x, out=0, step=step)
    np.testing.assert_array_equal(logits, plain)


@pytest.mark.parametrize("name", ["Q8_0", "Q6_K"])
def test_fours_of_rows_that_do_not_fit_in_scratch(name):
    """One four is put there, or none; the other rows are multiplied one by one."""
    for k in (1 << 17, 1 << 18):
        raw, x = blocks.weights(name, 5, k, np.random.default_rng(30)), inputs(8, k, 31)
        np.testing.assert_array_equal(fours(name, raw, x), matvec(name, raw, x))


def test_special_scales_of_nvfp4():
    """Eight blocks at once and one by one read the scales in two ways; 0x7F stands for 0."""
    raw, x = blocks.weights("NVFP4", 6, 576, np.random.default_rng(19)), inputs(3, 576, 20)
    scales = raw.reshape(-1, 36)[:, :4]
    scales[...] = np.random.default_rng(21).integers(0, 256, scales.shape, np.uint8)
    scales[::3, 1], scales[1::3, 2] = 0x7F, 0xFF
    got = matvec("NVFP4", raw, x[:1])[0]
    np.testing.assert_array_equal(got, matmul("NVFP4", raw, x)[0])
    assert_close(got[None], "NVFP4", raw, x[:1])


def test_special_scales_of_mxfp4():
    """Sixteen blocks at once and one by one read the exponents in two ways; the least two are subnormal numbers."""
    raw, x = blocks.weights("MXFP4", 6, 224, np.random.default_rng(22)), inputs(3, 224, 23) * np.float32(1000)
    exponents = raw.reshape(-1, 17)[:, 0]
    for most in (2, 3, 5, 256):
        exponents[...] = np.random.default_rng(24).integers(max(0, most - 5), most, exponents.shape)
        got = matvec("MXFP4", raw, x[:1])[0]
        assert got.any()
        np.testing.assert_array_equal(got, matmul("MXFP4", raw, x)[0])
