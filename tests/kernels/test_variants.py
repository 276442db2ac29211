"""Variants of the products: the same bits, the one that is chosen or pinned, and what is kept of choices."""

import json

import numpy as np
import pytest

from localllm.errors import UsageError
from localllm.kernels import matmul, matmul_squares, matvec, objects, variants
from localllm.kernels.formats.table import FORMATS
from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import ALL_TARGETS, current
from localllm.kernels.variants import Choice
from tests.kernels import blocks, harness, test_products

TILED = ("Q4_1", "Q4_K", "Q6_K", "NVFP4")
"""One for each way in which scales, minimums and offsets go into a tile."""
READ = ("Q4_K", "F16")
TILES, AHEADS = matmul.tile_names(), matvec.AHEADS
SQUARES = "{}x{}".format(*matmul_squares.TILE)
"""A variant where the target has instructions for it; elsewhere a twin of loops computes the same."""


@pytest.fixture
def in_variant(monkeypatch):
    """in_variant(kernel, variant): from then on the harness runs that variant of a kernel."""
    found = harness.addresses()

    def use(key, variant):
        other = objects.load([variants.with_variant(key, variant)])
        monkeypatch.setattr(harness, "addresses", lambda *_: found | {key: next(iter(other.values()))})

    return use


@pytest.mark.parametrize(
    ("name", "tile"),
    [(name, tile) for tile in TILES[1:] for name in TILED]
    + [(name, SQUARES) for name in (*TILED, "Q8_0", "Q2_K") if SQUARES not in TILES],
)
def test_tiles_give_the_same_bits(name, tile, in_variant):
    """Of rows and tokens that fill tiles, and that do not."""
    k = test_products.lengths(name)[2]
    cases = [(blocks.weights(name, n, k, np.random.default_rng(n)), t) for n in (37, 64) for t in (5, 16, 49)]
    expected = [test_products.matmul(name, raw, test_products.inputs(t, k, t)) for raw, t in cases]
    in_variant(Key("matmul", "tiles", (FORMATS[name].module,)), tile)
    for (raw, t), want in zip(cases, expected, strict=True):
        np.testing.assert_array_equal(test_products.matmul(name, raw, test_products.inputs(t, k, t)), want)


@pytest.mark.parametrize("distance", AHEADS[1:])
@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize(("kernel", "t"), [("matvec", 1), ("matvec_fours", 6)])
def test_distances_of_prefetch_give_the_same_bits(name, distance, kernel, t, in_variant):
    k = test_products.lengths(name)[2]
    raw, x = blocks.weights(name, 37, k, np.random.default_rng(1)), test_products.inputs(t, k, 2)
    expected = test_products.matvec(name, raw, x, kernel=f"{kernel}.rows")
    in_variant(Key(kernel, "rows", (FORMATS[name].module,)), distance)
    np.testing.assert_array_equal(test_products.matvec(name, raw, x, kernel=f"{kernel}.rows"), expected)


def test_tiles_fit_into_a_block_of_rows():
    for target in ALL_TARGETS:
        assert all(matmul.BLOCK_ROWS % rows == 0 for rows, _ in target.tiles), target.name


# --- which one is taken

