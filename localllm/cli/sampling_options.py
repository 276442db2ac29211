"""Options of the sampler, named as llama.cpp's. What is not given is as the model's file says, or else by default."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import click

from localllm.errors import UsageError
from localllm.generate.params import STAGE_NAMES, Sampling, stage_names

_DEFAULTS = Sampling()
Row = tuple[tuple[str, ...], bool, dict[str, Any]]


def _row(field: str, *names: str, help: str, env: bool = True, **settings: Any) -> tuple[str, Row]:
    default = getattr(_DEFAULTS, field)
    shown = f" [default: {default}]" if isinstance(default, int | float) else ""
    return field, (names, env, {"help": help + shown, **settings})


_SHARE = click.FloatRange(0, 1)
SAMPLING: dict[str, tuple[str, Row]] = {
    "temp": _row(
        "temperature", "--temp", "--temperature", type=float, metavar="X",
        help="Temperature; 0 always chooses the most likely token.",
    ),
    "top_k": _row("top_k", "--top-k", type=int, metavar="K", help="Sample from the K most likely tokens; 0: from all."),
    "top_p": _row(
        "top_p", "--top-p", type=_SHARE, metavar="P",
        help="Sample from the most likely tokens whose probabilities add up to P; 1: from all.",
    ),
    "min_p": _row(
        "min_p", "--min-p", type=_SHARE, metavar="P",
        help="Sample from tokens at least P times as likely as the most likely one; 0: from all.",
    ),
    "repeat_penalty": _row(
        "repeat_penalty", "--repeat-penalty", type=click.FloatRange(0, min_open=True), metavar="X",
        help="Penalty for tokens that were used recently; 1: none.",
    ),
    "repeat_last_n": _row(
        "repeat_last_n", "--repeat-last-n", type=click.IntRange(-1), metavar="N",
        help="Number of recent tokens that the penalties apply to; -1: all.",
    ),
    "frequency_penalty": _row(
        "frequency_penalty", "--frequency-penalty", type=float, metavar="X",
        help="Taken off a token's logit for each time that it was used recently; 0: nothing.",
    ),
    "presence_penalty": _row(
        "presence_penalty", "--presence-penalty", type=float, metavar="X",
        help="Taken off a token's logit if it was used recently; 0: nothing.",
    ),
    "seed": _row(
        "seed", "-s", "--seed", type=click.IntRange(-1), default=-1, metavar="N",
        help="Random seed: the same seed gives the same text; -1: a new one each time. [default: -1]",
    ),
}  # fmt: skip
"""Parameter name -> field of Sampling, and the row as OPTIONS has it."""

MORE_SAMPLING: dict[str, tuple[str, Row]] = {
    "top_nsigma": _row(
        "top_n_sigma", "--top-nsigma", "--top-n-sigma", type=float, metavar="X",
        help="Sample from tokens whose logit is within X standard deviations of the greatest; -1: from all.",
    ),
    "typical": _row(
        "typical_p", "--typical", "--typical-p", type=_SHARE, metavar="P",
        help="Sample from the tokens that surprise as much as expected, whose probabilities add up to P; 1: from all.",
    ),
    "xtc_probability": _row(
        "xtc_probability", "--xtc-probability", type=_SHARE, metavar="P",
        help="How often the most likely tokens are left out, but for the last above --xtc-threshold; 0: never.",
    ),
    "xtc_threshold": _row(
        "xtc_threshold", "--xtc-threshold", type=_SHARE, metavar="P", help="Probability from which on XTC leaves out.",
    ),
    "dynatemp_range": _row(
        "dynatemp_range", "--dynatemp-range", type=float, metavar="X",
        help="The temperature follows the model's uncertainty, up to X below and above --temp; 0: it is fixed.",
    ),
    "dynatemp_exp": _row(
        "dynatemp_exponent", "--dynatemp-exp", type=float, metavar="X", help="Exponent of that uncertainty.",
    ),
    "dry_multiplier": _row(
        "dry_multiplier", "--dry-multiplier", type=float, metavar="X",
        help="DRY: penalty for tokens that would go on with a repetition; 0: none.",
    ),
    "dry_base": _row("dry_base", "--dry-base", type=float, metavar="X", help="DRY: factor for each token repeated."),
    "dry_allowed_length": _row(
        "dry_allowed_length", "--dry-allowed-length", type=click.IntRange(0), metavar="N",
        help="DRY: repetitions so long go without a penalty.",
    ),
    "dry_penalty_last_n": _row(
        "dry_penalty_last_n", "--dry-penalty-last-n", type=click.IntRange(-1), metavar="N",
        help="DRY: number of recent tokens that are looked at; -1: all.",
    ),
    "dry_sequence_breaker": _row(
        "dry_sequence_breakers", "--dry-sequence-breaker", multiple=True, metavar="TEXT", env=False,
        help=r"""DRY: repetitions end at this text; may be given more than once; none: nowhere. [default: \n : " *]""",
    ),
    "mirostat": _row(
        "mirostat", "--mirostat", type=click.IntRange(0, 2), metavar="N",
        help="Mirostat 1 or 2, which holds the surprise at --mirostat-ent, in place of what cuts off; 0: none.",
    ),
    "mirostat_lr": _row(
        "mirostat_eta", "--mirostat-lr", type=float, metavar="X", help="How fast mirostat learns.",
    ),
    "mirostat_ent": _row(
        "mirostat_tau", "--mirostat-ent", type=float, metavar="X", help="Mirostat's surprise, in bits a token.",
    ),
    "adaptive_target": _row(
        "adaptive_target", "--adaptive-target", type=float, metavar="P",
        help="Adaptive-p: tokens are drawn near this probability; negative: by their probabilities alone.",
    ),
    "adaptive_decay": _row(
        "adaptive_decay", "--adaptive-decay", type=float, metavar="X",
        help="Adaptive-p: how slowly it forgets what was drawn.",
    ),
    "logit_bias": _row(
        "logit_bias", "-l", "--logit-bias", multiple=True, metavar="ID(+|-)BIAS",
        help="Added to a token's logit: 15043+1, 15043-1; 15043-inf bans it. May be given more than once.",
    ),
    "samplers": _row(
        "samplers", "--samplers", metavar="A;B;...",
        help=f"What is done, in this order; what is not named is not done. [default: {';'.join(STAGE_NAMES)}]",
    ),
}  # fmt: skip
"""The rest of them, as SAMPLING."""

