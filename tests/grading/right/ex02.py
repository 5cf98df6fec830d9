"""Independent right answers to ex02: other algorithms, float64 inside, loops, torch.distributions."""

import math
import warnings
from typing import NamedTuple

import torch
from torch import distributions as D

# --- gaussian_mle ---


def mle_by_torch_cov(x):
    """torch.cov, which forgets the axes when d = 1."""
    return x.mean(0), torch.cov(x.T, correction=0).reshape(x.shape[1], x.shape[1])


def mle_by_moments(x):
    """E[x xᵀ] − μ μᵀ, float64 inside, returned as a list."""
    wide = x.double()
    mean = wide.mean(0)
    return [mean.to(x.dtype), (wide.T @ wide / len(x) - torch.outer(mean, mean)).to(x.dtype)]


class Fit(NamedTuple):
    mean: torch.Tensor
    cov: torch.Tensor


def mle_by_loops(x):
    """A running sum of outer products in a named tuple; prints and warns."""
    print("fitting", len(x))
    warnings.warn("a right answer may warn", stacklevel=1)
    mean = sum(x) / len(x)
    cov = sum(torch.outer(row - mean, row - mean) for row in x) / len(x)
    return Fit(mean, cov)


def mle_by_einsum(x):
    """einsum, and a mean as a matrix product with ones."""
    weight = torch.full((1, len(x)), 1 / len(x), dtype=x.dtype)
    mean = (weight @ x).squeeze(0)
    return mean, torch.einsum("ni,nj->ij", x - mean, x - mean).div(x.shape[0])


# --- gaussian_log_prob ---


def log_prob_by_distribution(x, mean, cov):
    return D.MultivariateNormal(mean, covariance_matrix=cov).log_prob(x)


def log_prob_by_inverse(x, mean, cov):
    """The inverse and the determinant themselves, constants made in float32."""
    d = x.shape[-1]
    centred = (x - mean).unsqueeze(-1)
    square = (centred.mT @ torch.linalg.inv(cov) @ centred).squeeze(-1).squeeze(-1)
    return -0.5 * (square + torch.log(torch.linalg.det(cov)) + d * torch.log(torch.tensor(2 * torch.pi)))


def log_prob_by_eigenvalues(x, mean, cov):
    """Rotated to the axes of the covariance, float64 inside."""
    values, vectors = torch.linalg.eigh(cov.double())
    u = (x.double() - mean.double()) @ vectors
    return D.Normal(0.0, 1.0).log_prob(u / values.sqrt()).sum(1).sub(0.5 * values.log().sum()).to(x.dtype)


def log_prob_by_loops(x, mean, cov):
    """One point at a time, torch.linalg.solve."""
    constant = len(mean) * math.log(2 * math.pi) + torch.logdet(cov)
    return torch.stack([-(torch.dot(p - mean, torch.linalg.solve(cov, p - mean)) + constant) / 2 for p in x])


# --- gmm_e_step ---


def e_step_by_mixture(x, weights, means, covs):
    """The parts of a torch mixture."""
    log_p = D.MultivariateNormal(means, covs).log_prob(x[:, None]) + D.Categorical(weights).logits
    return (log_p - log_p.logsumexp(1, keepdim=True)).exp()


def e_step_by_max(x, weights, means, covs):
    """The largest log taken out by hand, component by component."""
    columns = [torch.log(w) + log_prob_by_inverse(x, m, c) for w, m, c in zip(weights, means, covs, strict=True)]
    table = torch.stack(columns, -1).to(x.dtype)
    shifted = (table - table.amax(1, keepdim=True)).exp()
    return shifted / shifted.sum(1, keepdim=True)


def e_step_by_ratios(x, weights, means, covs):
    """1 / Σ exp(log_l − log_j), float64 inside."""
    inverse = torch.linalg.inv(covs.double())
    centred = x.double()[:, None] - means.double()
    square = torch.einsum("nki,kij,nkj->nk", centred, inverse, centred)
    log_p = weights.double().log() - 0.5 * square - 0.5 * torch.linalg.slogdet(covs.double())[1]
    return (1 / (log_p[:, None, :] - log_p[:, :, None]).exp().sum(-1)).to(x.dtype)


def e_step_by_loops(x, weights, means, covs):
    """One point at a time."""
    rows = []
    for point in x:
        logs = [log_prob_by_loops(point[None], means[j], covs[j])[0] + weights[j].log() for j in range(len(weights))]
        rows.append(torch.log_softmax(torch.stack(logs), 0).exp())
    return torch.stack(rows)


# --- gmm_m_step ---


