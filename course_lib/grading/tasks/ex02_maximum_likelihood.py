"""Tasks of ex02: Gaussian by maximum likelihood, mixture by EM, Kullback–Leibler by samples, Bayes' rule."""

from __future__ import annotations

import math

import torch

from course_lib.grading.task import Case, Mistake, Task
from course_lib.grading.tasks import _draw as draw
from course_lib.grading.tasks._draw import F32, F64

LOG_2PI = math.log(2 * math.pi)
EXERCISE = "ex02_maximum_likelihood"

# --- gaussian_mle ---------------------------------------------------------------------------------------------------


def _scatter(x, centre):
    return (x - centre).T @ (x - centre)


def _mle_reference(x):
    mean = x.mean(0)
    return mean, _scatter(x, mean) / len(x)


def _correlation(x):
    mean, cov = _mle_reference(x)
    return mean, cov / (cov.diag()[:, None] * cov.diag()).sqrt()


def _mle_cases(g):
    def one(n, d, dtype, label, grad=(0,), edge=False):
        x = draw.normal(g, n, d, dtype=dtype) @ draw.normal(g, d, d, dtype=dtype)
        return Case(label, (x + draw.uniform(g, -2, 2, d, dtype=dtype),), grad=grad, edge=edge)

    return [
        one(3, 2, F64, "3 points in the plane"),
        one(6, 1, F32, "6 points on a line", edge=True),
        one(20, 3, F32, "20 points in 3 dimensions"),
        one(150, 4, F64, "150 points in 4 dimensions"),
        one(3, 5, F64, "fewer points than dimensions", edge=True),
        one(1, 2, F32, "a single point: its covariance is 0", edge=True),
    ]


GAUSSIAN_MLE = Task(
    name="gaussian_mle",
    exercise=EXERCISE,
    points=1.0,
    signature=("x",),
    outputs=("mean", "cov"),
    reference=_mle_reference,
    cases=_mle_cases,
    mistakes=(
        Mistake("n_minus_one",
            "The covariance is divided by n - 1. That is the unbiased estimate. Maximum likelihood gives 1/n.",
            lambda x: (x.mean(0), _scatter(x, x.mean(0)) / (len(x) - 1))),
        Mistake("not_divided",
            "The outer products are summed and not divided by n.",
            lambda x: (x.mean(0), _scatter(x, x.mean(0)))),
        Mistake("not_centred",
            "The mean is not subtracted before the outer products: this is E[x xᵀ].",
            lambda x: (x.mean(0), x.T @ x / len(x))),
        Mistake("diagonal_only",
            "The covariances between features are set to 0. Keep the whole matrix.",
            lambda x: (x.mean(0), torch.diag(x.var(0, correction=0)))),
        Mistake("variances_only",
            "This is a vector of variances. The covariance is a (d, d) matrix.",
            lambda x: (x.mean(0), x.var(0, correction=0))),
        Mistake("correlation",
            "This is the correlation matrix. Do not divide by the standard deviations.",
            _correlation),
        Mistake("wrong_axis",
            "The averages run over the features. The leading axis holds the samples: average over it.",
            lambda x: (x.mean(1), _scatter(x.T, x.mean(1)) / x.shape[1])),
        Mistake("swapped_outputs",
            "The covariance comes first. Return mean, cov.",
            lambda x: _mle_reference(x)[::-1]),
        Mistake("mean_not_divided",
            "The mean is a sum: divide it by n.",
            lambda x: (x.sum(0), _mle_reference(x)[1])),
        Mistake("scalar_mean",
            "One mean is taken over all entries. Each feature has its own.",
            lambda x: (x.mean().expand(x.shape[1]), _scatter(x, x.mean()) / len(x))),
    ),
    next_step="Fit it to two moons and compare the contours with the points.",
)  # fmt: skip

# --- gaussian_log_prob ----------------------------------------------------------------------------------------------


def _log_prob(x, mean, cov, square=None, half=0.5, log_det=0.5, constant=None, end=lambda v: v):
    """The Gaussian log density with one term changed at a time."""
    centred = x - mean
    square = (lambda c, m: (c * torch.linalg.solve(m, c.T).T).sum(1)) if square is None else square
    constant = 0.5 * len(mean) * LOG_2PI if constant is None else constant
    return end(-half * square(centred, cov) - log_det * torch.linalg.slogdet(cov).logabsdet - constant)


