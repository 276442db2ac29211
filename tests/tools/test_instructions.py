"""Counting instructions: loops of made-up assembly, a real kernel for ARM, and what people are told."""

import json
import re

import pytest
from click.testing import CliRunner

from localllm.errors import LocalllmError
from localllm.kernels.formats.table import FORMATS
from localllm.kernels.simd.targets import ALL_TARGETS
from localllm.tools import assembly, cycles, instructions, loops

TARGETS = {t.name: t for t in ALL_TARGETS}
ARM, X86 = loops.DIALECTS["aarch64"], loops.DIALECTS["x86_64"]

ON_ARM = """
kernel:
	.p2align	2
.LBB0_1:
	mov	x9, x1                          // the outer loop
.LBB0_2:
	prfm	pldl1keep, [x0, #64]
	ldp	q0, q1, [x0], #32
	ldr	q2, [sp, #16]
	movi	v5.2d, #0000000000000000
	sdot	v3.4s, v0.16b, v2.16b
	usdot	v4.4s, v1.16b, v2.4b[1]
	zip1	v3.4s, v3.4s, v4.4s
	fmla	v6.4s, v3.4s, v7.s[0]
	str	q3, [sp, #32]
	cbz	x4, .LBB0_4
	subs	x9, x9, #1
	b.hi	.LBB0_2
.LBB0_4:
	sdot	v3.4s, v0.16b, v2.16b
	tbnz	w5, #0, .LBB0_1
.LBB0_5:
	sdot	v3.4s, v0.16b, v2.16b
	b.ne	.LBB0_5
	ret
"""

ON_X86 = """
kernel:
.LBB0_1:
	prefetcht0	64(%rdi)
	vmovdqu	(%rdi), %ymm0                   # 32 codes
	vpmaddubsw	32(%rdi,%rax), %ymm0, %ymm1
	vpmaddwd	%ymm2, %ymm1, %ymm1
	vpshufb	%ymm3, %ymm1, %ymm1
	vmovdqa	%ymm1, %ymm4
	vmovups	%ymm1, 32(%rsp)
	leaq	(%rdi,%rdi), %rsi
	addq	8(%rsp), %rdi
	jne	.LBB0_1
	retq
"""

NESTED = """
.LBB0_1:
	vmovdqu	(%rdi), %ymm0
.LBB0_2:
	vpmaddubsw	(%rsi), %ymm0, %ymm1
	{vex}	vpdpwssd	%ymm2, %ymm1, %ymm1
	jne	.LBB0_2
	vpaddd	%ymm3, %ymm1, %ymm3
	jb	.LBB0_1
"""


def test_the_inner_loop_with_the_most_products_is_found():
    assert {loop.label for loop in loops.loops(ON_ARM, ARM)} == {".LBB0_1", ".LBB0_2", ".LBB0_5"}
    loop = loops.hottest(ON_ARM, ARM)
    assert loop.label == ".LBB0_2"
    assert str(loop).splitlines()[1] == "\tprfm\tpldl1keep, [x0, #64]"


def test_a_loop_inside_is_written_out_until_there_are_as_many_products_as_wanted():
    loop = loops.hottest(NESTED, X86, products=96)
    assert [one.name for one in loop.instructions] == [
        "vmovdqu", *3 * ["vpmaddubsw", "vpdpwssd", "jne"], "vpaddd", "jb",
    ]  # fmt: skip
    assert loops.hottest(NESTED, X86, products=32).label == ".LBB0_1"
    assert loops.hottest(NESTED, X86).label == ".LBB0_2"
    without_names = NESTED.replace("vpmaddubsw", "vpmullw")
    assert len(loops.hottest(without_names, X86, products=96, runs=4).instructions) == 3 + 4 * 3
    assert loops.hottest(ON_X86, X86, products=96).label == ".LBB0_1"  # no loop is around it


def test_of_loops_with_as_many_products_the_shortest_is_counted():
    """A kernel has a way of its own for small sums, and one for any."""
    text = ON_X86 + ON_X86.replace("LBB0_1", "LBB0_2").replace("\tvmovdqa\t%ymm1, %ymm4\n", "")
    assert loops.hottest(text, X86).label == ".LBB0_2"
    assert loops.hottest(text.replace("LBB0_2", "LBB0_0"), X86).label == ".LBB0_0"


def test_kinds_of_instructions_on_arm():
    loop = loops.hottest(ON_ARM, ARM)
    assert loops.count(loop, ARM) == {
        "instructions": 12, "loads": 2, "stores": 1, "dots": 3, "moves": 1, "stack": 2,
    }  # fmt: skip
    assert loops.byte_products(loop, ARM) == 32


def test_kinds_of_instructions_on_x86():
    loop = loops.hottest(ON_X86, X86)
    assert loops.count(loop, X86) == {
        "instructions": 10, "loads": 3, "stores": 1, "dots": 2, "moves": 2, "stack": 2,
    }  # fmt: skip
    assert loops.byte_products(loop, X86) == 32


def test_assembly_without_products_is_refused():
    with pytest.raises(LocalllmError, match="no loop with products was found"):
        loops.hottest(ON_X86.replace("vpmadd", "vpadd"), X86)


