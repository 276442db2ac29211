"""All lowerings: products and attention for each other target, too, between guard pages, at length the whole folder;
the same bits, and no register that a target lacks."""

import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localllm.errors import TargetError
from localllm.kernels import objects
from localllm.kernels.formats.table import FORMATS
from localllm.kernels.simd import targets
from localllm.kernels.simd.targets import current
from tests.kernels import guarded, harness

NESTED = "LOCALLLM_TEST_NESTED"
outermost = pytest.mark.skipif(NESTED in os.environ, reason="runs once, not for each target")

WITH_FMA = [t for t in harness.runnable_targets() if t != "generic"]
OTHERS = [t for t in harness.runnable_targets() if t != current().name]

_FORMATS = {fmt.module for fmt in FORMATS.values() if fmt.module}
_LOOKED_AT = {
    "f32", "f16", "q4_1", "q8_0", "q2_0", "q4_k", "q6_k", "tq1_0", "iq4_xs", "iq2_xxs", "mxfp4", "nvfp4"
}  # fmt: skip
_PRODUCTS = [
    k for k in harness.KEYS if k.module in ("matvec", "matmul") and not _FORMATS & set(k.arguments) - _LOOKED_AT
]
_EACH = list({(k.module, k.factory): k for k in harness.KEYS if k not in _PRODUCTS}.values())
LOOKED_AT = {"products": _PRODUCTS, "others": _EACH}
"""Kernels whose registers are checked: products of formats that differ in kind, and one of each other factory."""

FORBIDDEN = {"avxvnni": {"zmm"}, "avx2": {"zmm"}, "generic": {"ymm", "zmm"}}


OPERATIONS = tuple(f"tests/kernels/test_{name}.py" for name in ("vocabulary", "tiles", "products"))
MOST = (*OPERATIONS, "tests/kernels/test_attention.py")
"""Where targets differ: other kernels are made of the same operations."""


def between_pages(target: str, *what: str, **environment: str) -> None:
    plugins = ("-p", "no:cacheprovider", "-p", "tests.kernels.guarded")
    environment |= {NESTED: "1", guarded.SIDE: "end"}
    done = harness.python(target, "-m", "pytest", "-q", "-x", *plugins, *what, **environment)
    assert done.returncode == 0, f"LOCALLLM_TARGET={target}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"


@outermost
@pytest.mark.slow
@pytest.mark.parametrize("target", OTHERS)
def test_products_and_attention_on(target):
    # avxvnni differs from avx2, and avx512vnni from amx, in products and what adds up by them: bits are compared below.
    between_pages(target, *(OPERATIONS if target in ("avxvnni", "avx512vnni") else MOST), **{harness.FEW: "1"})


@outermost
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("target", OTHERS)
def test_all_of_this_folder_on(target):
    between_pages(target, "tests/kernels")