def _diagonal_log_prob(x, mean, cov):
    return _log_prob(x, mean, torch.diag(cov.diagonal()))


def _precision_log_prob(x, mean, cov):
    return _log_prob(x, mean, cov, square=lambda c, m: (c @ m * c).sum(1))


def _lower_solved_twice_wrongly(c, m):
    return torch.linalg.solve(torch.linalg.cholesky(m).T, c.T).pow(2).sum(0)


def _log_prob_cases(g):
    def one(n, d, dtype, label, grad=(0, 1, 2), far=1.0, edge=False):
        x = far * draw.normal(g, n, d, dtype=dtype)
        args = (x, draw.normal(g, d, dtype=dtype), draw.covariance(g, d, dtype))
        return Case(label, args, grad=grad, symmetric=(2,), edge=edge)

    return [
        one(2, 2, F64, "2 points in the plane"),
        one(4, 1, F32, "4 points on a line"),
        one(7, 3, F32, "7 points in 3 dimensions"),
        one(30, 5, F64, "30 points in 5 dimensions"),
        one(1, 4, F64, "a single point"),
        one(3, 3, F64, "as many points as dimensions"),
        one(5, 2, F32, "points far from the mean", grad=(), far=1e4, edge=True),
    ]


GAUSSIAN_LOG_PROB = Task(
    name="gaussian_log_prob",
    exercise=EXERCISE,
    points=2.0,
    signature=("x", "mean", "cov"),
    reference=_log_prob,
    cases=_log_prob_cases,
    mistakes=(
        Mistake("half_missing_in_exponent",
            "The squared distance is not halved.",
            lambda *a: _log_prob(*a, half=1.0)),
        Mistake("no_log_det",
            "The term -1/2·log det cov is missing.",
            lambda *a: _log_prob(*a, log_det=0.0)),
        Mistake("log_det_not_halved",
            "The log determinant is not halved.",
            lambda *a: _log_prob(*a, log_det=1.0)),
        Mistake("log_det_sign",
            "The log determinant is added. A wider Gaussian is lower: subtract it.",
            lambda *a: _log_prob(*a, log_det=-0.5)),
        Mistake("no_constant",
            "The constant -d/2·log(2·pi) is missing.",
            lambda *a: _log_prob(*a, constant=0.0)),
        Mistake("constant_of_one_dimension",
            "The constant is that of one dimension. It is -d/2·log(2·pi).",
            lambda *a: _log_prob(*a, constant=0.5 * LOG_2PI)),
        Mistake("cov_not_inverted",
            "The exponent uses cov where its inverse belongs.",
            _precision_log_prob),
        Mistake("diagonal_only",
            "Only the variances are used. The covariances between features count too.",
            _diagonal_log_prob),
        Mistake("distance_not_squared",
            "The distance is not squared.",
            lambda *a: _log_prob(*a, square=lambda c, m: (c * torch.linalg.solve(m, c.T).T).sum(1).sqrt())),
        Mistake("upper_factor",
            "The triangular system is solved with Lᵀ. With cov = L Lᵀ, solve L u = x - mean.",
            lambda *a: _log_prob(*a, square=_lower_solved_twice_wrongly)),
        Mistake("negative",
            "The sign is reversed: this is the negative log density.",
            lambda *a: -_log_prob(*a)),
        Mistake("density_not_log",
            "This is the density. The function returns its logarithm.",
            lambda *a: _log_prob(*a, end=torch.exp)),
        Mistake("summed_over_batch",
            "The log densities are summed over the batch. Return one per point.",
            lambda *a: _log_prob(*a, end=torch.sum)),
    ),
    next_step="Check it: in the plane, the sum of exp(log_prob)·area over a fine grid is close to 1.",
)  # fmt: skip

# --- gmm_e_step -----------------------------------------------------------------------------------------------------


def _joint(x, weights, means, covs, **changed):
    """log weight + log density, (n, k)."""
    log_p = torch.stack([_log_prob(x, m, c, **changed) for m, c in zip(means, covs, strict=True)], 1)
    return log_p + weights.log()