def test_what_several_runs_were_made_one_of_counts_for_all():
    """256 weights of four rows take 64 dot products; here are twice as many, and a few for an offset."""
    text = ".LBB0_1:\n" + "\tsdot\tv3.4s, v0.16b, v2.16b\n" * 136 + "\tb.ne\t.LBB0_1\n"
    found = instructions.counted(FORMATS["Q4_K"], TARGETS["neon"], "matvec", text, "")
    assert (found.rows, found.columns, found.tokens) == (4, 512, 1)
    assert found.of_unit(found.instructions) == 137 * 64 / 2048
    assert found.cycles is found.speed is None


@pytest.mark.parametrize(
    ("fmt", "target", "work"),
    [
        ("Q4_0", "neon", ((4, 128, 1), (4, 32, 16))),
        ("Q8_0", "avx512vnni", ((4, 64, 1), (4, 32, 48))),
        ("NVFP4", "neon", ((4, 128, 1), (4, 16, 16))),
        ("Q6_K", "avx2", ((4, 256, 1), (4, 16, 16))),
        ("Q4_K", "avx512vnni", ((4, 256, 1), (4, 32, 48))),
        ("Q5_K", "avxvnni", ((4, 256, 1), (4, 16, 16))),
        ("F16", "neon", ((4, 32, 1), (4, 32, 1))),
    ],
)
def test_what_a_run_multiplies(fmt, target, work):
    made = [product.work(FORMATS[fmt], TARGETS[target]) for product in instructions.PRODUCTS.values()]
    assert [(w.rows, w.columns, w.tokens) for w in made] == list(work)


def run(*arguments: str):
    return CliRunner().invoke(instructions.main, arguments)


@pytest.mark.slow
def test_a_kernel_for_arm_is_counted():
    done = run("q8_0", "-t", "neon", "-p", "matvec", "-o", "json")
    assert done.exit_code == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["format"], found["target"], found["columns"]) == ("Q8_0", "neon", 64)
    assert found["dots"] >= 4 * 64 // 16
    assert found["instructions"] > found["dots"] + found["loads"] + found["stores"]
    assert (found["cycles"] is None) == (cycles.program() is None)


@pytest.fixture
def no_compiler(monkeypatch):
    """Made-up assembly in the place of a kernel's."""
    texts = {"aarch64": ON_ARM, "x86_64": ON_X86}
    monkeypatch.setattr(assembly, "of_kernels", lambda target, keys: [(key, texts[target.machine]) for key in keys])


def test_columns_are_aligned(no_compiler, monkeypatch):
    monkeypatch.setattr(cycles, "program", lambda: None)
    done = run("q4_k", "iq2_xxs", "-t", "neon", "-t", "avx2", "-p", "matvec")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("matvec, a token")
    assert [line.split()[:2] for line in lines[3:]] == [
        ["Q4_K", "neon"], ["Q4_K", "avx2"], ["IQ2_XXS", "neon"], ["IQ2_XXS", "avx2"],
    ]  # fmt: skip
    assert len({line.index(name) for line, name in zip(lines[3:], ("neon", "avx2") * 2, strict=True)}) == 1
    assert (
        done.stderr == "llvm-mca is not on PATH, so that no cycles are computed; Debian has it in the package llvm.\n"
    )


def test_markdown_and_listing(no_compiler, monkeypatch):
    monkeypatch.setattr(cycles, "program", lambda: None)
    assert "| Q4_K | neon | 0.8 | 0.1 |" in run("Q4_K", "-t", "neon", "-o", "md").stdout
    assert run("Q4_K", "-t", "neon", "--listing").stdout.startswith("# matvec of Q4_K for neon\n.LBB0_2:\n\tprfm")


def test_the_newest_program_is_taken(monkeypatch, tmp_path):
    for name in ("llvm-mca", "llvm-mca-9", "llvm-mca-22", "llvm-mca-99.old"):
        (tmp_path / name).touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    cycles.program.cache_clear()
    found = cycles.program()
    cycles.program.cache_clear()
    assert found == str(tmp_path / "llvm-mca-22")


@pytest.mark.skipif(cycles.program() is None, reason="llvm-mca is not installed")
def test_cycles_of_a_processor(no_compiler):
    done = run("Q4_K", "-t", "neon", "-t", "avx2", "--cpu", "neoverse-v1", "-o", "json")
    assert {c["target"]: c["cpu"] for c in json.loads(done.stdout)} == {"neon": "neoverse-v1", "avx2": "znver3"}
    assert all(c["bytes_per_cycle"] > 0 for c in json.loads(done.stdout))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["q4_9"], r"q4_9: no such format; there is F32, F16, Q4_0, [A-Z0-9_, ]+"),
        (["Q8_K"], r"Q8_K: no such format; there is F32, [A-Z0-9_, ]+"),  # known, and nothing computes with it
        (["Q4_0", "-t", "sve"], r"sve: no such target; there is amx, avx512vnni, [a-z0-9, ]+"),
        pytest.param(
            ["Q4_0", "--cpu", "6502"], r"--cpu 6502: no such processor; `llvm-mca.*-mcpu=help` lists them",
            marks=pytest.mark.skipif(cycles.program() is None, reason="llvm-mca is not installed"),
        ),
    ],
)  # fmt: skip
def test_errors_for_people(arguments, said):
    done = run(*arguments)
    assert done.exit_code == 2
    assert re.fullmatch(f"instructions: {said}\n", done.stderr)
