"""Wrong answers that are in no bank of mistakes, as source: each breaks one word of the contract."""

# What is wrong → (task, source).
WRONG = {
    "a ridge of 1e-6": ("gmm_m_step", """
def gmm_m_step(x, resp):
    mass = resp.sum(0)
    means = resp.T @ x / mass[:, None]
    c = x[:, None] - means
    covs = torch.einsum("nk,nki,nkj->kij", resp, c, c) / mass[:, None, None]
    return mass / len(x), means, covs + 1e-6 * torch.eye(x.shape[1], dtype=x.dtype)"""),
    "no gradient": ("monte_carlo_kl", "def monte_carlo_kl(log_p, log_q):\n    return (log_p - log_q).mean().detach()"),
    "a float instead of a tensor": (
        "monte_carlo_kl", "def monte_carlo_kl(log_p, log_q):\n    return float((log_p - log_q).mean())"),
    "another dtype": ("class_posterior", """
def class_posterior(log_px_given_y, log_prior):
    return torch.softmax(log_px_given_y.double() + log_prior, 1)"""),
    "changes its argument": ("class_posterior", """
def class_posterior(log_px_given_y, log_prior):
    with torch.no_grad():
        log_px_given_y += log_prior
    return torch.softmax(log_px_given_y, 1)"""),
    "no axes when d = 1": ("gaussian_mle", """
def gaussian_mle(x):
    return x.mean(0), torch.cov(x.T, correction=0)"""),
    "overflow of gamma": ("log_ball_to_cube_ratio", """
def log_ball_to_cube_ratio(d):
    return math.log(math.pi ** (d / 2) / math.gamma(d / 2 + 1) / 2 ** d)"""),
    "an exponent clamped in the tails": ("kde_log_density", """
def kde_log_density(x_train, x, bandwidth):
    n, d = x_train.shape
    log_k = -0.5 * (x[:, None] - x_train).pow(2).sum(-1).clamp(max=1e6) / bandwidth**2
    return log_k.logsumexp(1) - math.log(n) - d * math.log(bandwidth * math.sqrt(2 * math.pi))"""),
    "the outlier dropped": ("leave_one_out_log_likelihood", """
def leave_one_out_log_likelihood(x_train, bandwidth):
    n, d = x_train.shape
    k = (-0.5 * (x_train[:, None] - x_train).pow(2).sum(-1) / bandwidth**2).exp() * (1 - torch.eye(n))
    log_p = (k.sum(1) / (n - 1)).log() - d * math.log(bandwidth * math.sqrt(2 * math.pi))
    return log_p[log_p.isfinite()].mean()"""),
    "weights as counts of winners": ("gmm_m_step", """
def gmm_m_step(x, resp):
    mass = resp.sum(0)
    means = resp.T @ x / mass[:, None]
    c = x[:, None] - means
    covs = torch.einsum("nk,nki,nkj->kij", resp, c, c) / mass[:, None, None]
    return torch.bincount(resp.argmax(1), minlength=resp.shape[1]).to(x) / len(x), means, covs"""),
    "a mask of numbers": ("outlier_mask", """
def outlier_mask(log_p_train, log_p, alpha):
    return (log_p < torch.quantile(log_p_train, float(alpha))).to(log_p.dtype)"""),
    "equal bins assumed": ("histogram_log_density", """
def histogram_log_density(x_train, edges, x):
    k = len(edges) - 1
    width = (edges[-1] - edges[0]) / k
    count = torch.histc(x_train, k, float(edges[0]), float(edges[-1]))
    j = ((x - edges[0]) / width).long().clamp(0, k - 1)
    inside = (x >= edges[0]) & (x <= edges[-1])
    return torch.where(inside, (count / len(x_train) / width).log()[j], -torch.inf)"""),
    "the library's own function": ("gaussian_log_prob", """
def gaussian_log_prob(x, mean, cov):
    from course_lib import gaussian
    return gaussian.log_prob(x, mean, cov)"""),
    "noise of its own": ("reparameterize", """
def reparameterize(mu, logvar, eps):
    return mu + (0.5 * logvar).exp() * torch.randn_like(eps)"""),
    "logvar clamped": ("gaussian_kl", """
def gaussian_kl(mu, logvar):
    logvar = logvar.clamp(-10, 10)
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)"""),
    "pictures of one axis assumed": ("bernoulli_log_likelihood", """
def bernoulli_log_likelihood(logits, x):
    return -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)"""),
    "a decoder without gradient": ("elbo", """
def elbo(x, encode, decode, eps, beta):
    mu, logvar = encode(x)
    with torch.no_grad():
        logits = decode(mu + (logvar / 2).exp() * eps)
    log_p = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    return (log_p - beta * 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)).mean()"""),
    "an encoder without gradient": ("elbo", """
def elbo(x, encode, decode, eps, beta):
    with torch.no_grad():
        mu, logvar = encode(x)
    logits = decode(mu + (logvar / 2).exp() * eps)
    log_p = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    return (log_p - beta * 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)).mean()"""),
    "the VAE of the library": ("elbo", """
def elbo(x, encode, decode, eps, beta):
    from course_lib.models.vae import gaussian_kl
    return -beta * gaussian_kl(*encode(x)).mean()"""),
    "NaN for a weight of 0": ("iwae_bound", """
def iwae_bound(log_w):
    share = torch.softmax(log_w, 0)
    return (share * (log_w - share.log())).sum(0).mean() - math.log(len(log_w))"""),
    "fewer latents than dimensions assumed": ("linear_gaussian_log_marginal", """
def linear_gaussian_log_marginal(x, weight, bias, sigma):
    d, k = weight.shape
    u, s, _ = torch.linalg.svd(weight, full_matrices=True)
    var = sigma**2 + torch.cat([s**2, s.new_zeros(d - k)])
    return -0.5 * (((x - bias) @ u) ** 2 / var + var.log() + math.log(2 * math.pi)).sum(1)"""),
    "a ridge on the precision": ("linear_gaussian_posterior", """
def linear_gaussian_posterior(x, weight, bias, sigma):
    precision = 1.001 * torch.eye(weight.shape[1], dtype=x.dtype) + weight.T @ weight / sigma**2
    cov = torch.linalg.inv(precision)
    return (x - bias) @ weight @ cov / sigma**2, cov"""),
    "a line below 40 degrees": ("slerp", """
def slerp(z0, z1, t):
    cosine = z0 @ z1 / (z0.norm() * z1.norm())
    omega = cosine.clamp(-1, 1).acos()
    if cosine > 0.75:
        return (1 - t)[:, None] * z0 + t[:, None] * z1
    return (torch.sin((1 - t) * omega)[:, None] * z0 + torch.sin(t * omega)[:, None] * z1) / torch.sin(omega)"""),
    "its argument centred in place": ("attribute_direction", """
def attribute_direction(z, has_attribute):
    with torch.no_grad():
        z -= z.mean(0)
    d = z[has_attribute].mean(0) - z[~has_attribute].mean(0)
    return d / d.norm()"""),
    "a small number beside the length": ("project_out", """
def project_out(direction, other):
    rest = direction - (direction @ other) / (other @ other) * other
    return rest / (rest.norm() + 1e-4)"""),
    "a mean that is cut off": ("latent_analogy", """
def latent_analogy(z_a, z_b, z_c):
    return z_a.mean(0) - z_b.mean(0).detach() + z_c.mean(0)"""),
    "entropy as a constant": ("mutual_information_gap", """
def mutual_information_gap(mi, factor_entropy):
    best, second = mi.topk(2, dim=0).values
    return ((best - second) / factor_entropy.detach()).mean()"""),
    "the latent library": ("project_out", """
def project_out(direction, other):
    from course_lib import latent
    return latent.project_out(direction, other)"""),
}  # fmt: skip
