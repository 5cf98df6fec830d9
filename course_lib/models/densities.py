"""Classical density estimators: histogram, kernel density estimate, Gaussian; the mixture is in `mixture`.

Each has `fit(x) -> self`, `log_prob(x) -> (n,)` in nats and `sample(n, generator=) -> (n, d)`, and follows the dtype
and device of the data it was fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from course_lib import checks, gaussian
from course_lib._typing import Float, Number, Tensor
from course_lib.models.mixture import GMM, e_step, m_step

__all__ = ["GMM", "KDE", "Gaussian", "Histogram", "e_step", "kde_log_prob", "m_step"]


class Histogram:
    """Equal bins in any dimension: p(x) = (points in the bin of x) / (n * volume of a bin).

    Bins are [a, b), the last one along each axis [a, b]. Only occupied bins are stored, so a fine grid in many
    dimensions costs memory for the n points only; that most of its bins are empty is the curse of dimensionality.

    Args:
        bins: number of bins along each axis.
    """

    def __init__(self, bins: int = 20):
        self.bins = checks.count(bins, "bins")

    def fit(self, x: Float[Tensor, "n d"], *, bounds: Sequence[tuple[float, float]] | None = None) -> Histogram:
        """Count the points x (n, d) in bins.

        Args:
            x: points (n, d).
            bounds: (lowest, highest) edge for each axis; the range of the data if not given. Points outside count in n,
                so that the density integrates to the share of points inside.
        Returns:
            the histogram itself.
        Raises:
            ValueError: bad points, a constant feature, bounds of the wrong shape, or more than 2^62 bins.
        """
        checks.data(x)
        d = x.shape[1]
        if d * math.log2(self.bins) > 62:
            raise ValueError(f"bins={self.bins} in {d} dimensions makes {self.bins}^{d} bins; use fewer")
        limits = torch.stack([x.amin(0), x.amax(0)], 1) if bounds is None else torch.as_tensor(bounds).to(x)
        if limits.shape != (d, 2) or not bool((limits[:, 1] > limits[:, 0]).all()):
            raise ValueError(f"bounds must be {d} pairs (lowest, highest), lowest < highest, got {limits.tolist()}")
        self.lower, self.upper, self.num_points = limits[:, 0], limits[:, 1], len(x)
        inside, bin_index = self._locate(x)
        self.occupied, self.counts = bin_index[inside].unique(return_counts=True)
        return self

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Log density (n,) at x (n, d); -inf outside the bounds and in empty bins."""
        _fitted(self, "counts")
        checks.data(x, dim=len(self.lower))
        inside, bin_index = self._locate(x)
        occupied, counts = self.occupied.to(x.device), self.counts.to(x.device)
        if not len(occupied):
            return x.new_full((len(x),), -math.inf)
        slot = torch.searchsorted(occupied, bin_index).clamp_max(len(occupied) - 1)
        known = inside & (occupied[slot] == bin_index)
        log_volume = float(((self.upper - self.lower).double() / self.bins).log().sum())
        log_density = counts[slot].to(x.dtype).log() - math.log(self.num_points) - log_volume
        return torch.where(known, log_density, -math.inf)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draw (n, d): a bin with chance proportional to its count, then a uniform point of it."""
        _fitted(self, "counts")
        n, device = checks.count(n, "n"), generator.device if generator is not None else self.lower.device
        which = _draw_index(self.counts.to(self.lower.dtype), n, generator)
        flat = self.occupied[which]
        strides = self.bins ** torch.arange(len(self.lower), device=flat.device)
        corner = (flat[:, None] // strides) % self.bins
        within = torch.rand(n, len(self.lower), generator=generator, dtype=self.lower.dtype, device=device)
        return self.lower + (self.upper - self.lower) * (corner + within.to(self.lower.device)) / self.bins

    def _locate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each point lies within the bounds (n,), and the number of its bin (n,)."""
        lower, upper = self.lower.to(x), self.upper.to(x)
        inside = ((x >= lower) & (x <= upper)).all(1)
        position = ((x - lower) / (upper - lower) * self.bins).floor().clamp(0, self.bins - 1).long()
        return inside, (position * self.bins ** torch.arange(x.shape[1], device=x.device)).sum(1)


