"""The exact densities: mass one, published entropies, samplers that follow them, tails, gradients, bad input."""

import math

import pytest
import torch
from scipy import integrate, stats

from course_lib import datasets, rng

ALL = ["two_moons", "circles", "ring", "grid", "checkerboard", "pinwheel"]
# Entropies in nats, to 4 digits. Ring and grid: ln k + ln(2 pi e) + 2 ln sigma; checkerboard: ln 32.
PUBLISHED = [
    ("two_moons", {"noise": 0.1}, 1.0076),
    ("two_moons", {"noise": 0.05}, 0.2892),
    ("circles", {"noise": 0.1}, 1.2765),
    ("circles", {"noise": 0.05}, 0.6061),
    ("ring", {"num_modes": 8, "std": 0.02}, -2.9067),
    ("grid", {"side": 5, "std": 0.05}, 0.0653),
    ("checkerboard", {}, 3.4657),
]


def quadrature(density):
    """Midpoints of a fine grid over the bounds of a density, and the area of a cell."""
    (x0, x1), (y0, y1) = density.bounds
    per_axis = 240 if density.name in ("two_moons", "circles") else 1200
    axes = [lo + (hi - lo) * (torch.arange(per_axis, dtype=torch.float64) + 0.5) / per_axis
            for lo, hi in ((x0, x1), (y0, y1))]  # fmt: skip
    return torch.cartesian_prod(*axes), (x1 - x0) * (y1 - y0) / per_axis**2


@pytest.mark.parametrize("name", ALL)
def test_integrates_to_one(name):
    """Catches a wrong normaliser, a factor of the number of parts, and bounds that cut mass off."""
    density = datasets.density(name)
    points, area = quadrature(density)
    assert float(density.log_prob(points).exp().sum()) * area == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name, options, entropy", PUBLISHED, ids=lambda v: str(v))
def test_entropy_is_the_published_one(name, options, entropy):
    """Catches another geometry (radius, offset, factor, spacing) and an error in the quadrature."""
    assert datasets.density(name, **options).entropy() == pytest.approx(entropy, abs=5e-5)


@pytest.mark.parametrize("name", ALL)
def test_sampler_follows_the_density(name):
    """Catches a sampler that differs from its density: -mean log p of samples must be the entropy.

    The bound is 4.5 standard errors: fails 1 seed in 10^5.
    """
    density = datasets.density(name)
    log_p = density.log_prob(density.sample(50_000, generator=rng(0)))
    assert torch.isfinite(log_p).all()
    assert abs(float(-log_p.mean()) - density.entropy()) < 4.5 * float(log_p.std()) / math.sqrt(50_000) + 1e-6


@pytest.mark.parametrize("name", ALL)
def test_samples_fill_the_plane_as_the_density_says(name):
    """Catches a sampler with the right entropy in the wrong place (mirrored, a mode missing).

    Chi-squared on 8 x 8 cells: fails 1 seed in 10^4.
    """
    density = datasets.density(name)
    points, area = quadrature(density)
    cell = cells(points, density.bounds)
    mass = torch.zeros(64, dtype=torch.float64).index_add_(0, cell, density.log_prob(points).exp() * area)
    n = 20_000
    x = density.sample(n, generator=rng(1)).double()
    inside = cells(x, density.bounds)
    observed = torch.zeros(64, dtype=torch.float64).index_add_(0, inside, torch.ones(n, dtype=torch.float64))
    used = mass * n > 5
    expected = mass[used] / mass[used].sum() * observed[used].sum()
    assert stats.chisquare(observed[used].numpy(), expected.numpy()).pvalue > 1e-4
    assert observed[~used].sum() < 5 * 64


def cells(points, bounds):
    low = torch.tensor([b[0] for b in bounds], dtype=torch.float64)
    high = torch.tensor([b[1] for b in bounds], dtype=torch.float64)
    column, row = ((points - low) / (high - low) * 8).floor().clamp(0, 7).long().unbind(1)
    return 8 * column + row


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.5])
def test_moons_equal_adaptive_quadrature(noise):
    """Catches nodes on the wrong arc or weights of the wrong length: scipy integrates the definition itself."""
    x = torch.tensor([[0.0, 0.0], [0.5, 0.25], [-1.3, -0.4], [0.0, 1.0], [1.0, -0.5], [2.2, 0.9], [0.9, 0.1]]).double()

    def arc(t, px, py, lower):
        cx, cy = (1 - math.cos(t), 0.5 - math.sin(t)) if lower else (math.cos(t), math.sin(t))
        return math.exp(-((px - cx) ** 2 + (py - cy) ** 2) / (2 * noise**2))

    for point, log_p in zip(x.tolist(), datasets.TwoMoons(noise).log_prob(x).tolist(), strict=True):
        both = sum(integrate.quad(arc, 0, math.pi, (*point, lower), epsabs=1e-300, epsrel=1e-10, limit=500)[0]
                   for lower in (False, True))  # fmt: skip
        assert log_p == pytest.approx(math.log(both / (2 * math.pi * 2 * math.pi * noise**2)), abs=1e-7)


