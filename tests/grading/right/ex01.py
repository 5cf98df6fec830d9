"""Independent right answers to ex01: other algorithms, float64 inside, loops, torch.distributions."""

import math
import warnings

import torch
from torch import distributions as D

# --- histogram_log_density ---


def histogram_by_loops(x_train, edges, x):
    """Plain Python, one point at a time."""
    borders, last = edges.tolist(), len(edges) - 2

    def find(value):
        for j in range(last + 1):
            if borders[j] <= value < borders[j + 1] or (j == last and value == borders[j + 1]):
                return j
        return None

    counts = [0] * (last + 1)
    for value in x_train.tolist():
        if (j := find(value)) is not None:
            counts[j] += 1
    out = []
    for value in x.tolist():
        j = find(value)
        empty = j is None or counts[j] == 0
        out.append(-math.inf if empty else math.log(counts[j] / (len(x_train) * (borders[j + 1] - borders[j]))))
    return torch.tensor(out, dtype=x.dtype)


def histogram_by_comparison(x_train, edges, x):
    """Membership as a (points, bins) table of booleans; prints and warns on the way."""
    print("bins:", len(edges) - 1)
    warnings.warn("a right answer may warn", stacklevel=1)
    low, high = edges[:-1], edges[1:]

    def member(v):
        table = (v[:, None] >= low) & (v[:, None] < high)
        table[:, -1] |= v == edges[-1]
        return table.to(x.dtype)

    density = member(x_train).mean(0) / (high - low)
    return torch.log(member(x) @ density)


def histogram_by_torch_histogram(x_train, edges, x):
    """torch.histogram, and a search with float64 inside."""
    hist = torch.histogram(x_train.double(), edges.double()).hist / len(x_train) / edges.double().diff()
    where = torch.searchsorted(edges.contiguous(), x.contiguous(), side="right") - 1
    where[x == edges[-1]] = len(edges) - 2
    padded = torch.cat([hist, hist.new_zeros(2)])
    return padded[where.clamp(-1, len(edges) - 1)].log().to(x.dtype)


def histogram_by_sorting(x_train, edges, x):
    """Counts as differences of the empirical distribution, in float32 counts."""
    ordered = x_train.sort().values
    below = torch.searchsorted(ordered, edges.contiguous()).float()
    below[-1] = (x_train <= edges[-1]).sum()
    log_density = (below.diff() / x_train.numel() / edges.diff()).log()
    result = torch.full_like(x, -torch.inf)
    for j in range(len(edges) - 1):
        here = (x >= edges[j]) & (x < edges[j + 1])
        if j == len(edges) - 2:
            here = here | (x == edges[j + 1])
        result[here] = log_density[j].to(x.dtype)
    return result


# --- kde_log_density ---


def kde_by_mixture(x_train, x, bandwidth):
    """A mixture of torch.distributions."""
    n, d = x_train.shape
    h = torch.as_tensor(bandwidth, dtype=x.dtype)
    kernels = D.Independent(D.Normal(x_train, h.expand(n, d)), 1)
    return D.MixtureSameFamily(D.Categorical(logits=x.new_zeros(n)), kernels).log_prob(x)


def kde_by_cdist(x_train, x, bandwidth):
    """torch.cdist, the largest exponent taken out by hand, constants made in float32."""
    exponent = -0.5 * (torch.cdist(x, x_train) / bandwidth) ** 2
    top = exponent.max(1, keepdim=True).values
    log_sum = top[:, 0] + (exponent - top).exp().sum(1).log()
    norm = torch.log(torch.tensor(2 * torch.pi)) / 2 + torch.log(torch.tensor(float(bandwidth)))
    return (log_sum - math.log(x_train.shape[0]) - x.shape[1] * norm).to(x.dtype)


def kde_by_loops(x_train, x, bandwidth):
    """One query and one training point at a time, logaddexp as the running sum."""
    rows = []
    for q in x:
        total = None
        for p in x_train:
            term = sum(-((a - b) ** 2) / (2 * bandwidth * bandwidth) - math.log(bandwidth * math.sqrt(2 * math.pi))
                       for a, b in zip(q, p, strict=True))  # fmt: skip
            total = term if total is None else torch.logaddexp(total, term)
        rows.append(total - math.log(len(x_train)))
    return torch.stack(rows)


def kde_in_float64(x_train, x, bandwidth):
    """float64 inside, and vmap over the queries."""
    p, h = x_train.double(), float(bandwidth)

    def one(q):
        return torch.logsumexp(-((p - q) / h).square().sum(1) / 2, 0)

    constant = len(p) * (2 * math.pi * h * h) ** (p.shape[1] / 2)
    return (torch.vmap(one)(x.double()) - math.log(constant)).to(x.dtype)


def kde_by_multivariate_normal(x_train, x, bandwidth):
    """Full covariances."""
    cov = bandwidth**2 * torch.eye(x.shape[1], dtype=x.dtype)
    log_p = D.MultivariateNormal(x_train, cov).log_prob(x.unsqueeze(1))
    return log_p.logsumexp(dim=1) - torch.log(torch.tensor(len(x_train), dtype=x.dtype))


# --- leave_one_out_log_likelihood ---


def loo_by_deletion(x_train, bandwidth):
    """A kernel estimate of the others for every point."""
    scores = []
    for i in range(len(x_train)):
        others = torch.cat([x_train[:i], x_train[i + 1 :]])
        scores.append(kde_by_mixture(others, x_train[i : i + 1], bandwidth)[0])
    return torch.stack(scores).mean()


