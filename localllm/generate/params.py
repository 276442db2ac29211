"""How to choose the next token: numbers only, so that the command line can show them without numpy.

Names, defaults and the order of the stages are llama.cpp's (common_params_sampling, common/common.h; the names of its
server, tools/server/README.md).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import TYPE_CHECKING, Any, TypedDict

from localllm.errors import FormatError, UsageError
from localllm.gate import calls
from localllm.gate.check import shown

if TYPE_CHECKING:
    from localllm.gguf.metadata import Metadata

STAGE_NAMES = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature",
)  # fmt: skip
"""The stages of the default order."""
SAMPLERS = (*STAGE_NAMES, "adaptive_p")
"""What `samplers` may name."""
LogitBias = Mapping[int, float] | Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Sampling:
    """Parameters of the sampler. Raises UsageError for a value out of its range.

    The chain: `bans` and `logit_bias`, then the stages that `samplers` names, then a draw (by `adaptive_target` near a
    probability). With mirostat there is the temperature alone, then mirostat.
    """

    temperature: float = 0.8
    """0 or less is greedy: the most likely token, the one of the lowest id among equals."""
    top_k: int = 40
    """Keep the k most likely tokens; 0 or less keeps all."""
    top_p: float = 0.95
    """Keep the most likely tokens that together reach this probability (arXiv:1904.09751); 1 keeps all."""
    min_p: float = 0.05
    """Keep tokens at least this likely relative to the most likely one (arXiv:2407.01082); 0 keeps all."""
    repeat_penalty: float = 1.0
    """Above 1 makes tokens of the last `repeat_last_n` less likely (arXiv:1909.05858); 1 does nothing."""
    repeat_last_n: int = 64
    """How many of the last tokens the three penalties count; 0 counts none, -1 all."""
    seed: int | None = None
    """Same seed, same text; None takes another seed each time."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit for each time that it occurs; 0 does nothing."""
    presence_penalty: float = 0.0
    """Taken off a token's logit if it occurs; 0 does nothing."""
    dry_multiplier: float = 0.0
    """DRY: a token that would go on with a repetition of n tokens loses multiplier * base ** (n - allowed_length);
    0 does nothing."""
    dry_base: float = 1.75
    """Below 1 switches DRY off."""
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    """How many of the last tokens DRY looks at; 0 none, -1 all."""
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    """Texts that a repetition is not followed across."""
    logit_bias: LogitBias = ()
    """Token id -> what is added to its logit; -inf bans it. Kept as pairs, by id."""
    bans: tuple[int, ...] = ()
    """Tokens that are never chosen."""
    top_n_sigma: float = -1.0
    """Keep tokens whose logit is within n standard deviations of the greatest (arXiv:2411.07641); 0 or less: all."""
    typical_p: float = 1.0
    """Keep the tokens whose surprise is nearest to the entropy, up to this probability (arXiv:2202.00666); 1: all."""
    xtc_probability: float = 0.0
    """How often the likeliest tokens are removed, but for the last that reaches xtc_threshold; 0: never."""
    xtc_threshold: float = 0.1
    """Above 0.5 switches XTC off: two tokens cannot reach it."""
    dynatemp_range: float = 0.0
    """The temperature follows the entropy between temperature - range and temperature + range; 0: it is fixed."""
    dynatemp_exponent: float = 1.0
    mirostat: int = 0
    """1 or 2: mirostat of that version (arXiv:2007.14966) in place of the stages but the temperature; 0: none."""
    mirostat_tau: float = 5.0
    """The surprise, in bits a token, that mirostat holds."""
    mirostat_eta: float = 0.1
    """How fast mirostat learns."""
    adaptive_target: float = -1.0
    """The probability near which tokens are drawn (llama.cpp's adaptive-p); negative: by the probabilities alone."""
    adaptive_decay: float = 0.9
    """How slowly adaptive-p forgets what was drawn."""
    min_keep: int = 0
    """top_p, min_p, typical_p and XTC leave at least so many tokens."""
    samplers: tuple[str, ...] = STAGE_NAMES
    """The stages in their order; one that is left out does nothing, "adaptive_p" stands at the end wherever named."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in _LIMITS:
                value = _check(field.name, getattr(self, field.name), *_LIMITS[field.name])
                object.__setattr__(self, field.name, value)
        for name, value in (
            ("seed", self.seed if self.seed is None else calls.integer("seed", self.seed)),
            ("dry_sequence_breakers", _breakers(self.dry_sequence_breakers)),
            ("logit_bias", _bias(self.logit_bias)),
            ("bans", tuple(sorted({_token("bans", token) for token in _each("bans", self.bans)}))),
            ("samplers", stage_names(self.samplers)),
        ):
            object.__setattr__(self, name, value)

    @property
    def biases(self) -> tuple[tuple[int, float], ...]:
        """`logit_bias`, and -inf for each of `bans`, by id."""
        return tuple(sorted({**dict(self.logit_bias), **dict.fromkeys(self.bans, -math.inf)}.items()))


class SamplingOptions(TypedDict, total=False):
    """The fields of Sampling as keyword arguments."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    repeat_last_n: int
    seed: int | None
    frequency_penalty: float
    presence_penalty: float
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: tuple[str, ...]
    logit_bias: LogitBias
    bans: tuple[int, ...]
    top_n_sigma: float
    typical_p: float
    xtc_probability: float
    xtc_threshold: float
    dynatemp_range: float
    dynatemp_exponent: float
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    adaptive_target: float
    adaptive_decay: float
    min_keep: int
    samplers: tuple[str, ...]


