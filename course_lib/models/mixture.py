"""A mixture of Gaussians fitted by expectation-maximisation."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from course_lib import checks, gaussian
from course_lib._typing import Float, Number, Tensor


def e_step(
    x: Float[Tensor, "n d"], weights: Float[Tensor, " k"], means: Float[Tensor, "k d"], covs: Float[Tensor, "k d d"]
) -> Float[Tensor, "n k"]:
    """Responsibilities: the probability that each point came from each component, given the parameters.

    r_nk = w_k N(x_n; mu_k, S_k) / sum_j w_j N(x_n; mu_j, S_j), as a softmax of logs: no NaN far from every component.

    Args:
        x: points (n, d).
        weights: (k,).
        means: (k, d).
        covs: (k, d, d).
    Returns:
        (n, k), rows summing to 1.
    Raises:
        ValueError: see `gaussian.component_log_prob`.
    References:
        Bishop (2006), eq. 9.23.
    """
    return gaussian.component_log_prob(x, weights, means, covs).softmax(dim=1)


def m_step(
    x: Float[Tensor, "n d"], resp: Float[Tensor, "n k"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, "k d"], Float[Tensor, "k d d"]]:
    """The parameters that maximise the expected complete log-likelihood, given responsibilities.

    With N_k = sum_n r_nk: w_k = N_k / n, mu_k = sum_n r_nk x_n / N_k, S_k = sum_n r_nk (x_n - mu_k)(x_n - mu_k)' / N_k.

    Args:
        x: points (n, d).
        resp: responsibilities (n, k).
    Returns:
        weights (k,), means (k, d), covs (k, d, d).
    Raises:
        ValueError: wrong shapes, NaN, or a component with no responsibility at all.
    References:
        Bishop (2006), eq. 9.24 to 9.26.
    """
    checks.data(x)
    checks.finite(checks.tensor(resp, "resp", ndim=2), "resp")
    if len(resp) != len(x):
        raise ValueError(f"resp must have one row per point, got {len(resp)} rows for {len(x)} points")
    totals = resp.sum(0)
    if bool((totals <= 0).any()):
        raise ValueError(f"resp gives component {int(totals.argmin())} no point at all; drop it or move it")
    means = resp.mT @ x / totals[:, None]
    differences = x - means[:, None, :]  # (k, n, d)
    covs = (resp.mT[:, :, None] * differences).mT @ differences / totals[:, None, None]
    return totals / len(x), means, covs


class GMM:
    """Mixture of Gaussians with full covariances, by EM: p(x) = sum_k w_k N(x; mu_k, S_k).

    Maximum likelihood alone has no answer here: a component that shrinks onto one point gains without limit. So no
    covariance may have a standardised variance below `floor` in any direction. Raising the small eigenvalues to the
    floor *is* the M-step under that constraint, hence the likelihood still never falls.

    After `fit`: `weights` (k,), `means` (k, d), `covs` (k, d, d), and `history` (steps,), the mean log-likelihood
    per point in nats before each update, ending with that of the parameters kept.

    Args:
        num_components: k.
        floor: smallest variance allowed in any direction, as a share of the data's variance; `fit` raises it to what
            the dtype of the data can resolve.
    References:
        Dempster, Laird and Rubin (1977), J. R. Stat. Soc. B 39; Hathaway (1985), Ann. Stat. 13 (why a constraint).
    """

    def __init__(self, num_components: int, *, floor: Number = 1e-6):
        self.num_components = checks.count(num_components, "num_components")
        self.floor = checks.number(floor, "floor", above=0)

    def fit(
        self,
        x: Float[Tensor, "n d"],
        *,
        generator: torch.Generator | None = None,
        restarts: int = 5,
        max_steps: int = 500,
        tol: Number = 1e-5,
    ) -> GMM:
        """Fit to x (n, d), in float64 inside, in blocks of bounded memory.

        Each restart is a k-means++ start and its own EM; the best likelihood wins. Where there are many points, the
        restarts compete on a random part of them and only the winner goes on to the whole.

        Args:
            x: points (n, d).
            generator: source of all randomness.
            restarts: number of starts.
            max_steps: EM steps at most, per run.
            tol: a run stops when a step gains less than this, in nats per point.
        Returns:
            the mixture itself.
        Raises:
            ValueError: bad points, fewer points than components, or a feature that is constant.
        """
        k = self.num_components
        checks.data(x, min_samples=k)
        restarts, max_steps = checks.count(restarts, "restarts"), checks.count(max_steps, "max_steps")
        tol = checks.number(tol, "tol", at_least=0)
        wide = x.detach() if x.device.type == "mps" else x.detach().double()
        centre, scale = wide.mean(0), wide.std(0, correction=0)
        # Rounding leaves a constant feature a trace of spread; anything below it is no variation.
        constant = scale <= 1e-7 * centre.abs()
        if bool(constant.any()):
            raise ValueError(f"x is constant in feature {int(constant.nonzero()[0, 0])}; drop it or add a little noise")
        z = (wide - centre) / scale
        part = z
        if len(z) > max(5000, 200 * k):
            part = z[_permutation(len(z), z.device, generator)[: max(5000, 200 * k)]]
        # A covariance on the floor must still be invertible after rounding to the dtype of x (see `gaussian._factor`).
        floor = max(self.floor, 8 * x.shape[1] * torch.finfo(x.dtype).eps)
        runs = [_run(part, _start(part, k, floor, generator), floor, max_steps, tol) for _ in range(restarts)]
        best, history = max(runs, key=lambda run: run[1][-1])
        if part is not z:
            best, history = _run(z, best, floor, max_steps, tol)
        self.weights = best.weights.to(x.dtype)
        self.means = (centre + scale * best.means).to(x.dtype)
        self.covs = (scale * best.covs * scale[:, None]).to(x.dtype)
        self.history = torch.tensor(history, dtype=torch.float64) - float(scale.log().sum())
        return self

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Log density (n,) at x (n, d), in blocks of bounded memory."""
        blocks = x.split(2**16) if len(x) else (x,)
        return torch.cat([gaussian.mixture_log_prob(block, *self._parameters(x)) for block in blocks])

    def responsibilities(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Probability (n, k) of each component given each point: `e_step` with the fitted parameters."""
        return e_step(x, *self._parameters(x))

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draw (n, d): a component first, then a point of it."""
        return gaussian.sample_mixture(*self._parameters(None), n, generator)

    def _parameters(self, like: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if not hasattr(self, "covs"):
            raise ValueError("this GMM has not been fitted; call .fit(x) first")
        parameters = (self.weights, self.means, self.covs)
        return parameters if like is None else tuple(p.to(like) for p in parameters)


class _Mixture(NamedTuple):
    weights: Tensor  # (k,)
    means: Tensor  # (k, d)
    variances: Tensor  # (k, d): eigenvalues of the covariances
    axes: Tensor  # (k, d, d): their eigenvectors, in columns

    @property
    def covs(self) -> Tensor:
        return (self.axes * self.variances[:, None, :]) @ self.axes.mT


def _run(z: Tensor, start: _Mixture, floor: float, max_steps: int, tol: float) -> tuple[_Mixture, list[float]]:
    """EM from `start` until a step gains less than `tol`; the mixture and the log-likelihood along the way."""
    columns = z.mT.contiguous()
    mixture, (value, proposal) = start, _sweep(columns, start, floor)
    history = [value]
    for _ in range(max_steps):
        new_value, new_proposal = _sweep(columns, proposal, floor)
        if float(proposal.weights.min()) * len(z) < 1e-3:  # a component explains next to nothing
            rescued = _rescue(z, proposal, floor)
            rescued_value, rescued_proposal = _sweep(columns, rescued, floor)
            if rescued_value > new_value:  # only a move that pays, so the likelihood still never falls
                proposal, new_value, new_proposal = rescued, rescued_value, rescued_proposal
        if new_value < value:  # rounding, at the very end
            break
        mixture, gain, value, proposal = proposal, new_value - value, new_value, new_proposal
        history.append(value)
        if gain < tol:
            break
    return mixture, history


def _sweep(columns: Tensor, mixture: _Mixture, floor: float, block: int = 2**12) -> tuple[float, _Mixture]:
    """One pass over the points, columns (d, n): their mean log-likelihood under `mixture`, and the next mixture.

    E- and M-step at once, in blocks that stay in the cache: sums are taken about the old means, so one pass does.
    """
    d, n = columns.shape
    k = len(mixture.weights)
    whiten = (mixture.axes / mixture.variances.sqrt()[:, None, :]).mT  # (k, d, d)
    constant = mixture.weights.log() - 0.5 * mixture.variances.log().sum(1) - 0.5 * d * math.log(2 * math.pi)
    total = columns.new_zeros(())
    count, first, second = columns.new_zeros(k), columns.new_zeros(k, d), columns.new_zeros(k, d, d)
    for points in columns.split(block, dim=1):
        differences = points - mixture.means[:, :, None]  # (k, d, b)
        log_joint = (whiten @ differences).square_().sum(1).mul_(-0.5).add_(constant[:, None])  # (k, b)
        log_p = log_joint.logsumexp(0)
        total += log_p.sum()
        resp = log_joint.sub_(log_p).exp_()
        count += resp.sum(1)
        weighted = resp[:, None, :] * differences
        first += weighted.sum(2)
        second += weighted @ differences.mT
    # A component without points keeps its place, at no weight, until it is rescued.
    safe = count.clamp_min(torch.finfo(columns.dtype).tiny)
    shift = first / safe[:, None]
    covs = second / safe[:, None, None] - shift[:, :, None] * shift[:, None, :]
    return float(total) / n, _mixture(count / n, mixture.means + shift, covs, floor)


def _mixture(weights: Tensor, means: Tensor, covs: Tensor, floor: float) -> _Mixture:
    """The mixture with no variance below `floor`: eigenvalues are raised to it."""
    variances, axes = torch.linalg.eigh(covs.cpu())
    return _Mixture(weights, means, variances.clamp_min(floor).to(means), axes.to(means))


def _start(z: Tensor, k: int, floor: float, generator: torch.Generator | None, lloyd_steps: int = 10) -> _Mixture:
    """A first mixture by k-means: seeds far apart (k-means++), a few rounds of assignment, then one M-step.

    References:
        Arthur and Vassilvitskii (2007), SODA, section 2.2 (the seeds; here the best of a few candidates at each turn).
    """
    device = generator.device if generator is not None else z.device
    candidates = 2 + int(math.log(k))
    centres = z[torch.randint(len(z), (1,), generator=generator, device=device).to(z.device)]
    nearest = (z - centres).square().sum(1)
    for _ in range(1, k):
        ends = nearest.cumsum(0)
        u = torch.rand(candidates, generator=generator, device=device).to(z) * ends[-1]
        tried = z[torch.searchsorted(ends, u, right=True).clamp_max(len(z) - 1)]
        closer = torch.minimum(nearest, torch.cdist(tried, z).square())  # (candidates, n)
        best = int(closer.sum(1).argmin())
        centres, nearest = torch.cat([centres, tried[best : best + 1]]), closer[best]
    for _ in range(lloyd_steps):
        distances = torch.cdist(z, centres)
        member = distances.argmin(1)
        one_hot = torch.nn.functional.one_hot(member, k).to(z)
        count = one_hot.sum(0)
        centres = torch.where(count[:, None] > 0, one_hot.mT @ z / count.clamp_min(1)[:, None], centres)
        if bool((count == 0).any()):  # an empty cluster takes the point that is worst served
            centres[count.argmin()] = z[distances.amin(1).argmax()]
    resp = torch.nn.functional.one_hot(torch.cdist(z, centres).argmin(1), k).to(z)
    resp = 0.99 * resp + 0.01 / k  # every component has some share of every point, so that none is empty
    return _mixture(*m_step(z, resp), floor)


def _rescue(z: Tensor, mixture: _Mixture, floor: float) -> _Mixture:
    """Give the emptiest component the neighbours of the point that the mixture explains worst."""
    log_p = gaussian.mixture_log_prob(z, mixture.weights, mixture.means, mixture.covs)
    distances = (z - z[log_p.argmin()]).square().sum(1)
    neighbours = z[distances.topk(max(2, len(z) // (2 * len(mixture.weights))), largest=False).indices]
    share, index = len(neighbours) / len(z), mixture.weights.argmin()
    weights, means, covs = mixture.weights * (1 - share), mixture.means.clone(), mixture.covs
    weights[index], means[index] = share, neighbours.mean(0)
    covs[index] = (neighbours - means[index]).mT @ (neighbours - means[index]) / len(neighbours)
    return _mixture(weights / weights.sum(), means, covs, floor)


def _permutation(n: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    source = generator.device if generator is not None else device
    return torch.randperm(n, generator=generator, device=source).to(device)