def _e_reference(x, weights, means, covs):
    return torch.softmax(_joint(x, weights, means, covs), 1)


def _naive(joint, dim=1, eps=0.0):
    return joint.exp() / (joint.exp().sum(dim, keepdim=True) + eps)


def _e_cases(g):
    def one(n, k, d, dtype, label, grad=(0, 1, 2, 3), far=None):
        means = 2 * draw.normal(g, k, d, dtype=dtype)
        x = 2 * draw.normal(g, n, d, dtype=dtype)
        if far is not None:
            x = torch.cat([x[:1], far * torch.nn.functional.normalize(x, dim=1)])
        args = (x, draw.simplex(g, k, dtype=dtype), means, draw.covariances(g, k, d, dtype))
        return Case(label, args, grad=grad, symmetric=(3,), simplex=(1,), edge=far is not None)

    def far_and_alike(dtype, distance):
        # Equal covariances and means on one line: which component is nearest is beyond doubt, whatever the rounding.
        means = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 0.0]], dtype=dtype)
        x = torch.tensor([[distance, 1.0], [-distance, 1.0], [0.5, 0.0]], dtype=dtype)
        covs = torch.eye(2, dtype=dtype).expand(3, 2, 2).clone()
        args = (x, draw.simplex(g, 3, dtype=dtype), means, covs)
        return Case(f"points {distance:g} from every component", args, edge=True)

    return [
        one(2, 2, 1, F64, "2 points, 2 components on a line"),
        one(5, 3, 2, F32, "5 points, 3 components in the plane"),
        one(20, 4, 3, F64, "20 points, 4 components in 3 dimensions"),
        one(3, 3, 3, F64, "as many points as components as dimensions"),
        one(4, 1, 2, F32, "a single component"),
        one(1, 3, 2, F64, "a single point"),
        one(4, 3, 2, F32, "points 1000 from every component", grad=(), far=1e3),
        far_and_alike(F32, 100.0),
        far_and_alike(F64, 1e6),
    ]


GMM_E_STEP = Task(
    name="gmm_e_step",
    exercise=EXERCISE,
    points=2.0,
    signature=("x", "weights", "means", "covs"),
    outputs=("responsibilities",),
    reference=_e_reference,
    cases=_e_cases,
    mistakes=(
        Mistake("normalised_over_points",
            "Each column sums to one. Each row must: a point shares itself out among the components.",
            lambda *a: torch.softmax(_joint(*a), 0)),
        Mistake("no_weights",
            "The weights are not used. A heavy component claims more.",
            lambda x, w, m, c: _e_reference(x, torch.full_like(w, 1 / len(w)), m, c)),
        Mistake("weights_not_logged",
            "The weights are added to log densities. Add their logarithms.",
            lambda x, w, m, c: torch.softmax(_joint(x, torch.ones_like(w), m, c) + w, 1)),
        Mistake("underflow",
            "Far from every component all densities underflow to 0, and 0/0 is NaN. Stay in logs: torch.softmax of "
            "log weight + log density.",
            lambda *a: _naive(_joint(*a))),
        Mistake("small_number_in_the_denominator",
            "A small number in the denominator avoids NaN but makes the row sum to less than one. Stay in logs.",
            lambda *a: _naive(_joint(*a), eps=1e-10)),
        Mistake("log_responsibilities",
            "These are the log responsibilities. Return exp of them.",
            lambda *a: _joint(*a).log_softmax(1)),
        Mistake("not_normalised",
            "These are weight times density. Divide each row by its sum.",
            lambda *a: _joint(*a).exp()),
        Mistake("hard",
            "Each point is given whole to one component. That is k-means; responsibilities are soft.",
            lambda *a: torch.nn.functional.one_hot(_joint(*a).argmax(1), len(a[1])).to(a[0])),
        Mistake("no_log_det",
            "The densities lack det(cov)^(-1/2), which differs from component to component.",
            lambda *a: torch.softmax(_joint(*a, log_det=0.0), 1)),
        Mistake("half_missing_in_exponent",
            "The squared distance is not halved.",
            lambda *a: torch.softmax(_joint(*a, half=1.0), 1)),
        Mistake("diagonal_only",
            "Only the variances of each component are used, not its covariances.",
            lambda x, w, m, c: _e_reference(x, w, m, torch.diag_embed(c.diagonal(dim1=1, dim2=2)))),
        Mistake("transposed",
            "The result is (k, n). Points come first: (n, k).",
            lambda *a: _e_reference(*a).T),
    ),
    next_step="Colour each point by its responsibilities and watch the borders between components.",
)  # fmt: skip

