"""The linear-Gaussian model against dense linear algebra, scikit-learn and quadrature."""

import math

import pytest
import torch
from sklearn.decomposition import PCA

from course_lib import gaussian, rng
from course_lib.models import linear_gaussian
from course_lib.models.linear_gaussian import ProbabilisticPCA
from tests.linear_vae import SIGMA, data, parameters

F64 = torch.float64


def random_parameters(d: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(d, k, generator=rng(3), dtype=F64), torch.randn(d, generator=rng(4), dtype=F64)


@pytest.mark.parametrize("d, k", [(5, 2), (2, 5), (1, 1)])
@pytest.mark.parametrize("sigma", [0.1, 3.0])
def test_log_marginal_is_the_dense_gaussian(d, k, sigma):
    """Catches sigma for sigma squared, W'W for WW', and a lost normaliser; also with more latents than features."""
    weight, bias = random_parameters(d, k)
    x = 2 * torch.randn(20, d, generator=rng(5), dtype=F64)
    dense = gaussian.log_prob(x, bias, weight @ weight.mT + sigma**2 * torch.eye(d, dtype=F64))
    torch.testing.assert_close(linear_gaussian.log_marginal(x, weight, bias, sigma), dense)


def test_posterior_is_the_conditional_gaussian():
    """Catches a missing bias, a transposed weight, and a covariance without its sigma squared."""
    weight, bias = random_parameters(4, 3)
    x = torch.randn(6, 4, generator=rng(5), dtype=F64)
    mean, cov = linear_gaussian.posterior(x, weight, bias, 0.7)
    gain = weight.mT @ torch.linalg.inv(weight @ weight.mT + 0.49 * torch.eye(4, dtype=F64))
    torch.testing.assert_close(mean, (x - bias) @ gain.mT)
    torch.testing.assert_close(cov, torch.eye(3, dtype=F64) - gain @ weight)


def test_small_noise_in_single_precision():
    """Catches the normal equations, which lose every digit here: condition number 1e4, noise 1e-3, float32."""
    weight = torch.tensor([[1.0, 1.0], [0.0, 1e-2], [0.0, 0.0]])
    x, bias = torch.tensor([[0.3, 0.002, 0.001]]), torch.zeros(3)
    ours, _ = linear_gaussian.posterior(x, weight, bias, 1e-3)
    exact, _ = linear_gaussian.posterior(x.double(), weight.double(), bias.double(), 1e-3)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-3)
    value = linear_gaussian.log_marginal(x, weight, bias, 1e-3).double()
    reference = linear_gaussian.log_marginal(x.double(), weight.double(), bias.double(), 1e-3)
    torch.testing.assert_close(value, reference, rtol=1e-3, atol=1e-3)


def test_gap_of_the_elbo_is_the_kl_to_the_posterior():
    """Catches any error in elbo, kl, posterior or log_marginal: log p(x) − ELBO = KL(q ‖ posterior), exactly."""
    weight, bias = random_parameters(4, 2)
    x = torch.randn(7, 4, generator=rng(5), dtype=F64)
    q_mean = torch.randn(7, 2, generator=rng(6), dtype=F64)
    q_cov = torch.tensor([[0.5, 0.2], [0.2, 0.9]], dtype=F64)
    gap = linear_gaussian.log_marginal(x, weight, bias, 0.6) - linear_gaussian.elbo(x, q_mean, q_cov, weight, bias, 0.6)
    mean, cov = linear_gaussian.posterior(x, weight, bias, 0.6)
    torch.testing.assert_close(gap, linear_gaussian.kl(q_mean, q_cov, mean, cov))
    assert (gap > 0.01).all()
    at_posterior = linear_gaussian.elbo(x, mean, cov, weight, bias, 0.6)
    torch.testing.assert_close(at_posterior, linear_gaussian.log_marginal(x, weight, bias, 0.6))


def test_kl_against_torch():
    """Catches the two Gaussians swapped, and a log-determinant of the wrong sign."""
    q_cov = torch.tensor([[0.5, 0.2], [0.2, 0.9]], dtype=F64)
    p_cov = torch.tensor([[2.0, -0.3], [-0.3, 0.7]], dtype=F64)
    q_mean, p_mean = torch.zeros(3, 2, dtype=F64), torch.arange(6, dtype=F64).reshape(3, 2)
    normal = torch.distributions.MultivariateNormal
    peer = torch.distributions.kl_divergence(normal(q_mean, q_cov), normal(p_mean, p_cov))
    torch.testing.assert_close(linear_gaussian.kl(q_mean, q_cov, p_mean, p_cov), peer)


