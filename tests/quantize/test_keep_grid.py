"""Weights that lie on a grid keep it: the very numbers, where plain rounding takes the nearest of another grid."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from click.testing import CliRunner

from localllm.cli.quantize import command
from localllm.gguf.reader import open_gguf
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.methods import Method
from localllm.quantize.methods.keep_grid import LIMITS, KeepGrid, keep_grid
from localllm.quantize.source import SourceTensor
from tests.quantize.folders import CASES, rounded, save, weights_of, write_folder

N, K = 24, 128


def on_grid(format: str, dtype: str, seed: int = 0, n: int = N, k: int = K, reach: bool = True) -> np.ndarray:
    """float32 [n, k] as QAT leaves it: d * q rounded to dtype. reach: every block has the outermost code."""
    rng = np.random.default_rng(seed)
    low, high = LIMITS[format]
    d = np.float16(rng.uniform(0.3, 3.0, (n, k // 32, 1)) * rng.choice([0.001, 0.01, -0.02], (n, k // 32, 1)))
    q = rng.integers(low if reach else low // 2, (high if reach else high // 2) + 1, (n, k // 32, 32))
    if reach:
        q[..., 7] = low
    x = (d.astype(np.float32) * q.astype(np.float32)).reshape(n, k)
    if dtype == "BF16":  # to the nearest, as torch does it
        bits = x.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return rounded(x, dtype)


def decoded(format: str, raw: np.ndarray) -> np.ndarray:
    x: np.ndarray = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[format])
    return x


class Other(Method):
    """The method for the other blocks: bytes that tell where they are from."""

    def encode(self, tensor, x, format, matrix=0):
        return np.full((len(x), format.row_bytes(x.shape[1])), 0xAB, np.uint8)

    def notes(self):
        return ["other"]


TENSOR = SourceTensor("blk.0.ffn_up.weight", (K, N), "BF16")
ROUND = {"BF16": lambda x: on_grid_bf16(x), "F16": lambda x: rounded(x, "F16"), "F32": lambda x: x}


def on_grid_bf16(x: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("reach", [True, False])
@pytest.mark.parametrize("dtype", ROUND)
@pytest.mark.parametrize("format", LIMITS)
def test_every_block_of_a_grid_is_exact(format, dtype, reach):
    x = on_grid(format, dtype, reach=reach)
    method = KeepGrid(Other())
    raw = method.encode(TENSOR, x, FORMATS[format])
    np.testing.assert_array_equal(ROUND[dtype](decoded(format, raw)), x)
    assert method.notes() == ["other", f"--keep-grid: {N * K // 32} of {N * K // 32} blocks (100.0%) " + HOLD]


HOLD = "hold the checkpoint's weights exactly"


@pytest.mark.parametrize("format", LIMITS)
def test_what_lies_on_no_grid_is_left_to_the_other_method(format):
    x = on_grid(format, "BF16")
    off = np.random.default_rng(3).standard_normal((N, 32)).astype(np.float32)
    x[:, 32:64] = on_grid_bf16(off)
    exact, codes, d = keep_grid(x, format)
    assert exact.shape == (N, K // 32)
    assert not exact[:, 1].any()
    assert exact[:, [0, 2, 3]].all()
    low, high = LIMITS[format]
    assert codes.min() >= low
    assert codes.max() <= high
    np.testing.assert_array_equal(d, d.astype(np.float16).astype(np.float32))
    method = KeepGrid(Other())
    raw = method.encode(TENSOR, x, FORMATS[format]).reshape(N, K // 32, -1)
    assert (raw[:, 1] == 0xAB).all()
    np.testing.assert_array_equal(on_grid_bf16(decoded(format, raw[:, 2:].reshape(N, -1))), x[:, 64:])
    assert method.notes()[1].startswith(f"--keep-grid: {N * 3} of {N * 4} blocks (75.0%)")


def test_zeros_and_extremes():
    x = np.zeros((3, 96), np.float32)
    x[1, 32] = 3e38
    x[2, :64] = 1e-30
    exact, codes, d = keep_grid(x, "Q4_0")
    np.testing.assert_array_equal(exact, [[True] * 3, [True, False, True], [False, False, True]])
    assert not codes[0].any()
    assert not d[0].any()


def test_other_formats_are_the_other_methods():
    method = KeepGrid(Other())
    raw = method.encode(SourceTensor("x", (256, 2), "F32"), np.ones((2, 256), np.float32), FORMATS["Q4_K"])
    assert (raw == 0xAB).all()
    assert method.notes() == ["other", "--keep-grid: no tensor is written in Q4_0 or Q5_0: nothing to keep"]


def qat_folder(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A checkpoint whose matrices of layers lie on the grid of Q4_0."""
    case = CASES["qwen2"]
    write_folder(folder, case)
    weights = weights_of(case)
    for i, (name, x) in enumerate(weights.items()):
        if x.ndim == 2 and "embed" not in name:
            weights[name] = on_grid("Q4_0", "BF16", i, *x.shape)
    save(folder / "model.safetensors", weights, dict.fromkeys(weights, "BF16"))
    return folder, weights


@pytest.mark.slow
def test_the_command_keeps_the_grid_and_says_how_much(tmp_path):
    folder, weights = qat_folder(tmp_path / "qat")
    out = tmp_path / "out.gguf"
    result = CliRunner().invoke(command, [str(folder), str(out), "Q4_0", "--pure", "--keep-grid"])
    assert result.exit_code == 0, result.output
    assert "blocks (" in result.output
    with open_gguf(out) as file:
        for name in ("ffn_up", "ffn_down"):
            info = file.tensors[f"blk.1.{name}.weight"]
            raw = np.frombuffer(file.map(), np.uint8, info.n_bytes, info.offset).reshape(info.shape[1], -1)
            x = weights[f"model.layers.1.mlp.{name.removeprefix('ffn_')}_proj.weight"]
            np.testing.assert_array_equal(on_grid_bf16(decoded("Q4_0", raw)), x)