# --- gmm_m_step -----------------------------------------------------------------------------------------------------


def _m_step(x, resp, mass=None, centre=None, cov_mass=None):
    """The M step; `mass` divides the means, `cov_mass` the covariances, `centre` is what they are taken about."""
    total = resp.sum(0)
    means = resp.T @ x / (total if mass is None else mass)[:, None]
    centred = x[:, None] - (means if centre is None else centre)
    scatter = torch.einsum("nk,nki,nkj->kij", resp, centred, centred)
    return total / len(x), means, scatter / (total if cov_mass is None else cov_mass)[:, None, None]


def _m_reference(x, resp):
    return _m_step(x, resp)


def _with_weights(change):
    return lambda x, resp: (change(x, resp), *_m_step(x, resp)[1:])


def _with_covs(change):
    return lambda x, resp: (*_m_step(x, resp)[:2], change(x, _m_step(x, resp)[2]))


def _m_cases(g):
    def one(n, k, d, dtype, label):
        x = draw.normal(g, n, d, dtype=dtype) + draw.uniform(g, -2, 2, d, dtype=dtype)
        return Case(label, (x, draw.simplex(g, n, k, dtype=dtype)), grad=(0, 1), simplex=(1,))

    def hard(n, k, d, dtype, label):
        owner = torch.arange(n) % k
        resp = torch.nn.functional.one_hot(owner, k).to(dtype)
        return Case(label, (draw.normal(g, n, d, dtype=dtype), resp), edge=True)

    return [
        one(3, 2, 1, F64, "3 points, 2 components on a line"),
        one(6, 2, 2, F32, "6 points, 2 components in the plane"),
        one(40, 3, 4, F64, "40 points, 3 components in 4 dimensions"),
        one(3, 3, 3, F64, "as many points as components as dimensions"),
        one(8, 1, 2, F32, "a single component"),
        hard(7, 3, 2, F64, "responsibilities of 0 and 1"),
        hard(3, 3, 2, F64, "one point for each component: its covariance is 0"),
    ]


GMM_M_STEP = Task(
    name="gmm_m_step",
    exercise=EXERCISE,
    points=2.0,
    signature=("x", "resp"),
    outputs=("weights", "means", "covs"),
    reference=_m_reference,
    cases=_m_cases,
    mistakes=(
        Mistake("weights_not_divided",
            "The weights are the components' total responsibilities. Divide by n: weights sum to one.",
            _with_weights(lambda x, r: r.sum(0))),
        Mistake("equal_weights",
            "All weights are 1/k. A weight is the mean responsibility of its component.",
            _with_weights(lambda x, r: torch.full_like(r[0], 1 / r.shape[1]))),
        Mistake("means_divided_by_n",
            "The means are divided by n. Divide by the component's total responsibility.",
            lambda x, r: _m_step(x, r, mass=torch.full_like(r[0], len(x)))),
        Mistake("covs_divided_by_n",
            "The covariances are divided by n. Divide by the component's total responsibility.",
            lambda x, r: _m_step(x, r, cov_mass=torch.full_like(r[0], len(x)))),
        Mistake("covs_unbiased",
            "The covariances are divided by the total responsibility minus one. Maximum likelihood divides by the "
            "total.",
            lambda x, r: _m_step(x, r, cov_mass=r.sum(0) - 1)),
        Mistake("covs_about_overall_mean",
            "The covariances are taken about the mean of all points. Use the component's own new mean.",
            lambda x, r: _m_step(x, r, centre=x.mean(0))),
        Mistake("covs_not_centred",
            "The means are not subtracted before the outer products.",
            lambda x, r: _m_step(x, r, centre=0.0)),
        Mistake("covs_diagonal",
            "The covariances between features are set to 0. Keep the whole matrices.",
            _with_covs(lambda x, c: torch.diag_embed(c.diagonal(dim1=1, dim2=2)))),
        Mistake("covs_ridge",
            "A small number is added to the diagonal of the covariances. It can help in practice, but it is not "
            "maximum likelihood.",
            _with_covs(lambda x, c: c + 1e-3 * torch.eye(x.shape[1], dtype=c.dtype))),
        Mistake("covs_shared",
            "One covariance is shared by all components. Each has its own.",
            _with_covs(lambda x, c: c.mean(0).expand_as(c))),
        Mistake("hard",
            "Each point is given whole to its likeliest component. Weigh it by its responsibilities.",
            lambda x, r: _m_step(x, torch.nn.functional.one_hot(r.argmax(1), r.shape[1]).to(r))),
    ),
    atol=5e-6,  # so that a ridge of 1e-6 shows where a covariance is 0
    next_step="Alternate it with gmm_e_step and print the log-likelihood: it must never fall.",
)  # fmt: skip