_MUCH = 1e6
_INT = 2**31 - 1
_LIMITS: dict[str, tuple[float, float]] = {
    "temperature": (-_MUCH, _MUCH),
    "top_k": (-_INT, _INT),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repeat_penalty": (1e-6, _MUCH),
    "repeat_last_n": (-1, _INT),
    "frequency_penalty": (-_MUCH, _MUCH),
    "presence_penalty": (-_MUCH, _MUCH),
    "dry_multiplier": (0.0, _MUCH),
    "dry_base": (0.0, _MUCH),
    "dry_allowed_length": (0, _INT),
    "dry_penalty_last_n": (-1, _INT),
    "top_n_sigma": (-_MUCH, _MUCH),
    "typical_p": (0.0, 1.0),
    "xtc_probability": (0.0, 1.0),
    "xtc_threshold": (0.0, 1.0),
    "dynatemp_range": (0.0, _MUCH),
    "dynatemp_exponent": (0.0, _MUCH),
    "mirostat": (0, 2),
    "mirostat_tau": (0.0, _MUCH),
    "mirostat_eta": (0.0, _MUCH),
    "adaptive_target": (-_MUCH, 1.0),
    "adaptive_decay": (0.0, 0.99),
    "min_keep": (0, _INT),
}
_WHOLE = frozenset(
    ("top_k", "repeat_last_n", "dry_allowed_length", "dry_penalty_last_n", "mirostat", "min_keep")
)  # fmt: skip
_MAX_BREAKERS, _MAX_BREAKER_BYTES, _MAX_BREAKERS_BYTES = 64, 40, 512
"""How many, and their bytes: of one, as llama.cpp has it, and of all. Each is looked for in the whole vocabulary."""
_MAX_STAGES, _MAX_SHOWN = 64, 80
"""How many stages `samplers` may name: each runs for every token; and characters that are told of a wrong text."""


def _check(name: str, value: Any, low: float, high: float) -> Any:
    """As a number of Python's: NumPy's may be arrays, and wrap."""
    try:
        number = _number(name, value)
    except TypeError:
        kind = "a whole number" if name in _WHOLE else "a number"
        raise UsageError(f"{name} is {shown(value)}: it must be {kind}") from None
    if not low <= number <= high:  # NaN is not
        raise UsageError(f"{name} is {shown(number)}: it must lie between {low} and {high}")
    return number


def _number(name: str, value: Any) -> Any:
    """Raises TypeError."""
    if name in _WHOLE:
        return operator.index(value)
    if not isinstance(value, Real):
        raise TypeError(name)
    return value if isinstance(value, int) else float(value)


def _each(name: str, values: Any) -> Iterable[Any]:
    if isinstance(values, bytes | bytearray) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise UsageError(f"{name} is {shown(values)}: it must be a list")
    return values


def _token(name: str, token: int) -> int:
    try:
        checked = operator.index(token)
    except TypeError:
        raise UsageError(f"{name} names the token {shown(token)}: it must be a whole number") from None
    if not 0 <= checked <= _INT:
        raise UsageError(f"{name} names the token {shown(checked)}: it must lie between 0 and {_INT}")
    return checked


