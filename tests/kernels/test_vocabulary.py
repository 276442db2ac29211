"""Each operation of the vector vocabulary, in a kernel of its own, against NumPy."""

import numpy as np
import pytest

from localllm.kernels.simd.targets import current
from localllm.kernels.simd.vocabulary import Op
from tests.kernels import harness, operations, tile_operations
from tests.kernels.one_operation import addresses, assert_vectors, random_bits, rng, run

I32, F32, I64 = np.int32, np.float32, np.int64
FMA = current().name != "generic"
ALL_HALVES = np.arange(1 << 16, dtype=np.uint16)


def test_every_operation_is_used_here_or_in_the_team():
    import inspect

    from localllm.kernels.simd import vocabulary

    source = inspect.getsource(operations) + inspect.getsource(tile_operations)
    names = [name for name, value in vars(vocabulary).items() if isinstance(value, Op)]
    assert [n for n in names if source.count(f"{n}(") == 0] == ["cycles", "call_kernel", "call_yield"]


def test_loads_and_stores_need_no_alignment():
    a = random_bits(np.uint8, 20)
    np.testing.assert_array_equal(run("load_store_scalars", 20, a), a)


def test_rooms_are_apart():
    a = random_bits(np.uint8, 64)
    np.testing.assert_array_equal(run("rooms", 64, a[:32], a[32:], n=4), a)


def test_splats():
    a = np.frombuffer(np.float32(1.5).tobytes() + b"\1\2\3\4", np.uint8)
    assert_vectors(
        run("splats", 256, a, n=-7 & 0x7F),
        np.full(16, 0x79, I32),
        np.full(16, 1.5, F32),
        np.tile(a[1:5], 16),
        np.full(64, 0x79, np.uint8),
    )


def test_makes():
    assert_vectors(
        run("makes", 64, np.array([1, 2, 3, 4], F32)), np.array([4, 3, 2, 1, 4, 3, 2, 1, 1, 2, 3, 4, 3, 4, 1, 2], F32)
    )


def test_constants_and_shuffles():
    a, b = np.arange(16, dtype=I32), np.arange(16, 32, dtype=I32)
    assert_vectors(
        run("constants_and_shuffles", 128, a, b), np.arange(-8, 8, dtype=I32), (7 * np.arange(16) % 32).astype(I32)
    )


def test_lookups():
    codes = rng().integers(0, 16, 64, np.uint8)
    assert_vectors(run("lookups", 64, codes), np.array(operations.VALUES.values, np.uint8)[codes])


def test_gathers():
    """Indices of any integer type, to both ends of the table."""
    a = np.zeros(24, np.uint8)
    a[0], a[2:4].view(np.uint16)[0], a[4:8].view(np.uint32)[0] = 255, 256, 298
    a[8:16].view(np.uint64)[0], a[16:24].view(I64)[0] = 17, 31
    given = [255, 256, 298, 17, 31, 5]
    eights = np.frombuffer(operations.EIGHTS.bytes(), np.uint8).reshape(-1, 8)
    fours = np.frombuffer(operations.FOURS.bytes(), np.uint8).reshape(-1, 4)
    assert_vectors(
        run("gathers", 128, a, n=5),
        eights[[*given, 0, 299]].reshape(-1),
        fours[[0, *given, *range(1, 9), 299]].reshape(-1),
    )


def test_lanes():
    a = np.arange(16, dtype=I32)
    assert_vectors(run("lanes", 64, a), a[::-1])


def test_prefetch_of_unmapped_memory_and_pause():
    assert_vectors(run("prefetch_and_pause", 8, np.zeros(1)), np.array([1]))


def test_casts():
    a, c = random_bits(I32, 16), random_bits(np.int8, 16)
    b = np.array(
        [0.0, -0.0, 0.9, -0.9, 1.5, -1.5, 2.5, 1e9, -1e9, 126.99999, 2**24 + 2, -(2.0**31), 1e-40, 3, -3, 7], F32
    )
    expected = (
        a.astype(F32),
        b.astype(I32),
        c.astype(I32),
        c.astype(np.int16),
        a.astype(np.int8),
        a.view(np.uint16)[:16].astype(np.uint32),
    )
    assert_vectors(run("casts", 304, a, b, c), *expected)


@pytest.mark.parametrize("kernel", ["halves_to_floats", "half_scalars_to_floats"])
def test_from_half_on_every_value(kernel):
    """Subnormals, infinities, NaN and both zeros."""
    out = run(kernel, 4 << 16, ALL_HALVES, n=1 << 16).view(F32)
    expected = ALL_HALVES.view(np.float16).astype(F32)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(np.signbit(out), ALL_HALVES >= 0x8000)