# --- monte_carlo_kl -------------------------------------------------------------------------------------------------


def _kl_reference(log_p, log_q):
    return (log_p - log_q).mean()


def _kl_cases(g):
    def one(n, dtype, label, shift=0.5):
        log_p = draw.normal(g, n, dtype=dtype) - 2
        return Case(label, (log_p, log_p - shift + 0.8 * draw.normal(g, n, dtype=dtype)), grad=(0, 1))

    def zero(n, dtype):
        log_p = draw.normal(g, n, dtype=dtype)
        log_q = log_p - draw.uniform(g, 0, 1, n, dtype=dtype)
        log_q[draw.integer(g, 0, n - 1)] = -math.inf
        return Case("a sample where q is 0", (log_p, log_q), edge=True)

    return [
        one(2, F64, "2 samples"),
        one(9, F32, "9 samples"),
        one(200, F64, "200 samples"),
        one(1, F32, "a single sample"),
        one(12, F64, "an estimate below zero", shift=-3.0),
        one(5, F32, "another below zero", shift=-2.5),
        zero(4, F32),
        zero(9, F64),
    ]


MONTE_CARLO_KL = Task(
    name="monte_carlo_kl",
    exercise=EXERCISE,
    points=1.0,
    signature=("log_p", "log_q"),
    reference=_kl_reference,
    cases=_kl_cases,
    mistakes=(
        Mistake("swapped",
            "p and q are swapped. KL(p‖q) is the mean of log p - log q.",
            lambda p, q: (q - p).mean()),
        Mistake("sum_not_mean",
            "The differences are summed. The estimate is their mean.",
            lambda p, q: (p - q).sum()),
        Mistake("weighted_by_p",
            "Each difference is weighted by p. The samples are drawn from p already: a plain mean is right.",
            lambda p, q: (p.exp() * (p - q)).mean()),
        Mistake("weighted_sum_by_p",
            "This is a sum of p·(log p - log q), as over all states. Here are samples: take the mean of the "
            "differences.",
            lambda p, q: (p.exp() * (p - q)).sum()),
        Mistake("clipped_at_zero",
            "The estimate is clipped at 0. The true KL is never negative, its estimate may be.",
            lambda p, q: (p - q).mean().clamp(min=0)),
        Mistake("absolute_value",
            "Absolute values are averaged. Terms may be negative and must cancel.",
            lambda p, q: (p - q).abs().mean()),
        Mistake("infinite_terms_dropped",
            "Samples where q is 0 are dropped. One such sample makes the estimate +inf.",
            lambda p, q: (p - q)[q.isfinite()].mean()),
        Mistake("infinite_terms_replaced",
            "A log q of -inf is replaced by a large number. The estimate is +inf then.",
            lambda p, q: (p - torch.nan_to_num(q)).mean()),
        Mistake("only_cross_entropy",
            "This is -mean(log q). Add the mean of log p.",
            lambda p, q: -q.mean()),
        Mistake("other_estimator",
            "This is the estimator q/p - 1 - log(q/p). It is never negative; the task asks for the mean of log p - "
            "log q.",
            lambda p, q: ((q - p).exp() - 1 - (q - p)).mean()),
        Mistake("one_value_per_sample",
            "This is one value per sample. Return their mean.",
            lambda p, q: p - q),
    ),
    next_step="Estimate KL between two Gaussians with 10, 100 and 1000 samples and compare with the exact value.",
)  # fmt: skip

