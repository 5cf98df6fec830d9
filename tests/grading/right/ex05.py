"""Independent right answers to ex05: other algorithms, float64 inside, loops, torch.distributions."""

import math
import warnings

import torch
from torch import distributions as D
from torch.nn import functional as F

# --- reparameterize ---


def draw_by_root_of_variance(mu, logvar, eps):
    return mu + torch.sqrt(torch.exp(logvar)) * eps


def draw_by_addcmul(mu, logvar, eps):
    """One fused operation; prints and warns."""
    print("drawing", len(eps))
    warnings.warn("a right answer may warn", stacklevel=1)
    return torch.addcmul(mu, eps, torch.exp(logvar / 2))


def draw_by_affine_transform(mu, logvar, eps):
    """A transform of torch.distributions, float64 inside."""
    scale = math.e ** (logvar.double() * 0.5)
    return D.AffineTransform(mu.double(), scale)(eps.double()).to(mu.dtype)


def draw_by_loops(mu, logvar, eps):
    return torch.stack([m + torch.diag(v.exp() ** 0.5) @ e for m, v, e in zip(mu, logvar, eps, strict=True)])


# --- gaussian_kl ---


def kl_by_distribution(mu, logvar):
    q = D.Independent(D.Normal(mu, torch.exp(0.5 * logvar)), 1)
    p = D.Independent(D.Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    return D.kl_divergence(q, p)


def kl_textbook(mu, logvar):
    return -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=-1)


def kl_of_full_gaussians(mu, logvar):
    """Trace, squared mean and log determinant, float64 inside."""
    cov = torch.diag_embed(logvar.double().exp())
    trace = cov.diagonal(dim1=1, dim2=2).sum(1)
    log_det = logvar.double().sum(1)
    wide = mu.double()
    return (0.5 * (trace + (wide * wide).sum(1) - wide.shape[1] - log_det)).to(mu.dtype)


def kl_by_loops(mu, logvar):
    """Entropy and cross-entropy, dimension by dimension."""
    total = torch.zeros(len(mu), dtype=mu.dtype)
    for m, v in zip(mu.T, logvar.T, strict=True):
        entropy = 0.5 * (1 + v)  # both without log sqrt(2 pi)
        cross_entropy = 0.5 * (v.exp() + m**2)
        total = total + cross_entropy - entropy
    return total


# --- bernoulli_log_likelihood ---


def bernoulli_by_bce(logits, x):
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def bernoulli_by_distribution(logits, x):
    log_p = D.Bernoulli(logits=logits, validate_args=False).log_prob(x)
    return log_p.sum(dim=tuple(range(1, log_p.ndim)))


def bernoulli_by_softplus(logits, x):
    """x·logit − softplus(logit), float64 inside."""
    wide = logits.double()
    return (x.double() * wide - F.softplus(wide)).reshape(len(x), -1).sum(-1).to(logits.dtype)


def bernoulli_by_loops(logits, x):
    """One picture at a time, log(1 + e^−|logit|) written out."""
    values = []
    for row, picture in zip(logits, x, strict=True):
        terms = picture * row - torch.clamp(row, min=0) - torch.log1p(torch.exp(-row.abs()))
        values.append(terms.sum())
    return torch.stack(values)


def bernoulli_by_logaddexp(logits, x):
    zero = torch.zeros_like(logits)
    log_p, log_not_p = -torch.logaddexp(zero, -logits), -torch.logaddexp(zero, logits)
    return torch.einsum("n...->n", x * log_p + (1 - x) * log_not_p)


# --- elbo ---


def elbo_by_parts(x, encode, decode, eps, beta):
    mu, logvar = encode(x)
    reconstruction = bernoulli_by_bce(decode(draw_by_addcmul(mu, logvar, eps)), x)
    return (reconstruction - beta * kl_textbook(mu, logvar)).mean()


def elbo_by_distributions(x, encode, decode, eps, beta):
    """torch.distributions throughout; the two means apart."""
    mu, logvar = encode(x)
    q = D.Normal(mu, logvar.mul(0.5).exp())
    likelihood = D.Bernoulli(logits=decode(q.loc + q.scale * eps), validate_args=False).log_prob(x)
    kl = D.kl_divergence(q, D.Normal(0.0, 1.0))
    return likelihood.sum() / len(x) - beta * kl.sum() / len(x)


def elbo_by_loops(x, encode, decode, eps, beta):
    """Each picture on its own, a batch of one."""
    total = 0.0
    for i in range(len(x)):
        mu, logvar = encode(x[i : i + 1])
        logits = decode(draw_by_root_of_variance(mu, logvar, eps[i : i + 1]))
        total = total + bernoulli_by_loops(logits, x[i : i + 1])[0] - beta * kl_by_loops(mu, logvar)[0]
    return total / len(x)


def elbo_as_minus_the_loss(x, encode, decode, eps, beta):
    """The usual training loss with its sign turned."""
    encoded = encode(x)
    mu, logvar = encoded[0], encoded[1]
    logits = decode(mu + (logvar / 2).exp() * eps)
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum()
    return -(bce + beta * kl) / x.size(0)


# --- iwae_bound ---


def iwae_by_logsumexp(log_w):
    return torch.mean(log_w.logsumexp(dim=0)) - math.log(log_w.shape[0])


def iwae_by_max(log_w):
    """The largest weight taken out by hand, float64 inside."""
    wide = log_w.double()
    top = wide.max(dim=0).values
    return (top + (wide - top).exp().mean(0).log()).mean().to(log_w.dtype)


