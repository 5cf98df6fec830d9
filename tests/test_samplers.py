"""Hamiltonian Monte Carlo and annealed importance sampling against densities whose normaliser is known."""

import math

import pytest
import torch

from course_lib import rng, samplers
from course_lib.models import linear_gaussian, vae
from tests.linear_vae import SIGMA, data, linear_vae, parameters

F64 = torch.float64


def skewed(z: torch.Tensor) -> torch.Tensor:
    """A log density in two dimensions, neither Gaussian nor symmetric: z0 = log of a Gamma(3), z1 | z0 normal."""
    return 3 * z[:, 0] - z[:, 0].exp() - 0.5 * (z[:, 1] - z[:, 0]).square()


def exact_skewed(n: int) -> torch.Tensor:
    rate = torch.rand(n, 3, generator=rng(0), dtype=F64)
    first = (-rate.log()).sum(1).log()
    return torch.stack([first, first + torch.randn(n, generator=rng(1), dtype=F64)], 1)


@pytest.mark.parametrize("leapfrog, step", [(1, 0.9), (5, 0.5)])
def test_hmc_leaves_the_density_as_it_is(leapfrog, step):
    """Catches a missing or inverted acceptance, and a gradient of the wrong sign or size.

    Exact samples must stay so after 20 steps, here with steps long enough that one in ten or more is refused. The
    bounds are 5 standard errors of the moments of 20,000 points; one seed in 10^5 fails.
    """
    n = 20_000
    z = exact_skewed(n)
    before, rates, generator = z.clone(), [], rng(2)
    for _ in range(20):
        z, moved = samplers.hmc_step(skewed, z, step, leapfrog=leapfrog, generator=generator)
        rates.append(float(moved.double().mean()))
    assert 0.2 < sum(rates) / 20 < 0.97
    for statistic in (lambda z: z, lambda z: z.square(), lambda z: z[:, :1] * z[:, 1:], lambda z: z.exp()):
        a, b = statistic(before), statistic(z)
        error = ((a.var(0) + b.var(0)) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 5 * error).all()


def test_hmc_reverses():
    """Catches half steps in the wrong place: a leapfrog with tiny steps keeps the energy, so every chain moves."""
    z = exact_skewed(500)
    _, moved = samplers.hmc_step(skewed, z, 0.02, leapfrog=20, generator=rng(0))
    assert float(moved.double().mean()) > 0.99


def test_hmc_with_an_absurd_step_stays_where_it_is():
    """Catches NaN states: a step that overflows is refused."""
    z = exact_skewed(50)
    new, moved = samplers.hmc_step(skewed, z, 1e200, generator=rng(0))
    assert torch.equal(new, z) and not moved.any()


@pytest.mark.parametrize("temperatures", [2, 5, 60])
def test_annealed_weights_are_unbiased(temperatures):
    """Catches weights taken after the move or at the wrong temperature: E w is the ratio of normalisers at any length.

    From N(0, 4 I) in two dimensions to skewed, whose integral is Γ(3) √2π = 2 √2π; the bound is 5 standard errors.
    """
    n = 20_000

    def log_start(z):
        return -0.5 * z.square().sum(1) / 4 - math.log(2 * math.pi * 4)

    z = 2 * torch.randn(n, 2, generator=rng(0), dtype=F64)
    betas = torch.linspace(0, 1, temperatures)
    run = samplers.annealed_importance_sampling(log_start, skewed, z, betas, steps=0.4, leapfrog=2, generator=rng(1))
    w = run.log_weights.exp() / (2 * math.sqrt(2 * math.pi))
    assert abs(float(w.mean()) - 1) < 5 * float(w.std()) / math.sqrt(n)
    assert float(w.std()) < {2: 2.5, 5: 2.0, 60: 1.0}[temperatures]
    assert len(run.acceptance) == temperatures - 2