# --- class_posterior ------------------------------------------------------------------------------------------------


def _posterior_reference(log_px_given_y, log_prior):
    return torch.softmax(log_px_given_y + log_prior, 1)


def _posterior_cases(g):
    def one(n, k, dtype, label, level=0.0, spread=2.0, grad=(0, 1), edge=False):
        log_px = spread * draw.normal(g, n, k, dtype=dtype) + level
        return Case(label, (log_px, draw.simplex(g, k, dtype=dtype).log()), grad=grad, edge=edge)

    impossible = torch.tensor([[-1.0, -math.inf, -2.0], [-math.inf, -math.inf, -9.0], [-0.5, -3.0, 0.5]])
    prior = torch.tensor([0.5, 0.25, 0.25], dtype=F64).log()
    return [
        one(2, 2, F64, "2 samples, 2 classes"),
        one(5, 3, F32, "5 samples, 3 classes"),
        one(30, 10, F64, "30 samples, 10 classes"),
        one(4, 4, F64, "as many samples as classes"),
        one(1, 3, F32, "a single sample"),
        one(3, 1, F64, "a single class"),
        one(3, 3, F32, "log densities near -1000", level=-1000.0, grad=(), edge=True),
        one(3, 4, F64, "log densities near 5000", level=5000.0, grad=(), edge=True),
        Case("classes that cannot have made the sample", (impossible.to(F64), prior), edge=True),
    ]


CLASS_POSTERIOR = Task(
    name="class_posterior",
    exercise=EXERCISE,
    points=2.0,
    signature=("log_px_given_y", "log_prior"),
    outputs=("posterior",),
    reference=_posterior_reference,
    cases=_posterior_cases,
    mistakes=(
        Mistake("no_prior",
            "The prior is not used. Add log_prior before you normalise.",
            lambda p, y: torch.softmax(p, 1)),
        Mistake("normalised_over_samples",
            "Each column sums to one. Each row must: the classes of one sample share the probability.",
            lambda p, y: torch.softmax(p + y, 0)),
        Mistake("underflow",
            "exp(...) underflows to 0 or overflows for images, and the ratio is NaN. Stay in logs: torch.softmax.",
            lambda p, y: _naive(p + y)),
        Mistake("small_number_in_the_denominator",
            "A small number in the denominator avoids NaN but makes the row sum to less than one. Stay in logs.",
            lambda p, y: _naive(p + y, eps=1e-10)),
        Mistake("log_posterior",
            "This is the log posterior. Return probabilities.",
            lambda p, y: torch.log_softmax(p + y, 1)),
        Mistake("prior_not_logged",
            "The prior is added as a probability. Add its logarithm.",
            lambda p, y: torch.softmax(p + y.exp(), 1)),
        Mistake("prior_subtracted",
            "The log prior is subtracted. Bayes' rule multiplies by the prior: add it.",
            lambda p, y: torch.softmax(p - y, 1)),
        Mistake("logs_multiplied",
            "The logs are multiplied. Probabilities multiply, their logs add.",
            lambda p, y: torch.softmax(p * y, 1)),
        Mistake("not_normalised",
            "This is p(x, y). Divide by its sum over the classes.",
            lambda p, y: (p + y).exp()),
        Mistake("hard",
            "The likeliest class gets all the probability. Return the whole posterior.",
            lambda p, y: torch.nn.functional.one_hot((p + y).argmax(1), len(y)).to(p)),
        Mistake("prior_after_normalising",
            "The likelihood is normalised first and multiplied by the prior after that, so the rows do not sum to "
            "one.",
            lambda p, y: torch.softmax(p, 1) * y.exp()),
    ),
    next_step="Halve the prior of one digit and watch which test images change their class.",
)  # fmt: skip

TASKS = (GAUSSIAN_MLE, GAUSSIAN_LOG_PROB, GMM_E_STEP, GMM_M_STEP, MONTE_CARLO_KL, CLASS_POSTERIOR)
