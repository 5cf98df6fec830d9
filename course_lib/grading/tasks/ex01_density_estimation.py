"""Tasks of ex01: histogram, kernel density estimate, leave-one-out likelihood, ball and cube, outliers."""

from __future__ import annotations

import math

import torch

from course_lib.grading.task import Case, Mistake, Task
from course_lib.grading.tasks import _draw as draw
from course_lib.grading.tasks._draw import F32, F64

LOG_2PI = math.log(2 * math.pi)
EXERCISE = "ex01_density_estimation"

# --- histogram_log_density ------------------------------------------------------------------------------------------


def _inside(v, edges):
    return (v >= edges[0]) & (v <= edges[-1])


def _bin(v, edges, right=True):
    # right=True counts the edges <= v, which makes bins [a, b); the clamp puts v = last edge into the last bin.
    return (torch.bucketize(v, edges, right=right) - 1).clamp(0, len(edges) - 2)


def _counts(v, edges, right=True):
    return torch.bincount(_bin(v[_inside(v, edges)], edges, right), minlength=len(edges) - 1).to(edges.dtype)


def _histogram_reference(x_train, edges, x):
    density = _counts(x_train, edges) / (len(x_train) * edges.diff())
    return torch.where(_inside(x, edges), density.log()[_bin(x, edges)], -torch.inf)


def _histogram_wrong(height, *, right=True, keep=_inside, counts=_counts, log=torch.log):
    """A histogram with one thing changed: `height(counts, n, widths)`, how bins close, which points are inside."""

    def answer(x_train, edges, x):
        count = counts(x_train, edges, right)
        value = log(height(count, len(x_train), edges.diff()))
        return torch.where(keep(x, edges), value[_bin(x, edges, right)], log(torch.zeros_like(x)))

    return answer


def _density(c, n, w):
    return c / (n * w)


def _half_open(v, edges):
    return (v >= edges[0]) & (v < edges[-1])


def _histogram_cases(g):
    def one(n, k, m, dtype, label, at=(), grid=None, edge=False):
        uneven = torch.cat([draw.uniform(g, -3, -2, 1), draw.uniform(g, 0.3, 1.2, k)]).cumsum(0)
        edges = (uneven if grid is None else grid).to(dtype)
        special = [pick(edges) for pick in at]
        anywhere = draw.uniform(g, float(edges[0]) - 0.5, float(edges[-1]) + 0.5, m, dtype=dtype)
        x, x_train = torch.cat([anywhere, *special]), torch.cat([1.2 * draw.normal(g, n, dtype=dtype), *special])
        return Case(label, (x_train, edges, x), edge=edge)

    even = torch.linspace(-2, 2, 5)
    return [
        one(7, 3, 5, F64, "7 points, 3 bins of different widths"),
        one(40, 6, 9, F32, "40 points, 6 bins"),
        one(200, 12, 30, F64, "200 points, 12 bins"),
        one(9, 1, 4, F32, "a single bin"),
        one(30, 4, 1, F32, "one query point", grid=even),
        one(25, 4, 3, F64, "points on the inner edges", at=[lambda e: e[1:-1]], grid=even, edge=True),
        one(12, 4, 2, F32, "points on the first and the last edge", at=[lambda e: e[:1], lambda e: e[-1:]], edge=True),
        one(6, 4, 2, F32, "points far outside the edges", at=[lambda e: e[:1] - 50, lambda e: e[-1:] + 1e6], edge=True),
        Case("an empty bin", (torch.tensor([0.1, 0.2, 2.5]), torch.arange(4.0), torch.arange(3) + 0.5), edge=True),
    ]


