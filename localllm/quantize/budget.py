"""A mixture of formats within a size: bits go to the matrices whose rounding would change the predictions the most.

What a matrix costs in a format is a divergence of predictions. It is measured (localllm.quantize.sensitivity) in one
format, the anchor, for all kinds of matrices in some layers; the others of a kind lie between their neighbours. It is
carried to other formats by the ratio of output errors tr(ΔW H ΔWᵀ), since a divergence grows with the square of a small
change. Costs of several matrices are taken to add up; the mixture is a knapsack's.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from localllm.errors import UsageError
from localllm.kernels.formats.table import FORMATS, Format
from localllm.quantize.calibration import Calibration
from localllm.quantize.encode import Encoder
from localllm.quantize.feedback import output_error, sampled_rows
from localllm.quantize.knapsack import Option, knapsack
from localllm.quantize.methods.gptq import hessian_of
from localllm.quantize.methods.imatrix import importance_of
from localllm.quantize.mixture import choose
from localllm.quantize.source import Source, SourceTensor
from localllm.quantize.writer import Planned

Progress = Callable[[str, int, int], None]
Measure = Callable[[str, Format], float]
"""(tensor, format) -> mean divergence in nats a token."""

CANDIDATES = (
    "IQ2_XS", "Q2_K", "IQ3_XXS", "Q3_K", "MXFP4", "IQ4_XS", "Q4_K", "IQ4_NL", "Q4_0", "Q4_1", "Q5_K", "Q5_0",
    "Q5_1", "Q6_K", "Q8_0",
)  # fmt: skip
"""Formats to choose from, from small to large; each tensor's rows must be whole blocks."""
_MEASURED_LAYERS = 8
"""So many layers, evenly spread and with the first and the last, are measured."""
_SAMPLED_ROWS = 64
"""Rows of a matrix whose output errors stand for all."""
_ADDED_BYTES = 2048
"""More metadata than the source has: what is added, rounded up."""
_LAYER = re.compile(r"blk\.(\d+)\.(.*)")


@dataclass(frozen=True)
class Choice:
    """Of one matrix. costs: predicted divergence in each format, in nats a token."""

    tensor: SourceTensor
    format: Format
    anchor: Format
    at_anchor: float
    measured: bool
    costs: Mapping[str, float]

    @property
    def cost(self) -> float:
        return self.costs[self.format.name]


@dataclass(frozen=True)
class Budget:
    """formats: of all tensors, in the source's order; n_bytes: of them; choices: for those that are quantized."""

    formats: Mapping[str, Format]
    choices: Sequence[Choice]
    n_bytes: int
    limit: int


def allowed_bytes(source: Source, bits: float | None, max_size: int | None, file_bytes: int) -> int:
    """Bytes that tensors may take together. bits: a weight, of all tensors; max_size: of the file; file_bytes: what the
    source's files have."""
    limits = []
    if bits is not None:
        limits.append(int(bits * sum(tensor.n_weights for tensor in source.tensors.values()) / 8))
    if max_size is not None:
        tensors = sum(_size(tensor, FORMATS[tensor.format]) for tensor in source.tensors.values())
        padding = 32 * len(source.tensors)
        limits.append(max_size - (file_bytes - tensors) - padding - _ADDED_BYTES)
    return min(limits)


def quantizable(source: Source) -> list[SourceTensor]:
    """Tensors that llama.cpp's rules let be quantized."""
    formats = choose(source, "Q8_0", False)
    return [source.tensors[name] for name, format in formats.items() if format.name == "Q8_0"]


def candidates(tensor: SourceTensor) -> list[Format]:
    """Formats that fit a tensor's rows, from small to large."""
    found = [FORMATS[name] for name in CANDIDATES if tensor.k % FORMATS[name].block == 0]
    return sorted(found, key=lambda format: format.bits_per_weight)


def anchor(tensor: SourceTensor, bits: float) -> Format:
    """The candidate whose bits a weight are the nearest to the budget's."""
    return min(candidates(tensor), key=lambda format: abs(format.bits_per_weight - bits))


def find(
    source: Source, calibration: Calibration, encoder: Encoder, measure: Measure, can_measure: Callable[[str], bool],
    limit: int, progress: Progress = lambda *_: None,
) -> Budget:  # fmt: skip
    """Choose formats whose tensors take at most `limit` bytes.

    Raises UsageError where even the smallest formats take more.
    """
    tensors = quantizable(source)
    if not tensors:
        raise UsageError(f"{source.path}: has no matrices that could be quantized")
    names = {tensor.name for tensor in tensors}
    kept = [tensor for name, tensor in source.tensors.items() if name not in names]
    left = limit - sum(_size(tensor, FORMATS[tensor.format]) for tensor in kept)
    least = sum(_size(tensor, candidates(tensor)[0]) for tensor in tensors)
    if left < least:
        n_weights = sum(tensor.n_weights for tensor in source.tensors.values())
        smallest = limit - left + least
        raise UsageError(
            f"{source.path}: the smallest mixture has {smallest / 1e6:.1f} MB of tensors, "
            f"{8 * smallest / n_weights:.2f} bits per weight; {max(0, limit) / 1e6:.1f} MB are left for them"
        )
    bits = 8 * left / sum(tensor.n_weights for tensor in tensors)
    errors = {}
    for i, tensor in enumerate(tensors):
        progress("Errors of formats", i, len(tensors))
        errors[tensor.name] = _errors(source, tensor, calibration, encoder)
    anchors = {tensor.name: anchor(tensor, bits) for tensor in tensors}
    measured = {}
    wanted = [name for name in _to_measure(list(anchors)) if can_measure(name)]
    for i, name in enumerate(wanted):
        progress("Sensitivities", i, len(wanted))
        measured[name] = measure(name, anchors[name])
    progress("Sensitivities", len(wanted), len(wanted))
    at_anchor = _carried(measured, {name: errors[name][anchors[name].name] for name in anchors})
    costs = {
        name: {f: at_anchor[name] * e / max(errors[name][anchors[name].name], 1e-30) for f, e in errors[name].items()}
        for name in anchors
    }
    taken = knapsack([[Option(_size(t, f), costs[t.name][f.name]) for f in candidates(t)] for t in tensors], left)
    assert taken is not None
    choices = [
        Choice(t, candidates(t)[j], anchors[t.name], at_anchor[t.name], t.name in measured, costs[t.name])
        for t, j in zip(tensors, taken, strict=True)
    ]
    chosen = {choice.tensor.name: choice.format for choice in choices}
    formats = {name: chosen.get(name, FORMATS[tensor.format]) for name, tensor in source.tensors.items()}
    return Budget(formats, choices, sum(_size(source.tensors[n], f) for n, f in formats.items()), limit)


