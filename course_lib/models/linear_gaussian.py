"""The linear-Gaussian latent-variable model, where everything a VAE approximates is known exactly.

x = W z + b + sigma eps, with z ~ N(0, I_k) and eps ~ N(0, I_d). Fitted by maximum likelihood it is probabilistic PCA.
Functions take the parameters: weight W (d, k), bias b (d,), and sigma, the noise's standard deviation.
"""

from __future__ import annotations

import math

import torch

from course_lib import checks, gaussian
from course_lib._typing import Float, Number, Tensor


def log_joint(
    x: Float[Tensor, "n d"],
    z: Float[Tensor, "n k"],
    weight: Float[Tensor, "d k"],
    bias: Float[Tensor, " d"],
    sigma: Number,
) -> Float[Tensor, " n"]:
    """log p(x, z) = log N(x; W z + b, sigma² I) + log N(z; 0, I), in nats (n,), for rows of x (n, d) and z (n, k)."""
    sigma = _check(x, weight, bias, sigma)
    residual = (x - bias - z @ weight.mT) / sigma
    d, k = weight.shape
    squares = residual.square().sum(1) + z.square().sum(1)
    return -0.5 * squares - d * _log(sigma) - 0.5 * (d + k) * math.log(2 * math.pi)


def log_marginal(
    x: Float[Tensor, "n d"], weight: Float[Tensor, "d k"], bias: Float[Tensor, " d"], sigma: Number
) -> Float[Tensor, " n"]:
    """Exact log p(x) = log N(x; b, W W' + sigma² I), in nats.

    By Bayes' rule log p(x) = log p(x, z) − log p(z | x) for any z. At the posterior mean the last term is a constant,
    nothing cancels, and no d x d matrix is needed.

    Args:
        x: (n, d).
        weight: W (d, k).
        bias: b (d,).
        sigma: standard deviation of the noise, above 0.
    Returns:
        (n,), differentiable in every argument.
    Raises:
        ValueError: wrong shapes, NaN, or a sigma that is not above 0.
    References:
        M. Tipping, C. Bishop (1999), J. R. Stat. Soc. B 61(3), section 3.1.
    """
    mean, cov = posterior(x, weight, bias, sigma)
    peak = -0.5 * torch.logdet(cov) - 0.5 * len(cov) * math.log(2 * math.pi)
    return log_joint(x, mean, weight, bias, sigma) - peak


def posterior(
    x: Float[Tensor, "n d"], weight: Float[Tensor, "d k"], bias: Float[Tensor, " d"], sigma: Number
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "k k"]]:
    """Exact p(z | x) = N(M⁻¹ W' (x − b), sigma² M⁻¹) with M = W'W + sigma² I; arguments as `log_marginal`.

    The mean solves a least-squares problem, [W; sigma I] z ≈ [x − b; 0], here by its QR factors: W'W would square the
    condition number.

    Returns:
        mean (n, k); cov (k, k), the same for every x.
    References:
        M. Tipping, C. Bishop (1999), J. R. Stat. Soc. B 61(3), section 3.2.
    """
    sigma = _check(x, weight, bias, sigma)
    k = weight.shape[1]
    eye = torch.eye(k, dtype=weight.dtype, device=weight.device)
    q, r = torch.linalg.qr(torch.cat([weight, sigma * eye]))
    mean = torch.linalg.solve_triangular(r, q[:-k].mT @ (x - bias).mT, upper=True).mT
    root = sigma * torch.linalg.solve_triangular(r, eye, upper=True)
    return mean, root @ root.mT


def elbo(
    x: Float[Tensor, "n d"],
    q_mean: Float[Tensor, "n k"],
    q_cov: Float[Tensor, "k k"],
    weight: Float[Tensor, "d k"],
    bias: Float[Tensor, " d"],
    sigma: Number,
) -> Float[Tensor, " n"]:
    """Exact ELBO of q(z | x) = N(q_mean, q_cov), without sampling: E_q log p(x | z) − KL(q ‖ N(0, I)), in nats.

    Or E_q log p(x, z) plus the entropy of q. The expectation of |x − b − W z|² is its value at the mean, plus
    trace(W S W').

    Args:
        x: (n, d).
        q_mean: (n, k).
        q_cov: S (k, k), the same for every x.
        weight, bias, sigma: as in `log_marginal`.
    Returns:
        (n,), at most log p(x), and equal to it if q is the posterior.
    Raises:
        ValueError: as `log_marginal`, or a q_cov that is not positive definite.
    """
    at_mean = log_joint(x, q_mean, weight, bias, sigma)
    sigma = _check(x, weight, bias, sigma)
    spread = -0.5 * ((weight @ q_cov) * weight).sum() / sigma**2 - 0.5 * q_cov.trace()
    entropy = 0.5 * len(q_cov) * math.log(2 * math.pi * math.e) + _factor(q_cov, "q_cov").diagonal().log().sum()
    return at_mean + spread + entropy


