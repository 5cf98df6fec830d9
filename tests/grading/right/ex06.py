"""Independent right answers to ex06: other algorithms, float64 inside, loops."""

import math
import warnings

import torch
from torch.nn import functional as F

# --- slerp ---


def slerp_by_acos(z0, z1, t):
    """The textbook: cosine, clamp, acos, and a line where the angle is small."""
    cosine = torch.dot(z0, z1) / (z0.norm() * z1.norm())
    omega = torch.acos(torch.clamp(cosine, -1.0, 1.0))
    if omega < 1e-4:
        return torch.stack([(1 - s) * z0 + s * z1 for s in t])
    return torch.stack([torch.sin((1 - s) * omega) / torch.sin(omega) * z0
                        + torch.sin(s * omega) / torch.sin(omega) * z1 for s in t])  # fmt: skip


def slerp_by_basis(z0, z1, t):
    """cos(tω) u + sin(tω) w with w at right angles to u gives the sines' weights; float64 inside."""
    a, b = z0.double(), z1.double()
    u, v = a / a.norm(), b / b.norm()
    w = v - (v @ u) * u
    if w.norm() < 1e-7:
        return torch.lerp(a, b, t.double()[:, None]).to(z0.dtype)
    omega = torch.atan2(w.norm(), v @ u)
    p = t.double()[:, None] * omega
    second = torch.sin(p) / w.norm()  # the coefficient of v in cos(p) u + sin(p) w/|w|
    first = torch.cos(p) - second * (v @ u)
    return (first * a + second * b).to(z0.dtype)


def slerp_with_threshold_on_the_cosine(z0, z1, t):
    """A line when the cosine is above 0.9995, as many programs have it; F.normalize."""
    dot = (F.normalize(z0, dim=0) * F.normalize(z1, dim=0)).sum()
    weights = t.unsqueeze(1)
    if dot > 0.9995:
        return z0 + weights * (z1 - z0)
    theta = dot.acos()
    return (torch.sin(theta * (1 - weights)) * z0 + torch.sin(theta * weights) * z1) / torch.sqrt(1 - dot**2)


def slerp_with_where(z0, z1, t):
    """No branch: both paths, and torch.where; an angle kept away from 0."""
    cosine = F.cosine_similarity(z0, z1, dim=0)
    parallel = cosine > 1 - 1e-7
    omega = torch.arccos(torch.where(parallel, torch.zeros_like(cosine), cosine).clamp(-1, 1))
    weights = torch.stack([torch.sin((1 - t) * omega), torch.sin(t * omega)], 1) / torch.sin(omega)
    line = torch.stack([1 - t, t], 1)
    return torch.where(parallel, line, weights) @ torch.stack([z0, z1])


# --- attribute_direction ---


def direction_by_normalize(z, has_attribute):
    return F.normalize(z[has_attribute].mean(0) - z[~has_attribute].mean(0), dim=0)


def direction_from_the_overall_mean(z, has_attribute):
    """mean with − mean of all points the same way as mean with − mean without; float64 inside."""
    wide = z.double()
    towards = wide[has_attribute].mean(0) - wide.mean(0)
    return (towards / towards.pow(2).sum().sqrt()).to(z.dtype)


def direction_by_weights(z, has_attribute):
    """One product with weights 1/n₁ and −1/n₀."""
    label = has_attribute.to(z.dtype)
    weights = label / label.sum() - (1 - label) / (1 - label).sum()
    towards = weights @ z
    return towards / torch.sqrt(towards @ towards)


def direction_by_loops(z, has_attribute):
    """Running sums; prints and warns."""
    warnings.warn("a right answer may warn", stacklevel=1)
    sums, counts = [torch.zeros_like(z[0]), torch.zeros_like(z[0])], [0, 0]
    for row, has in zip(z, has_attribute, strict=True):
        group = int(has)
        sums[group] = sums[group] + row
        counts[group] += 1
    print("groups of", counts)
    towards = sums[1] / counts[1] - sums[0] / counts[0]
    return towards / sum(v * v for v in towards) ** 0.5


# --- project_out ---


