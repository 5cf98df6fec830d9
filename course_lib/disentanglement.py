"""Does one latent stand for one factor? Measures against factors of variation that are known."""

from __future__ import annotations

from collections.abc import Callable

import torch

from course_lib import checks
from course_lib._typing import Float, Int, Number, Tensor


def mutual_information(
    codes: Float[Tensor, "n latents"], factors: Float[Tensor, "n factors"] | Int[Tensor, "n factors"], *, bins: int = 20
) -> tuple[Float[Tensor, "latents factors"], Float[Tensor, " factors"]]:
    """Mutual information of each latent with each factor, and each factor's entropy, in nats, from a table of counts.

    I = Σ p(a, b) log p(a, b) / (p(a) p(b)). Codes, and factors that are not whole numbers, are cut into bins of equal
    count, so that only their order matters: any rising function of a latent scores the same. Equal values share a bin.

    Counting n pairs overestimates I by about (bins − 1)(values − 1) / 2n; with 20 bins, 10 values and 10,000 pairs,
    0.009 nats.

    Args:
        codes: (n, latents), for instance the means of q(z | x).
        factors: (n, factors); of an integer dtype they are taken as they are.
        bins: per code (and per real factor).
    Returns:
        mi (latents, factors); entropy (factors,).
    Raises:
        ValueError: wrong shapes, NaN, fewer than 2 pairs or 2 bins.
    References:
        R. Chen et al. (2018), arXiv:1802.04942, section 4.1; F. Locatello et al. (2019), arXiv:1811.12359 (binned).
    """
    checks.data(codes, "codes", min_samples=2)
    checks.finite(checks.tensor(factors, "factors", ndim=2, floating=False), "factors")
    if len(factors) != len(codes):
        raise ValueError(f"factors must have one row per code, got {len(factors)} rows for {len(codes)} codes")
    bins = checks.count(bins, "bins", at_least=2)
    a = _binned(codes, bins)
    b = _binned(factors, bins) if factors.is_floating_point() else factors
    b = torch.stack([column.unique(return_inverse=True)[1] for column in b.mT], 1)
    values = int(b.max()) + 1
    mi = torch.zeros(a.shape[1], b.shape[1], dtype=torch.float64)
    for i, code in enumerate(a.mT):
        for j, factor in enumerate(b.mT):
            counts = torch.bincount(code * values + factor, minlength=bins * values).double().cpu()
            joint = (counts / len(codes)).reshape(bins, values)
            independent = joint.sum(1, keepdim=True) * joint.sum(0)
            mi[i, j] = (torch.xlogy(joint, joint) - torch.xlogy(joint, independent)).sum()
    p = torch.stack([torch.bincount(column, minlength=values).double().cpu() / len(codes) for column in b.mT])
    entropy = -torch.xlogy(p, p).sum(1)
    return mi.clamp_min(0).to(codes), entropy.to(codes)


def mutual_information_gap(
    mi: Float[Tensor, "latents factors"], factor_entropy: Float[Tensor, " factors"]
) -> Float[Tensor, ""]:
    """MIG: by how much the best latent of each factor beats the second best, relative to the factor's entropy.

    MIG = mean over factors of (I_(1) − I_(2)) / H. It is 1 where each factor is known exactly from one latent and no
    other latent knows of it, 0 where two latents know equally much.

    Args:
        mi: (latents, factors), at least 2 latents.
        factor_entropy: (factors,), above 0.
    Raises:
        ValueError: one latent only, shapes that differ, or a factor that never varies.
    References:
        R. Chen et al. (2018), arXiv:1802.04942, eq. 6.
    """
    checks.finite(checks.tensor(mi, "mi", ndim=2), "mi")
    checks.finite(checks.tensor(factor_entropy, "factor_entropy", ndim=1), "factor_entropy")
    if len(mi) < 2:
        raise ValueError(f"mi must have a row for each of at least 2 latents, got {len(mi)}: there is no second best")
    if not mi.shape[1] or mi.shape[1] != len(factor_entropy):
        raise ValueError(f"factor_entropy must have {mi.shape[1]} entries, as many as mi has columns, at least 1")
    if bool((factor_entropy <= 0).any()):
        constant = int((factor_entropy <= 0).nonzero()[0, 0])
        raise ValueError(f"factor_entropy must be above 0, factor {constant} has {float(factor_entropy[constant]):g}: "
                         f"it never varies; leave it out")  # fmt: skip
    first, second = mi.topk(2, dim=0).values
    return ((first - second) / factor_entropy).mean()


