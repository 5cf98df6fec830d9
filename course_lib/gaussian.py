"""Gaussians and their mixtures: log densities that stay right in the tails, and samplers.

Everything here is a plain function of tensors, differentiable in every floating-point argument.
"""

from __future__ import annotations

import math

import torch

from course_lib import checks
from course_lib._typing import Float, Tensor


def log_prob(x: Float[Tensor, "n d"], mean: Float[Tensor, " d"], cov: Float[Tensor, "d d"]) -> Float[Tensor, " n"]:
    """Log density of one Gaussian, in nats.

    log N(x; mu, S) = -1/2 (x - mu)' S^-1 (x - mu) - 1/2 log det S - d/2 log 2 pi, through the Cholesky factor of S.

    Args:
        x: points (n, d).
        mean: mu (d,).
        cov: S (d, d), symmetric positive definite.
    Returns:
        (n,), in the dtype and on the device of x.
    Raises:
        ValueError: wrong shapes, NaN, or a covariance that is not positive definite.
    References:
        Bishop, Pattern Recognition and Machine Learning (2006), eq. 2.43.
    """
    checks.tensor(mean, "mean", ndim=1)
    checks.tensor(cov, "cov", ndim=2)
    return _whitened_log_prob(x, mean[None], cov[None], "mean", "cov")[:, 0]


def component_log_prob(
    x: Float[Tensor, "n d"], weights: Float[Tensor, " k"], means: Float[Tensor, "k d"], covs: Float[Tensor, "k d d"]
) -> Float[Tensor, "n k"]:
    """Log of each component's share of a mixture: log w_k + log N(x; mu_k, S_k), in nats.

    Args:
        x: points (n, d).
        weights: (k,), non-negative, sum 1; a weight of 0 gives -inf.
        means: (k, d).
        covs: (k, d, d), each symmetric positive definite.
    Returns:
        (n, k). Its logsumexp over k is the mixture's log density; its softmax over k are the responsibilities.
    Raises:
        ValueError: wrong shapes, NaN, weights that are no distribution, or a singular covariance (which one is said).
    References:
        Bishop (2006), eq. 9.7 and 9.13.
    """
    check_weights(weights)
    checks.tensor(means, "means", ndim=2)
    checks.tensor(covs, "covs", ndim=3)
    if len(means) != len(weights):
        raise ValueError(f"means must have one row per weight, got {len(means)} rows for {len(weights)} weights")
    return weights.to(x).log() + _whitened_log_prob(x, means, covs, "means", "covs")


def mixture_log_prob(
    x: Float[Tensor, "n d"], weights: Float[Tensor, " k"], means: Float[Tensor, "k d"], covs: Float[Tensor, "k d d"]
) -> Float[Tensor, " n"]:
    """Log density of a mixture of Gaussians: log sum_k w_k N(x; mu_k, S_k), in nats; arguments as `component_log_prob`.

    Finite wherever the squared Mahalanobis distance to some component is.
    """
    return component_log_prob(x, weights, means, covs).logsumexp(dim=1)


def sample(
    mean: Float[Tensor, " d"], cov: Float[Tensor, "d d"], n: int, generator: torch.Generator | None = None
) -> Float[Tensor, "n d"]:
    """Draw n points from one Gaussian: mu + L eps, with L L' = S.

    Args:
        mean: (d,).
        cov: (d, d).
        n: how many points.
        generator: source of all randomness.
    Returns:
        (n, d), in the dtype and on the device of `mean`.
    """
    checks.tensor(mean, "mean", ndim=1)
    checks.tensor(cov, "cov", ndim=2)
    factor = _factor(mean[None], cov[None], "mean", "cov")[0]
    return mean + normal(checks.count(n, "n"), mean, generator) @ factor.mT


