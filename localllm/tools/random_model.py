"""Files of real models' shapes with random weights, to time what cannot be fetched:
`python -m localllm.tools.random_model SHAPE OUT.gguf [--format Q4_K_M]`.

They cost what the real ones cost, and say nothing. Matrices are random codes, whose scales give rows of unit length;
formats are mixed as llama-quantize mixes Q4_K_M, in short. The vocabulary is made up.
"""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from localllm.kernels.formats.table import FORMATS
from localllm.text.bytelevel import BYTE_TO_CHAR
from localllm.tools import blocks
from localllm.tools.shapes import SHAPES, Shape

if TYPE_CHECKING:
    import gguf

MIXES = {"Q4_K_M": ("Q4_K", "Q6_K"), "Q8_0": ("Q8_0", "Q8_0"), "F16": ("F16", "F16"), "Q4_0": ("Q4_0", "Q6_K")}
"""Name of a mix -> the format of most matrices, and that of those which llama-quantize gives more bits. Any other
format is that of all matrices in layers; the output has Q6_K then."""
_PIECE = 1 << 24
"""Elements that are made at once."""


def format_of(shape: Shape, mix: str, name: str, k: int) -> str:
    """The format of a tensor: F32 for vectors and what is small, RWKV's pairs of matrices among it (llama-quant.cpp);
    MXFP4 for gpt-oss' experts, as its files have it."""
    dims, short = shape.tensors()[name], name.split(".", 2)[-1]
    is_small = len(dims) == 1 or min(dims[:2]) < 32 or re.match(r"time_mix_[wavg][12]\.", short)
    if is_small or "ffn_gate_inp" in name or short.endswith("bias"):
        return "F32"
    if shape.architecture == "gpt-oss" and "exps" in name:
        return "MXFP4"
    if any(part in name for part in ("altup", "laurel", "per_layer_model_proj")):
        return "F16"  # llama-quantize leaves them alone
    most, more = MIXES.get(mix, (mix, "Q6_K"))
    has_more = _has_more_bits(shape, name) if mix in MIXES else not name.startswith("blk.")
    chosen = more if has_more else most
    return chosen if k % FORMATS[chosen].block == 0 else "Q8_0" if k % 32 == 0 else "F16"


def _has_more_bits(shape: Shape, name: str) -> bool:
    """The output, and half of the layers' values and last feed-forward matrices (llama-quant.cpp, use_more_bits)."""
    if name == "output.weight" or (name == "token_embd.weight" and shape.is_tied):
        return True
    parts, n_layer = name.split("."), int(shape.kv["block_count"])
    if parts[0] != "blk" or not parts[2].startswith(("attn_v", "ffn_down", "attn_qkv")):
        return False
    i = int(parts[1])
    return i < n_layer // 8 or i >= 7 * n_layer // 8 or (i - n_layer // 8) % 3 == 2


def tensor(name: str, dims: tuple[int, ...], fmt: str) -> np.ndarray:
    """Bytes of a random tensor in a format, rows first: matrices of rows of unit length, norms about 1."""
    chance, k, n = np.random.default_rng(zlib.crc32(name.encode())), dims[0], math.prod(dims[1:])
    if fmt == "F32" and "norm" in name:
        values = 1 + 0.1 * chance.standard_normal((n, k))
    elif fmt == "F32" and name.endswith("ssm_a"):
        values = -np.exp(chance.uniform(-2, 1, (n, k)))
    elif name.startswith("rope_freqs") or "output_scale" in name:
        values = np.ones((n, k))
    elif fmt == "F32" and name.endswith(("bias", "ssm_d", "sinks.weight")):
        values = 0.1 * chance.standard_normal((n, k))
    else:
        rows = max(1, _PIECE // k)
        factor = k**-0.5 / _spread(fmt)
        pieces = [blocks.weights(fmt, min(rows, n - i), k, chance, factor) for i in range(0, n, rows)]
        return np.concatenate(pieces)
    return values.astype(np.float32).view(np.uint8)


def _spread(fmt: str) -> float:
    """The standard deviation of random weights with a factor of 1."""
    import gguf

    if fmt in ("F32", "F16", "BF16"):
        return 1.0
    raw = blocks.weights(fmt, 16, 4096, np.random.default_rng(1))
    return float(gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[fmt]).std())


def write(path: Path, shape: Shape, mix: str) -> None:
    """Write the file, one tensor at a time; whole or not at all."""
    import gguf

    part = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(str(part), shape.architecture)
    _metadata(writer, shape)
    tensors = shape.tensors()
    kinds = {name: format_of(shape, mix, name, dims[0]) for name, dims in tensors.items()}
    for name, dims in tensors.items():
        n_bytes = math.prod(dims[1:]) * FORMATS[kinds[name]].row_bytes(dims[0])
        kind = gguf.GGMLQuantizationType[kinds[name]]
        rows = (*dims[:0:-1], FORMATS[kinds[name]].row_bytes(dims[0]))
        writer.add_tensor_info(name, rows, np.dtype(np.uint8), n_bytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        with click.progressbar(tensors.items(), label=path.name) as bar:
            for name, dims in bar:
                writer.write_tensor_data(tensor(name, dims, kinds[name]))
        writer.close()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _metadata(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name(f"{shape.about}, random weights")
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, list: writer.add_array}
    for key, value in ({"vocab_size": shape.n_vocab} | shape.kv).items():
        kinds[type(value)](f"{shape.architecture}.{key}", value)
    letters = list(BYTE_TO_CHAR.values())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(letters + [f"<{i}>" for i in range(len(letters), shape.n_vocab)])
    writer.add_token_types([1] * shape.n_vocab)
    writer.add_token_merges([f"{letters[0]} {letters[1]}"])
    writer.add_eos_token_id(shape.n_vocab - 1)


@click.command()
@click.argument("shape", type=click.Choice(sorted(SHAPES)))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "mix", type=click.Choice(sorted({*MIXES, *FORMATS})), default="Q4_K_M", show_default=True)
def main(shape: str, out: Path, mix: str) -> None:
    """Write a file of a real model's shape with random weights."""
    write(out, SHAPES[shape], mix)


if __name__ == "__main__":
    main()
