"""Machine-made wrong versions of every solution: all are refused but those that are right after all."""

import warnings

import pytest

from tests.grading.answers import functions, sources, verdict
from tests.grading.mutator import mutants

# Shapes are the answers' affair here, and enforcing them in the library triples the time.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_shape_check")]

CELLS = sources()
SQUARED = "a difference that is squared has no sign"
DENSITIES = "log_density = [gaussian_log_prob(x, mean, cov) for mean, cov in zip(means, covs, strict=True)]"
PROMOTED = "an identity in float32 is exact, and is promoted to the dtype of what it is added to"
COMMUTES = "a scalar product commutes"
LAST_AXIS = "axis 1 of a matrix is its last axis"
# What was changed in which task → why the result is still right. A test also fails when one of these is refused.
EQUIVALENT = {
    "histogram_log_density": {
        "constant: return (torch.bucketize(v, edges, right=True) - 1).clamp(0, len(edges) - 2) → "
        "return (torch.bucketize(v, edges, right=True) - 1).clamp(-1, len(edges) - 2)":
            "only points left of the first edge get bin -1, and they are masked",
    },
    "kde_log_density": {
        "constant: return torch.logsumexp(log_kernel, dim=1) - math.log(n) → "
        "return torch.logsumexp(log_kernel, dim=-1) - math.log(n)": LAST_AXIS,
        "swapped operands: square_distance = (x[:, None] - x_train[None]).pow(2).sum(-1) → "
        "square_distance = (x_train[None] - x[:, None]).pow(2).sum(-1)": SQUARED,
    },
    "leave_one_out_log_likelihood": {
        "swapped operands: square_distance = (x_train[:, None] - x_train[None]).pow(2).sum(-1) → "
        "square_distance = (x_train[None] - x_train[:, None]).pow(2).sum(-1)": SQUARED,
        "dropped keyword: itself = torch.eye(n, dtype=torch.bool, device=x_train.device) → "
        "itself = torch.eye(n, dtype=torch.bool)": "the inputs of a check are on the CPU",
        "constant: return torch.mean(torch.logsumexp(log_kernel, dim=1) - math.log(n - 1)) → "
        "return torch.mean(torch.logsumexp(log_kernel, dim=-1) - math.log(n - 1))": LAST_AXIS,
        "constant: return torch.mean(torch.logsumexp(log_kernel, dim=1) - math.log(n - 1)) → "
        "return torch.mean(torch.logsumexp(log_kernel, dim=0) - math.log(n - 1))": "the table of kernels is symmetric",
    },
    "outlier_mask": {
        "function: return log_p < torch.quantile(log_p_train, float(alpha)) → "
        "return log_p < torch.nanquantile(log_p_train, float(alpha))": "there is no NaN among log densities",
        "dropped call: return log_p < torch.quantile(log_p_train, float(alpha)) → "
        "return log_p < torch.quantile(log_p_train, alpha)": "torch takes a number or a tensor of the same dtype",
    },
    "gaussian_mle": {"swapped operands: centred = x - mean → centred = mean - x": SQUARED},
    "gaussian_log_prob": {
        "swapped operands: white = torch.linalg.solve_triangular(chol, (x - mean).T, upper=False) → "
        "white = torch.linalg.solve_triangular(chol, (mean - x).T, upper=False)": SQUARED,
    },
    "gmm_e_step": {
        f"swapped arguments: {DENSITIES} → "
        "log_density = [gaussian_log_prob(mean, x, cov) for mean, cov in zip(means, covs, strict=True)]":
            "a Gaussian is symmetric in point and mean, and the constant cancels",
        f"dropped keyword: {DENSITIES} → "
        "log_density = [gaussian_log_prob(x, mean, cov) for mean, cov in zip(means, covs)]":
            "there are as many means as covariances",
        f"constant: {DENSITIES} → "
        "log_density = [gaussian_log_prob(x, mean, cov) for mean, cov in zip(means, covs, strict=False)]":
            "there are as many means as covariances",
        "constant: log_joint = torch.stack(log_density, dim=1) + weights.log() → "
        "log_joint = torch.stack(log_density, dim=-1) + weights.log()": LAST_AXIS,
        "constant: return torch.softmax(log_joint, dim=1) → return torch.softmax(log_joint, dim=-1)": LAST_AXIS,
    },
    "gmm_m_step": {
        "swapped operands: centred = x[:, None] - means → centred = means - x[:, None]": SQUARED,
    },
    "class_posterior": {
        "constant: return torch.exp(log_joint - torch.logsumexp(log_joint, dim=1, keepdim=True)) → "
        "return torch.exp(log_joint - torch.logsumexp(log_joint, dim=-1, keepdim=True))": LAST_AXIS,
    },
    "gaussian_kl": {
        "constant: return 0.5 * (mu ** 2 + logvar.exp() - 1 - logvar).sum(dim=1) → "
        "return 0.5 * (mu ** 2 + logvar.exp() - 1 - logvar).sum(dim=-1)": LAST_AXIS,
    },
    "bernoulli_log_likelihood": {
        "constant: return (x * log_p + (1 - x) * log_not_p).flatten(start_dim=1).sum(dim=1) → "
        "return (x * log_p + (1 - x) * log_not_p).flatten(start_dim=1).sum(dim=-1)": LAST_AXIS,
    },
    "linear_gaussian_log_marginal": {
        "dropped keyword: cov = weight @ weight.T + sigma ** 2 * torch.eye(d, dtype=x.dtype) → "
        "cov = weight @ weight.T + sigma ** 2 * torch.eye(d)": PROMOTED,
        "swapped operands: white = torch.linalg.solve_triangular(chol, (x - bias).T, upper=False) → "
        "white = torch.linalg.solve_triangular(chol, (bias - x).T, upper=False)": SQUARED,
    },
    "linear_gaussian_posterior": {
        "dropped keyword: precision = torch.eye(weight.shape[1], dtype=x.dtype) + weight.T @ weight / sigma ** 2 → "
        "precision = torch.eye(weight.shape[1]) + weight.T @ weight / sigma ** 2": PROMOTED,
        "constant: precision = torch.eye(weight.shape[1], dtype=x.dtype) + weight.T @ weight / sigma ** 2 → "
        "precision = torch.eye(weight.shape[-1], dtype=x.dtype) + weight.T @ weight / sigma ** 2": LAST_AXIS,
    },
    "slerp": {
        "comparison: if omega < 0.001: → if omega <= 0.001:": "on the threshold both are right",
        "constant: if omega < 0.001: → if omega < 0.002:": "both thresholds are far below what the line gets wrong",
        "constant: omega = torch.acos(cosine.clamp(-1, 1)) → omega = torch.acos(cosine.clamp(-2, 1))":
            "opposite vectors have no shortest arc",
        "swapped operands: cosine = z0 @ z1 / (z0.norm() * z1.norm()) → "
        "cosine = z1 @ z0 / (z0.norm() * z1.norm())": COMMUTES,
    },
    "project_out": {
        "swapped operands: rest = direction - direction @ other / (other @ other) * other → "
        "rest = direction - other @ direction / (other @ other) * other": COMMUTES,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_machine_made_mutants_are_refused(name, capsys):
    """A word of a solution that no case tests; the survivors are printed with the reason why they are right."""
    made, survivors = 0, set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for what, text in mutants(CELLS[name]):
            made += 1
            answer = functions(CELLS | {name: text})[name]
            if any(verdict(name, answer, seed).passed for seed in (0, 1)):
                survivors.add(what)
    known = EQUIVALENT.get(name, {})
    with capsys.disabled():
        print(f"\n{name}: {made} mutants, {made - len(survivors)} refused, {len(survivors)} survive")
        for what in sorted(survivors):
            print(f"    {what}: {known.get(what, 'NOT EQUIVALENT')}")
    assert made >= 5
    assert survivors == set(known)
