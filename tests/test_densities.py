"""Histogram, KDE, Gaussian and GMM against numpy, scipy and scikit-learn, at their edges, and with bad input."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture

from course_lib import datasets, gaussian, rng
from course_lib.models import densities, mixture
from course_lib.models.densities import GMM, KDE, Gaussian, Histogram, e_step, kde_log_prob, m_step


def moons(n, seed=0):
    return datasets.TwoMoons().sample(n, generator=rng(seed)).double()


def brute_kde(x_train, x, bandwidth):
    """The definition, with every pair and scipy's log-sum-exp."""
    squares = ((x[:, None] - x_train[None]) / bandwidth).square().sum(-1)
    n, d = x_train.shape
    return (-0.5 * squares).logsumexp(1) - math.log(n) - d * math.log(bandwidth) - 0.5 * d * math.log(2 * math.pi)


# ---------------------------------------------------------------- KDE


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 130, 1000])
@pytest.mark.parametrize("bandwidth", [0.003, 0.1, 3.0])
def test_kde_equals_the_definition(n, bandwidth):
    """Catches boxes lost or counted twice at any size, a box passed over too soon, a wrong normaliser."""
    x_train, x = moons(n), 1.5 * torch.randn(200, 2, generator=rng(1), dtype=torch.float64)
    torch.testing.assert_close(
        kde_log_prob(x_train, x, bandwidth), brute_kde(x_train, x, bandwidth), rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize("d", [1, 3, 12])
def test_kde_equals_scipy_in_other_dimensions(d):
    """Catches d left out of the normaliser, and a mistake in the path for many features."""
    x_train = torch.randn(300, d, generator=rng(0), dtype=torch.float64)
    x = torch.randn(100, d, generator=rng(1), dtype=torch.float64)
    h = 0.7
    kernels = stats.multivariate_normal(np.zeros(d), h**2 * np.eye(d))
    expected = np.log([kernels.pdf(point - x_train.numpy()).mean() for point in x.numpy()])
    torch.testing.assert_close(kde_log_prob(x_train, x, h), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bandwidth", [1e-10, 1.3, 1e10])
def test_kde_is_finite_at_1e15_bandwidths(dtype, bandwidth):
    """Catches log of an underflowed sum, and squares that overflow: log p is -r^2/2 there, to rounding."""
    x_train = torch.zeros(3, 2, dtype=dtype)
    x = torch.tensor([[1e15 * bandwidth, 0.0]], dtype=dtype)
    value = kde_log_prob(x_train, x, bandwidth)
    assert value.dtype == dtype
    assert float(value) == pytest.approx(-0.5e30, rel=1e-5)


@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_kde_keeps_its_digits_far_from_the_origin(offset):
    """Catches |x|^2 + |y|^2 - 2 x y: far from the origin it leaves nothing of a small distance."""
    base, x = moons(200), moons(50, seed=1)
    base, x = (base * 2**20).round() / 2**20, (x * 2**20).round() / 2**20  # so that adding the offset is exact
    torch.testing.assert_close(
        kde_log_prob(base + offset, x + offset, 0.1), kde_log_prob(base, x, 0.1), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("max_pairs", [1, 100, 4096])
def test_kde_blocks_change_nothing(max_pairs):
    """Catches an error where partial sums of two blocks of centres are put together."""
    x_train, x = moons(500), moons(90, seed=1)
    torch.testing.assert_close(
        kde_log_prob(x_train, x, 0.3, max_pairs=max_pairs), kde_log_prob(x_train, x, 0.3), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("n", [2, 3, 65, 200, 2080])
@pytest.mark.parametrize("bandwidth", [1e-4, 0.2])
def test_leave_one_out_equals_leaving_each_out(n, bandwidth):
    """Catches a point that sees itself, division by n, and a box passed over because only the point itself was near.

    2080 points leave one box with a single point in it.
    """
    x = moons(n)
    x[: n // 2] = x[: n // 2] * 3 + 20  # far apart, so that some boxes hold one neighbourhood only
    others = -0.5 * torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square() / bandwidth**2
    expected = others.fill_diagonal_(-math.inf).logsumexp(1) - math.log(n - 1) - math.log(2 * math.pi * bandwidth**2)
    torch.testing.assert_close(kde_log_prob(x, None, bandwidth), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(KDE(bandwidth).fit(x).leave_one_out(), expected.mean()[None])


def test_leave_one_out_finds_the_bandwidth():
    """Catches a criterion that always prefers the smallest bandwidth, as the training likelihood does."""
    x, test = moons(400), moons(2000, seed=1)
    candidates = torch.logspace(-3, 1, 17)
    scores = KDE(1.0).fit(x).leave_one_out(candidates)
    held_out = torch.stack([KDE(float(h)).fit(x).log_prob(test).mean() for h in candidates])
    assert abs(int(scores.argmax()) - int(held_out.argmax())) <= 1
    assert 0 < int(scores.argmax()) < 16


def test_kde_gradient():
    """Catches an in-place step that breaks the gradient, and the maximum that must be a constant to it."""
    x_train = moons(9).requires_grad_()
    x = moons(4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: kde_log_prob(a, b, 0.3), (x_train, x))


def test_kde_changes_no_argument():
    """Catches an in-place operation that reaches the caller's tensors."""
    x_train, x = moons(100), moons(50, seed=1)
    copies = x_train.clone(), x.clone()
    kde_log_prob(x_train, x, 1.0)
    assert torch.equal(x_train, copies[0]) and torch.equal(x, copies[1])


def test_scott_bandwidth():
    """Catches a wrong exponent of Scott's rule."""
    x = torch.randn(1000, 2, generator=rng(0), dtype=torch.float64)
    expected = 1000 ** (-1 / 6) * float(x.std(0, correction=0).mean())
    assert KDE().fit(x).bandwidth == pytest.approx(expected)


# ---------------------------------------------------------------- histogram and Gaussian


@pytest.mark.parametrize("d", [1, 2, 3])
def test_histogram_equals_numpy(d):
    """Catches bins in the wrong order, a wrong volume, and a last bin without its upper edge."""
    x = torch.randn(500, d, generator=rng(0), dtype=torch.float64)
    model = Histogram(bins=6).fit(x)
    density, edges = np.histogramdd(x.numpy(), bins=6, density=True)
    where = tuple(np.clip(np.searchsorted(e, x[:, j].numpy(), side="right") - 1, 0, 5) for j, e in enumerate(edges))
    torch.testing.assert_close(model.log_prob(x), torch.from_numpy(np.log(density[where])))


def test_histogram_edges_and_empty_bins():
    """Catches [a, b] bins (points on an edge counted low), a finite density in an empty bin or outside."""
    x = torch.tensor([[0.0], [1.0], [1.5], [4.0]])
    model = Histogram(bins=4).fit(x)  # [0, 1) holds 1, [1, 2) 2, [2, 3) none, [3, 4] 1
    log_p = model.log_prob(torch.tensor([[0.5], [1.0], [2.5], [4.0], [-0.1], [4.1]]))
    assert log_p.exp().tolist() == pytest.approx([0.25, 0.5, 0, 0.25, 0, 0])


def test_histogram_counts_points_outside_its_bounds():
    """Catches a normaliser of the inside points only: n is all the training points."""
    model = Histogram(bins=1).fit(torch.tensor([[0.5], [0.6], [3.0], [9.0]]), bounds=[(0.0, 1.0)])
    assert float(model.log_prob(torch.tensor([[0.2]])).exp()) == pytest.approx(0.5)


def test_histogram_in_many_dimensions():
    """Catches a table of all 10^15 bins, and an overflow in the number of a bin."""
    x = torch.randn(200, 15, generator=rng(0))
    model = Histogram(bins=10).fit(x)
    assert torch.isfinite(model.log_prob(x)).all()
    assert torch.isfinite(model.log_prob(model.sample(50, generator=rng(1)))).all()


def test_gaussian_equals_scipy():
    """Catches 1/(n-1), and a mean left in the covariance."""
    x = moons(500) + 5
    model = Gaussian().fit(x)
    torch.testing.assert_close(model.cov, torch.from_numpy(np.cov(x.numpy().T, bias=True)))
    expected = stats.multivariate_normal(x.numpy().mean(0), np.cov(x.numpy().T, bias=True)).logpdf(x.numpy())
    torch.testing.assert_close(model.log_prob(x), torch.from_numpy(expected))


# ---------------------------------------------------------------- mixture


def parameters(k=3, d=2, seed=0):
    g = rng(seed)
    factors = torch.randn(k, d, d, generator=g, dtype=torch.float64)
    weights = torch.rand(k, generator=g, dtype=torch.float64) + 0.2
    means = torch.randn(k, d, generator=g, dtype=torch.float64)
    return weights / weights.sum(), means, factors @ factors.mT + 0.2 * torch.eye(d, dtype=torch.float64)


def test_em_steps_equal_scikit_learn():
    """Catches weights left out of the responsibilities, sums over the wrong axis, covariances about the old means."""
    x = moons(400)
    weights, means, covs = parameters()
    peer = GaussianMixture(3, weights_init=weights.numpy(), means_init=means.numpy(), max_iter=1, reg_covar=0,
                           precisions_init=np.linalg.inv(covs.numpy()), tol=0)  # fmt: skip
    with pytest.warns(match="did not converge"):
        peer.fit(x.numpy())
    new_weights, new_means, new_covs = m_step(x, e_step(x, weights, means, covs))
    torch.testing.assert_close(new_weights, torch.from_numpy(peer.weights_), rtol=1e-8, atol=0)
    torch.testing.assert_close(new_means, torch.from_numpy(peer.means_), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(new_covs, torch.from_numpy(peer.covariances_), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n", [1, 50, 9000])
def test_the_fused_pass_equals_the_two_steps(n):
    """Catches a one-pass EM that drifts from the written-out one, and an error at the seam of its blocks."""
    x, (weights, means, covs) = moons(n), parameters()
    value, fused = mixture._sweep(x.mT.contiguous(), mixture._mixture(weights, means, covs, 1e-9), floor=1e-12)
    stepped = m_step(x, e_step(x, weights, means, covs))
    assert value == pytest.approx(float(gaussian.mixture_log_prob(x, weights, means, covs).mean()), rel=1e-12)
    torch.testing.assert_close(fused.weights, stepped[0])
    torch.testing.assert_close(fused.means, stepped[1])
    torch.testing.assert_close(fused.covs, stepped[2], rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("case", ["moons", "few", "duplicates", "large"])
def test_likelihood_never_falls(case, seed):
    """Catches a wrong E- or M-step, a ridge added to the covariances, and a rescue that costs likelihood."""
    x = {
        "moons": lambda: moons(500, seed),
        "few": lambda: moons(12, seed),
        "duplicates": lambda: moons(10, seed).repeat(20, 1),  # components collapse onto the ten points
        "large": lambda: moons(6000, seed),
    }[case]()
    model = GMM(6).fit(x, generator=rng(seed), restarts=2, tol=0, max_steps=60)
    assert (model.history.diff() >= 0).all()
    assert len(model.history) > 1
    rate = 1e-4 if case == "duplicates" else 1e-8  # a collapsed component amplifies the rounding of its parameters
    assert float(model.history[-1]) == pytest.approx(float(model.log_prob(x).mean()), abs=rate)


def test_gmm_recovers_a_mixture():
    """Catches EM that stops early or in the wrong place: error bounds of 5 standard errors, 1 seed in 10^5."""
    true = datasets.GaussianMixture([0.2, 0.3, 0.5], [[-3.0, 0], [0, 3], [3, 0]], 0.3 * torch.eye(2).repeat(3, 1, 1))
    n = 20_000
    model = GMM(3).fit(true.sample(n, generator=rng(0)).double(), generator=rng(1), tol=1e-9)
    order = model.means[:, 0].argsort()
    w = true.weights
    assert ((model.weights[order] - w).abs() < 5 * (w * (1 - w) / n).sqrt()).all()
    assert ((model.means[order] - true.means).abs() < 5 * (0.3 / (n * w[:, None])).sqrt()).all()
    assert ((model.covs[order] - true.covs).abs() < 5 * (2 * 0.09 / (n * w[:, None, None])).sqrt()).all()


def test_gmm_units_do_not_matter():
    """Catches a floor or a stopping rule in the units of the data: metres or nanometres give the same mixture."""
    x = moons(600)
    units = torch.tensor([1e-9, 1e6], dtype=torch.float64)
    one = GMM(4).fit(x, generator=rng(0))
    two = GMM(4).fit(x * units, generator=rng(0))
    torch.testing.assert_close(two.means, one.means * units, rtol=1e-6, atol=0)
    torch.testing.assert_close(two.history + float(units.log().sum()), one.history, rtol=1e-8, atol=1e-8)


def test_responsibilities_far_away():
    """Catches 0/0 where every component underflows."""
    weights, means, covs = parameters()
    resp = e_step(torch.full((1, 2), 1e8, dtype=torch.float64), weights, means, covs)
    assert torch.isfinite(resp).all()
    assert float(resp.sum()) == pytest.approx(1)


def test_rescue_moves_an_empty_component_to_where_it_pays():
    """Catches a component without points that stays lost, or turns NaN."""
    x = torch.cat([moons(300), moons(300, seed=1) + 40])
    far = torch.tensor([[0.5, 0.25], [-1e4, -1e4]], dtype=torch.float64)
    start = mixture._mixture(torch.tensor([1 - 1e-9, 1e-9]).double(), far, torch.eye(2).double().repeat(2, 1, 1), 1e-6)
    best, history = mixture._run(x, start, 1e-6, 200, 1e-9)
    assert best.weights.min() > 0.4
    assert history == sorted(history)


def test_a_float32_mixture_on_its_floor_can_be_used():
    """Catches a floor below what float32 resolves: the fit succeeds, and its covariance is then refused as singular."""
    flat = torch.randn(400, 6, generator=rng(0)) @ torch.randn(6, 64, generator=rng(1))
    x = flat + 1e-5 * torch.randn(400, 64, generator=rng(2))
    model = GMM(10).fit(x, generator=rng(3), restarts=1)
    assert model.sample(5, generator=rng(4)).isfinite().all()
    assert model.log_prob(x).isfinite().all()


def test_gmm_repeats_with_the_seed():
    """Catches starts from the global state: the same seed must give the same mixture."""
    x = moons(300)
    one, two = (GMM(5).fit(x, generator=rng(3), restarts=2) for _ in range(2))
    assert torch.equal(one.means, two.means)
    assert not torch.equal(one.means, GMM(5).fit(x, generator=rng(4), restarts=2).means)


def test_k_means_seeds_reach_every_cluster():
    """Catches seeds drawn uniformly, which miss small clusters: 20 points of 2000 are one of 10 far clusters.

    With the best of four candidates a miss is rarer than 1 in 100 seeds; uniform seeds miss in 8 of 10.
    """
    centres = 100 * torch.randn(10, 2, generator=rng(5), dtype=torch.float64)
    which = torch.cat([torch.arange(9).repeat_interleave(220), torch.full((20,), 9)])
    x = centres[which] + 0.1 * torch.randn(2000, 2, generator=rng(6), dtype=torch.float64)
    for seed in range(5):
        start = mixture._start(x, 10, 1e-6, rng(seed), lloyd_steps=1)
        assert (start.weights > 0.005).all()
        assert float(torch.cdist(centres, start.means).amin(1).max()) < 5


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: KDE(bandwidth=-1), "bandwidth must be greater than 0, got -1"),
        (lambda: KDE(bandwidth=math.nan), "bandwidth must be finite"),
        (lambda: kde_log_prob(moons(5), moons(5), 0.0), "bandwidth must be greater than 0"),
        (lambda: kde_log_prob(moons(5), torch.zeros(3, 4), 1.0), r"x must have shape \(n, 2\), got \(3, 4\)"),
        (lambda: kde_log_prob(torch.zeros(0, 2), moons(5), 1.0), "x_train has 0 samples"),
        (lambda: kde_log_prob(moons(1), None, 1.0), "x_train has 1 samples, at least 2"),
        (lambda: kde_log_prob(torch.full((2, 2), math.nan), moons(5), 1.0), "x_train has 4 NaN"),
        (lambda: KDE().fit(torch.ones(5, 2)), "pass bandwidth="),
        (lambda: KDE(1.0).log_prob(moons(3)), r"KDE has not been fitted; call .fit\(x\) first"),
        (lambda: Histogram(bins=0), "bins must be at least 1"),
        (lambda: Histogram().fit(torch.ones(5, 2)), "bounds must be 2 pairs"),
        (lambda: Histogram(bins=1000).fit(torch.zeros(5, 10)), "use fewer"),
        (lambda: Histogram().log_prob(moons(3)), "Histogram has not been fitted"),
        (lambda: Gaussian().fit(torch.ones(5, 2)), "cov is not positive definite"),
        (lambda: Gaussian().fit(torch.randn(3, 5, generator=rng(0))), "more samples than dimensions"),
        (lambda: Gaussian().sample(3), "Gaussian has not been fitted"),
        (lambda: GMM(0), "num_components must be at least 1"),
        (lambda: GMM(2, floor=0), "floor must be greater than 0"),
        (lambda: GMM(7).fit(moons(6)), "x has 6 samples, at least 7 are needed"),
        (lambda: GMM(2).fit(torch.zeros(0, 2)), "x has 0 samples"),
        (lambda: GMM(2).fit(torch.cat([moons(9), torch.ones(9, 1)], 1)), "x is constant in feature 2"),
        (lambda: GMM(2).fit(torch.full((9, 2), math.inf)), "x has 18 NaN or infinite"),
        (lambda: GMM(2).fit(moons(9), restarts=0), "restarts must be at least 1"),
        (lambda: GMM(2).log_prob(moons(3)), "GMM has not been fitted"),
        (lambda: m_step(moons(3), torch.tensor([[1.0, 0.0]] * 3).double()), "resp gives component 1 no point at all"),
        (lambda: m_step(moons(3), torch.ones(2, 2).double()), "resp must have one row per point"),
    ],
)
def test_bad_input(call, says, no_shape_check):
    """Catches an argument that is accepted in silence, or refused without its name and the remedy."""
    with pytest.raises(ValueError, match=says):
        call()


def test_densities_offers_the_whole_family():
    """Catches a name that lectures import and that is gone."""
    assert {"Histogram", "KDE", "Gaussian", "GMM", "e_step", "m_step", "kde_log_prob"} <= set(densities.__all__)


# ---------------------------------------------------------------- devices


@pytest.mark.gpu
@pytest.mark.parametrize("model", [Histogram(9), KDE(0.2), Gaussian(), GMM(3)], ids=lambda m: type(m).__name__)
def test_on_the_gpu(model):
    """Catches a tensor left on the CPU, and a result that differs there."""
    x = moons(2000).cuda()
    model.fit(x, **({"generator": rng(0)} if isinstance(model, GMM) else {}))
    log_p = model.log_prob(x)
    assert log_p.is_cuda and model.sample(10, generator=rng(0, "cuda")).is_cuda and model.sample(10).is_cuda
    assert torch.isfinite(log_p).all()