HISTOGRAM = Task(
    name="histogram_log_density",
    exercise=EXERCISE,
    points=2.0,
    signature=("x_train", "edges", "x"),
    reference=_histogram_reference,
    cases=_histogram_cases,
    mistakes=(
        Mistake("no_bin_width",
            "This is the log of the fraction of points in each bin. A density is a fraction per unit of length: "
            "divide by the width of the bin too.",
            _histogram_wrong(lambda c, n, w: c / n)),
        Mistake("not_divided_by_n",
            "The counts are divided by the widths, but not by the number of points n, so the density does not "
            "integrate to one.",
            _histogram_wrong(lambda c, n, w: c / w)),
        Mistake("points_inside_only",
            "n is the number of all training points. You divide by the number that fall inside the edges.",
            _histogram_wrong(lambda c, n, w: c / (c.sum() * w))),
        Mistake("one_width_for_all",
            "The first bin's width is used for every bin. Bins may differ: use each bin's own width, edges[1:] - "
            "edges[:-1].",
            _histogram_wrong(lambda c, n, w: c / (n * w[0]))),
        Mistake("density_not_log",
            "This is the density. The function returns its logarithm.",
            _histogram_wrong(_density, log=lambda v: v)),
        Mistake("last_edge_excluded",
            "A point exactly on the last edge belongs to the last bin, which is [a, b] with both ends.",
            _histogram_wrong(_density, keep=_half_open, counts=lambda v, e, r: _counts(v[v < e[-1]], e, r))),
        Mistake("bins_closed_on_the_right",
            "A point on an inner edge is counted in the bin on its left. Bins are [a, b): the edge belongs to the "
            "bin on its right.",
            _histogram_wrong(_density, right=False)),
        Mistake("outside_is_clamped",
            "Outside the edges the density is 0, so its log is -inf. You give those points the value of the nearest "
            "bin.",
            _histogram_wrong(_density, keep=lambda v, e: torch.isfinite(v))),
        Mistake("outside_is_counted",
            "Training points outside the edges are counted in the first or the last bin. They belong to no bin.",
            _histogram_wrong(_density, counts=lambda v, e, r: torch.bincount(_bin(v, e, r),
                minlength=len(e) - 1).to(e.dtype))),
        Mistake("small_number_in_the_log",
            "A small number is added inside the log, so an empty bin gets a finite value. Its density is exactly 0 "
            "and its log is -inf.",
            _histogram_wrong(lambda c, n, w: c / (n * w) + 1e-8)),
    ),
    next_step="Halve the bin width of your histogram and look at the held-out log-likelihood: it does not only grow.",
)  # fmt: skip

# --- kde_log_density ------------------------------------------------------------------------------------------------


def _square_distances(a, b):
    return (a[:, None] - b[None]).pow(2).sum(-1)


def _kde_reference(x_train, x, bandwidth):
    log_kernel = -0.5 * _square_distances(x, x_train) / bandwidth**2
    log_normaliser = math.log(len(x_train)) + x.shape[1] * (0.5 * LOG_2PI + math.log(bandwidth))
    return torch.logsumexp(log_kernel, 1) - log_normaliser


def _kde_wrong(square=lambda s, h: s / h**2, half=0.5, constant=lambda d, h: d * (0.5 * LOG_2PI + math.log(h)),
               reduce=lambda log_k, n: torch.logsumexp(log_k, 1) - math.log(n)):  # fmt: skip
    """A kernel estimate with one thing changed: the scaled square, the half, the kernel's constant, the average."""

    def answer(x_train, x, bandwidth):
        log_kernel = -half * square(_square_distances(x, x_train), bandwidth) - constant(x.shape[1], bandwidth)
        return reduce(log_kernel, len(x_train))

    return answer


def _kde_cases(g):
    def one(n, m, d, dtype, label, grad=(0, 1), tensor=False):
        h = draw.number(g, 0.5, 1.5)
        h = torch.tensor(h, dtype=dtype) if tensor else h
        return Case(label, (draw.normal(g, n, d, dtype=dtype), draw.normal(g, m, d, dtype=dtype), h), grad=grad)

    def tail(n, d, dtype, ratio):
        h, x_train = draw.number(g, 0.2, 0.8), draw.normal(g, n, d, dtype=dtype)
        away = torch.nn.functional.normalize(draw.normal(g, 2, d, dtype=dtype), dim=1) * ratio * h
        return Case(f"queries {ratio:g} bandwidths away", (x_train, torch.cat([x_train[:1], away]), h), edge=True)

    return [
        one(3, 2, 1, F64, "3 points on a line"),
        one(5, 4, 2, F32, "5 points in the plane"),
        one(30, 11, 3, F64, "30 points in 3 dimensions", tensor=True),
        one(60, 7, 2, F32, "60 points in the plane", tensor=True),
        one(1, 3, 2, F64, "a single training point"),
        one(8, 1, 5, F32, "one query in 5 dimensions"),
        tail(6, 2, F32, 60.0),
        tail(4, 1, F64, 1e3),
        tail(5, 3, F32, 1e15),
        tail(3, 2, F64, 1e15),
    ]