def test_log_joint_integrates_to_the_marginal():
    """Catches a lost 2 pi: the joint is summed over a fine grid of z."""
    weight, bias = random_parameters(3, 1)
    x = torch.randn(1, 3, generator=rng(5), dtype=F64)
    z = torch.arange(-10, 10, 0.01, dtype=F64)[:, None]
    joint = linear_gaussian.log_joint(x.expand(len(z), -1), z, weight, bias, 0.8)
    total = joint.logsumexp(0) + math.log(0.01)
    torch.testing.assert_close(total, linear_gaussian.log_marginal(x, weight, bias, 0.8)[0])


def test_gradients():
    """Catches a detached parameter, sigma included."""
    weight, bias = random_parameters(3, 2)
    x, sigma = torch.randn(2, 3, generator=rng(5), dtype=F64), torch.tensor(0.5, dtype=F64)
    inputs = [t.requires_grad_() for t in (x, weight, bias, sigma)]
    assert torch.autograd.gradcheck(linear_gaussian.log_marginal, inputs)


def test_fit_equals_scikit_learn():
    """Catches eigenvalues in rising order, 1/(n - 1) left in or out, and a noise of the wrong directions."""
    x = data(300)
    model, peer = ProbabilisticPCA(2).fit(x), PCA(2).fit(x.numpy())
    # The peer divides by n − 1 where maximum likelihood divides by n.
    shrink = 299 / 300
    ours = model.weight @ model.weight.mT + model.sigma**2 * torch.eye(5, dtype=F64)
    torch.testing.assert_close(ours, shrink * torch.from_numpy(peer.get_covariance()))
    assert float(model.sigma**2) == pytest.approx(shrink * peer.noise_variance_)
    torch.testing.assert_close(model.bias, x.mean(0))
    lengths = model.weight.norm(dim=0)
    assert lengths[0] > lengths[1]


def test_fit_is_a_maximum():
    """Catches a fit that is not the maximum of the likelihood: no parameter can be moved to improve it."""
    x = data(200)
    model = ProbabilisticPCA(2).fit(x)
    inputs = [t.clone().requires_grad_() for t in (model.weight, model.bias, model.sigma)]
    gradients = torch.autograd.grad(linear_gaussian.log_marginal(x, *inputs).mean(), inputs)
    assert max(float(g.abs().max()) for g in gradients) < 1e-9
    truth = linear_gaussian.log_marginal(x, *parameters(), SIGMA).mean()
    assert model.log_prob(x).mean() > truth


def test_decode_and_posterior_undo_each_other_without_noise():
    """Catches a decoder that forgets the bias: with little noise, the posterior mean of a decoded z is z."""
    model = ProbabilisticPCA(2).fit(data(300))
    model.sigma = model.sigma * 1e-6
    z = torch.randn(4, 2, generator=rng(0), dtype=F64)
    torch.testing.assert_close(model.posterior(model.decode(z))[0], z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: ProbabilisticPCA(0), "latent_dim must be at least 1"),
        (lambda: ProbabilisticPCA(5).fit(data(9)), "latent_dim must be less than the 5 features"),
        (lambda: ProbabilisticPCA(3).fit(data(3)), "no variance beyond 3 directions"),
        (lambda: ProbabilisticPCA(1).fit(torch.ones(9, 3)), "no variance beyond 1 directions"),
        (lambda: ProbabilisticPCA(1).log_prob(data(2)), "has not been fitted"),
        (lambda: linear_gaussian.log_marginal(data(2), *parameters(), 0.0), "sigma must be greater than 0"),
        (lambda: linear_gaussian.log_marginal(data(2)[:, :4], *parameters(), 1.0), r"x must have shape \(n, 5\)"),
        (lambda: linear_gaussian.posterior(data(2), parameters()[0], torch.zeros(2), 1.0), "bias must have 5 entries"),
        (
            lambda: linear_gaussian.kl(torch.zeros(1, 2), -torch.eye(2), torch.zeros(1, 2), torch.eye(2)),
            "cov_q must be positive definite",
        ),
        (
            lambda: linear_gaussian.elbo(
                data(1), torch.zeros(1, 2).double(), torch.zeros(2, 2).double(), *parameters(), 1
            ),
            "q_cov must be positive definite",
        ),
    ],
)
def test_bad_input(call, says, no_shape_check):
    """Catches an argument that is accepted in silence, or refused without its name and the remedy."""
    with pytest.raises(ValueError, match=says):
        call()