@pytest.mark.parametrize("name", ["two_moons", "circles"])
def test_arcs_in_the_far_tail(name):
    """Catches fixed quadrature nodes and underflow: far away the density tends to its saddle-point form.

    Seen from distance r, log p = -(r - 1)^2 / (2 s^2) - log(2 pi s^2) + log(share of the arc per radian)
    + log sqrt(2 pi s^2 / r) up to relative order s^2 / r.
    """
    s, r = 0.1, 1e4
    x = torch.tensor([[0.0, r]], dtype=torch.float64)
    per_radian = 1 / (4 * math.pi) if name == "circles" else 1 / (2 * math.pi)
    expected = -((r - 1) ** 2) / (2 * s**2) - math.log(2 * math.pi * s**2) + math.log(per_radian)
    expected += 0.5 * math.log(2 * math.pi * s**2 / r)
    assert float(datasets.density(name, noise=s).log_prob(x)) - expected == pytest.approx(0, abs=1e-5)


def test_moons_are_two_halves_of_circles():
    """Catches a wrong arc: two half circles facing each other make the closed form of the whole circle."""
    from course_lib.datasets.toy import _half_circle_log_prob

    x = 2 * torch.randn(200, 2, generator=rng(0), dtype=torch.float64)
    halves = torch.logaddexp(_half_circle_log_prob(x, 0.07), _half_circle_log_prob(-x, 0.07)) - math.log(2)
    whole = datasets.Circles(0.07, factor=1.0).log_prob(x)
    torch.testing.assert_close(halves, whole, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", [n for n in ALL if n != "checkerboard"])
def test_score_equals_finite_differences(name):
    """Catches a gradient cut off or wrong, the centre of the arcs included, where the angle has none."""
    density = datasets.density(name)
    x = torch.tensor([[0.0, 0.0], [1.0, 0.5], [0.3, -0.2], [1.9, 0.1], [-1.0, 0.4]], dtype=torch.float64)
    x.requires_grad_()
    (score,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    for axis in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = 1e-6
        with torch.no_grad():
            slope = (density.log_prob(x + step) - density.log_prob(x - step)) / 2e-6
        torch.testing.assert_close(score[:, axis], slope, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_dtypes_and_seeds(name):
    """Catches a result in another dtype than asked, a float32 result that drifts, and unseeded randomness."""
    density = datasets.density(name)
    x = density.sample(500, generator=rng(0))
    assert torch.equal(x, density.sample(500, generator=rng(0)))
    assert not torch.equal(x, density.sample(500, generator=rng(1)))
    exact = density.log_prob(x.double())
    for dtype, tolerance in ((torch.float32, 1e-3), (torch.float64, 1e-12)):
        log_p = density.log_prob(x.to(dtype))
        assert log_p.dtype == dtype
        torch.testing.assert_close(log_p.double(), exact, rtol=tolerance, atol=tolerance)
    assert density.log_prob(x.half()).dtype == torch.float16


def test_blocks_change_nothing():
    """Catches an error at the seam of two blocks of points."""
    density = datasets.TwoMoons()
    x = density.sample(2**12 + 7, generator=rng(0)).double()
    assert torch.equal(density.log_prob(x)[-9:], density.log_prob(x[-9:]))


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_mixture_entropy_in_any_dimension(d):
    """Catches quadrature weights of another dimension: far apart, H = sum of parts + the entropy of the weights."""
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    means = torch.zeros(2, d)
    means[1] = 100
    covs = torch.eye(d).repeat(2, 1, 1) * torch.tensor([0.5, 2.0])[:, None, None]
    expected = float(-(weights * weights.log()).sum() + 0.5 * d * math.log(2 * math.pi * math.e))
    expected += 0.5 * d * float(weights @ torch.tensor([0.5, 2.0], dtype=torch.float64).log())
    assert datasets.GaussianMixture(weights, means, covs).entropy() == pytest.approx(
        expected, abs=1e-2 if d > 3 else 1e-9
    )


def test_overlapping_mixture_entropy():
    """Catches too few quadrature nodes where components overlap: scipy integrates -p log p."""
    mixture = datasets.GaussianMixture([0.4, 0.6], [[0.0], [1.0]], [[[1.0]], [[0.04]]])

    def integrand(v):
        log_p = float(mixture.log_prob(torch.tensor([[v]], dtype=torch.float64)))
        return -math.exp(log_p) * log_p

    expected = integrate.quad(integrand, -10, 10, points=[0.5, 1.0, 1.5], limit=200)[0]
    assert mixture.entropy() == pytest.approx(expected, abs=1e-8)


def test_ring_and_grid_stand_where_they_should():
    """Catches a grid off its centre and a ring turned or of another radius, which no entropy shows."""
    axis = torch.tensor([-4.0, -2, 0, 2, 4], dtype=torch.float64)
    torch.testing.assert_close(datasets.GridOfGaussians().means, torch.cartesian_prod(axis, axis))
    ring = datasets.RingOfGaussians(num_modes=4).means
    expected = torch.tensor([[2.0, 0], [0, 2], [-2, 0], [0, -2]], dtype=torch.float64)
    torch.testing.assert_close(ring, expected, rtol=0, atol=1e-12)


def test_pinwheel_blade_is_the_gaussian_it_says():
    """Catches variances where standard deviations are meant, and the two directions of a blade swapped."""
    blade = datasets.Pinwheel(num_arms=1, radial_std=0.5, tangential_std=0.1, twist=0, radius=1.5)
    x = torch.randn(20, 2, generator=rng(0), dtype=torch.float64)
    expected = stats.multivariate_normal([1.5, 0], [[0.25, 0], [0, 0.01]]).logpdf(x.numpy())
    torch.testing.assert_close(blade.log_prob(x), torch.from_numpy(expected))


def test_checkerboard_squares():
    """Catches the other colour of the board and a wrong edge rule."""
    x = torch.tensor(
        [[-3.0, -3.0], [-3.0, -1.0], [1.0, 1.0], [1.0, 3.0], [1.0, -3.0], [5.0, 1.0], [-4.0, -4.0], [4.0, 4.0]]
    )
    inside = torch.isfinite(datasets.Checkerboard().log_prob(x)).tolist()
    assert inside == [True, False, True, False, True, False, True, False]


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: datasets.density("two_moon"), "did you mean 'two_moons'"),
        (
            lambda: datasets.density("ring", modes=3),
            "option of ring must be one of num_modes, std, radius, got 'modes'",
        ),
        (lambda: datasets.TwoMoons(noise=-0.1), "noise must be greater than 0, got -0.1"),
        (lambda: datasets.Circles(factor=2), "factor must be at most 1"),
        (lambda: datasets.RingOfGaussians(0), "num_modes must be at least 1"),
        (lambda: datasets.GridOfGaussians(std=0), "std must be greater than 0"),
        (
            lambda: datasets.GaussianMixture([0.5, 0.5], [[0.0], [1.0]], [[[1.0]], [[0.0]]]),
            r"covs\[1\] is not positive",
        ),
        (lambda: datasets.TwoMoons().sample(0), "n must be at least 1"),
        (lambda: datasets.TwoMoons().sample(2.5), "n must be a whole number"),
        (lambda: datasets.TwoMoons().log_prob(torch.zeros(3, 3)), r"x must have shape \(n, 2\), got \(3, 3\)"),
        (lambda: datasets.TwoMoons().log_prob(torch.full((3, 2), math.nan)), "x has 6 NaN"),
        (lambda: datasets.TwoMoons().log_prob(torch.zeros(0, 2)), "x has 0 samples"),
        (lambda: datasets.TwoMoons().log_prob([[0.0, 1.0]]), "x must be a torch tensor"),
    ],
)
def test_bad_input(call, says, no_shape_check):
    """Catches an argument that is accepted in silence, or refused without its name and the remedy."""
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALL)
def test_on_the_gpu(name):
    """Catches a tensor left on the CPU."""
    density = datasets.density(name)
    x = density.sample(1000, generator=rng(0, "cuda"))
    assert x.is_cuda
    torch.testing.assert_close(density.log_prob(x).cpu(), density.log_prob(x.cpu()), rtol=1e-4, atol=1e-3)