TILES_OF_Q4_K, READS_OF_Q4_K = Key("matmul", "tiles", ("q4_k",)), Key("matvec", "rows", ("q4_k",))


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty folder of choices, and nothing pinned."""
    monkeypatch.delenv(variants.PINNED)
    monkeypatch.setattr(objects, "folder", lambda: tmp_path)
    variants.choices.cache_clear()
    yield tmp_path
    variants.choices.cache_clear()


def test_without_a_choice_the_default_is_taken(folder):
    assert variants.chosen(READS_OF_Q4_K) == READS_OF_Q4_K
    assert variants.choices() == {}


def test_a_choice_holds_for_all_kernels_of_the_product(folder):
    variants.keep({("matvec", "q4_k"): Choice(2048, {"8192": 10.0, "2048": 12.0})})
    assert variants.chosen(READS_OF_Q4_K) == Key("matvec", "rows", ("q4_k", 2048))
    assert variants.chosen(Key("experts", "rows", ("q4_k",))) == Key("experts", "rows", ("q4_k", 2048))
    assert variants.chosen(Key("matvec", "rows", ("q6_k",))) == Key("matvec", "rows", ("q6_k",))
    assert variants.chosen(TILES_OF_Q4_K) == TILES_OF_Q4_K
    assert variants.choices()["matvec", "q4_k"].gain == pytest.approx(1.2)


def test_what_was_kept_stays_until_it_is_measured_again(folder):
    variants.keep({("matvec", "q4_k"): Choice(2048)})
    variants.keep({("matvec", "q6_k"): Choice(32768)})
    variants.keep({("matvec", "q4_k"): Choice(8192)})
    assert variants.choices() == {("matvec", "q4_k"): Choice(8192), ("matvec", "q6_k"): Choice(32768)}
    assert variants.forget()
    assert not variants.forget()
    assert variants.choices() == {}


def test_another_processor_has_choices_of_its_own(folder, monkeypatch):
    variants.keep({("matvec", "q4_k"): Choice(2048)})
    monkeypatch.setattr(variants, "host_cpu", lambda: "another")
    variants.choices.cache_clear()
    assert variants.choices() == {}


OF_THIS_PROCESSOR: tuple[object, ...] = (
    [], {"matvec q4_k": 2048}, {"matvec q4_k": {"variant": "../x"}}, {"matvec q4_k": {"variant": 2048}},
    {"matvec q4_k": {"variant": 2048, "speeds": {"8192": 1.0}}}, {"other q4_k": {"variant": 2048}},
    {"matvec q4_k": {"variant": 2048, "speeds": {"2048": "fast"}}},
)  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"[]", b"{", b'{"version": 2}', b'{"version": 1, "processors": []}',
        *(json.dumps({"version": 1, "processors": {variants.host_cpu(): of}}).encode() for of in OF_THIS_PROCESSOR),
    ],
)  # fmt: skip
def test_a_file_that_is_not_ours_is_passed_over(folder, content):
    objects.write(folder / "variants", content)
    assert variants.chosen(READS_OF_Q4_K) == READS_OF_Q4_K
    (folder / "variants").write_bytes(content)  # without the digest of a whole file
    variants.choices.cache_clear()
    assert variants.choices() == {}


def test_pins_go_before_choices(folder, monkeypatch):
    variants.keep({("matvec", "q4_k"): Choice(2048)})
    monkeypatch.setenv(variants.PINNED, "default")
    assert variants.chosen(READS_OF_Q4_K) == READS_OF_Q4_K
    assert variants.untried(["q4_k"]) == []
    monkeypatch.setenv(variants.PINNED, "matvec=32768")
    assert variants.chosen(READS_OF_Q4_K) == Key("matvec", "rows", ("q4_k", 32768))
    assert variants.chosen(TILES_OF_Q4_K) == TILES_OF_Q4_K


@pytest.mark.parametrize("text", ["matvec", "matvec=7", "other=2x2", "matvec=2048,", "Default"])
def test_a_pin_that_is_none_is_told(folder, monkeypatch, text):
    monkeypatch.setenv(variants.PINNED, text)
    with pytest.raises(UsageError, match=r"is no variant here; there is default; matmul=.*; matvec=8192\|2048\|32768"):
        variants.chosen(READS_OF_Q4_K)


def test_what_is_untried(folder):
    pairs = variants.of_formats(["q4_k", "f16"])
    tiled = [("matmul", "q4_k")] if len(current().tiles) > 1 else []
    assert pairs == [*tiled, ("matvec", "q4_k"), ("matvec", "f16")]
    variants.keep({("matvec", "q4_k"): Choice(8192)})
    assert variants.untried(["q4_k", "f16"]) == [*tiled, ("matvec", "f16")]


def test_a_kernel_of_one_variant_only_is_itself(folder):
    assert variants.chosen(Key("norm", "rms")) == Key("norm", "rms")
    assert variants.with_variant(READS_OF_Q4_K, 8192) == READS_OF_Q4_K


def test_the_chosen_kernel_is_loaded_under_its_own_name(folder, monkeypatch):
    asked: list[Key] = []

    def load(keys, progress):
        asked.extend(keys)
        return dict.fromkeys(keys, 7)

    monkeypatch.setattr(objects, "load", load)
    variants.keep({("matvec", "q4_k"): Choice(2048)})
    assert variants.load([READS_OF_Q4_K, Key("norm", "rms")]) == {READS_OF_Q4_K: 7, Key("norm", "rms"): 7}
    assert [str(key) for key in asked] == ["matvec-rows-q4_k-2048", "norm-rms"]
