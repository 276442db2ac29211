"""GPTQ, AWQ and compressed-tensors checkpoints: read as their twins pack them, kept bit for bit where they can be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.kernels.formats.table import FORMATS
from localllm.model.model import LoadedModel
from localllm.quantize.sources import open_source
from localllm.quantize.sources.checkpoint import Checkpoint
from localllm.quantize.sources.json_file import Config
from localllm.quantize.sources.packed import open_weights
from localllm.quantize.sources.weights import Weights
from tests.quantize import packing
from tests.quantize.folder_tokenizers import write_json
from tests.quantize.folders import CASES, IDS, save, weights_of, write_folder
from tests.quantize.gguf_file import write_gguf
from tests.quantize.packing import Grid, random_grid
from tests.tiny_models import nmse

N, K = 48, 256


def gptq(group: int, **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": 4, "group_size": group, "sym": True, "desc_act": False, **more}


def awq(group: int, version: str) -> dict[str, Any]:
    return {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": version}


def compressed(bits: int, strategy: str, group: int | None = None, layout: str = "pack-quantized") -> dict[str, Any]:
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": strategy, "group_size": group}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return {"quant_method": "compressed-tensors", "format": layout, "config_groups": groups}


@dataclass
class Packed:
    """A matrix as a checkpoint has it, and the format that it is kept in."""

    config: dict[str, Any]
    grid: Grid
    tensors: dict[str, np.ndarray]
    format: str


def even(grid: Grid) -> Grid:
    """With zero points whose products with the scales float16 holds, too."""
    return Grid(grid.bits, grid.codes, grid.scales, 1 << (grid.zeros % 4), grid.columns)


def packed() -> dict[str, Packed]:
    found: dict[str, Packed] = {}
    for group in (32, 64, 128, -1):
        grid = random_grid(N, K, group)
        found[f"gptq-{group}"] = Packed(gptq(group), grid, packing.gptq(grid), "Q4_0")
        skew = random_grid(N, K, group, symmetric=False)
        found[f"gptq-{group}-zeros"] = Packed(gptq(group), skew, packing.gptq(skew), "Q5_0")
        found[f"gptq-{group}-even"] = Packed(gptq(group), even(skew), packing.gptq(even(skew)), "Q4_1")
        v2 = gptq(group, checkpoint_format="gptq_v2")
        found[f"gptq-{group}-v2"] = Packed(v2, skew, packing.gptq(skew, version=2), "Q5_0")
        order = random_grid(N, K, group, act_order=True)
        expected = "Q4_0" if group == -1 else "F16"
        found[f"gptq-{group}-order"] = Packed(gptq(group, desc_act=True), order, packing.gptq(order), expected)
        found[f"awq-{group}-gemm"] = Packed(awq(group, "gemm"), skew, packing.awq_gemm(skew), "Q5_0")
        found[f"awq-{group}-gemv"] = Packed(awq(group, "GEMV"), skew, packing.awq_gemv(skew), "Q5_0")
    eight = random_grid(N, K, 64, bits=8)
    found["gptq-8"] = Packed(gptq(64, bits=8), eight, packing.gptq(eight), "Q8_0")
    skew = random_grid(N, K, 64, bits=8, symmetric=False)
    found["gptq-8-zeros"] = Packed(gptq(64, bits=8), skew, packing.gptq(skew), "F16")
    narrow = random_grid(N, K, 16)
    found["gptq-16"] = Packed(gptq(16), narrow, packing.gptq(narrow), "F16")
    wide = Grid(4, grid.codes, grid.scales.astype(np.float32) * np.float32(1.0001), grid.zeros, grid.columns)
    found["gptq-f32-scales"] = Packed(gptq(-1), wide, packing.gptq(wide), "F16")
    return found | compressed_cases()


def compressed_cases() -> dict[str, Packed]:
    grid, channel = random_grid(N, K, 64), random_grid(N, K, -1)
    skew, eight = random_grid(N, K, 64, symmetric=False), random_grid(N, K, -1, bits=8)
    whole = Grid(8, eight.codes, np.full((N, 1), 0.125, np.float16), eight.zeros, eight.columns)
    odd = random_grid(N, 100, -1)
    plain, one = packing.plain_int8(eight), packing.plain_int8(whole) | {"weight_scale": np.array([0.125], np.float16)}
    group = compressed(4, "group", 64)
    return {
        "ct-group": Packed(group, grid, packing.compressed(grid), "Q4_0"),
        "ct-channel": Packed(compressed(4, "channel"), channel, packing.compressed(channel), "Q4_0"),
        "ct-zeros-int8": Packed(group, skew, packing.compressed(skew, "int8"), "Q5_0"),
        "ct-zeros-packed": Packed(group, skew, packing.compressed(skew, "packed"), "Q5_0"),
        "ct-8": Packed(compressed(8, "channel"), eight, packing.compressed(eight), "Q8_0"),
        "ct-odd": Packed(compressed(4, "channel"), odd, packing.compressed(odd), "F16"),
        "ct-int8": Packed(compressed(8, "channel", layout="int-quantized"), eight, plain, "Q8_0"),
        "ct-naive": Packed(compressed(8, "tensor", layout="naive-quantized"), whole, one, "Q8_0"),
    }


PACKED = packed()


def open_packed(folder: Path, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Weights:
    save(folder / "model.safetensors", {f"x.{part}": x for part, x in tensors.items()})
    return open_weights(Checkpoint(folder), Config(folder / "config.json", {"quantization_config": config}))


@pytest.mark.parametrize("name", PACKED)
def test_reads_what_was_packed(name, tmp_path):
    case = PACKED[name]
    weights = open_packed(tmp_path, case.config, case.tensors)
    expected = case.grid.values()
    x = weights.read("x.weight", slice(None))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, expected.astype(np.float32))
    some = np.array([5, 0, 47, 8, 9])
    np.testing.assert_array_equal(weights.read("x.weight", some), expected[some].astype(np.float32))
    np.testing.assert_array_equal(weights.read("x.weight", slice(7, 21)), expected[7:21].astype(np.float32))


@pytest.mark.parametrize("name", PACKED)
def test_kept_bit_for_bit_where_a_format_can(name, tmp_path):
    """The blocks decode to the very numbers, and formats that would round say so."""
    case = PACKED[name]
    weights = open_packed(tmp_path, case.config, case.tensors)
    assert weights.tensors["x.weight"].shape == case.grid.codes.shape
    assert weights.tensors["x.weight"].format == case.format
    kept = []
    for format in ("Q4_0", "Q4_1", "Q5_0", "Q8_0"):
        raw = weights.encoded("x.weight", FORMATS[format], slice(3, None))
        if raw is not None:
            kept.append(format)
            x = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[format])
            np.testing.assert_array_equal(x, case.grid.values()[3:].astype(np.float32))
    assert kept[:1] == ([] if case.format == "F16" else [case.format])
    assert weights.encoded("x.weight", FORMATS["Q4_K"], slice(None)) is None
    assert weights.encoded("x.weight", FORMATS["F16"], slice(None)) is None


def e4m3(code: int) -> float:
    """The number that a byte stands for: 1 bit of sign, 4 of exponent, 3 of fraction."""
    exponent, fraction = code >> 3 & 15, code & 7
    size = 2.0 ** (exponent - 7) * (1 + fraction / 8) if exponent else 2.0**-6 * fraction / 8
    return -size if code & 0x80 else size


FP8 = {
    "blocks": ({"quant_method": "fp8", "weight_block_size": [32, 64]}, "weight_scale_inv", (2, 4), (32, 64)),
    "whole": ({"quant_method": "fp8"}, "weight_scale", (1,), (N, K)),
    "rows": ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "weight_scale", (N, 1), (1, K)),
}


@pytest.mark.parametrize("name", FP8)
def test_floats_of_8_bits_are_read(name, tmp_path):
    config, part, shape, block = FP8[name]
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 127, (N, K), np.uint8) | (rng.integers(0, 2, (N, K), np.uint8) << 7)
    scales = rng.uniform(0.5, 2.0, shape).astype(np.float32)
    tensors = {"x.weight": codes, f"x.{part}": scales, "x.input_scale": np.ones(1, np.float32)}
    save(tmp_path / "model.safetensors", tensors, {"x.weight": "F8_E4M3"})
    weights = open_weights(Checkpoint(tmp_path), Config(tmp_path / "c", {"quantization_config": config}))
    assert list(weights.tensors) == ["x.weight"]
    numbers = np.array([e4m3(code) for code in range(256)], np.float32)[codes]
    whole = np.repeat(np.repeat(scales.reshape(-(-N // block[0]), -1), block[0], 0)[:N], block[1], 1)[:, :K]
    np.testing.assert_array_equal(weights.read("x.weight", slice(None)), numbers * whole)
    some = np.array([33, 2, 47])
    np.testing.assert_array_equal(weights.read("x.weight", some), (numbers * whole)[some])
    assert weights.encoded("x.weight", FORMATS["BF16"], some) is None
    wrong = tensors | {f"x.{part}": scales.reshape(-1)[:1].repeat(3)}
    save(tmp_path / "model.safetensors", wrong, {"x.weight": "F8_E4M3"})
    with pytest.raises(FormatError, match=rf"tensor x.{part}: is \[3\], must be"):
        open_weights(Checkpoint(tmp_path), Config(tmp_path / "c", {"quantization_config": config}))


def gptq_folder(folder: Path, group: int, symmetric: bool = True) -> tuple[Path, dict[str, np.ndarray]]:
    """A tiny Llama whose matrices of layers are packed; the folder, and the float weights that it stands for."""
    case = CASES["llama3"]
    write_folder(folder, case)
    for file in folder.glob("model*"):
        file.unlink()
    weights, stored = weights_of(case), {}
    for i, (name, x) in enumerate(list(weights.items())):
        if x.ndim < 2 or "embed" in name:
            stored[name] = x
            continue
        grid = random_grid(x.shape[0], x.shape[1], group, symmetric=symmetric, seed=i)
        weights[name] = grid.values().astype(np.float32)
        stored |= {name.removesuffix("weight") + part: y for part, y in packing.gptq(grid).items()}
    save(folder / "model.safetensors", stored)
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": gptq(group)}
    write_json(folder / "config.json", config)
    return folder, weights


@pytest.mark.slow
def test_a_checkpoint_becomes_a_model_that_computes_with_its_numbers(tmp_path):
    """The packed file, in Q4_0, and the same weights as floats: one model."""
    folder, weights = gptq_folder(tmp_path / "packed", 32)
    source = open_source(str(folder))
    assert {tensor.format for name, tensor in source.tensors.items() if "attn_q.w" in name} == {"Q4_0"}
    save(write_folder(tmp_path / "float", CASES["llama3"]) / "model.safetensors", weights)
    for file in (tmp_path / "float").glob("model[-.]*"):
        if file.name != "model.safetensors":
            file.unlink()
    floats = open_source(str(tmp_path / "float"))
    logits: list[np.ndarray] = []
    for each in (source, floats):
        for name in floats.tensors:
            np.testing.assert_array_equal(source.read(name), floats.read(name))
        path = write_gguf(tmp_path / f"{len(logits)}.gguf", each)
        with LoadedModel.load(path, n_ctx=64, n_threads=2, kv_type="f32") as model:
            logits.append(model.logits(IDS))
    assert nmse(logits[1], logits[0]) < 1e-4  # activations are rounded to 8 bits for Q4_0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qweight": np.zeros((32, 48), np.int64)}, r"qweight: is I64, must be I32"),
        ({"qweight": np.zeros((0, 48), np.int32)}, r"the matrix x has no columns"),
        ({"qweight": np.zeros(32, np.int32)}, r"qweight: has 1 dimensions, must have 2"),
        ({"qzeros": np.zeros((4, 5), np.int32)}, r"qzeros: is \[4, 5\], for 4 groups of 48 rows"),
        ({"scales": np.zeros((3, 48), np.float16)}, r"scales: must be \[4, 48\]"),
        ({"g_idx": np.full(256, 4, np.int32)}, r"g_idx: must be \[256\] with groups from 0 to 3"),
        ({"g_idx": np.zeros(255, np.int32)}, r"g_idx: must be \[256\]"),
        ({"qzeros": None}, r"the tensor x.qzeros is missing"),
    ],
)
def test_damaged_gptq_is_refused(change, message, tmp_path):
    tensors = packing.gptq(random_grid(N, K, 64)) | change
    with pytest.raises(FormatError, match=message):
        open_packed(tmp_path, gptq(64), {name: x for name, x in tensors.items() if x is not None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_shape": np.array([48, 1 << 40])}, "which is no matrix of weight_shape"),
        ({"weight_shape": np.array([48])}, "which is no matrix of weight_shape"),
        ({"weight_scale": np.zeros((48, 3), np.float16)}, r"weight_scale: is \[48, 3\], must be \[48, 4\]"),
        ({"weight_zero_point": np.zeros((48, 3), np.int8)}, r"weight_zero_point: is \[48, 3\], must be \[48, 4\]"),
    ],
)
def test_damaged_compressed_tensors_are_refused(change, message, tmp_path):
    tensors = packing.compressed(random_grid(N, K, 64)) | change
    with pytest.raises(FormatError, match=message):
        open_packed(tmp_path, compressed(4, "group", 64), tensors)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "bitsandbytes"}, "'bitsandbytes' is not read: gptq, awq, compressed-tensors, fp8 are"),
        ({"bits": 4}, "'unknown' is not read"),
        ({"quant_method": "mxfp4"}, "'mxfp4' is not read"),
        (gptq(64, bits=3), "GPTQ of 3 bits is not read: 4 and 8 are"),
        (awq(64, "marlin"), "layout marlin is not read"),
        (compressed(4, "group", 64, layout="marlin-24"), "marlin-24 of 4 bits"),
        (compressed(4, "block", 64), "the strategy 'block' is not read"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}}, "0 config_groups"),
    ],
)
def test_what_is_not_read_is_named(config, message, tmp_path):
    with pytest.raises(UnsupportedError, match=message):
        open_packed(tmp_path, config, packing.gptq(random_grid(N, K, 64)))


def test_settings_of_older_checkpoints_are_found(tmp_path):
    grid = random_grid(N, K, 64)
    save(tmp_path / "model.safetensors", {f"x.{part}": x for part, x in packing.gptq(grid).items()})
    write_json(tmp_path / "quantize_config.json", {"bits": 4, "group_size": 64, "desc_act": False})
    weights = open_weights(Checkpoint(tmp_path), Config(tmp_path / "config.json", {}))
    np.testing.assert_array_equal(weights.read("x.weight", slice(None)), grid.values().astype(np.float32))
