"""How each tensor of a GGUF file is made from those of a Hugging Face checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from localllm.errors import FormatError, UnsupportedError
from localllm.quantize.sources.architectures import Architecture
from localllm.quantize.sources.checkpoint import FLOATS
from localllm.quantize.sources.hyperparameters import head_dim
from localllm.quantize.sources.json_file import Config
from localllm.quantize.sources.tensor_names import AFTER, gguf_name, text_name
from localllm.quantize.sources.weights import READABLE, Weights, require_shape


@dataclass
class Recipe:
    """Where the rows of one tensor come from."""

    parts: dict[int, str]
    """Names in the checkpoint: one, or one an expert."""
    shape: tuple[int, ...]
    """Of a part, rows first."""
    order: np.ndarray | None = None
    """Row i of the tensor is row order[i] of the part; of a vector, element i."""
    shift: float = 0.0
    """Added to every element of a vector."""
    ternary: bool = False
    """Each element becomes -d, 0 or d, where d is the mean size of the part's elements (arXiv:2402.17764)."""
    constant: np.ndarray | None = None
    """The tensor itself, where it comes from config.json."""
    place: tuple[int, int] = (0, 0)
    """Sorts the tensors of the file: (layer + 1, row of the architecture's table)."""


def _n_head(c: Config) -> int:
    return c.integer("num_attention_heads", high=1 << 16)


def _n_head_kv(c: Config) -> int:
    return c.integer("num_key_value_heads", high=1 << 16, default=_n_head(c))


_SIZES: dict[str, Callable[[Config], int]] = {
    "E": lambda c: c.integer("hidden_size"),
    "F": lambda c: c.integer("intermediate_size"),
    "G": lambda c: 2 * c.integer("intermediate_size"),
    "M": lambda c: c.integer("moe_intermediate_size"),
    "S": lambda c: c.integer("shared_expert_intermediate_size"),
    "1": lambda c: 1,
    "V": lambda c: c.integer("vocab_size"),
    "X": lambda c: c.integer("num_local_experts", "num_experts", high=1024),
    "D": head_dim,
    "Q": lambda c: head_dim(c) * _n_head(c),
    "K": lambda c: head_dim(c) * _n_head_kv(c),
    "A": lambda c: head_dim(c) * (_n_head(c) + 2 * _n_head_kv(c)),
}
"""The letters of tensor_names -> sizes."""


def make_recipes(folder: Path, row: Architecture, config: Config, weights: Weights) -> dict[str, Recipe]:
    """Recipes by GGUF names, in the file's order: the embedding, layer by layer, what follows the layers.

    Raises UnsupportedError for a tensor that the architecture does not know, FormatError for a wrong shape and for a
    tensor that is missing in some layers.
    """
    n_layer = config.integer("num_hidden_layers", high=4096)
    found: dict[str, Recipe] = {}
    for name in weights.tensors:
        text = text_name(name)
        if text is None or (text == "lm_head.weight" and not row.has_output):
            continue
        place = gguf_name(text, row.layer)
        if place is None or n_layer <= place.layer < AFTER:
            raise UnsupportedError(f"{folder}: the tensor {name[:120]} is in no {row.name} model of {n_layer} layers")
        shape, format = weights.tensors[name].shape, weights.tensors[name].format
        if format not in READABLE:
            raise FormatError(f"{folder}: tensor {name}: is {format}, which is not read: {', '.join(FLOATS)} are")
        require_shape(folder, name, shape, tuple(_SIZES[letter](config) for letter in place.shape))
        recipe = found.setdefault(place.name, Recipe({}, shape, place=(place.layer + 1, place.row)))
        if place.expert in recipe.parts:
            raise FormatError(
                f"{folder}: the tensors {recipe.parts[place.expert]} and {name} are one: remove one of them"
            )
        recipe.parts[place.expert] = name
        recipe.shift = row.norm_shift if name.endswith("norm.weight") else 0.0
        recipe.order = _pairs(place.name, config) if row.permute else None
        recipe.ternary = row.ternary and len(shape) == 2 and place.name.startswith("blk.")
    _complete(folder, config, n_layer, found)
    for name, constant in row.factors(config).items():
        found[name] = Recipe({}, constant.shape, constant=constant)
    return dict(sorted(found.items(), key=lambda item: (item[1].place, item[0])))


def _pairs(name: str, config: Config) -> np.ndarray | None:
    """The order of rows that undoes transformers' permutation: elements that rotate together go side by side.

    From halves, (i, i + d / 2), to pairs, (2 i, 2 i + 1), within each head: LlamaModel.permute of llama.cpp's
    conversion/llama.py.
    """
    heads = {"attn_q": _n_head, "attn_k": _n_head_kv}.get(name.split(".")[2] if name.startswith("blk.") else "")
    if heads is None:
        return None
    n, d = heads(config), head_dim(config)
    if d % 2:
        raise config.fail("head_dim", f"is {d}, must be even")
    return np.arange(n * d).reshape(n, 2, d // 2).swapaxes(1, 2).reshape(-1)


def _complete(folder: Path, config: Config, n_layer: int, found: Mapping[str, Recipe]) -> None:
    """Raises FormatError where a tensor or an expert is missing. Each layer has what others have; the matrices of a
    feed-forward may be dense in one layer and experts in another.
    """
    for name in ("token_embd.weight", "output_norm.weight"):
        if name not in found:
            raise FormatError(
                f"{folder}: holds no tensor for {name}: a file of weights is missing, or is of another model"
            )
    suffixes = dict.fromkeys(name.split(".", 2)[2] for name in found if name.startswith("blk."))
    experts = any("_exps." in suffix for suffix in suffixes)
    for suffix in suffixes:
        if experts and suffix.startswith("ffn_") and not suffix.startswith("ffn_norm"):
            continue
        for layer in range(n_layer):
            if f"blk.{layer}.{suffix}" not in found:
                raise FormatError(f"{folder}: layer {layer} has no {suffix}: a file of weights is missing")
    for name, recipe in found.items():
        n_expert = _SIZES["X"](config) if "_exps." in name else 1
        if sorted(recipe.parts) != list(range(n_expert)):
            raise FormatError(f"{folder}: {name} has {len(recipe.parts)} experts, must have all of {n_expert}")