def kl(
    mean_q: Float[Tensor, "n k"], cov_q: Float[Tensor, "k k"], mean_p: Float[Tensor, "n k"], cov_p: Float[Tensor, "k k"]
) -> Float[Tensor, " n"]:
    """KL(N(mean_q, cov_q) ‖ N(mean_p, cov_p)) in nats, for each row of the means; the covariances are shared.

    ½ (trace(P⁻¹Q) + (p − q)' P⁻¹ (p − q) − k + log det P − log det Q)

    Args:
        mean_q, mean_p: (n, k).
        cov_q, cov_p: (k, k), symmetric positive definite.
    Returns:
        (n,), not negative up to rounding.
    Raises:
        ValueError: a covariance that is not positive definite.
    """
    q, p = _factor(cov_q, "cov_q"), _factor(cov_p, "cov_p")
    ratio = torch.linalg.solve_triangular(p, q, upper=False)
    shift = torch.linalg.solve_triangular(p, (mean_q - mean_p).mT, upper=False)
    log_dets = 2 * (p.diagonal().log().sum() - q.diagonal().log().sum())
    return 0.5 * (ratio.square().sum() + shift.square().sum(0) - len(p) + log_dets)


class ProbabilisticPCA:
    """x = W z + b + sigma eps, fitted by maximum likelihood.

    With eigenvalues l_1 ≥ l_2 ≥ … of the data's covariance (1/n) and eigenvectors U: sigma² is the mean of the d − k
    smallest, and W = U_k (L_k − sigma² I)^½. W is unique up to a rotation of the latent space.

    After `fit`: `weight` (d, k), `bias` (d,), `sigma` ().

    Args:
        latent_dim: k, less than d.
    References:
        M. Tipping, C. Bishop (1999), J. R. Stat. Soc. B 61(3), eq. 15 and 16.
    """

    def __init__(self, latent_dim: int):
        self.latent_dim = checks.count(latent_dim, "latent_dim")

    def fit(self, x: Float[Tensor, "n d"]) -> ProbabilisticPCA:
        """Fit to x (n, d) in closed form, in float64 inside.

        Raises:
            ValueError: bad points, a latent_dim that is not less than d, or data without variance outside the
                principal subspace, where sigma would be 0 and the likelihood infinite.
        """
        k = self.latent_dim
        checks.data(x, min_samples=2)
        if k >= x.shape[1]:
            raise ValueError(f"latent_dim must be less than the {x.shape[1]} features of x, got {k}")
        wide = x.detach().to("cpu", torch.float64)
        bias = wide.mean(0)
        centred = wide - bias
        values, vectors = torch.linalg.eigh(centred.mT @ centred / len(wide))  # in rising order
        variance = values[:-k].mean()
        if float(variance) <= 1e-12 * float(values[-1].clamp_min(1e-300)):
            raise ValueError(
                f"x has no variance beyond {k} directions, so the noise would vanish and the likelihood be infinite; "
                f"use a smaller latent_dim, more samples, or add a little noise"
            )
        scale = (values[-k:] - variance).clamp_min(0).sqrt()
        self.weight = (vectors[:, -k:] * scale).flip(1).to(x)
        self.bias, self.sigma = bias.to(x), variance.sqrt().to(x)
        return self

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Exact log density (n,) at x (n, d): `log_marginal`."""
        return log_marginal(x, *self._parameters())

    def posterior(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "k k"]]:
        """Exact posterior of z: mean (n, k) and covariance (k, k)."""
        return posterior(x, *self._parameters())

    def decode(self, z: Float[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        """The mean W z + b of p(x | z)."""
        weight, bias, _ = self._parameters()
        return z @ weight.mT + bias

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draw (n, d): a latent first, then its image with noise."""
        weight, bias, sigma = self._parameters()
        n = checks.count(n, "n")
        z = gaussian.normal(n, weight, generator)
        return self.decode(z) + sigma * gaussian.normal(n, bias, generator)

    def _parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        if not hasattr(self, "weight"):
            raise ValueError("this ProbabilisticPCA has not been fitted; call .fit(x) first")
        return self.weight, self.bias, self.sigma


def _check(x: Tensor, weight: Tensor, bias: Tensor, sigma: Number) -> Number:
    checks.finite(checks.tensor(weight, "weight", ndim=2), "weight")
    checks.finite(checks.tensor(bias, "bias", ndim=1), "bias")
    checks.data(x, dim=len(weight))
    if len(bias) != len(weight):
        raise ValueError(f"bias must have {len(weight)} entries, one per row of weight, got {len(bias)}")
    checks.number(sigma, "sigma", above=0)
    return sigma  # as it came: a tensor keeps its gradient


def _factor(cov: Tensor, name: str) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(checks.finite(checks.tensor(cov, name, ndim=2), name))
    if int(failed):
        raise ValueError(f"{name} must be positive definite; add a small multiple of the identity")
    return factor


def _log(sigma: Number) -> Tensor | float:
    return sigma.log() if isinstance(sigma, Tensor) else math.log(sigma)