def sample_mixture(
    weights: Float[Tensor, " k"],
    means: Float[Tensor, "k d"],
    covs: Float[Tensor, "k d d"],
    n: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n d"]:
    """Draw n points from a mixture of Gaussians: a component first, then a point of it; see `component_log_prob`."""
    check_weights(weights)
    checks.tensor(means, "means", ndim=2)
    checks.tensor(covs, "covs", ndim=3)
    factors = _factor(means, covs, "means", "covs")
    n = checks.count(n, "n")
    device = generator.device if generator is not None else means.device
    which = torch.multinomial(weights.detach().to(device), n, replacement=True, generator=generator).to(means.device)
    eps = normal(n, means, generator)
    return means[which] + (factors[which] @ eps[:, :, None])[:, :, 0]


def normal(n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise (n, d), dtype and device as `like` (..., d), drawn on the generator's device."""
    device = generator.device if generator is not None else like.device
    noise = torch.randn(n, like.shape[-1], generator=generator, dtype=like.dtype, device=device)
    return noise.to(like.device)


def check_weights(weights: Tensor, name: str = "weights") -> Tensor:
    """Raise a ValueError unless `weights` (k,) are non-negative and sum to one."""
    checks.finite(checks.tensor(weights, name, ndim=1), name)
    total = float(weights.detach().sum())
    if bool((weights < 0).any()) or abs(total - 1) > 1e-3:
        smallest = float(weights.detach().min()) if len(weights) else 0.0
        raise ValueError(f"{name} must be non-negative and sum to 1, got sum {total:.6g} and smallest {smallest:.6g}")
    return weights


def _factor(means: Tensor, covs: Tensor, means_name: str, covs_name: str) -> Tensor:
    """Cholesky factors (k, d, d), or a ValueError that says which covariance has none and what to do."""
    k, d = means.shape
    checks.finite(means, means_name)
    if covs.shape != (k, d, d):
        wanted = (d, d) if covs_name == "cov" else (k, d, d)
        got = tuple(covs.shape[1:] if covs_name == "cov" else covs.shape)
        raise ValueError(f"{covs_name} must have shape {wanted} to go with {means_name}, got {got}")
    checks.finite(covs, covs_name)
    fixed = covs.detach()
    variances = fixed.diagonal(dim1=-2, dim2=-1)
    if bool(((fixed - fixed.mT).abs().amax((1, 2)) > 1e-3 * variances.abs().amax(1)).any()):
        raise ValueError(f"{covs_name} must be symmetric; use ({covs_name} + {covs_name}.mT) / 2")
    factors, failed = torch.linalg.cholesky_ex(covs)
    # A pivot is the variance of a feature given those before it: at rounding level, relative to the variance
    # itself, the matrix is singular even where the factorisation happened to get through.
    pivots = factors.detach().diagonal(dim1=-2, dim2=-1).square()
    singular = (failed > 0) | (pivots <= 4 * d * torch.finfo(covs.dtype).eps * variances).any(1)
    if bool(singular.any()):
        which = int(singular.nonzero()[0, 0])
        where = covs_name if covs_name == "cov" else f"{covs_name}[{which}]"
        smallest = float(torch.linalg.eigvalsh(fixed[which].double().cpu())[0])
        raise ValueError(
            f"{where} is not positive definite (smallest eigenvalue {smallest:.3g}); drop constant or duplicate "
            f"features, use more samples than dimensions, or add a small multiple of the identity"
        )
    return factors


def _whitened_log_prob(x: Tensor, means: Tensor, covs: Tensor, means_name: str, covs_name: str) -> Tensor:
    """Log densities (n, k): points run along the last axis inside, so that every reduction is over a leading one."""
    checks.data(x, "x", dim=means.shape[1])
    factors = _factor(means, covs, means_name, covs_name).to(x)
    differences = x.mT - means.to(x)[:, :, None]  # (k, d, n); subtracting first keeps the digits far from the origin
    mahalanobis = torch.linalg.solve_triangular(factors, differences, upper=False).square().sum(1)  # (k, n)
    half_log_det = factors.diagonal(dim1=-2, dim2=-1).log().sum(1, keepdim=True)
    return (-0.5 * mahalanobis - half_log_det - 0.5 * x.shape[1] * math.log(2 * math.pi)).mT