def iwae_by_logaddexp(log_w):
    """A running sum in logs."""
    total = log_w[0]
    for row in log_w[1:]:
        total = torch.logaddexp(total, row)
    return (total - torch.log(torch.tensor(float(len(log_w)), dtype=log_w.dtype))).sum() / log_w.shape[1]


def iwae_by_columns(log_w):
    """Picture by picture, log k subtracted from every weight first."""
    columns = (log_w - math.log(log_w.size(0))).unbind(1)
    return torch.stack([torch.logsumexp(column, -1) for column in columns]).mean()


# --- linear_gaussian_log_marginal ---


def marginal_by_distribution(x, weight, bias, sigma):
    cov = weight @ weight.T + sigma**2 * torch.eye(len(bias), dtype=x.dtype)
    return D.MultivariateNormal(bias, covariance_matrix=cov).log_prob(x)


def marginal_by_low_rank(x, weight, bias, sigma):
    """torch's own factor model, float64 inside."""
    noise = torch.full_like(bias, float(sigma), dtype=torch.float64) ** 2
    model = D.LowRankMultivariateNormal(bias.double(), weight.double(), noise)
    return model.log_prob(x.double()).to(x.dtype)


def marginal_by_woodbury(x, weight, bias, sigma):
    """Only k by k matrices: Woodbury's identity and the matrix determinant lemma; float64 inside."""
    w, centred, variance = weight.double(), x.double() - bias.double(), float(sigma) ** 2
    d, k = w.shape
    small = torch.eye(k, dtype=torch.float64) + w.T @ w / variance
    projected = centred @ w
    inner = (projected * torch.linalg.solve(small, projected.T).T).sum(1)
    square = (centred.square().sum(1) - inner / variance) / variance
    log_det = d * math.log(variance) + torch.logdet(small)
    return (-0.5 * (square + log_det + d * math.log(2 * math.pi))).to(x.dtype)


def marginal_by_bayes(x, weight, bias, sigma):
    """log p(x) = log p(x | z) + log p(z) − log p(z | x) at any z, here 0; float64 inside."""
    wide = [value.double() for value in (x, weight, bias)]
    mean, cov = posterior_by_precision(*wide, sigma)
    z = torch.zeros_like(mean)
    given = D.Normal(wide[2], float(sigma)).log_prob(wide[0]).sum(1)
    prior = D.Normal(0.0, 1.0).log_prob(z).sum(1)
    posterior = D.MultivariateNormal(mean, covariance_matrix=0.5 * (cov + cov.T)).log_prob(z)
    return (given + prior - posterior).to(x.dtype)


# --- linear_gaussian_posterior ---


def posterior_by_precision(x, weight, bias, sigma):
    """With the k by k precision and two solves."""
    eye = torch.eye(weight.shape[1], dtype=x.dtype)
    precision = eye + weight.T @ weight / sigma**2
    mean = torch.linalg.solve(precision, weight.T @ (x - bias).T / sigma**2).T
    return mean, torch.linalg.solve(precision, eye)


def posterior_by_tipping_and_bishop(x, weight, bias, sigma):
    """M = Wᵀ W + sigma² I."""
    m = weight.T @ weight + sigma * sigma * torch.eye(weight.shape[1], dtype=x.dtype)
    inverse = torch.linalg.inv(m)
    return [(x - bias) @ weight @ inverse.T, sigma * sigma * inverse]


def posterior_by_conditioning(x, weight, bias, sigma):
    """The joint Gaussian of z and x, conditioned on x: only a d by d system; float64 inside."""
    w = weight.double()
    marginal = w @ w.T + float(sigma) ** 2 * torch.eye(len(w), dtype=torch.float64)
    gain = torch.linalg.solve(marginal, w).T  # (k, d)
    mean = (x - bias).double() @ gain.T
    return mean.to(x.dtype), (torch.eye(w.shape[1], dtype=torch.float64) - gain @ w).to(x.dtype)


def posterior_point_by_point(x, weight, bias, sigma):
    """One dimension of x after the other, as measurements that come in one at a time; float64 inside."""
    w, b, k = weight.double(), bias.double(), weight.shape[1]
    means = []
    for point in x.double():
        mean, cov = torch.zeros(k, dtype=torch.float64), torch.eye(k, dtype=torch.float64)
        for row, value in zip(w, point - b, strict=True):
            gain = cov @ row / (row @ cov @ row + float(sigma) ** 2)
            mean = mean + gain * (value - row @ mean)
            cov = cov - torch.outer(gain, row @ cov)
        means.append(mean)
    return torch.stack(means).to(x.dtype), cov.to(x.dtype)


RIGHT = {
    "reparameterize": (draw_by_root_of_variance, draw_by_addcmul, draw_by_affine_transform, draw_by_loops),
    "gaussian_kl": (kl_by_distribution, kl_textbook, kl_of_full_gaussians, kl_by_loops),
    "bernoulli_log_likelihood": (
        bernoulli_by_bce, bernoulli_by_distribution, bernoulli_by_softplus, bernoulli_by_loops, bernoulli_by_logaddexp,
    ),
    "elbo": (elbo_by_parts, elbo_by_distributions, elbo_by_loops, elbo_as_minus_the_loss),
    "iwae_bound": (iwae_by_logsumexp, iwae_by_max, iwae_by_logaddexp, iwae_by_columns),
    "linear_gaussian_log_marginal": (
        marginal_by_distribution, marginal_by_low_rank, marginal_by_woodbury, marginal_by_bayes,
    ),
    "linear_gaussian_posterior": (
        posterior_by_precision, posterior_by_tipping_and_bishop, posterior_by_conditioning, posterior_point_by_point,
    ),
}  # fmt: skip
