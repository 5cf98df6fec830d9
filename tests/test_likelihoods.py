"""The likelihoods of pixels against torch.distributions, scipy, and the sum over all levels."""

import math

import pytest
import torch
from scipy import stats

from course_lib import rng
from course_lib.models import likelihoods
from course_lib.models.likelihoods import Bernoulli, DiscretisedLogistic, Gaussian

F64 = torch.float64


def test_bernoulli_against_torch():
    """Catches p(x) for 1 − p(x), and a mean for the sum; grey pixels count as expected bits."""
    logits = 3 * torch.randn(4, 6, generator=rng(0), dtype=F64)
    x = torch.rand(4, 6, generator=rng(1), dtype=F64)
    peer = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    torch.testing.assert_close(Bernoulli().log_prob(logits, x), peer)
    torch.testing.assert_close(Bernoulli().log_prob(logits.expand(3, 4, 6), x), peer.expand(3, 4))


def test_bernoulli_with_extreme_logits():
    """Catches log(0): certainty that is right costs nothing, certainty that is wrong costs its logit."""
    logits, x = torch.tensor([[1e4, -1e4], [1e4, -1e4]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(Bernoulli().log_prob(logits, x), torch.tensor([0.0, -2e4]))


def test_gaussian_against_torch():
    """Catches a variance for a deviation and a lost log 2 pi, fixed and learnt."""
    mean, x = torch.randn(2, 4, 6, generator=rng(0), dtype=F64)
    for likelihood, scale in ((Gaussian(0.4), 0.4), (Gaussian(), 0.3)):
        peer = torch.distributions.Normal(mean, scale).log_prob(x).sum(1)
        torch.testing.assert_close(likelihood.double().log_prob(mean, x), peer, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("mean", [-0.5, 0.0, 0.37, 1.0, 30.0])
@pytest.mark.parametrize("scale", [1e-3, 0.1, 5.0])
def test_levels_sum_to_one(levels, mean, scale):
    """Catches bins of the wrong width and tails that are cut off: the masses of all levels sum to one."""
    grid = torch.linspace(0, 1, levels, dtype=F64)[:, None]
    log_mass = DiscretisedLogistic(levels, scale).double().log_prob(torch.full_like(grid, mean), grid)
    assert torch.isfinite(log_mass).all()
    assert float(log_mass.exp().sum()) == pytest.approx(1, abs=1e-9)


def test_discretised_against_scipy():
    """Catches a logistic of another scale: the mass of a bin is a difference of two values of scipy's cdf."""
    mean, scale = 0.37, 0.08
    grid = torch.linspace(0, 1, 17, dtype=F64)[:, None]
    log_mass = DiscretisedLogistic(17, scale).double().log_prob(torch.full_like(grid, mean), grid)
    cdf = stats.logistic(loc=mean, scale=math.exp(float(torch.tensor(math.log(scale))))).cdf
    for i in (3, 6, 12):
        assert math.exp(log_mass[i]) == pytest.approx(cdf((i + 0.5) / 16) - cdf((i - 0.5) / 16), rel=1e-6)
    assert math.exp(log_mass[0]) == pytest.approx(cdf(0.5 / 16), rel=1e-6)


def test_discretised_far_in_the_tail_in_single_precision():
    """Catches log(cdf − cdf), which is log(0) a few scales away: there the log mass falls by 1 per scale."""
    likelihood = DiscretisedLogistic(256, 0.001)
    x = torch.tensor([[128 / 255], [64 / 255]])
    values = likelihood.log_prob(torch.zeros(2, 1), x)
    assert torch.isfinite(values).all()
    assert float(values[1] - values[0]) == pytest.approx(64 / 255 / 0.001, rel=1e-3)


@pytest.mark.parametrize("likelihood", [DiscretisedLogistic(5, 0.2), Bernoulli()])
def test_draws_follow_the_masses(likelihood):
    """Catches a sampler of another distribution: 5 standard errors of the frequencies of 20,000 draws."""
    n, parameter = 20_000, 0.4
    levels = 5 if isinstance(likelihood, DiscretisedLogistic) else 2
    draws = likelihood.draw(torch.full((n, 1), parameter), rng(0))
    for level in torch.linspace(0, 1, levels):
        p = float(likelihood.log_prob(torch.tensor([[parameter]]), level.reshape(1, 1)).exp())
        share = float((draws == level).float().mean())
        assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_learnt_scale_has_a_floor_and_comes_back():
    """Catches a scale that collapses to 0, where the likelihood is infinite: it stops, and the gradient lifts it."""
    likelihood = Gaussian()
    with torch.no_grad():
        likelihood.log_scale.fill_(-50.0)
    assert float(likelihood.scale.detach()) == pytest.approx(likelihoods.SMALLEST_SCALE)
    (gradient,) = torch.autograd.grad(
        -likelihood.log_prob(torch.zeros(1, 1), torch.ones(1, 1)).sum(), likelihood.log_scale
    )
    assert gradient < 0


def test_limited_keeps_values_within_and_gradients_alive():
    """Catches a plain clamp, which has no gradient beyond its limits."""
    value = torch.tensor([-30.0, 3.0, 30.0], requires_grad=True)
    out = likelihoods.limited(value, -20.0, 20.0)
    assert out.tolist() == [-20, 3, 20]
    assert torch.autograd.grad(out.exp().sum(), value)[0].tolist() == pytest.approx(out.exp().tolist())