KDE = Task(
    name="kde_log_density",
    exercise=EXERCISE,
    points=2.0,
    signature=("x_train", "x", "bandwidth"),
    reference=_kde_reference,
    cases=_kde_cases,
    mistakes=(
        Mistake("no_normaliser",
            "The kernel's constant is missing. A Gaussian in d dimensions is divided by (2·pi·bandwidth²)^(d/2).",
            _kde_wrong(constant=lambda d, h: 0.0)),
        Mistake("normaliser_of_one_dimension",
            "The constant of a one-dimensional Gaussian is used whatever d is. Each dimension brings a factor: the "
            "power is d/2.",
            _kde_wrong(constant=lambda d, h: 0.5 * LOG_2PI + math.log(h))),
        Mistake("bandwidth_missing_in_normaliser",
            "The constant has (2·pi)^(d/2) but not bandwidth^d, so the density does not integrate to one.",
            _kde_wrong(constant=lambda d, h: d * 0.5 * LOG_2PI)),
        Mistake("bandwidth_not_squared",
            "The squared distance is divided by the bandwidth. The kernel's variance is bandwidth².",
            _kde_wrong(square=lambda s, h: s / h)),
        Mistake("bandwidth_is_variance",
            "The bandwidth is used as a variance throughout. It is a standard deviation: the covariance is "
            "bandwidth²·I.",
            _kde_wrong(square=lambda s, h: s / h, constant=lambda d, h: 0.5 * d * (LOG_2PI + math.log(h)))),
        Mistake("half_missing",
            "The exponent of a Gaussian is minus one half of the squared distance. The half is missing.",
            _kde_wrong(half=1.0)),
        Mistake("sum_not_mean",
            "The kernels are summed. The estimate is their mean: subtract log n.",
            _kde_wrong(reduce=lambda k, n: torch.logsumexp(k, 1))),
        Mistake("mean_of_logs",
            "This is the mean of the log kernels. The estimate is the log of the mean of the kernels.",
            _kde_wrong(reduce=lambda k, n: k.mean(1))),
        Mistake("underflow",
            "Far from every point exp(...) underflows to 0 and its log is -inf. Stay in logs: torch.logsumexp.",
            _kde_wrong(reduce=lambda k, n: k.exp().mean(1).log())),
        Mistake("small_number_in_the_log",
            "A small number is added inside the log, which hides the underflow: the tails are wrong. Stay in logs: "
            "torch.logsumexp.",
            _kde_wrong(reduce=lambda k, n: (k.exp().mean(1) + 1e-12).log())),
        Mistake("density_not_log",
            "This is the density. The function returns its logarithm.",
            _kde_wrong(reduce=lambda k, n: k.exp().mean(1))),
        Mistake("averaged_over_queries",
            "The average runs over the queries x. It must run over the training points and leave one value per "
            "query.",
            _kde_wrong(reduce=lambda k, n: torch.logsumexp(k, 0) - math.log(len(k)))),
    ),
    next_step="Draw your estimate for three bandwidths, then let leave_one_out_log_likelihood choose.",
)  # fmt: skip

# --- leave_one_out_log_likelihood -----------------------------------------------------------------------------------


def _loo(x, h, others=None, diagonal=-math.inf, constant=None, over=lambda k: torch.logsumexp(k, 1), mean=torch.mean):
    n, d = x.shape
    constant = d * (0.5 * LOG_2PI + math.log(h)) if constant is None else constant
    log_kernel = -0.5 * _square_distances(x, x) / h**2
    if diagonal is not None:
        log_kernel = log_kernel.masked_fill(torch.eye(n, dtype=torch.bool), diagonal)
    return mean(over(log_kernel) - math.log(n - 1 if others is None else others) - constant)


def _loo_reference(x_train, bandwidth):
    return _loo(x_train, bandwidth)


def _loo_zero_diagonal(x_train, bandwidth):
    constant = x_train.shape[1] * (0.5 * LOG_2PI + math.log(bandwidth))
    return _loo(x_train, bandwidth, diagonal=constant)


