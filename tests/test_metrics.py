"""KL estimates and ROC-AUC against closed forms and scikit-learn."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from course_lib import datasets, metrics, rng


def gaussian_1d(mean, variance):
    return datasets.GaussianMixture([1.0], [[mean]], [[[variance]]])


def test_kl_to_exact_equals_the_closed_form():
    """Catches a flipped sign or direction, and a wrong standard error; 4.5 standard errors: fails 1 seed in 10^5."""
    p, q = gaussian_1d(0.0, 1.0), gaussian_1d(1.0, 4.0)
    closed = math.log(2) + (1 + 1) / 8 - 0.5  # log(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2
    mean, error = metrics.kl_to_exact(p, q, n=20_000, generator=rng(0))
    assert abs(mean - closed) < 4.5 * error
    estimates = torch.tensor([metrics.kl_to_exact(p, q, n=500, generator=rng(s))[0] for s in range(200)])
    _, error = metrics.kl_to_exact(p, q, n=500, generator=rng(0))
    assert 0.7 < float(estimates.std()) / error < 1.4  # 200 repeats know their spread to 5 %: fails 1 seed in 10^4


def test_kl_repeats_with_the_seed():
    """Catches draws from the global state."""
    p, q = gaussian_1d(0.0, 1.0), gaussian_1d(1.0, 4.0)
    assert metrics.kl_to_exact(p, q, 100, rng(3)) == metrics.kl_to_exact(p, q, 100, rng(3))
    assert metrics.kl_to_exact(p, q, 100, rng(3)) != metrics.kl_to_exact(p, q, 100, rng(4))


def test_kl_edges():
    """Catches a sum for the mean, an absolute value (it may be negative), and NaN where q is 0 (it must be +inf)."""
    log_p = torch.tensor([0.0, -1.0])
    assert float(metrics.monte_carlo_kl(log_p, torch.tensor([0.5, 0.0]))) == -0.75
    assert float(metrics.monte_carlo_kl(log_p, torch.tensor([0.5, -math.inf]))) == math.inf
    x = torch.tensor([0.5, 0.0], requires_grad=True)
    metrics.monte_carlo_kl(log_p, x).backward()
    assert x.grad.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize("seed", range(5))
def test_roc_auc_equals_scikit_learn(seed):
    """Catches ties counted as wins, ranks off by one, and the two groups swapped."""
    scores = torch.randint(0, 20, (300,), generator=rng(seed)).double()  # many ties
    labels = torch.rand(300, generator=rng(seed + 100)) < 0.1 + scores / 40
    assert metrics.roc_auc(scores, labels) == pytest.approx(roc_auc_score(labels.numpy(), scores.numpy()), abs=1e-12)


def test_roc_auc_edges():
    """Catches infinite scores refused (an empty histogram bin gives one) and labels that must be bool."""
    assert metrics.roc_auc(torch.tensor([0.0, 1.0, math.inf]), torch.tensor([0, 0, 1])) == 1.0
    assert metrics.roc_auc(torch.tensor([math.inf, math.inf]), torch.tensor([False, True])) == 0.5


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: metrics.monte_carlo_kl(torch.zeros(3), torch.zeros(4)), "log_p and log_q must have one shape"),
        (lambda: metrics.monte_carlo_kl(torch.zeros(0), torch.zeros(0)), "one shape"),
        (lambda: metrics.monte_carlo_kl(torch.tensor([-math.inf]), torch.zeros(1)), "log_p must be finite"),
        (lambda: metrics.monte_carlo_kl(torch.zeros(1), torch.tensor([math.nan])), "log_q has 1 NaN"),
        (lambda: metrics.kl_to_exact(gaussian_1d(0, 1), gaussian_1d(0, 1), n=1), "n must be at least 2"),
        (lambda: metrics.roc_auc(torch.zeros(3), torch.zeros(3)), "labels must hold both kinds, got 0 positives"),
        (lambda: metrics.roc_auc(torch.zeros(3), torch.tensor([0, 1, 2])), "labels must be 0 or 1"),
        (lambda: metrics.roc_auc(torch.zeros(3), torch.tensor([0, 1])), r"labels must have shape \(3,\)"),
        (lambda: metrics.roc_auc(torch.tensor([math.nan, 0.0]), torch.tensor([0, 1])), "scores has 1 NaN"),
    ],
)
def test_bad_input(call, says, no_shape_check):
    """Catches an argument that is accepted in silence, or refused without its name."""
    with pytest.raises(ValueError, match=says):
        call()