def factor_vae_score(
    represent: Callable[[Tensor], Tensor],
    draw_factors: Callable[[int, torch.Generator | None], Tensor],
    *,
    votes: int = 800,
    batch_size: int = 64,
    min_std: Number = 0.05,
    generator: torch.Generator | None = None,
) -> float:
    """FactorVAE score: how well the latent that varies least tells which factor was held fixed.

    Each vote fixes one factor at random and draws the others batch_size times. Of the batch's codes, each divided by
    its standard deviation over all data, the latent of least variance votes for the factor. A majority table is made
    from half of the votes and judged on the other half.

    Args:
        represent: factors (n, f) -> codes (n, d): make the examples and encode them.
        draw_factors: (n, generator) -> factors (n, f), independent of each other.
        votes: in all, half of them to judge.
        batch_size: examples per vote.
        min_std: latents whose standard deviation is less than this share of the largest are taken as collapsed and
            do not vote.
        generator: source of all randomness.
    Returns:
        accuracy between 0 and 1; 1 / f is chance, which is what codes score that do not vary at all.
    Raises:
        ValueError: fewer than 2 factors, too few votes, or codes of the wrong shape or with NaN.
    References:
        H. Kim, A. Mnih (2018), arXiv:1802.05983, section 4 and figure 2.
    """
    votes, batch_size = checks.count(votes, "votes", at_least=2), checks.count(batch_size, "batch_size", at_least=2)
    min_std = checks.number(min_std, "min_std", at_least=0)
    factors = draw_factors(max(1000, batch_size), generator)
    num_factors = factors.shape[1]
    if num_factors < 2:
        raise ValueError(f"draw_factors must give at least 2 factors, got {num_factors}: the vote would be certain")
    scale = _codes(represent, factors).std(0)
    active = (scale > min_std * scale.max()).nonzero()[:, 0]
    if not len(active):
        return 1 / num_factors
    device = "cpu" if generator is None else generator.device
    fixed = torch.randint(num_factors, (votes,), generator=generator, device=device).cpu()
    winners = []
    for j in fixed.tolist():
        factors = draw_factors(batch_size, generator).clone()
        factors[:, j] = factors[0, j]
        variance = (_codes(represent, factors)[:, active] / scale[active]).var(0)
        winners.append(int(variance.argmin()))
    table = torch.zeros(len(active), num_factors)
    half = votes // 2
    for winner, j in zip(winners[:half], fixed[:half].tolist(), strict=True):
        table[winner, j] += 1
    hits = [int(table[winner].argmax()) == j for winner, j in zip(winners[half:], fixed[half:].tolist(), strict=True)]
    return sum(hits) / len(hits)


def active_units(mu: Float[Tensor, "n latents"], *, threshold: Number = 0.01) -> int:
    """How many latents are in use: those whose posterior mean has a variance over the data above `threshold`.

    References:
        Y. Burda, R. Grosse, R. Salakhutdinov (2016), arXiv:1509.00519, section 5.2.
    """
    checks.data(mu, "mu", min_samples=2)
    return int((mu.var(0) > checks.number(threshold, "threshold", at_least=0)).sum())


def _binned(x: Tensor, bins: int) -> Tensor:
    """Each column's entries (n, c) as numbers of bins of equal count, 0 … bins − 1."""
    ordered = x.detach().sort(dim=0).values
    cuts = ordered[(torch.arange(1, bins, device=x.device) * len(x)) // bins]  # (bins - 1, c)
    return torch.searchsorted(cuts.mT.contiguous(), x.detach().mT.contiguous(), right=True).mT


def _codes(represent: Callable[[Tensor], Tensor], factors: Tensor) -> Tensor:
    with torch.no_grad():
        codes = represent(factors)
    checks.data(codes, "represent(factors)")
    if len(codes) != len(factors):
        raise ValueError(f"represent must return one code per row of factors, got {len(codes)} for {len(factors)}")
    return codes.double().cpu()