def _loo_cases(g):
    def one(n, d, dtype, label, tensor=False):
        h = draw.number(g, 0.6, 1.5)
        h = torch.tensor(h, dtype=dtype) if tensor else h
        return Case(label, (draw.normal(g, n, d, dtype=dtype), h), grad=(0,))

    def alone(dtype, ratio):
        h, x = draw.number(g, 0.3, 0.8), draw.normal(g, 5, 2, dtype=dtype)
        far = torch.full((1, 2), ratio * h, dtype=dtype)
        return Case(f"one point {ratio:g} bandwidths from the others", (torch.cat([x, far]), h), edge=True)

    twice = draw.normal(g, 3, 2, dtype=F64)
    return [
        one(2, 1, F64, "two points on a line"),
        one(4, 2, F32, "4 points in the plane"),
        one(25, 3, F64, "25 points in 3 dimensions", tensor=True),
        one(50, 2, F32, "50 points in the plane"),
        Case("every point twice", (torch.cat([twice, twice]), 0.7), grad=(0,), edge=True),
        alone(F32, 60.0),
        alone(F64, 1e4),
    ]


LEAVE_ONE_OUT = Task(
    name="leave_one_out_log_likelihood",
    exercise=EXERCISE,
    points=2.0,
    signature=("x_train", "bandwidth"),
    reference=_loo_reference,
    cases=_loo_cases,
    mistakes=(
        Mistake("includes_the_point_itself",
            "Each point is scored by a density that contains the point itself, so a tiny bandwidth always wins. "
            "Leave the point out.",
            lambda x, h: _loo(x, h, others=len(x), diagonal=None)),
        Mistake("divides_by_n",
            "The point is left out of the sum, but the sum is still divided by n. There are n - 1 others.",
            lambda x, h: _loo(x, h, others=len(x))),
        Mistake("point_itself_counts_as_one_of_n_minus_1",
            "The point itself is still in the sum, which is divided by n - 1. Leave it out of the sum too.",
            lambda x, h: _loo(x, h, diagonal=None)),
        Mistake("sum_not_mean",
            "This is the sum over the points. The function returns their mean.",
            lambda x, h: _loo(x, h, mean=torch.sum)),
        Mistake("kernels_not_averaged",
            "The kernels of the others are summed. The density is their mean: subtract log(n - 1).",
            lambda x, h: _loo(x, h, others=1)),
        Mistake("no_normaliser",
            "The kernel's constant d/2·log(2·pi·bandwidth²) is missing.",
            lambda x, h: _loo(x, h, constant=0.0)),
        Mistake("normaliser_of_one_dimension",
            "The constant of a one-dimensional Gaussian is used whatever d is. The power is d/2.",
            lambda x, h: _loo(x, h, constant=0.5 * LOG_2PI + math.log(h))),
        Mistake("log_kernel_set_to_zero",
            "The point's own log kernel is set to 0, which is a kernel of 1. Set it to -inf, which is a kernel of 0.",
            _loo_zero_diagonal),
        Mistake("underflow",
            "For a point far from the others exp(...) underflows to 0 and its log is -inf. Stay in logs: "
            "torch.logsumexp.",
            lambda x, h: _loo(x, h, over=lambda k: k.exp().sum(1).log())),
        Mistake("log_of_mean_density",
            "This is the log of the mean density. The log-likelihood is the mean of the logs.",
            lambda x, h: _loo(x, h, mean=lambda v: torch.logsumexp(v, 0) - math.log(len(x)))),
        Mistake("one_value_per_point",
            "This is one value per point. Return their mean, a single number.",
            lambda x, h: _loo(x, h, mean=lambda v: v)),
    ),
    next_step="Plot it against the bandwidth: the maximum is the bandwidth the data would choose.",
)  # fmt: skip

# --- log_ball_to_cube_ratio -----------------------------------------------------------------------------------------


def _ball_reference(d):
    return 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1) - d * math.log(2)


def _ball_log_last(d):
    gamma = torch.tensor(0.5 * d + 1, dtype=F64).lgamma().exp()
    return torch.log(torch.tensor(math.pi**0.5 / 2, dtype=F64) ** d / gamma).item()