def _size(tensor: SourceTensor, format: Format) -> int:
    return Planned(tensor.name, tensor.shape, format).n_bytes


def _errors(source: Source, tensor: SourceTensor, calibration: Calibration, encoder: Encoder) -> dict[str, float]:
    """Format -> tr(ΔW H ΔWᵀ) of a sample of rows, rounded by importance; of experts, the first ones'."""
    x = sampled_rows(source, tensor.name, tensor.shape[1], _SAMPLED_ROWS)
    hessian, importance = hessian_of(calibration, tensor, 0), importance_of(calibration, tensor, 0)
    if hessian is None:
        hessian = np.diag(np.ones(tensor.k, np.float32) if importance is None else importance)
    found = {}
    for format in candidates(tensor):
        error = encoder.decode(format, encoder.encode(format, x, importance), tensor.k) - x
        found[format.name] = output_error(error, hessian)
    return found


def _kind(name: str) -> tuple[str, float]:
    """What a tensor is, and its layer."""
    match = _LAYER.fullmatch(name)
    return (match[2], float(match[1])) if match else (name, 0.0)


def _to_measure(names: Sequence[str]) -> Iterator[str]:
    layers = sorted({layer for kind, layer in map(_kind, names)})
    spread = np.unique(np.rint(np.linspace(0, len(layers) - 1, _MEASURED_LAYERS)).astype(int))
    wanted = {layers[i] for i in spread}
    return (name for name in names if _kind(name)[1] in wanted)


def _carried(measured: Mapping[str, float], errors: Mapping[str, float]) -> dict[str, float]:
    """The divergence of every tensor: as measured, or by its error, times the ratio of both that neighbouring layers of
    its kind have, or that the middle of all has."""
    ratios: dict[str, dict[float, float]] = defaultdict(dict)
    for name, divergence in measured.items():
        kind, layer = _kind(name)
        ratios[kind][layer] = math.log(max(divergence, 1e-12) / max(errors[name], 1e-30))
    middle = float(np.median([r for known in ratios.values() for r in known.values()] or [0.0]))
    found = {}
    for name, error in errors.items():
        kind, layer = _kind(name)
        known = sorted(ratios.get(kind, {}).items())
        ratio = float(np.interp(layer, [at for at, _ in known], [r for _, r in known])) if known else middle
        found[name] = measured.get(name, error * math.exp(ratio))
    return found


def table(budget: Budget) -> list[str]:
    """Markdown: what was chosen, and why."""
    total = sum(choice.cost for choice in budget.choices)
    n_weights = sum(choice.tensor.n_weights for choice in budget.choices)
    n_bytes = sum(_size(choice.tensor, choice.format) for choice in budget.choices)
    lines = [
        "# Formats within a budget",
        "",
        f"{budget.n_bytes:,} bytes of tensors, at most {budget.limit:,}; matrices have {8 * n_bytes / n_weights:.3f} "
        f"bits per weight. Predicted divergence of the predictions: {1000 * total:.2f} millinats a token.",
        "",
        "Divergences are in millinats a token (KL, of the source's predictions and those with this matrix alone "
        "rounded). *Measured*: in the format named there, by running the model; ~ where it was carried over from other "
        "layers. *Here*: in the format chosen. *Gain*: what a larger format would save for each MB that it takes.",
        "",
        "| tensor | weights | measured | chosen | bits | here | gain |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    lines += [_row(choice) for choice in budget.choices]
    return lines


def _row(choice: Choice) -> str:
    t, own = choice.tensor, _size(choice.tensor, choice.format)
    gains = [
        (choice.cost - choice.costs[f.name]) / (_size(t, f) - own) * 1e9 for f in candidates(t) if _size(t, f) > own
    ]
    gain = f"{max(gains):.4f}" if gains else "–"
    measured = f"{'' if choice.measured else '~'}{1000 * choice.at_anchor:.4f} {choice.anchor.name}"
    chosen = f"{choice.format.name} | {choice.format.bits_per_weight:.2f} | {1000 * choice.cost:.4f}"
    return f"| {t.name} | {t.n_weights:,} | {measured} | {chosen} | {gain} |"
