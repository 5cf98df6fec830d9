"""Gaussians and mixtures against torch.distributions and scipy, in the tails, under autograd, and with bad input."""

import math

import pytest
import torch
from scipy import stats

from course_lib import gaussian, rng


def random_mixture(k=3, d=2, seed=0):
    g = rng(seed)
    factors = torch.randn(k, d, d, generator=g, dtype=torch.float64)
    covs = factors @ factors.mT + 0.1 * torch.eye(d, dtype=torch.float64)
    weights = torch.rand(k, generator=g, dtype=torch.float64) + 0.1
    return weights / weights.sum(), 3 * torch.randn(k, d, generator=g, dtype=torch.float64), covs


@pytest.mark.parametrize("d", [1, 2, 7])
def test_log_prob_equals_scipy(d):
    """Catches a wrong sign, a missing half, log det or 2 pi, and a triangular solve on the wrong side."""
    _, means, covs = random_mixture(1, d)
    x = 5 * torch.randn(50, d, generator=rng(1), dtype=torch.float64)
    expected = stats.multivariate_normal(means[0].numpy(), covs[0].numpy()).logpdf(x.numpy()).reshape(-1)
    torch.testing.assert_close(
        gaussian.log_prob(x, means[0], covs[0]), torch.as_tensor(expected), rtol=1e-10, atol=1e-10
    )


def test_mixture_equals_torch_distributions():
    """Catches weights left out, or applied outside the log, or summed over the wrong axis."""
    weights, means, covs = random_mixture()
    x = 4 * torch.randn(40, 2, generator=rng(1), dtype=torch.float64)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(weights), torch.distributions.MultivariateNormal(means, covs)
    )
    torch.testing.assert_close(gaussian.mixture_log_prob(x, weights, means, covs), mixture.log_prob(x))
    torch.testing.assert_close(gaussian.component_log_prob(x, weights, means, covs).logsumexp(1), mixture.log_prob(x))


def test_far_tail_is_finite_and_right():
    """Catches an exponential taken before the logarithm: at 1e6 standard deviations every density underflows."""
    weights, means, covs = random_mixture()
    x = torch.full((1, 2), 1e6, dtype=torch.float64)
    each = torch.stack([gaussian.log_prob(x, m, c)[0] for m, c in zip(means, covs, strict=True)])
    expected = (weights.log() + each).max()  # in the far tail one component is all
    torch.testing.assert_close(gaussian.mixture_log_prob(x, weights, means, covs)[0], expected)


def test_far_from_the_origin_keeps_its_digits():
    """Catches whitening x and mu apart and subtracting afterwards: at 1e8 that leaves no digit."""
    mean, cov = torch.full((2,), 1e8, dtype=torch.float64), torch.eye(2, dtype=torch.float64) * 0.3
    x = mean + torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    expected = gaussian.log_prob(x - mean, torch.zeros(2, dtype=torch.float64), cov)
    torch.testing.assert_close(gaussian.log_prob(x, mean, cov), expected, rtol=1e-12, atol=0)


def test_gradients():
    """Catches a detached argument: x, weights, means and covariances must all receive their gradient."""
    weights, means, covs = (t.requires_grad_() for t in random_mixture())
    x = torch.randn(5, 2, generator=rng(2), dtype=torch.float64).requires_grad_()

    def value(x, w, m, c):
        return gaussian.mixture_log_prob(x, w.softmax(0), m, (c + c.mT) / 2)

    assert torch.autograd.gradcheck(value, (x, weights, means, covs))


