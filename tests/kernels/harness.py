"""How tests run kernels: every key that they use, memory with slack around it, and one call by address."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from localllm.errors import LocalllmError
from localllm.kernels import (
    activation,
    altup,
    attention,
    block_choice,
    compress,
    conv,
    delta_net,
    embed,
    experts,
    gated_streams,
    hash_experts,
    heads,
    hyper,
    indexer,
    joined_attention,
    kept,
    latent_attention,
    lightning,
    mask,
    matmul,
    matvec,
    middles,
    mix,
    ngram,
    norm,
    objects,
    quantize,
    residuals,
    rope,
    rounding,
    sampling,
    scale,
    shift,
    sparse,
    ssm,
    wkv6,
    wkv7,
)
from localllm.kernels.cells import KV_TYPES
from localllm.kernels.formats.table import FORMATS, Format
from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import TARGETS, host_features
from localllm.kernels.simd.types import Struct
from localllm.kernels.thread import SCRATCH_BYTES, Run, Step, Thread
from localllm.runtime.arrays import SLACK as SLACK

ROOT = Path(__file__).parent.parent.parent

SUPPORTED: list[Format] = [f for f in FORMATS.values() if f.supported]
WRITTEN: list[Format] = [f for f in SUPPORTED if (ROOT / "kernels" / "encoders" / f"{f.module}.py").is_file()]
FLOATS = ("F32", "F16", "BF16")
"""Formats whose products take f32 activations."""

ATTENTION = [*((kv, T) for kv in KV_TYPES for T in (3, 4, 6)), ("f16", 8), ("q8_0", 8), ("q4_0", 8)]
EXPERTS_FORMATS = ("f32", "q8_0", "q4_k")
"""One a kind: the rest of a format is matvec's and matmul's."""
SUMMED = ("Q4_1", "NVFP4", "Q4_K", "IQ2_XXS")
"""Of each kind of blocks; unpacking is that of embed."""
PAIRINGS = ("adjacent", "halves")

KEYS: list[Key] = [
    *(Key(module, "rows", (f.module,)) for f in SUPPORTED for module in ("embed", "matvec", "matvec_fours")),
    *(Key("matmul", "tiles", (f.module,)) for f in SUPPORTED),
    *(Key("rounding", "rows", (f.module,)) for f in WRITTEN),
    *(Key("embed", factory, (f,)) for factory in ("positions", "first") for f in ("f32", "f16", "q8_0", "q4_k")),
    *(Key("quantize", factory, (group,)) for factory in ("rows", "tiles") for group in (32, 256)),
    *(Key("quantize", factory, (group, "centred")) for factory in ("rows", "tiles") for group in (32, 256)),
    *(Key("middles", "sums", (FORMATS[name].module,)) for name in SUMMED),
    *(Key("middles", factory) for factory in ("first", "last")),
    *(Key("norm", factory) for factory in ("rms", "layer")),
    *(Key("activation", "gated", (function,)) for function in activation.GATED),
    Key("activation", "gated_rows", ("gelu",)),
    *(Key("activation", "plain", (function,)) for function in activation.PLAIN),
    *(Key("activation", "multiply", (function,)) for function in activation.GATES),
    *(Key("mix", factory) for factory in ("add", "scaled_sum", "clamp", "pieces", "temperature", "logits")),
    *(Key("experts", "route", (gating,)) for gating in ("softmax", "sigmoid", "sqrt_softplus", "softmax_weight")),
    *(Key("hash_experts", "route", (gating,)) for gating in ("softmax", "sigmoid", "sqrt_softplus")),
    *(Key("experts", factory) for factory in ("group", "gather", "combine")),
    *(Key("experts", factory, (f,)) for factory in ("rows", "tiles") for f in EXPERTS_FORMATS),
    *(Key("scale", factory) for factory in ("rows", "experts")),
    *(Key("joined_attention", "heads", (kv,)) for kv in KV_TYPES),
    *(Key("indexer", "scores", (kv, T)) for kv in KV_TYPES for T in (3, 4, 6)),
    *(Key("indexer", "scores", (kv, 8)) for kv in KV_TYPES),
    Key("indexer", "choose"),
    *(Key("compress", "entries", (layout, kv)) for layout in ("rows", "tiles") for kv in KV_TYPES),
    *(Key("hyper", factory) for factory in ("weights", "gates", "head", "reduce", "mix")),
    Key("rope", "table"),
    *(Key("rope", "rotate", (pairing,)) for pairing in PAIRINGS),
    *(Key("rope", "cache", (pairing, kv)) for pairing in PAIRINGS for kv in KV_TYPES),
    *(Key("attention", "cells", arguments) for arguments in ATTENTION),
    *(Key("attention", "cells", (kv, 4, scores)) for kv in KV_TYPES for scores in ("capped", "alibi", "relative")),
    Key("attention", "merge"),
    *(Key("latent_attention", "cells", (kv,)) for kv in KV_TYPES),
    Key("latent_attention", "merge"),
    *(Key("latent_attention", "store_rows", (pairing, kv)) for pairing in PAIRINGS for kv in KV_TYPES),
    *(Key("heads", factory) for factory in ("gather", "split")),
    *(Key("heads", factory, (f,)) for factory in ("rows", "tiles") for f in EXPERTS_FORMATS),
    *(Key("conv", "rows", (kind,)) for kind in ("plain", "silu", "gated")),
    Key("lightning", "scan"),
    Key("block_choice", "groups"),
    *(Key("compress", "entries", (layout, "f32", "halves")) for layout in ("rows", "tiles")),
    *(Key("gated_streams", factory) for factory in ("collapse", "spread")),
    *(Key("ngram", factory) for factory in ("rows", "gate")),
    *(Key("embed", "picked", (f,)) for f in EXPERTS_FORMATS),
    *(Key("residuals", factory) for factory in ("keep", "mix")),
    Key("kept", "rows"),
    *(Key("block_choice", "scores", (kv, 4)) for kv in KV_TYPES),
    Key("block_choice", "choose"),
    Key("attention", "cells", ("f32", 4, "blocks")),
    Key("mix", "add_row"),
    Key("mix", "suppress"),
    *(Key("altup", f, (N,)) for f in ("start", "route", "predict", "correct", "spread", "end") for N in (2, 4)),
    Key("sparse", "gated"),
    Key("mask", "logits"),
    *(Key("sampling", factory) for factory in ("weigh", "moments", "within", "collect")),
    *(Key("ssm", "scan", (decay,)) for decay in ("head", "channel")),
    Key("ssm", "steps"),
    *(Key("delta_net", "decay", (kind,)) for kind in ("softplus", "bounded")),
    *(Key("delta_net", "scan", (decays,)) for decays in ("head", "channel")),
    *(Key("shift", "rows", (kind,)) for kind in ("fixed", "changed")),
    *(Key("wkv6", "rows", (kind, vectors)) for kind in ("bonus", "gated") for vectors in (1, 2, 4)),
    *(Key("wkv7", "rows", (vectors,)) for vectors in (1, 2, 4)),
]  # fmt: skip
"""The kernels of a plan, for every argument in use; those of kernels.team are tested with the team."""

_PARAMS = {
    "embed": embed.Params, "matvec": matvec.Params, "matmul": matmul.Params, "quantize": quantize.Params,
    "rounding": rounding.Params, "matvec_fours": matvec.Params,
    "middles.sums": middles.SumsParams, "middles": middles.Params,
    "norm": norm.Params, "attention": attention.Params, "rope.table": rope.TableParams,
    "rope.rotate": rope.RotateParams, "rope.cache": rope.CacheParams, "activation.gated": activation.GatedParams,
    "activation.gated_rows": activation.GatedRowsParams,
    "activation.plain": activation.PlainParams,
    "activation.multiply": activation.MultiplyParams, "mix.add": mix.AddParams, "mix.clamp": mix.ClampParams,
    "mix.pieces": mix.PiecesParams, "mix.temperature": mix.TemperatureParams, "mix.logits": mix.LogitsParams,
    "experts.route": experts.RouteParams,
    "experts.group": experts.GroupParams, "experts.gather": experts.GatherParams, "experts.rows": experts.RowsParams,
    "experts.tiles": experts.TilesParams, "experts.combine": experts.CombineParams, "scale.rows": scale.RowsParams,
    "scale.experts": scale.ExpertsParams, "conv": conv.Params,
    "block_choice.scores": block_choice.ScoreParams, "block_choice.choose": block_choice.ChooseParams,
    "kept.rows": kept.Params, "residuals.keep": residuals.KeepParams, "residuals.mix": residuals.MixParams,
    "block_choice.groups": block_choice.GroupsParams, "ngram.rows": ngram.RowsParams, "ngram.gate": ngram.GateParams,
    "gated_streams.collapse": gated_streams.CollapseParams,
    "gated_streams.spread": gated_streams.SpreadParams, "embed.picked": embed.PickedParams,
    "lightning": lightning.Params, "mix.add_row": mix.AddRowParams,
    "mix.suppress": mix.SuppressParams,
    "altup.start": altup.StartParams, "altup.route": altup.RouteParams, "altup.predict": altup.PredictParams,
    "altup.correct": altup.CorrectParams, "altup.spread": altup.SpreadParams, "altup.end": altup.EndParams,
    "sparse": sparse.Params, "mask": mask.Params,
    "sampling.weigh": sampling.WeighParams, "sampling.moments": sampling.MomentsParams,
    "sampling.within": sampling.WithinParams, "sampling.collect": sampling.CollectParams,
    "mix.scaled_sum": mix.SumParams,
    "ssm.scan": ssm.ScanParams, "ssm.steps": ssm.StepsParams,
    "latent_attention": latent_attention.Params, "latent_attention.store_rows": latent_attention.StoreParams,
    "heads.gather": heads.GatherParams, "heads.rows": heads.RowsParams, "heads.tiles": heads.TilesParams,
    "heads.split": heads.SplitParams,
    "hyper.weights": hyper.WeightsParams, "hyper.gates": hyper.GatesParams,
    "hyper.head": hyper.HeadParams, "hyper.reduce": hyper.ReduceParams,
    "hyper.mix": hyper.MixParams,
    "compress": compress.Params,
    "hash_experts": hash_experts.Params,
    "indexer.scores": indexer.ScoreParams, "indexer.choose": indexer.ChooseParams,
    "delta_net.decay": delta_net.DecayParams, "delta_net.scan": delta_net.ScanParams,
    "shift": shift.Params, "wkv6": wkv6.Params, "wkv7": wkv7.Params,
    "joined_attention": joined_attention.Params,
}  # fmt: skip


FEW = "LOCALLLM_TEST_FEW"
"""A variable of the environment: set where few of the kernels are needed. Those of a module are loaded together then,
when the first is; as a rule all are: on a cold cache two processes compile them."""


@cache
def _loaded(module: str) -> dict[Key, int] | LocalllmError:
    try:
        return objects.load([key for key in KEYS if module in ("", key.module)])
    except LocalllmError as error:
        return error


def addresses(module: str = "") -> dict[Key, int]:
    """All kernels, or those of a module. What fails is not tried again a test."""
    loaded = _loaded(module)
    if isinstance(loaded, LocalllmError):
        raise loaded
    return loaded


def runnable_targets() -> list[str]:
    return [t.name for t in TARGETS.values() if host_features().issuperset(t.requires)]


def environment(target: str, **more: str) -> dict[str, str]:
    return os.environ | {"LOCALLLM_TARGET": target, "PYTHONPATH": str(ROOT)} | more


def python(target: str, *arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """This Python in another process, for another target."""
    return subprocess.run(
        [sys.executable, *arguments], env=environment(target, **more), cwd=ROOT, input=stdin,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def buffer(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32, fill: int = 0xA5) -> np.ndarray:
    """An array of `fill` bytes, 64-byte aligned, with slack of the same bytes behind it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.full(size + 64 + SLACK, fill, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def margin(array: np.ndarray) -> np.ndarray:
    """The slack behind an array that `buffer` made."""
    assert array.base is not None
    return array.base.view(np.uint8)[-SLACK:]


def placed(array: np.ndarray) -> np.ndarray:
    """A copy of an array with slack behind it; the slack holds 0xFF, which is NaN as a float."""
    out = buffer(array.shape, array.dtype.type, 0xFF)
    out[...] = array
    return out


def bits(x: float) -> int:
    """A float field of a parameter block."""
    return struct.unpack("<q", struct.pack("<d", x))[0]


def block(struct_, **fields: int | np.ndarray) -> np.ndarray:
    """A parameter block; an array stands for its address. The caller keeps arrays alive (they are its arguments)."""
    out = np.zeros(1, struct_.dtype)
    for name, value in fields.items():
        out[name] = value.ctypes.data if isinstance(value, np.ndarray) else value
    return out


def step(
    positions=None, seqs=None, tokens=None, logits=None, n_rows: int | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A step block, and the arrays to keep alive."""
    rows = [None if v is None else placed(np.asarray(v, np.int32)) for v in (tokens, positions, seqs)]
    n = n_rows if n_rows is not None else next(len(r) for r in rows if r is not None)
    names = dict(zip(("tokens", "positions", "seqs"), rows, strict=True))
    fields = {k: v for k, v in names.items() if v is not None} | ({} if logits is None else {"logits": logits})
    return block(Step, n_rows=n, **fields), [r for r in rows if r is not None]


def step_of_runs(rows_of: list[list[int]], runs: list[dict[str, int]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """A step block of runs, and the arrays to keep alive. rows_of: the numbers of each run's rows; runs: other fields
    of each (source, target, mark, mark_slot, ...)."""
    order = placed(np.array([row for rows in rows_of for row in rows], np.int32))
    table = buffer(len(runs), Run.dtype, 0)
    for i, fields in enumerate(runs):
        first = sum(len(rows) for rows in rows_of[:i])
        for name, value in ({"mark_slot": -1, "first": first, "count": len(rows_of[i])} | fields).items():
            table[i][name] = value
    return block(Step, n_rows=len(order), n_runs=len(runs), runs=table, order=order), [order, table]


class Team:
    """One or several thread blocks, run one after another: what a kernel claims does not depend on who claims it."""

    def __init__(self, cancelled: bool = False) -> None:
        self.counter = np.zeros(1, np.int64)
        self.cancel = np.full(1, int(cancelled), np.int64)
        self.scratch = buffer(SCRATCH_BYTES, np.uint8, 0xFF)
        self.block = block(Thread, nth=1, scratch=self.scratch, counter=self.counter, cancel=self.cancel)

    def call(self, address: int, params: np.ndarray) -> None:
        self.counter[:] = 0
        ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(address)(params.ctypes.data, self.block.ctypes.data)


@cache
def team() -> Team:
    return Team()


def params_of(name: str) -> Struct:
    """The parameter block of `module.factory`."""
    return _PARAMS.get(name) or _PARAMS[name.split(".")[0]]


def run(name: str, *arguments: str | int, **fields: int | np.ndarray) -> None:
    """Run the kernel of `module.factory`(arguments) on a parameter block with these fields. Scratch holds NaN at its
    start: what a kernel reads there without having written it shows."""
    module, factory = name.split(".")
    params = block(params_of(name), **fields)
    team().scratch.fill(0xFF)
    found = addresses(module if FEW in os.environ else "")
    team().call(found[Key(module, factory, arguments)], params)


def elf_symbols(code: bytes) -> list[tuple[str, int]]:
    """Names in an ELF64 object's symbol table and the number of the section that defines each (0: none does)."""
    (table,), (size, count) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, table + i * size) for i in range(count)]
    symbols = next(s for s in sections if s[1] == 2)
    names = sections[symbols[6]][4]
    out = []
    for at in range(symbols[4], symbols[4] + symbols[5], 24):
        name, _, _, section = struct.unpack_from("<IBBH", code, at)
        out.append((code[names + name : code.index(b"\0", names + name)].decode(), section))
    return [(name, section) for name, section in out if name]
