"""What `localllm quantize --bits` and `--max-size` do: find a mixture within the size, write why beside the file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localllm.cli.common import Progress, load_model, note
from localllm.cli.streams import echo
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.quantize.budget import Budget
    from localllm.quantize.calibration import Calibration
    from localllm.quantize.encode import Encoder
    from localllm.quantize.mixture import Mixture
    from localllm.quantize.source import Source

_CHUNKS, _TOKENS = 2, 128
"""Of the calibration text that sensitivities are measured on, evenly spread."""
_SHOWN = 8
"""Matrices that are named on the screen."""


def check(format: str | None, given: Mapping[str, Any]) -> bool:
    """Whether a mixture is searched. Raises UsageError for options that do not go with that."""
    if given["bits"] is None and given["max_size"] is None:
        return False
    others = ("vocab_only", "pure", "tensor_type", "output_tensor_type", "token_embedding_type", "leave_output_tensor")
    if format is not None:
        raise UsageError(f"--bits and --max-size choose the formats: give no FORMAT, not {format!r}")
    for name in others:
        if given[name]:
            raise UsageError(f"--bits and --max-size choose the formats: --{name.replace('_', '-')} has no use")
    if not given["imatrix"]:
        raise UsageError(
            "--bits and --max-size need a file of calibration: --imatrix FILE, made by `localllm calibrate`"
        )
    return True


def search(source: Source, given: Mapping[str, Any], calibration: Calibration, encoder: Encoder) -> Budget:
    """Find the mixture. Raises UsageError."""
    from localllm.quantize.budget import allowed_bytes, find
    from localllm.quantize.calibration_text import our_own_ids
    from localllm.quantize.sensitivity import Sensitivity

    if not os.path.isfile(source.path):
        raise UsageError(
            f"{source.path}: sensitivities are measured by running the model: make one GGUF file of it first "
            f"(`localllm quantize {source.path} f16.gguf F16`)"
        )
    limit = allowed_bytes(source, given["bits"], given["max_size"], sum(map(os.path.getsize, source.files)))
    with load_model(source.path, n_threads=given["threads"]) as model:
        ids = our_own_ids(model)
        step = max(1, len(ids) // _CHUNKS)
        chunks = [ids[at : at + _TOKENS] for at in range(step // 2, len(ids) - _TOKENS, step)]
        meter = Sensitivity(model, source, calibration.importance, encoder, chunks)
        return find(source, calibration, encoder, meter.divergence, meter.can_measure, limit, Progress())


def mixture_of(budget: Budget) -> Mixture:
    """The mixture whose main format most weights have: general.file_type says that one."""
    from localllm.quantize.mixture import COPY, MIXTURES

    weights: Counter[str] = Counter()
    for choice in budget.choices:
        weights[choice.format.name] += choice.tensor.n_weights
    main = weights.most_common(1)[0][0]
    return next((row for row in MIXTURES.values() if row.format == main), COPY)


def report(budget: Budget) -> None:
    """The table in short."""
    costly = sorted(budget.choices, key=lambda choice: -choice.cost)
    echo(f"predicted divergence: {1000 * sum(c.cost for c in costly):.2f} millinats a token; most of it from")
    width = max(len(choice.tensor.name) for choice in costly[:_SHOWN])
    for choice in costly[:_SHOWN]:
        echo(f"  {choice.tensor.name:{width}}  {choice.format.name:7} {1000 * choice.cost:8.3f}")


def table_path(out: str) -> str:
    """Where the table goes that stands beside the file `out`."""
    return f"{out.removesuffix('.gguf')}.budget.md"


def write(budget: Budget, out: str) -> None:
    """Write the table beside the file: OUT.budget.md."""
    from localllm.quantize.budget import table
    from localllm.runtime.whole import write_whole

    path = table_path(out)
    write_whole(path, "\n".join(table(budget)) + "\n")
    note(f"{path} says what was chosen, and why")