class Gaussian:
    """One Gaussian by maximum likelihood: the mean and the covariance (with 1/n) of the data."""

    def fit(self, x: Float[Tensor, "n d"]) -> Gaussian:
        """Fit to x (n, d); more points than dimensions are needed, and no feature that follows from the others."""
        checks.data(x)
        self.mean = x.mean(0)
        centred = x - self.mean
        self.cov = centred.mT @ centred / len(x)
        gaussian.log_prob(x[:1], self.mean, self.cov)  # a singular covariance is refused here, not at first use
        return self

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Log density (n,) at x (n, d)."""
        _fitted(self, "cov")
        return gaussian.log_prob(x, self.mean.to(x), self.cov.to(x))

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draw (n, d)."""
        _fitted(self, "cov")
        return gaussian.sample(self.mean, self.cov, n, generator)


class KDE:
    """Kernel density estimate with Gaussian kernels: p(x) = 1/n sum_i N(x; x_i, h^2 I).

    Args:
        bandwidth: h > 0, in the units of the data. If None, `fit` sets Scott's rule, n^(-1/(d+4)) times the mean
            standard deviation of the features: right for a round Gaussian, too wide for anything with several modes.
    References:
        Scott, Multivariate Density Estimation (1992), eq. 6.42 (the rule).
    """

    def __init__(self, bandwidth: Number | None = None):
        self._given = None if bandwidth is None else checks.number(bandwidth, "bandwidth", above=0)
        self.bandwidth = self._given

    def fit(self, x: Float[Tensor, "n d"]) -> KDE:
        """Keep the points x (n, d)."""
        checks.data(x)
        if self._given is None:
            spread = float(x.double().std(0, correction=0).mean()) if len(x) > 1 else 0.0
            if spread == 0:
                raise ValueError("x has no spread, so no rule gives a bandwidth; pass bandwidth=... to KDE")
            self.bandwidth = spread * len(x) ** (-1 / (x.shape[1] + 4))
        self.points = x
        return self

    def log_prob(self, x: Float[Tensor, "n d"], *, max_pairs: int = 2**17) -> Float[Tensor, " n"]:
        """Log density (n,) at x (n, d); `max_pairs` bounds the memory, see `kde_log_prob`."""
        _fitted(self, "points")
        return kde_log_prob(self.points.to(x), x, self.bandwidth, max_pairs=max_pairs)

    def leave_one_out(self, bandwidths: Sequence[float] | Tensor | None = None) -> Float[Tensor, " k"]:
        """Mean log density of each training point under the n - 1 others, in nats, for each bandwidth given.

        The largest marks a good bandwidth: unlike the training likelihood, it does not grow without end as h shrinks.

        Args:
            bandwidths: k candidates; the bandwidth of the estimate if not given.
        Returns:
            (k,), or (1,) if no candidates are given.
        """
        _fitted(self, "points")
        candidates = [self.bandwidth] if bandwidths is None else [float(h) for h in bandwidths]
        scores = [kde_log_prob(self.points, None, h).mean() for h in candidates]
        return torch.stack(scores)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draw (n, d): a training point at random, plus noise of standard deviation h."""
        _fitted(self, "points")
        n = checks.count(n, "n")
        device = generator.device if generator is not None else self.points.device
        which = torch.randint(len(self.points), (n,), generator=generator, device=device).to(self.points.device)
        return self.points[which] + self.bandwidth * gaussian.normal(n, self.points, generator)


def kde_log_prob(
    x_train: Float[Tensor, "n d"], x: Float[Tensor, "m d"] | None, bandwidth: Number, *, max_pairs: int = 2**17
) -> Float[Tensor, " m"]:
    """Log of a kernel density estimate: log 1/n sum_i N(x; x_i, h^2 I), in nats.

    Exact to rounding, however far x is: the largest term is taken out before the exponential, and distances are sums
    of squared differences, never |x|^2 + |y|^2 - 2 x y. Points are put in boxes first, and a box so far that all n
    points in it would change the sum by less than its last digit is passed over.

    Args:
        x_train: kernel centres (n, d).
        x: points (m, d); None for the centres themselves, each under the n - 1 others (leave one out).
        bandwidth: h > 0.
        max_pairs: how many (point, centre) pairs are in memory at once, about; speed is best within the cache.
    Returns:
        (m,), in the dtype and on the device of x_train.
    Raises:
        ValueError: wrong shapes, NaN, no points, a bandwidth that is not positive.
    """
    checks.data(x_train, "x_train", min_samples=2 if x is None else 1)
    bandwidth = checks.number(bandwidth, "bandwidth", above=0)
    checks.count(max_pairs, "max_pairs")
    leave_one_out = x is None
    x = x_train if leave_one_out else checks.data(x, "x", dim=x_train.shape[1])
    # Division by a power of two is exact, so differences lose no digit and squares cannot overflow for |x - x_i| / h
    # up to 1e15; what remains of the bandwidth, between 0.7 and 1.5, is applied to the squares.
    unit = 2.0 ** round(math.log2(bandwidth))
    sharpness = (unit / bandwidth) ** 2
    centres, queries = x_train / unit, x / unit
    boxes, low, high = _boxes(centres)
    padded = torch.cat(
        [centres, centres.new_full((1, centres.shape[1]), math.inf)]
    )  # an absent point is infinitely far
    margin = 2 * (math.log(len(centres)) - math.log(torch.finfo(x.dtype).eps) + 3) / sharpness
    out, order = [], []
    for rows, row_low, row_high in zip(*_boxes(queries), strict=True):
        rows = rows[rows < len(queries)]
        nearest = torch.maximum(low - row_high, row_low - high).clamp_min(0).square().sum(1)
        farthest = torch.maximum(high - row_low, row_high - low).square().sum(1)
        # Some centre is surely as near as the smallest `farthest`; the second smallest, if one centre is left out.
        reach = farthest.kthvalue(min(1 + leave_one_out, len(farthest))).values + margin
        kept = boxes[(nearest <= reach) | ~reach.isfinite()].flatten()
        parts = []
        for columns in kept.split(max(1, max_pairs // max(1, len(rows)))):
            squares = _squared_distances(queries[rows], padded[columns])
            if leave_one_out:
                squares = squares.masked_fill(rows[:, None] == columns, math.inf)
            exponents = squares.mul_(-0.5 * sharpness)
            largest = exponents.detach().amax(1, keepdim=True).clamp_min(torch.finfo(x.dtype).min)
            parts.append(exponents.sub_(largest).exp_().sum(1).log() + largest[:, 0])
        out.append(parts[0] if len(parts) == 1 else torch.stack(parts).logsumexp(0))
        order.append(rows)
    n, d = len(centres) - leave_one_out, centres.shape[1]
    in_order = torch.cat(out)[torch.cat(order).argsort()]
    return in_order - math.log(n) - d * math.log(bandwidth) - 0.5 * d * math.log(2 * math.pi)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances (m, n) from differences, one feature at a time while there are few."""
    if x.shape[1] > 8:
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    columns = y.mT.contiguous()
    total = (x[:, :1] - columns[0]).square()
    for j in range(1, x.shape[1]):
        difference = x[:, j : j + 1] - columns[j]
        total.addcmul_(difference, difference)
    return total