def test_zero_weight_drops_the_component():
    """Catches a NaN from log 0: a component of weight 0 is as if it were not there."""
    _, means, covs = random_mixture(2)
    x = torch.randn(5, 2, generator=rng(3), dtype=torch.float64)
    off = torch.tensor([1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(gaussian.mixture_log_prob(x, off, means, covs), gaussian.log_prob(x, means[0], covs[0]))


def test_samples_have_the_moments():
    """Catches a transposed Cholesky factor and a wrong mean; each bound is 5 standard errors: fails 1 seed in 10^5."""
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    cov = torch.tensor([[2.0, 0.9, 0.0], [0.9, 1.0, -0.3], [0.0, -0.3, 0.5]], dtype=torch.float64)
    n = 40_000
    x = gaussian.sample(mean, cov, n, rng(0))
    assert ((x.mean(0) - mean).abs() < 5 * (cov.diagonal() / n).sqrt()).all()
    error = (cov.diagonal()[:, None] * cov.diagonal() + cov.square()) / n  # variance of an empirical covariance
    assert ((torch.cov(x.mT) - cov).abs() < 5 * error.sqrt()).all()


def test_mixture_samples_follow_the_weights():
    """Catches equal chances for unequal weights; the bound is 5 standard errors: fails 1 seed in 10^6."""
    weights = torch.tensor([0.7, 0.2, 0.1])
    means = torch.tensor([[0.0], [10.0], [20.0]])
    x = gaussian.sample_mixture(weights, means, torch.full((3, 1, 1), 0.01), 20_000, rng(0))
    share = torch.stack([((x - m).abs() < 5).float().mean() for m in means])
    assert ((share - weights).abs() < 5 * (weights * (1 - weights) / 20_000).sqrt()).all()


@pytest.mark.parametrize("draw", ["sample", "sample_mixture"])
def test_seed_repeats(draw):
    """Catches randomness from the global state: the same seed must repeat exactly and another must differ."""
    weights, means, covs = random_mixture()
    arguments = (means[0], covs[0]) if draw == "sample" else (weights, means, covs)
    first, again, other = (getattr(gaussian, draw)(*arguments, 10, rng(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "covs, says",
    [
        (
            torch.stack([torch.eye(2), torch.ones(2, 2)]),
            r"covs\[1\] is not positive definite.*multiple of the identity",
        ),
        (torch.stack([-torch.eye(2), torch.eye(2)]), r"covs\[0\] is not positive definite"),
        (torch.eye(2)[None], r"covs must have shape \(2, 2, 2\)"),
        (torch.tensor([[1.0, 0.5], [0.0, 1.0]]).repeat(2, 1, 1), "covs must be symmetric"),
        (torch.full((2, 2, 2), math.nan), "covs has 8 NaN"),
    ],
)
def test_bad_covariances(covs, says, no_shape_check):
    """Catches a singular covariance that passes, and an error that does not say which one it is."""
    with pytest.raises(ValueError, match=says):
        gaussian.mixture_log_prob(torch.zeros(3, 2), torch.tensor([0.5, 0.5]), torch.zeros(2, 2), covs)


def test_singular_up_to_rounding():
    """Catches a covariance of rank 1 whose factorisation happens to succeed, leaving a variance of rounding size."""
    v = torch.tensor([0.1, 0.3, 0.7], dtype=torch.float64)
    cov = v[:, None] * v + 1e-17 * torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="cov is not positive definite"):
        gaussian.log_prob(torch.zeros(1, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), cov)


def test_small_scales_are_not_singular():
    """Catches a test of singularity that depends on units: variances of 1e-12 beside 1 are fine."""
    cov = torch.diag(torch.tensor([1.0, 1e-12]))
    assert torch.isfinite(gaussian.log_prob(torch.zeros(1, 2), torch.zeros(2), cov)).all()


@pytest.mark.parametrize(
    "weights, says",
    [([0.5, 0.6], "weights must be non-negative and sum to 1, got sum 1.1"), ([1.5, -0.5], "smallest -0.5")],
)
def test_bad_weights(weights, says):
    """Catches weights that are no distribution, which would scale the density silently."""
    with pytest.raises(ValueError, match=says):
        gaussian.mixture_log_prob(
            torch.zeros(1, 2), torch.tensor(weights), torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2)
        )


@pytest.mark.parametrize(
    "x, says",
    [
        (torch.zeros(3, 4), r"x must have shape \(n, 2\), got \(3, 4\)"),
        (torch.zeros(2), "x must have 2 dimension"),
        (torch.zeros(0, 2), "x has 0 samples"),
        (torch.tensor([[math.nan, 0.0]]), "x has 1 NaN"),
        (torch.zeros(2, 2, dtype=torch.long), "floating-point"),
    ],
)
def test_bad_points(x, says, no_shape_check):
    """Catches points that would broadcast, or spread a NaN, instead of being refused by name."""
    with pytest.raises(ValueError, match=says):
        gaussian.log_prob(x, torch.zeros(2), torch.eye(2))