def test_from_bhalf_on_every_value():
    out = run("bhalves_to_floats", 4 << 16, ALL_HALVES, n=1 << 16)
    np.testing.assert_array_equal(out.view(np.uint32), ALL_HALVES.astype(np.uint32) << 16)


def test_to_half():
    """Each half; between two, the middle (a tie, to even) and its neighbours; the greatest, infinities, NaN."""
    exact = ALL_HALVES[:0x7C00].view(np.float16).astype(F32)
    middles = ((exact[:-1].astype(np.float64) + exact[1:]) / 2).astype(F32)
    below, above = np.nextafter(middles, F32(0)), np.nextafter(middles, F32(np.inf))
    ends = np.array([65519.996, 65520, 65536, 3e38, np.inf, np.nan, 1e-45, 2.9802322e-08, 2.9802326e-08, 2.0**-14], F32)
    x = np.concatenate([exact, middles, below, above, ends])
    x = np.concatenate([x, -x])
    x = np.pad(x, (0, -len(x) % 16))
    out = run("floats_to_halves", 2 * len(x), x, n=len(x)).view(np.uint16)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    np.testing.assert_array_equal(out.view(np.float16), expected)
    numbers = ~np.isnan(x)
    np.testing.assert_array_equal(out[numbers], expected.view(np.uint16)[numbers])


def float_vectors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, c = rng().standard_normal((3, 16)).astype(F32)
    a[:6], b[:6] = [np.nan, 1, np.inf, -0.0, 0.0, 3], [1, np.nan, -np.inf, 0.0, -0.0, 3]
    return a, b, c


def test_float_operators():
    a, b, c = float_vectors()
    out = run("float_operators", 640, a, b, c)
    with np.errstate(all="ignore"):
        less, root = np.where(a < b, a, b), np.sqrt(np.abs(a))
        assert_vectors(
            out, a + b, a - b, a * b, a / b, np.where(a < b, a, b), np.where(a > b, a, b), np.abs(a), root, less
        )
        rounded = (a.astype(np.float64) * b + c).astype(F32) if FMA else a * b + c
    np.testing.assert_array_equal(out[576:].view(F32), rounded)
    # Where they are equal: the second, with a zero's sign.
    np.testing.assert_array_equal(np.signbit(out[256:320].view(F32)[3:5]), [False, True])


def test_integer_operators():
    a, b = random_bits(I32, 16), random_bits(I32, 32)[16:]
    ua, ub = a.view(np.uint32), b.view(np.uint32)
    with np.errstate(over="ignore"):
        expected = (
            a + b, a - b, a * b, a & b, a | b, a ^ b, a << 3, a >> 3, ua >> 3,
            np.minimum(a, b), np.maximum(ua, ub), np.where(a < b, a, b),
        )  # fmt: skip
    assert_vectors(run("integer_operators", 768, a, b), *expected)


def test_mask64():
    for word in (0, 1, 1 << 63, 0xFFFFFFFFFFFFFFFF, 0x0123456789ABCDEF):
        expected = np.where([word >> i & 1 for i in range(64)], 7, 250).astype(np.uint8)
        assert_vectors(run("masks", 64, np.array([word], np.uint64)), expected)