@pytest.mark.parametrize("start", ["prior", "encoder"])
def test_ais_reaches_the_exact_likelihood(start):
    """Catches a lost normaliser of the start, the target or the mean over chains: within 0.1 nats of the truth.

    The weights spread by 0.3, so an estimate from 128 chains is known to 0.025: one seed in 10^4 fails.
    """
    x, effort = data(5), {"num_chains": 128, "num_steps": 300, "leapfrog": 3}
    estimate = samplers.ais_log_likelihood(linear_vae(exact=False), x, start=start, generator=rng(0), **effort)
    error = estimate - linear_gaussian.log_marginal(x, *parameters(), SIGMA)
    assert float(error.abs().max()) < 0.1
    assert float(error.mean()) < 0.04  # a lower bound in expectation


def test_ais_survives_a_bad_encoder():
    """Catches AIS that leans on the encoder: with one far off, importance sampling misses by nats and AIS does not."""
    x, model = data(5), linear_vae(exact=False)
    with torch.no_grad():
        model.encoder[0].bias[:2] += 4
        model.encoder[0].bias[2:] -= 3
    truth = linear_gaussian.log_marginal(x, *parameters(), SIGMA)
    by_ais = samplers.ais_log_likelihood(model, x, num_chains=128, num_steps=300, leapfrog=3, generator=rng(0))
    assert float((by_ais - truth).abs().max()) < 0.1
    assert float((model.log_likelihood(x, 500, generator=rng(0)) - truth).mean()) < -1


def test_ais_of_a_conditional_model():
    """Catches labels that do not go with their chains."""
    labels = torch.tensor([0, 2, 1, 2])
    shift = torch.zeros(4, 5, dtype=F64)
    shift[:, 0], shift[:, -1] = labels, -labels
    x = data(4)
    model = linear_vae(exact=True, num_classes=3)
    estimate = samplers.ais_log_likelihood(
        model, x + shift, labels=labels, num_chains=128, num_steps=300, leapfrog=3, generator=rng(0)
    )
    assert float((estimate - linear_gaussian.log_marginal(x, *parameters(), SIGMA)).abs().max()) < 0.1


def test_ais_repeats_with_the_seed():
    """Catches draws from the global state."""
    x, model = data(2), linear_vae(exact=False)
    one, two, other = (
        samplers.ais_log_likelihood(model, x, num_chains=2, num_steps=5, generator=rng(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_ais_with_hardly_any_steps(num_steps):
    """Catches a list of step sizes that is one too short."""
    value = samplers.ais_log_likelihood(linear_vae(exact=True), data(3), num_steps=num_steps, generator=rng(0))
    assert value.shape == (3,) and torch.isfinite(value).all()


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda m, x: samplers.ais_log_likelihood(m, x, num_chains=0), "num_chains must be at least 1"),
        (lambda m, x: samplers.ais_log_likelihood(m, x, num_steps=0), "num_steps must be at least 1"),
        (lambda m, x: samplers.ais_log_likelihood(m, x, leapfrog=0), "leapfrog must be at least 1"),
        (lambda m, x: samplers.ais_log_likelihood(m, x, step=0), "step must be greater than 0"),
        (lambda m, x: samplers.ais_log_likelihood(m, x, start="priro"), "did you mean 'prior'"),
        (lambda m, x: samplers.ais_log_likelihood(m, x[:, :3]), r"x must have shape \(b, 5\)"),
        (
            lambda m, x: samplers.annealed_importance_sampling(skewed, skewed, x[:, :2], torch.ones(3), steps=0.1),
            "betas must rise from 0 to 1",
        ),
    ],
)
def test_bad_input(call, says, no_shape_check):
    """Catches an argument that is accepted in silence, or refused without its name and the remedy."""
    with pytest.raises(ValueError, match=says):
        call(linear_vae(exact=True), data(3))


def test_ais_on_images():
    """Catches AIS that cannot take images: it agrees with 5,000 importance samples on a small Bernoulli decoder."""
    model = vae.VAE((1, 8, 8), 2, hidden=(16,), generator=rng(0))
    x = (torch.rand(4, 1, 8, 8, generator=rng(1)) < 0.5).float()
    by_ais = samplers.ais_log_likelihood(model, x, num_chains=32, num_steps=100, leapfrog=4, generator=rng(2))
    torch.testing.assert_close(by_ais, model.log_likelihood(x, 5000, generator=rng(3)), rtol=0, atol=0.1)