def project_by_unit_vectors(direction, other):
    u, v = F.normalize(direction, dim=0), F.normalize(other, dim=0)
    return F.normalize(u - torch.dot(u, v) * v, dim=0)


def project_by_matrix(direction, other):
    """I − o oᵀ / oᵀo as a matrix, float64 inside."""
    o = other.double()
    projector = torch.eye(len(o), dtype=o.dtype) - torch.outer(o, o) / o.square().sum()
    rest = projector @ direction.double()
    return (rest / rest.norm()).to(direction.dtype)


def project_by_least_squares(direction, other):
    """What no multiple of other explains: the residual of a least-squares fit."""
    fit = torch.linalg.lstsq(other[:, None], direction[:, None]).solution
    rest = (direction[:, None] - other[:, None] @ fit).squeeze(1)
    return rest / torch.linalg.norm(rest)


def project_by_cross_products(direction, other):
    """a(b·b) − b(a·b), which needs no division until the end."""
    rest = direction * other.dot(other) - other * direction.dot(other)
    return rest / rest.norm(p=2)


# --- latent_analogy ---


def analogy_by_means(z_a, z_b, z_c):
    return torch.mean(z_a, dim=0) + (torch.mean(z_c, dim=0) - torch.mean(z_b, dim=0))


def analogy_by_one_product(z_a, z_b, z_c):
    """All codes stacked, one weight each; float64 inside."""
    weights = [s / len(z) for z, s in ((z_a, 1), (z_b, -1), (z_c, 1)) for _ in z]
    return (torch.tensor(weights, dtype=torch.float64) @ torch.cat([z_a, z_b, z_c]).double()).to(z_a.dtype)


def analogy_by_loops(z_a, z_b, z_c):
    result = torch.zeros(z_a.shape[1], dtype=z_a.dtype)
    for row in z_a:
        result = result + row / len(z_a)
    for row in z_b:
        result = result - row / len(z_b)
    return result + sum(z_c) / z_c.shape[0]


def analogy_by_einsum(z_a, z_b, z_c):
    a, b, c = (torch.einsum("nd->d", z).div(z.size(0)) for z in (z_a, z_b, z_c))
    return a.sub(b).add(c)


# --- mutual_information_gap ---


def gap_by_topk(mi, factor_entropy):
    best = torch.topk(mi, 2, dim=0).values
    return torch.mean((best[0] - best[1]) / factor_entropy)


def gap_by_loops(mi, factor_entropy):
    """Factor by factor, sorted in Python."""
    total = torch.zeros((), dtype=mi.dtype)
    for column, entropy in zip(mi.T, factor_entropy, strict=True):
        second, first = sorted(column, key=float)[-2:]
        total = total + (first - second) / entropy
    return total / len(factor_entropy)


def gap_by_masking(mi, factor_entropy):
    """The best taken out, then the best of the rest; float64 inside."""
    shares = mi.double() / factor_entropy.double()
    at = shares.argmax(0, keepdim=True)
    rest = shares.scatter(0, at, -math.inf)
    return (shares.gather(0, at).squeeze(0) - rest.amax(0)).mean().to(mi.dtype)


def gap_by_sorting_the_transpose(mi, factor_entropy):
    ordered, _ = torch.sort(mi.T / factor_entropy[:, None], dim=1)
    return (ordered[:, -1] - ordered[:, -2]).sum() / mi.shape[1]


RIGHT = {
    "slerp": (slerp_by_acos, slerp_by_basis, slerp_with_threshold_on_the_cosine, slerp_with_where),
    "attribute_direction": (
        direction_by_normalize, direction_from_the_overall_mean, direction_by_weights, direction_by_loops,
    ),
    "project_out": (
        project_by_unit_vectors, project_by_matrix, project_by_least_squares, project_by_cross_products,
    ),
    "latent_analogy": (analogy_by_means, analogy_by_one_product, analogy_by_loops, analogy_by_einsum),
    "mutual_information_gap": (gap_by_topk, gap_by_loops, gap_by_masking, gap_by_sorting_the_transpose),
}  # fmt: skip