def halving_sum(v: np.ndarray) -> np.generic:
    while len(v) > 1:
        v = v[: len(v) // 2] + v[len(v) // 2 :]
    return v[0]


def test_reductions_add_by_halving():
    a, b = (rng().standard_normal(16) * 10.0 ** rng().integers(-6, 6, 16)).astype(F32), random_bits(I32, 16)
    with np.errstate(over="ignore"):
        out = run("reductions", 20, a, b)
        assert_vectors(
            out, np.array([halving_sum(a), a.max()], F32), np.array([halving_sum(b), halving_sum(b[:8])], I32)
        )
    assert out[16:].view(F32)[0] == (a[0] + a[2]) + (a[1] + a[3])
    # 1 + 2**24 is 2**24: in this order the 1 is lost, in order of lanes it would not be.
    a[:] = 0
    a[[0, 4, 8]] = 1, -(2.0**24), 2.0**24
    assert run("reductions", 20, a, b)[:4].view(F32)[0] == 0


def test_exp16_within_2_ulp():
    x = np.linspace(-87.3, 88.3, 1 << 20).astype(F32)
    out = run("exponentials", x.nbytes, x, n=len(x)).view(F32)
    exact = np.exp(x.astype(np.float64))
    ulp = np.abs(out - exact) / np.spacing(exact.astype(F32))
    assert ulp.max() < 2, f"{ulp.max()} ulp at {x[ulp.argmax()]}"


def test_exp16_at_its_ends():
    x = np.array([0, -0.0, -87.34, -1e30, -np.inf, 88.4, 1e30, np.inf] * 2, F32)
    out = run("exponentials", 64, x, n=16).view(F32)
    np.testing.assert_array_equal(out[:2], 1)
    assert (out[2:5] == out[2]).all()
    assert 0 <= out[2] < 1.2e-38
    assert (out[5:8] == out[5]).all()
    assert 2e38 < out[5] < np.inf


def dot_inputs(greatest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random ones, then every corner: the least and greatest of each side, together and against each other."""
    random = rng()
    u = random.integers(0, greatest + 1, (64, 64), np.uint8)
    s = random.integers(-128, 128, (64, 64)).astype(np.int8)
    u[:4], s[0], s[1], s[2], s[3] = greatest, -128, 127, np.tile([-128, 127], 32), np.tile([127, 127, -128, -128], 16)
    u[4], s[4] = np.tile([greatest, 0], 32), -128
    return u, s, random.integers(-(1 << 30), 1 << 30, (64, 16), I32)


@pytest.mark.parametrize(("kernel", "greatest"), [("dots4", 255), ("dots4_u7", 127)])
def test_dot4_is_exact_in_its_whole_range(kernel, greatest):
    u, s, acc = dot_inputs(greatest)
    expected = acc + (u.astype(I32) * s).reshape(64, 16, 4).sum(-1, dtype=I32)
    np.testing.assert_array_equal(run(kernel, 64 * 64, u, s, acc, 64).view(I32).reshape(64, 16), expected)


def test_dots_of_signed_bytes_are_exact_in_their_whole_range():
    u, s, acc = dot_inputs(255)
    c, s = u.view(np.int8), np.maximum(s, -127)
    c[:4] = [[-128], [127], [-1], [0]]
    products = c.astype(I32) * s
    expected = acc + products.reshape(64, 16, 4).sum(-1, dtype=I32)
    np.testing.assert_array_equal(run("dots4_s8", 64 * 64, u, s, acc, 64).view(I32).reshape(64, 16), expected)
    pairs = products.reshape(64, 32, 2).sum(-1)
    assert abs(pairs).max() == 2 * 128 * 127
    np.testing.assert_array_equal(run("dots2_s8", 64 * 64, u, s, n=64).view(np.int16).reshape(64, 32), pairs)


def test_dot2_u7_is_exact_in_its_whole_range():
    u, s, _ = dot_inputs(127)
    expected = (u.astype(np.int16) * s).reshape(64, 32, 2).sum(-1, dtype=np.int16)
    np.testing.assert_array_equal(run("dots2_u7", 64 * 64, u, s, n=64).view(np.int16).reshape(64, 32), expected)


def test_picks_stay_in_their_quarter():
    a = np.arange(100, 164).astype(np.uint8)
    expected = [0 if at == 128 else a[i // 16 * 16 + at] for i, at in enumerate(operations.PICKED.pattern)]
    np.testing.assert_array_equal(run("picks", 64, a), expected)


def test_bits_become_sixteens():
    a = rng().integers(0, 256, (64, 64)).astype(np.uint8)
    expected = (a >> np.array(operations.ASKED.pattern, np.uint8) & 1) * 16
    np.testing.assert_array_equal(run("bits_to_16", 64 * 64, a, n=64).reshape(64, 64), expected)


def test_high_nibbles():
    a = np.arange(0, 256, 4, dtype=np.uint8) | 3
    np.testing.assert_array_equal(run("high_nibbles", 64, a), a >> 4)


def test_dot2_is_exact():
    """All 16-bit values but the one whose doubled square is no int32."""
    a, b = rng().integers(-32768, 32768, (2, 64, 32)).astype(np.int16)
    a[0], b[0], a[1], b[1], a[2], b[2] = 32767, 32767, -32768, 32767, 32767, -32768
    acc = np.zeros((64, 16), I32)
    expected = (a.astype(I64) * b).reshape(64, 16, 2).sum(-1).astype(I32)
    np.testing.assert_array_equal(run("dots2", 64 * 64, a, b, acc, 64).view(I32).reshape(64, 16), expected)
    np.testing.assert_array_equal(run("dots2_of_8", 32, a[3], b[3], acc[0] + 5).view(I32), expected[3, :8] + 5)


def test_pack16_order():
    """Four of a, then four of b, in each 128 bits; values to the ends of 16 bits."""
    a, b = np.arange(16, dtype=I32), -np.arange(16, dtype=I32)
    a[3], b[4], a[15], b[15] = 32767, -32768, -32768, 32767
    expected = np.stack([a.reshape(4, 4), b.reshape(4, 4)], 1).reshape(-1).astype(np.int16)
    assert_vectors(run("packs", 64, a, b), expected)


def test_atomics():
    word, out = np.array([40]), harness.buffer(4, I64)
    harness.team().call(addresses()["atomics"], harness.block(operations.Params, a=word, out=out, n=3))
    assert (out.tolist(), word.tolist()) == ([40, 43, 77, 77], [2])