def m_step_by_moments(x, resp):
    """Second moments minus outer products of the means, float64 inside."""
    wide, share = x.double(), resp.double()
    mass = share.sum(0)
    means = (share.T @ wide) / mass[:, None]
    second = torch.einsum("nk,ni,nj->kij", share, wide, wide) / mass[:, None, None]
    covs = second - means[:, :, None] * means[:, None, :]
    return tuple(part.to(x.dtype) for part in (share.mean(0), means, covs))


def m_step_by_torch_cov(x, resp):
    """torch.cov with the responsibilities as weights, one component at a time."""
    d = x.shape[1]
    means, covs = [], []
    for column in resp.T:
        means.append((column[:, None] * x).sum(0) / column.sum())
        covs.append(_weighted_cov(x, column, means[-1]).reshape(d, d))
    return resp.mean(0), torch.stack(means), torch.stack(covs)


def _weighted_cov(x, column, mean):
    if x.requires_grad or column.requires_grad:  # torch.cov checks its weights and cannot always be differentiated
        root = column.clamp(min=0)[:, None] / column.sum()
        return (x - mean).T @ (root * (x - mean))
    return torch.cov(x.T, correction=0, aweights=column)


def m_step_normalised_first(x, resp):
    """Each column of shares made to sum to one first; batched matrix products."""
    share = resp / resp.sum(0, keepdim=True)
    means = share.T.matmul(x)
    centred = (x.unsqueeze(0) - means.unsqueeze(1)).transpose(1, 2)  # (k, d, n)
    return resp.sum(0) / resp.sum(), means, (centred * share.T[:, None]) @ centred.transpose(1, 2)


def m_step_by_loops(x, resp):
    """Sums over points and components; the results in a list."""
    n, k = resp.shape
    weights = torch.stack([resp[:, j].sum() / n for j in range(k)])
    means = torch.stack([sum(resp[i, j] * x[i] for i in range(n)) / resp[:, j].sum() for j in range(k)])
    covs = torch.stack([
        sum(resp[i, j] * torch.outer(x[i] - means[j], x[i] - means[j]) for i in range(n)) / resp[:, j].sum()
        for j in range(k)
    ])  # fmt: skip
    return [weights, means, covs]


# --- monte_carlo_kl ---


def kl_by_two_means(log_p, log_q):
    return log_p.mean() - log_q.mean()


def kl_by_loops(log_p, log_q):
    total = torch.zeros((), dtype=log_p.dtype)
    for a, b in zip(log_p, log_q, strict=True):
        total = total + (a - b)
    return total / len(log_p)


def kl_in_float64(log_p, log_q):
    return ((log_p.double() - log_q.double()).sum() / log_p.numel()).to(log_p.dtype)


def kl_by_dot(log_p, log_q):
    """A product with 1/n, minus the cross-entropy."""
    return -torch.sub(log_q, log_p).dot(torch.full_like(log_p, 1 / log_p.shape[0]))


# --- class_posterior ---


def posterior_by_softmax(log_px_given_y, log_prior):
    return (log_px_given_y + log_prior.unsqueeze(0)).softmax(dim=-1)


def posterior_by_max(log_px_given_y, log_prior):
    """The largest log taken out by hand, float64 inside."""
    joint = log_px_given_y.double() + log_prior.double()
    joint = joint - joint.max(dim=1, keepdim=True).values
    return (joint.exp() / joint.exp().sum(1)[:, None]).to(log_px_given_y.dtype)


def posterior_by_categorical(log_px_given_y, log_prior):
    """exp of log-softmax, row by row, with the prior normalised once more."""
    prior = log_prior - torch.logsumexp(log_prior, 0)
    return torch.stack([torch.exp(torch.log_softmax(row + prior, 0)) for row in log_px_given_y])


def posterior_by_logaddexp(log_px_given_y, log_prior):
    """The evidence as a running sum in logs."""
    joint = log_px_given_y + log_prior
    evidence = joint[:, 0]
    for column in joint.T[1:]:
        evidence = torch.logaddexp(evidence, column)
    return torch.exp(joint.T - evidence).T


RIGHT = {
    "gaussian_mle": (mle_by_torch_cov, mle_by_moments, mle_by_loops, mle_by_einsum),
    "gaussian_log_prob": (log_prob_by_distribution, log_prob_by_inverse, log_prob_by_eigenvalues, log_prob_by_loops),
    "gmm_e_step": (e_step_by_mixture, e_step_by_max, e_step_by_ratios, e_step_by_loops),
    "gmm_m_step": (m_step_by_moments, m_step_by_torch_cov, m_step_normalised_first, m_step_by_loops),
    "monte_carlo_kl": (kl_by_two_means, kl_by_loops, kl_in_float64, kl_by_dot),
    "class_posterior": (posterior_by_softmax, posterior_by_max, posterior_by_categorical, posterior_by_logaddexp),
}
