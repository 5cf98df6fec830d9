"""What every model must do, whatever its family: checked on the tiny instances of tests/registry.py."""

import importlib
import inspect
import pkgutil

import pytest
import torch

import course_lib.models
from course_lib import rng
from tests.registry import TINY

WITH_LOG_PROB = ["Gaussian", "GMM", "Histogram", "KDE"]
FLAT = [name for name, tiny in TINY.items() if tiny.continuous and tiny.event_shape in ((1,), (2,))]


def model_classes() -> set[str]:
    """Public classes with a `sample` that are defined in some module of course_lib.models."""
    found = set()
    for info in pkgutil.walk_packages(course_lib.models.__path__, "course_lib.models."):
        module = importlib.import_module(info.name)
        for name, value in inspect.getmembers(module, inspect.isclass):
            if value.__module__ == info.name and not name.startswith("_") and hasattr(value, "sample"):
                found.add(name)
    return found


def test_every_model_is_registered():
    """Catches a model that no invariant is checked on, and an entry for a model that is gone."""
    assert model_classes() == set(TINY)


def test_the_registry_would_notice_a_missing_model():
    """Catches a search that finds nothing, so that the test above could not fail."""
    assert model_classes() >= {"GMM", "Gaussian", "Histogram", "KDE"}


def test_exact_likelihoods_are_covered():
    """Catches a density model that lost its log_prob, which would drop out of the tests below unseen."""
    assert all(hasattr(TINY[name].build(torch.float32), "log_prob") for name in WITH_LOG_PROB)


@pytest.mark.parametrize("name", TINY)
def test_sample_shape_dtype_and_seed(name):
    """Catches samples of the wrong shape or dtype, a seed that does not repeat, and one that changes nothing."""
    tiny = TINY[name]
    model = tiny.build(torch.float32)
    first, again, other = (model.sample(7, generator=rng(seed)) for seed in (0, 0, 1))
    assert first.shape == (7, *tiny.event_shape)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert model.sample(1, generator=rng(0)).shape == (1, *tiny.event_shape)


@pytest.mark.parametrize("name", TINY)
def test_sampling_leaves_the_global_seed_alone(name):
    """Catches draws from the global state beside the generator given."""
    model = TINY[name].build(torch.float32)
    before = torch.get_rng_state()
    model.sample(5, generator=rng(0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", TINY)
def test_samples_differ_from_each_other(name):
    """Catches a sampler that returns one point over and over."""
    x = TINY[name].build(torch.float32).sample(50, generator=rng(0))
    assert (x[1:] != x[:-1]).flatten(1).any(1).all()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("count", [0, -1, 2.5])
def test_sample_refuses_a_bad_count(name, count, no_shape_check):
    """Catches an empty or broken batch instead of an error that names n."""
    with pytest.raises(ValueError, match=r"\bn must be"):
        TINY[name].build(torch.float32).sample(count)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_prob_of_own_samples(name, dtype):
    """Catches a density that gives its own samples none, a sum over the batch, and a dtype changed on the way."""
    model = TINY[name].build(dtype)
    if not hasattr(model, "log_prob"):
        pytest.skip(f"{name} has no log_prob, as is right for its family")
    x = model.sample(200, generator=rng(0)).to(dtype)
    log_p = model.log_prob(x)
    assert log_p.shape == (200,) and log_p.dtype == dtype
    assert torch.isfinite(log_p).all()
    torch.testing.assert_close(model.log_prob(x[:3]), log_p[:3])  # each point for itself


@pytest.mark.parametrize("name", FLAT)
def test_log_prob_integrates_to_one(name):
    """Catches a wrong normaliser: the density is summed over a fine grid, wide enough for all but 1e-4 of its mass."""
    model = TINY[name].build(torch.float64)
    if not hasattr(model, "log_prob"):
        pytest.skip(f"{name} has no log_prob, as is right for its family")
    axis = torch.arange(-4, 5, 0.03, dtype=torch.float64) + 0.0123
    d = TINY[name].event_shape[0]
    grid = torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    assert float(model.log_prob(grid).exp().sum()) * 0.03**d == pytest.approx(
        1, abs=1e-2 if name == "Histogram" else 1e-3
    )


@pytest.mark.parametrize("name", FLAT)
def test_samples_follow_log_prob(name):
    """Catches a sampler of another distribution than the density: their means and covariances are compared.

    Bounds of 5 standard errors (the fourth moments are below 3 times a Gaussian's): fails 1 seed in 10^5.
    """
    model = TINY[name].build(torch.float64)
    if not hasattr(model, "log_prob"):
        pytest.skip(f"{name} has no log_prob, as is right for its family")
    axis = torch.arange(-4, 5, 0.03, dtype=torch.float64) + 0.0123
    d, n = TINY[name].event_shape[0], 20_000
    grid = torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    mass = model.log_prob(grid).softmax(0)
    mean = mass @ grid
    cov = (mass[:, None] * (grid - mean)).mT @ (grid - mean)
    x = model.sample(n, generator=rng(2)).double()
    spread = cov.diagonal()
    assert ((x.mean(0) - mean).abs() < 5 * (spread / n).sqrt() + 5e-3).all()
    assert ((torch.cov(x.mT).reshape(d, d) - cov).abs() < 5 * (3 * spread[:, None] * spread / n).sqrt() + 5e-3).all()