def loo_off_diagonal(x_train, bandwidth):
    """The diagonal cut out of the table of distances by reshaping."""
    n, d = x_train.shape
    gaps = (x_train.unsqueeze(0) - x_train.unsqueeze(1)).div(bandwidth).square().sum(2)
    others = gaps.flatten()[:-1].view(n - 1, n + 1)[:, 1:].reshape(n, n - 1)
    log_p = torch.logsumexp(-others / 2, 1) - math.log((n - 1) * (2 * math.pi) ** (d / 2)) - d * math.log(bandwidth)
    return log_p.sum() / n


def loo_in_float64(x_train, bandwidth):
    """float64 inside, the diagonal filled in place, all constants gathered at the end."""
    x, h = x_train.double(), float(bandwidth)
    n, d = x.shape
    exponent = -((x[:, None, :] - x[None, :, :]) ** 2).sum(-1) / (2 * h**2)
    exponent = exponent.clone().fill_diagonal_(-torch.inf)
    total = exponent.logsumexp(-1).mean()
    return (total - math.log(n - 1) - d / 2 * math.log(2 * math.pi * h**2)).to(x_train.dtype)


def loo_by_torch_normal(x_train, bandwidth):
    """torch.distributions, the point itself removed by adding −inf."""
    n = len(x_train)
    h = torch.as_tensor(bandwidth).to(x_train)
    log_k = D.Normal(x_train[None], h).log_prob(x_train[:, None]).sum(-1)
    log_k = log_k + torch.zeros_like(log_k).fill_diagonal_(-torch.inf)
    return torch.mean(torch.logsumexp(log_k, 1) - torch.log(torch.tensor(n - 1.0)).to(x_train))


# --- log_ball_to_cube_ratio ---


def ball_by_recursion(d):
    """V(d) = V(d − 2)·2π/d·r²."""
    log_v = 0.0 if d % 2 else math.log(math.pi / 4)
    for k in range(3 if d % 2 else 4, d + 1, 2):
        log_v += math.log(2 * math.pi / k / 4)
    return log_v


def ball_by_float32_tensor(d):
    """torch in its default precision, a 0-dim tensor."""
    half = torch.tensor(d / 2)
    return half * torch.log(torch.tensor(torch.pi)) - torch.lgamma(half + 1) - d * torch.log(torch.tensor(2.0))


def ball_by_products(d):
    """Successive ratios V(k)/V(k − 1) through beta functions, as a 0-dim float64 tensor."""
    k = torch.arange(1, d + 1, dtype=torch.float64)
    ratio = 0.5 * math.log(math.pi) + torch.lgamma((k + 1) / 2) - torch.lgamma(k / 2 + 1) - math.log(2)
    return ratio.sum()


def ball_by_factorials(d):
    """Exact whole numbers: n! for even d, (2n)!-type products for odd d."""
    if d % 2 == 0:
        half = d // 2
        return half * math.log(math.pi) - math.log(math.factorial(half)) - d * math.log(2)
    double_factorial = math.prod(range(1, d + 1, 2))
    return (d + 1) / 2 * math.log(2) + (d - 1) / 2 * math.log(math.pi) - math.log(double_factorial) - d * math.log(2)


# --- outlier_mask ---


def outliers_by_sorting(log_p_train, log_p, alpha):
    """The two order statistics and the line between them."""
    ordered = log_p_train.sort().values
    rank = float(alpha) * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    threshold = ordered[low] + (rank - low) * (ordered[high] - ordered[low])
    return torch.lt(log_p, threshold)


def outliers_by_loops(log_p_train, log_p, alpha):
    """Plain Python lists."""
    values = sorted(log_p_train.tolist())
    rank = alpha * (len(values) - 1)
    low = int(rank)
    part = rank - low
    threshold = values[low] if low + 1 == len(values) else (1 - part) * values[low] + part * values[low + 1]
    return torch.tensor([value < threshold for value in log_p.tolist()], dtype=torch.bool)


def outliers_by_nanquantile(log_p_train, log_p, alpha):
    """float64 inside and the negation of ≥."""
    return ~(log_p.double() >= torch.nanquantile(log_p_train.double(), float(alpha)))


def outliers_by_kthvalue(log_p_train, log_p, alpha):
    """torch.kthvalue and torch.lerp."""
    rank = float(alpha) * (log_p_train.numel() - 1)
    low = log_p_train.kthvalue(int(rank) + 1).values
    high = log_p_train.kthvalue(min(int(rank) + 2, log_p_train.numel())).values
    return (log_p - torch.lerp(low, high, rank % 1)) < 0


RIGHT = {
    "histogram_log_density": (histogram_by_loops, histogram_by_comparison, histogram_by_torch_histogram,
                              histogram_by_sorting),
    "kde_log_density": (kde_by_mixture, kde_by_cdist, kde_by_loops, kde_in_float64, kde_by_multivariate_normal),
    "leave_one_out_log_likelihood": (loo_by_deletion, loo_off_diagonal, loo_in_float64, loo_by_torch_normal),
    "log_ball_to_cube_ratio": (ball_by_recursion, ball_by_float32_tensor, ball_by_products, ball_by_factorials),
    "outlier_mask": (outliers_by_sorting, outliers_by_loops, outliers_by_nanquantile, outliers_by_kthvalue),
}  # fmt: skip