def hashes(target: str, *wanted: str) -> dict[str, str]:
    done = harness.python(target, "-m", "tests.kernels.bits", *wanted, **{harness.FEW: "1"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@outermost
@pytest.mark.slow
@pytest.mark.skipif(len(WITH_FMA) < 2, reason="this processor has one of them at most")
def test_targets_with_fma_give_the_same_bits():
    best, *others = map(hashes, WITH_FMA)
    for target, found in zip(WITH_FMA[1:], others, strict=True):
        assert found == best, target


@outermost
@pytest.mark.slow
@pytest.mark.skipif(len(harness.runnable_targets()) < 2, reason="one target")
def test_generic_gives_the_same_bits_where_no_fma_is_meant():
    best, generic = (
        hashes(target, "embed", "quantize", "rope") for target in (harness.runnable_targets()[0], "generic")
    )
    assert len(best) > 15
    assert generic == best


def registers(target: str, keys: list[objects.Key]) -> str:
    done = harness.python(target, "-m", "tests.kernels.registers", stdin="".join(f"{key}\n" for key in keys))
    assert done.returncode == 0, done.stderr
    return done.stdout


@outermost
@pytest.mark.slow
@pytest.mark.parametrize("which", ["products", pytest.param("others", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "target",
    [
        pytest.param(t, marks=[pytest.mark.long] if t == "generic" else [])
        for t in harness.runnable_targets()
        if t in FORBIDDEN
    ],
)
def test_no_register_that_the_target_lacks(target, which, request):
    """What was found is kept by a digest of the kernels' paths in the cache: compiling again takes long."""
    keys = LOOKED_AT[which]
    program = (
        f"from tests.kernels.test_targets import LOOKED_AT, objects; print(*map(objects.path, LOOKED_AT[{which!r}]))"
    )
    digest = hashlib.sha256(harness.python(target, "-c", program).stdout.encode()).hexdigest()
    known = Path(request.config.cache.mkdir("localllm-registers")) / digest
    if not known.exists():
        with ThreadPoolExecutor(2) as pool:
            halves = pool.map(lambda keys: registers(target, keys), (keys[::2], keys[1::2]))
            known.write_text("".join(halves))
    lines = [line.split() for line in known.read_text().splitlines()]
    assert {key for key, *_ in lines} == {str(key) for key in keys}
    assert [key for key, *used in lines if FORBIDDEN[target] & set(used)] == []
    assert {"generic": "xmm"}.get(target, "ymm") in lines[0]  # the look itself works


# --- choosing


def test_the_best_target_is_chosen(monkeypatch):
    monkeypatch.delenv("LOCALLLM_TARGET", raising=False)
    assert current().name == harness.runnable_targets()[0]
    monkeypatch.setattr(targets, "host_features", lambda: frozenset(targets.TARGETS["generic"].requires))
    assert current().name == "generic"


@pytest.mark.parametrize("permitted", [True, False])
def test_tile_registers_are_used_where_the_system_lets_us(monkeypatch, permitted):
    import llvmlite.binding as llvm

    found = dict.fromkeys(("avx2", "amx-tile", "amx-int8"), True) | {"sse4a": False}
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: found)
    monkeypatch.setattr(targets, "_tiles_permitted", lambda: permitted)
    assert targets.host_features.__wrapped__() == ({"avx2", "amx-tile", "amx-int8"} if permitted else {"avx2"})


@pytest.mark.parametrize("target", list(targets.TARGETS))
def test_a_target_can_be_forced(monkeypatch, target):
    monkeypatch.setattr(
        targets, "host_features", lambda: frozenset(f for t in targets.TARGETS.values() for f in t.requires)
    )
    monkeypatch.setenv("LOCALLLM_TARGET", target)
    assert current().name == target


def test_an_unknown_target_is_refused(monkeypatch):
    monkeypatch.setenv("LOCALLLM_TARGET", "nonsense")
    with pytest.raises(TargetError, match=r"^LOCALLLM_TARGET=nonsense: no such target here; there is [a-z0-9, ]+$"):
        current()


@pytest.mark.skipif("avx2" not in targets.TARGETS, reason="x86-64 only")
def test_a_target_that_the_processor_lacks_is_refused(monkeypatch):
    """Running it would end the process."""
    monkeypatch.setattr(targets, "host_features", lambda: frozenset(targets.TARGETS["avx2"].requires) - {"fma"})
    monkeypatch.setenv("LOCALLLM_TARGET", "avx2")
    with pytest.raises(TargetError, match=r"^LOCALLLM_TARGET=avx2: this processor lacks fma; [^\n]+$"):
        current()


def test_features_leave_out_what_the_host_lacks():
    target = next(iter(targets.TARGETS.values()))
    bare, full = target.features(frozenset()), target.features(frozenset(target.optional))
    assert bare == ",".join(f"+{f}" for f in target.requires)
    assert set(full.split(",")) == set(bare.split(",")) | {f"+{f}" for f in target.optional}


def test_targets_have_folders_of_their_own():
    assert objects.folder().name.startswith(f"{current().name}-")


# --- targets of another architecture, whose instructions are checked

COMES_OUT = {
    "neon": {
        "fma": "fmla", "from_half": "fcvtl", "to_half": "fcvtn", "dot4": "sdot", "dot4_u7": "sdot", "dot4_s8": "sdot",
        "dot2": "smull",
        "pack16": "xtn|uzp1", "lookup16": "tbl",
        "dot2_u7": "smull", "dot2_s8": "smull", "pick16": "tbl", "bit_to_16": "ushl", "high4": "ushr",
    },
}  # fmt: skip
COMES_OUT["neoni8mm"] = COMES_OUT["neon"] | {"dot4": "usdot", "dot4_u7": "usdot"}


@outermost
@pytest.mark.slow
@pytest.mark.parametrize("target", COMES_OUT)
def test_neon_instructions_come_out_for_aarch64(target):
    done = harness.python(current().name, "-m", "tests.kernels.crossed", target)
    assert done.returncode == 0, done.stderr
    assembly = json.loads(done.stdout)
    for name, instruction in COMES_OUT[target].items():
        assert re.search(rf"^\s+({instruction})\w*\s", assembly[name], re.MULTILINE), f"{name}\n{assembly[name]}"
        assert not re.search(r"^\s+bl\s", assembly[name], re.MULTILINE), f"{name} calls a routine\n{assembly[name]}"
    assert set(assembly) == set(COMES_OUT[target])