def _ball_cases(g):
    # Small dimensions by hand, large ones at random: the exponent grows like d·log d, so it must stay a logarithm.
    dims = [1, 2, 3, 4, 7, draw.integer(g, 8, 30), draw.integer(g, 31, 150), draw.integer(g, 151, 600)]
    return [Case(f"d = {d}", (d,)) for d in dims] + [
        Case(f"d = {d}", (d,), edge=True) for d in (draw.integer(g, 601, 999), 1000)
    ]


BALL = Task(
    name="log_ball_to_cube_ratio",
    exercise=EXERCISE,
    points=2.0,
    signature=("d",),
    reference=_ball_reference,
    cases=_ball_cases,
    mistakes=(
        Mistake("radius_one",
            "This is the log volume of a ball of radius 1. The ball inside the unit cube has radius 1/2: subtract "
            "d·log 2.",
            lambda d: _ball_reference(d) + d * math.log(2)),
        Mistake("gamma_off_by_one",
            "The volume is divided by Gamma(d/2 + 1). You used Gamma(d/2).",
            lambda d: _ball_reference(d) + math.log(0.5 * d)),
        Mistake("surface_not_volume",
            "This belongs to the ball's surface, which is d times its volume divided by the radius.",
            lambda d: _ball_reference(d) + math.log(2 * d)),
        Mistake("ratio_not_log",
            "This is the ratio. The function returns its logarithm, which does not underflow.",
            lambda d: math.exp(_ball_reference(d))),
        Mistake("log_taken_last",
            "The ratio is computed first and its log last, so large d gives 0 and -inf. Add and subtract logs: "
            "math.lgamma.",
            _ball_log_last),
        Mistake("sign",
            "The sign is reversed: this is the log of cube to ball.",
            lambda d: -_ball_reference(d)),
        Mistake("base_ten",
            "This is a base-10 logarithm. All logs of the course are natural.",
            lambda d: _ball_reference(d) / math.log(10)),
        Mistake("base_two",
            "This is a base-2 logarithm. All logs of the course are natural.",
            lambda d: _ball_reference(d) / math.log(2)),
        Mistake("whole_division",
            "d // 2 loses the half of an odd d. Use d / 2.",
            lambda d: (d // 2) * math.log(math.pi) - math.lgamma(d // 2 + 1) - d * math.log(2)),
        Mistake("factorial_of_d",
            "The volume is divided by Gamma(d/2 + 1). You used Gamma(d + 1).",
            lambda d: 0.5 * d * math.log(math.pi) - math.lgamma(d + 1) - d * math.log(2)),
    ),
    next_step="In 100 dimensions, of how many uniform points in the cube would one lie in the ball?",
)  # fmt: skip

# --- outlier_mask ---------------------------------------------------------------------------------------------------


def _quantile(v, alpha, how="linear"):
    return torch.quantile(v, float(alpha), interpolation=how)


def _outlier_reference(log_p_train, log_p, alpha):
    return log_p < _quantile(log_p_train, alpha)


def _kth(log_p_train, alpha):
    n = len(log_p_train)
    return log_p_train.sort().values[min(int(float(alpha) * n), n - 1)]


def _gaussian_rule(log_p_train, log_p, alpha):
    z = torch.special.ndtri(torch.tensor(float(alpha), dtype=F64)).item()
    return log_p < log_p_train.mean() + z * log_p_train.std(correction=0)


def _outlier_cases(g):
    def one(n, m, dtype, alpha, label, tensor=False):
        train = 2 * draw.normal(g, n, dtype=dtype) - 3
        # Between the two order statistics that the quantile lies between, rules differ: most queries go there. None is
        # so near to the threshold that rounding could decide.
        rank, order = alpha * (n - 1), train.sort().values
        low, high = order[int(rank)], order[min(int(rank) + 1, n - 1)]
        between = low + (high - low) * draw.uniform(g, -0.2, 1.2, 2 * m, dtype=dtype)
        log_p = torch.cat([between, 2.5 * draw.normal(g, m, dtype=dtype) - 3])
        threshold = _quantile(train.to(F64), alpha)
        log_p = log_p[(log_p - threshold).abs() > 1e-4]
        return Case(label, (train, log_p, torch.tensor(alpha, dtype=dtype) if tensor else alpha))

    def spread(alpha):
        # Gaps so wide that every rule for the quantile has a threshold of its own.
        train = torch.tensor([-6, -12, -1], dtype=F64)
        log_p = torch.arange(-13, 0, dtype=F64) + draw.number(g, 0.65, 0.75)
        return Case(f"training values -6, -12, -1 and alpha = {alpha}", (train, log_p, alpha))

    def tie(n, dtype, alpha):
        # alpha·(n − 1) is a whole number without rounding, so the quantile is exactly a training value.
        train = draw.normal(g, n, dtype=dtype)
        return Case(
            f"log densities equal to the quantile, alpha = {alpha}", (train, train.sort().values, alpha), edge=True
        )

    train = draw.normal(g, 30, dtype=F32)
    return [
        one(4, 3, F64, 0.4, "4 training points"),
        spread(0.3),
        spread(0.4),
        one(11, 6, F32, 0.13, "11 training points"),
        one(60, 20, F64, 0.05, "60 training points", tensor=True),
        one(200, 30, F32, 0.02, "200 training points"),
        one(15, 5, F64, draw.number(g, 0.5, 0.9), "alpha above one half"),
        tie(5, F32, 0.25),
        tie(9, F64, 0.5),
        tie(6, F32, 0.0),
        tie(6, F64, 1.0),
        Case("one training point", (draw.normal(g, 1), draw.normal(g, 6), 0.3)),
        Case("queries of density zero", (train, torch.tensor([-math.inf, 0.0, -math.inf, 9.0]), 0.1), edge=True),
    ]


OUTLIER = Task(
    name="outlier_mask",
    exercise=EXERCISE,
    points=2.0,
    signature=("log_p_train", "log_p", "alpha"),
    reference=_outlier_reference,
    cases=_outlier_cases,
    mistakes=(
        Mistake("not_strict",
            "A log density equal to the quantile is marked. Outliers are strictly below it.",
            lambda t, p, a: p <= _quantile(t, a)),
        Mistake("inverted",
            "The mask is true for the inliers. It must be true for the outliers, which are below the quantile.",
            lambda t, p, a: p >= _quantile(t, a)),
        Mistake("upper_tail",
            "This marks the largest log densities. Outliers are where the density is low.",
            lambda t, p, a: p > _quantile(t, 1 - float(a))),
        Mistake("quantile_one_minus_alpha",
            "The threshold is the (1 - alpha)-quantile. alpha is the fraction of training points that may fall below "
            "it.",
            lambda t, p, a: p < _quantile(t, 1 - float(a))),
        Mistake("quantile_of_queries",
            "The threshold comes from the queries. It must come from the training log densities.",
            lambda t, p, a: p < _quantile(p, a)),
        Mistake("quantile_of_densities",
            "The quantile is interpolated between densities. Interpolate between log densities.",
            lambda t, p, a: p < _quantile(t.exp(), a).log()),
        Mistake("percent",
            "alpha is divided by 100. It is a fraction already.",
            lambda t, p, a: p < _quantile(t, float(a) / 100)),
        Mistake("lower_order_statistic",
            "The quantile is the training value just below. Interpolate linearly between the two.",
            lambda t, p, a: p < _quantile(t, a, "lower")),
        Mistake("higher_order_statistic",
            "The quantile is the training value just above. Interpolate linearly between the two.",
            lambda t, p, a: p < _quantile(t, a, "higher")),
        Mistake("nearest_order_statistic",
            "The quantile is the nearest training value. Interpolate linearly between the two.",
            lambda t, p, a: p < _quantile(t, a, "nearest")),
        Mistake("index_alpha_n",
            "The threshold is the sorted value number alpha·n. The alpha-quantile stands at alpha·(n - 1), between "
            "two sorted values.",
            lambda t, p, a: p < _kth(t, a)),
        Mistake("alpha_is_threshold",
            "The log densities are compared with log alpha. alpha is not a density, it is a fraction of the training "
            "points.",
            lambda t, p, a: p < math.log(float(a) + 1e-300)),
        Mistake("gaussian_rule",
            "The threshold is made from the mean and the standard deviation. Use the quantile: log densities are not "
            "Gaussian.",
            _gaussian_rule),
    ),
    next_step="Score images of another kind with a density fitted to digits, and look at the ROC curve of lecture 01.",
)  # fmt: skip

TASKS = (HISTOGRAM, KDE, LEAVE_ONE_OUT, BALL, OUTLIER)