def _bias(given: LogitBias) -> tuple[tuple[int, float], ...]:
    biases: dict[int, float] = {}
    for pair in _each("logit_bias", given.items() if isinstance(given, Mapping) else given):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise UsageError(f"logit_bias has {shown(pair)}: it must have pairs of a token and a number")
        bias: Any = pair[1]
        checked = _token("logit_bias", pair[0])
        if not (isinstance(bias, Real) and -math.inf <= bias <= _MUCH):  # type: ignore[operator, unused-ignore]
            raise UsageError(f"logit_bias of token {checked} is {shown(bias)}: it must lie between -inf and {_MUCH}")
        biases[checked] = biases.get(checked, 0.0) + float(bias)
    return tuple(sorted(biases.items()))


def _breakers(texts: Iterable[str]) -> tuple[str, ...]:
    kept = tuple(dict.fromkeys(calls.texts("dry_sequence_breakers", texts)))
    if len(kept) > _MAX_BREAKERS:
        raise UsageError(f"dry_sequence_breakers has {len(kept)} texts: {_MAX_BREAKERS} are the most")
    for text in kept:
        if not 1 <= len(text.encode("utf-8", "surrogatepass")) <= _MAX_BREAKER_BYTES:
            raise UsageError(
                f"dry_sequence_breakers has {text!r:.{_MAX_SHOWN}}: it must have 1 to {_MAX_BREAKER_BYTES} bytes"
            )
    if (n_bytes := len("".join(kept).encode("utf-8", "surrogatepass"))) > _MAX_BREAKERS_BYTES:
        raise UsageError(f"dry_sequence_breakers has {n_bytes} bytes: {_MAX_BREAKERS_BYTES} are the most")
    return kept


_ALIASES = {
    **{alias: name for name in SAMPLERS for alias in (name, name.replace("_", "-"), name.replace("_", ""))},
    "nucleus": "top_p",
    "temp": "temperature",
    "typ": "typ_p",
    "typical_p": "typ_p",
}
"""As common_sampler_types_from_names of llama.cpp (common/sampling.cpp) has them."""


def stage_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names of stages as `samplers` has them, from a text "a;b" or single names. Raises UsageError for one unknown."""
    if isinstance(names, str):
        names = [part for part in names.split(";") if part.strip()]
    found = []
    for name in calls.texts("samplers", names):
        known = _ALIASES.get(name.strip().lower())
        if known is None:
            raise UsageError(f"samplers names {name!r:.{_MAX_SHOWN}}: there are {', '.join(SAMPLERS)}")
        found.append(known)
    if len(found) > _MAX_STAGES:
        raise UsageError(f"samplers names {len(found)} stages: {_MAX_STAGES} are the most")
    return tuple(found)


FILE_KEYS: dict[str, tuple[str, type]] = {
    "general.sampling.sequence": ("samplers", str),
    "general.sampling.top_k": ("top_k", int),
    "general.sampling.top_p": ("top_p", float),
    "general.sampling.min_p": ("min_p", float),
    "general.sampling.xtc_probability": ("xtc_probability", float),
    "general.sampling.xtc_threshold": ("xtc_threshold", float),
    "general.sampling.temp": ("temperature", float),
    "general.sampling.penalty_last_n": ("repeat_last_n", int),
    "general.sampling.penalty_repeat": ("repeat_penalty", float),
    "general.sampling.mirostat": ("mirostat", int),
    "general.sampling.mirostat_tau": ("mirostat_tau", float),
    "general.sampling.mirostat_eta": ("mirostat_eta", float),
}
"""Key of a file -> field of Sampling and the value's type (llama.cpp, src/llama-arch.cpp)."""


def defaults_of(metadata: Metadata) -> Sampling:
    """What a file's own keys say, and Sampling's defaults for the rest. Raises FormatError for an impossible value."""
    found = {field: metadata.get_typed(key, kind) for key, (field, kind) in FILE_KEYS.items() if key in metadata}
    for field, value in found.items():
        try:
            Sampling(**{field: value})
        except UsageError as error:
            key = next(key for key, (name, _) in FILE_KEYS.items() if name == field)
            raise FormatError(f"{metadata.path}: {key}: {error}") from None
    return Sampling(**found)
