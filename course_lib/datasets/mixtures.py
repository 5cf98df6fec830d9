"""Exact Gaussian mixtures: any mixture in any dimension, and two that show mode collapse."""

from __future__ import annotations

import math

import torch

from course_lib import checks, gaussian
from course_lib._typing import Number, Tensor
from course_lib.datasets.base import Density


class GaussianMixture(Density):
    """A mixture of k Gaussians in d dimensions: p(x) = sum_k w_k N(x; mu_k, S_k).

    Args:
        weights: (k,), non-negative, sum 1.
        means: (k, d).
        covs: (k, d, d), symmetric positive definite.
    """

    name = "gaussian_mixture"

    def __init__(self, weights, means, covs):
        self.weights = torch.as_tensor(weights, dtype=torch.float64)
        self.means = torch.as_tensor(means, dtype=torch.float64)
        self.covs = torch.as_tensor(covs, dtype=torch.float64)
        checks.tensor(self.means, "means", ndim=2)
        self.dim = self.means.shape[1]
        gaussian.component_log_prob(
            self.means[:1], self.weights, self.means, self.covs
        )  # refuses a bad mixture at once
        spread = 5 * self.covs.diagonal(dim1=1, dim2=2).sqrt()
        lower, upper = (self.means - spread).amin(0).tolist(), (self.means + spread).amax(0).tolist()
        self.bounds = tuple(zip(lower, upper, strict=True))

    def _log_prob(self, x: Tensor) -> Tensor:
        return gaussian.mixture_log_prob(x, self.weights.to(x), self.means.to(x), self.covs)

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        x = gaussian.sample_mixture(self.weights, self.means, self.covs, n, generator)
        return x.to(torch.get_default_dtype()).to(generator.device if generator is not None else "cpu")

    def _compute_entropy(self) -> float:
        """-sum_k w_k E_k[log p]: in closed form, by quadrature up to 3 dimensions, above that from 2^18 seeded draws.

        The trapezoid rule on +-9 standard deviations of each component is exact to rounding as long as its spacing
        (0.009, 0.15 and 0.6 of them in 1, 2 and 3 dimensions) is finer than the components it meets there.
        """
        if len(self.weights) == 1:
            return 0.5 * self.dim * math.log(2 * math.pi * math.e) + 0.5 * float(torch.logdet(self.covs[0]))
        if self.dim > 3:
            generator = torch.Generator().manual_seed(0)
            draws = gaussian.sample_mixture(self.weights, self.means, self.covs, 2**18, generator)
            return -float(self.log_prob(draws).mean())
        nodes = torch.linspace(-9, 9, (2001, 121, 31)[self.dim - 1], dtype=torch.float64)
        eps = torch.cartesian_prod(*[nodes] * self.dim).reshape(-1, self.dim)
        share = (-0.5 * eps.square().sum(1)).softmax(0)
        factors = torch.linalg.cholesky(self.covs)
        means = [
            -(share * self.log_prob(mu + eps @ factor.mT)).sum() for mu, factor in zip(self.means, factors, strict=True)
        ]
        return float(self.weights @ torch.stack(means))


class RingOfGaussians(GaussianMixture):
    """`num_modes` equal Gaussians of standard deviation `std`, evenly spaced on a circle of the given radius.

    References:
        Metz et al. (2017), arXiv:1611.02163, the toy data of mode collapse.
    """

    name = "ring"

    def __init__(self, num_modes: int = 8, std: Number = 0.02, radius: Number = 2.0):
        num_modes = checks.count(num_modes, "num_modes")
        radius = checks.number(radius, "radius", above=0)
        angles = torch.arange(num_modes, dtype=torch.float64) * (2 * math.pi / num_modes)
        super().__init__(*_equal_balls(radius * torch.stack([angles.cos(), angles.sin()], 1), std))


class GridOfGaussians(GaussianMixture):
    """`side` x `side` equal Gaussians of standard deviation `std`, `spacing` apart, centred on the origin.

    References:
        Lin et al. (2018), arXiv:1712.04086, the 5 x 5 grid.
    """

    name = "grid"

    def __init__(self, side: int = 5, std: Number = 0.05, spacing: Number = 2.0):
        side = checks.count(side, "side")
        spacing = checks.number(spacing, "spacing", above=0)
        axis = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
        super().__init__(*_equal_balls(torch.cartesian_prod(axis, axis), std))


def _equal_balls(means: Tensor, std: Number) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and covariances of equally likely round Gaussians at the given means (k, d)."""
    k, d = means.shape
    variance = checks.number(std, "std", above=0) ** 2
    return torch.full((k,), 1 / k, dtype=means.dtype), means, variance * torch.eye(d, dtype=means.dtype).expand(k, d, d)
