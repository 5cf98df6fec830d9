"""What evaluation means: distances between distributions, and how well a score separates two groups."""

from __future__ import annotations

import math
from typing import Any

import torch

from course_lib import checks
from course_lib._typing import Bool, Float, Num, Tensor


def monte_carlo_kl(log_p: Float[Tensor, " n"], log_q: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Estimate of KL(p || q) from samples of p: the mean of log p(x) - log q(x), in nats.

    Unbiased, so it may come out negative when the two are close; +inf if q gives some sample no density.

    Args:
        log_p: log p at samples drawn from p (n,), finite.
        log_q: log q at the same samples (n,), -inf allowed.
    Returns:
        (), differentiable.
    Raises:
        ValueError: shapes that differ, no samples, NaN, or a log_p that is not finite (no sample of p lies there).
    References:
        Bishop (2006), eq. 1.119.
    """
    return _log_ratio(log_p, log_q).mean()


def kl_to_exact(
    exact: Any, model: Any, n: int = 10_000, generator: torch.Generator | None = None
) -> tuple[float, float]:
    """Estimate of KL(exact || model) with its standard error, in nats, from n fresh samples of the exact density.

    Args:
        exact: what has `sample(n, generator=)` and `log_prob(x)`: a density of `course_lib.datasets`.
        model: what has `log_prob(x)`.
        n: samples; the standard error falls as 1 / sqrt(n).
        generator: source of all randomness.
    Returns:
        (mean, standard error); (inf, nan) if the model gives some sample no density.
    Raises:
        ValueError: fewer than 2 samples, or NaN from the model.
    """
    n = checks.count(n, "n", at_least=2)
    with torch.no_grad():
        x = exact.sample(n, generator=generator)
        log_ratio = _log_ratio(exact.log_prob(x), model.log_prob(x)).double()
    return float(log_ratio.mean()), float(log_ratio.std()) / math.sqrt(n)


def roc_auc(scores: Num[Tensor, " n"], labels: Num[Tensor, " n"] | Bool[Tensor, " n"]) -> float:
    """Area under the ROC curve: the chance that a positive scores higher than a negative, ties counting half.

    AUC = (sum of the positives' ranks - P (P + 1) / 2) / (P N), with mean ranks for ties.

    Args:
        scores: (n,), higher meaning more likely positive; infinite values are ranked like others.
        labels: (n,), True or 1 for a positive, False or 0 for a negative.
    Returns:
        between 0 and 1; 1/2 for a score that tells nothing.
    Raises:
        ValueError: shapes that differ, NaN, labels other than 0 and 1, or only one kind of label.
    References:
        Hanley and McNeil (1982), Radiology 143 (the area as a rank statistic).
    """
    checks.tensor(scores, "scores", ndim=1, floating=False)
    checks.tensor(labels, "labels", ndim=1, floating=False)
    if scores.shape != labels.shape:
        raise ValueError(f"labels must have shape {tuple(scores.shape)} like scores, got {tuple(labels.shape)}")
    if bool(scores.isnan().any()):
        raise ValueError(f"scores has {int(scores.isnan().sum())} NaN entries; drop them first")
    positive = labels == 1
    if not bool((positive | (labels == 0)).all()):
        raise ValueError(f"labels must be 0 or 1, got {labels.unique().tolist()[:5]}")
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        raise ValueError(f"labels must hold both kinds, got {positives} positives and {negatives} negatives")
    _, group, count = scores.unique(return_inverse=True, return_counts=True)
    mean_rank = count.cumsum(0).double() - (count.double() - 1) / 2
    rank_sum = float(mean_rank[group][positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _log_ratio(log_p: Tensor, log_q: Tensor) -> Tensor:
    checks.tensor(log_p, "log_p", ndim=1)
    checks.tensor(log_q, "log_q", ndim=1)
    if log_p.shape != log_q.shape or not len(log_p):
        raise ValueError(f"log_p and log_q must have one shape (n,), got {tuple(log_p.shape)} and {tuple(log_q.shape)}")
    if not bool(torch.isfinite(log_p).all()):
        raise ValueError("log_p must be finite: samples drawn from p have a density under p; were they drawn from q?")
    if bool(log_q.isnan().any()):
        raise ValueError(f"log_q has {int(log_q.isnan().sum())} NaN entries; mend the model first")
    return log_p - log_q