@torch.no_grad()
def _boxes(points: Tensor, size: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Split points (n, d) into boxes by halving along the widest axis, all boxes of one level at once (a k-d tree).

    Returns:
        indices (boxes, size or fewer), where n stands for no point; lowest and highest corner of each box (boxes, d).
    """
    n = len(points)
    levels = max(0, math.ceil(math.log2(n / size)))
    order = torch.arange(2**levels * math.ceil(n / 2**levels), device=points.device).clamp_max(n)
    padded = torch.cat([points, points.new_full((1, points.shape[1]), math.inf)])
    for level in range(levels):
        groups = order.view(2**level, -1)
        members = padded[groups]  # (groups, members, d)
        widest = (members.amax(1) - members.amin(1)).argmax(1)
        along = members.gather(2, widest[:, None, None].expand(-1, members.shape[1], 1))[:, :, 0]
        order = groups.gather(1, along.argsort(1)).flatten()
    members = padded[order.view(2**levels, -1)]
    high = torch.where(members.isinf(), -math.inf, members).amax(1)
    return order.view(2**levels, -1), members.amin(1), high


def _draw_index(weights: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """n indices drawn with chance proportional to weights (k,), on the device of the weights."""
    device = generator.device if generator is not None else weights.device
    ends = (weights / weights.sum()).cumsum(0).to(device)
    u = torch.rand(n, generator=generator, dtype=weights.dtype, device=device) * ends[-1]
    return torch.searchsorted(ends, u, right=True).clamp_max(len(weights) - 1).to(weights.device)


def _fitted(model, attribute: str) -> None:
    if not hasattr(model, attribute):
        raise ValueError(f"this {type(model).__name__} has not been fitted; call .fit(x) first")
