"""How far a model's predictions are from a base model's: the statistics of `llama-perplexity --kl-divergence`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from localllm.generate.logprobs import log_softmax
from localllm.tools.likelihood import Estimate, mean, perplexity, taken

_LEAST_LOG_P = -16.0
"""Tokens that the base model finds less likely are left out of a divergence: files of predictions are clipped there."""
PERCENTILES = (99.9, 99.0, 95.0, 90.0, 75.0, 50.0, 25.0, 10.0, 5.0, 1.0, 0.1)


@dataclass(frozen=True)
class Divergence:
    """What was measured, an element a predicted token, float64 [n]: negative log-likelihoods of both models, the
    Kullback-Leibler divergence KL(base || model) in nats, the difference of the true token's probabilities; and whether
    both models find the same token the most likely."""

    nll: np.ndarray
    base_nll: np.ndarray
    kld: np.ndarray
    p_diff: np.ndarray
    same_top: np.ndarray

    @classmethod
    def joined(cls, parts: list[Divergence]) -> Divergence:
        """Several texts' as one."""
        names = ("nll", "base_nll", "kld", "p_diff", "same_top")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @cached_property
    def ppl(self) -> Estimate:
        return perplexity(self.nll)

    @cached_property
    def base_ppl(self) -> Estimate:
        return perplexity(self.base_nll)

    @cached_property
    def mean_kld(self) -> Estimate:
        return mean(self.kld)

    @cached_property
    def covariance(self) -> float:
        """Of the means of both models' negative log-likelihoods."""
        n = len(self.nll)
        if n < 2:
            return 0.0
        return float((self.nll * self.base_nll).mean() - self.nll.mean() * self.base_nll.mean()) / (n - 1)

    @cached_property
    def log_ratio(self) -> Estimate:
        """ln(PPL / PPL(base)); both are of the same tokens, and their errors correlated."""
        ours, base = mean(self.nll), mean(self.base_nll)
        variance = ours.error**2 + base.error**2 - 2 * self.covariance
        return Estimate(ours.value - base.value, max(variance, 0.0) ** 0.5)

    @cached_property
    def ratio(self) -> Estimate:
        value = float(np.exp(self.log_ratio.value))
        return Estimate(value, value * self.log_ratio.error)

    @cached_property
    def difference(self) -> Estimate:
        """PPL - PPL(base)."""
        both = 2 * self.ppl.value * self.base_ppl.value * self.covariance
        variance = self.ppl.error**2 + self.base_ppl.error**2 - both
        return Estimate(self.ppl.value - self.base_ppl.value, max(variance, 0.0) ** 0.5)

    @cached_property
    def correlation(self) -> float:
        """Of both models' log-likelihoods, -1 to 1."""
        errors = mean(self.nll).error * mean(self.base_nll).error
        return self.covariance / errors if errors else 0.0

    @cached_property
    def rms_p_diff(self) -> Estimate:
        square = mean(np.square(self.p_diff))
        root = square.value**0.5
        return Estimate(root, 0.5 / root * square.error if root else 0.0)

    @cached_property
    def top_1(self) -> Estimate:
        """The share of tokens on which both models agree."""
        share, n = float(self.same_top.mean()), len(self.same_top)
        return Estimate(share, (share * (1 - share) / (n - 1)) ** 0.5 if n > 1 else 0.0)

    def report(self) -> Iterator[str]:
        """Lines as llama-perplexity prints them."""
        percent = 100.0
        yield "====== Perplexity statistics ======"
        yield f"Mean PPL(Q)                   : {self.ppl}"
        yield f"Mean PPL(base)                : {self.base_ppl}"
        yield f"Cor(ln(PPL(Q)), ln(PPL(base))): {percent * self.correlation:.2f}%"
        yield f"Mean ln(PPL(Q)/PPL(base))     : {self.log_ratio}"
        yield f"Mean PPL(Q)/PPL(base)         : {self.ratio}"
        yield f"Mean PPL(Q)-PPL(base)         : {self.difference}"
        yield ""
        yield "====== KL divergence statistics ======"
        yield f"Mean    KLD: {self.mean_kld}"
        yield from _spread("KLD", self.kld, 1.0, "")
        yield ""
        yield "====== Token probability statistics ======"
        yield f"Mean    Δp: {_percent(mean(self.p_diff))}"
        yield from _spread("Δp", self.p_diff, percent, "%")
        yield f"RMS Δp    : {_percent(self.rms_p_diff)}"
        yield f"Same top p: {_percent(self.top_1)}"

    def as_dict(self) -> dict[str, float | dict[str, float]]:
        """For JSON: estimates with their errors, and percentiles of the divergence."""
        estimates = ("ppl", "base_ppl", "mean_kld", "log_ratio", "ratio", "difference", "rms_p_diff", "top_1")
        found: dict[str, float | dict[str, float]] = {"n_tokens": len(self.nll), "correlation": self.correlation}
        for name in estimates:
            estimate = getattr(self, name)
            found |= {name: estimate.value, f"{name}_error": estimate.error}
        found["kld_percentiles"] = {f"{p:g}": float(np.percentile(self.kld, p)) for p in (100, *PERCENTILES, 0)}
        return found


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.3f} ± {100 * estimate.error:.3f} %"


def _spread(name: str, values: np.ndarray, factor: float, unit: str) -> Iterator[str]:
    labels = {100.0: "Maximum", 50.0: "Median ", 0.0: "Minimum"}
    for p in (100.0, *PERCENTILES, 0.0):
        yield f"{labels.get(p, f'{p:4.1f}%  ')} {name}: {factor * float(np.percentile(values, p)):.6f}{unit}"


def divergence(base_log_p: np.ndarray, logits: np.ndarray, targets: np.ndarray) -> Divergence:
    """Of one chunk: the base model's log-probabilities and a model's logits, float32 [n, n_vocab], and the true tokens
    [n]."""
    log_p = log_softmax(logits)
    counted = base_log_p > _LEAST_LOG_P
    terms = np.where(counted, np.exp(base_log_p) * (base_log_p - log_p), 0)
    nll, base_nll = -taken(log_p, targets), -taken(base_log_p, targets)
    return Divergence(
        nll, base_nll, terms.sum(axis=1, dtype=np.float64), np.exp(-nll) - np.exp(-base_nll),
        log_p.argmax(axis=1) == base_log_p.argmax(axis=1),
    )  # fmt: skip