SECTIONS = {"Sampling (the model's file may have defaults of its own)": SAMPLING, "More sampling": MORE_SAMPLING}


def given_sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Sampling that were given. Raises UsageError for a value out of its range."""
    fields = {
        field: _READERS.get(name, lambda value: value)(given[name])
        for rows in SECTIONS.values()
        for name, (field, _) in rows.items()
        if given[name] not in (None, ())
    }
    Sampling(**fields)  # refuses what is out of range before a model is loaded
    return fields


def _seed(value: int) -> int | None:
    return None if value < 0 else value


def _biases(texts: tuple[str, ...]) -> tuple[tuple[int, float], ...]:
    return tuple(map(_bias, texts))


def _bias(text: str) -> tuple[int, float]:
    found = re.fullmatch(r"\s*(\d+)([+-].+)", text)
    try:
        if found and not math.isnan(bias := float(found[2])):
            return int(found[1]), bias
    except ValueError:
        pass
    raise UsageError(f"--logit-bias {text!r}: write 15043+1, 15043-0.5 or 15043-inf")


_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\r": "\r", r"\"": '"', r"\'": "'", r"\\": "\\"}


def _breakers(texts: tuple[str, ...]) -> tuple[str, ...]:
    """As llama.cpp takes them: "none" clears what was given before it, escapes are read."""
    kept: list[str] = []
    for text in texts:
        kept = [] if text == "none" else [*kept, re.sub(r"\\.", lambda m: _ESCAPES.get(m[0], m[0]), text)]
    return tuple(kept)


_READERS: dict[str, Any] = {
    "seed": _seed,
    "logit_bias": _biases,
    "dry_sequence_breaker": _breakers,
    "samplers": stage_names,
}
