"""The VAE against an exactly known linear model, torch.distributions, and itself under other settings."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from course_lib import datasets, rng
from course_lib.models import linear_gaussian, vae
from course_lib.models.vae import VAE
from course_lib.training import train
from tests.linear_vae import SIGMA, D, K, data, linear_vae, parameters

F64 = torch.float64


def truth(x: torch.Tensor) -> torch.Tensor:
    return linear_gaussian.log_marginal(x, *parameters(), SIGMA)


def images(n: int) -> torch.Tensor:
    return datasets.digits("train").images[:n]


# ---------------------------------------------------------------- against the exact likelihood


def test_with_the_exact_posterior_every_weight_is_the_likelihood():
    """Catches any error in encode, decode, the likelihood or the weights: p(x, z) / q(z | x) = p(x) for every z."""
    x, model = data(6), linear_vae(exact=True)
    for k in (1, 3):
        torch.testing.assert_close(model.iwae(x, k, generator=rng(0)), truth(x))
    torch.testing.assert_close(model.log_likelihood(x, 5, generator=rng(0)), truth(x))


def test_gap_of_the_elbo_is_the_kl_to_the_posterior():
    """Catches a KL without its half, and noise of the wrong size: log p − ELBO = KL, to 5 standard errors."""
    x, model = data(8), linear_vae(exact=False)
    mu, logvar = model.encode(x)
    mean, cov = linear_gaussian.posterior(x, *parameters(), SIGMA)
    gap = linear_gaussian.kl(mu, logvar[0].exp().diag(), mean, cov)
    elbos = torch.stack([model.elbo(x, 200, generator=rng(seed)) for seed in range(30)])
    error = elbos.std(0) / math.sqrt(30)
    assert float(gap.detach().min()) > 0.1  # of a size that would be seen
    assert ((truth(x) - elbos.mean(0) - gap).abs() < 5 * error).all()
    torch.testing.assert_close(  # and the closed form agrees
        linear_gaussian.elbo(x, mu, logvar[0].exp().diag(), *parameters(), SIGMA) + gap, truth(x)
    )


def test_the_importance_weighted_bound_rises_to_the_likelihood():
    """Catches a mean of logs for the log of a mean, and a k that divides the wrong way: 0.02 nats left at k = 5,000."""
    x, model = data(200), linear_vae(exact=False)
    bounds = [float(model.elbo(x, 500, generator=rng(9)).detach().mean())]
    bounds += [float(model.iwae(x, k, generator=rng(k)).detach().mean()) for k in (5, 50, 500)]
    bounds += [float(model.log_likelihood(x, 5000, generator=rng(0)).mean())]
    assert bounds == sorted(bounds)
    assert abs(bounds[-1] - float(truth(x).mean())) < 0.02
    assert bounds[0] < float(truth(x).mean()) - 0.1


def test_every_single_likelihood_is_near_at_5000_samples():
    """Catches an error that averages out over the batch."""
    x = data(20)
    estimate = linear_vae(exact=False).log_likelihood(x, 5000, generator=rng(0))
    assert float((estimate - truth(x)).abs().max()) < 0.05


def test_a_conditional_model_is_exact_per_class():
    """Catches labels that reach the encoder or the decoder in the wrong place, or not at all."""
    labels = torch.tensor([0, 1, 2, 2, 1])
    shift = torch.zeros(5, D, dtype=F64)
    shift[:, 0], shift[:, -1] = labels, -labels
    x, model = data(5), linear_vae(exact=True, num_classes=3)
    torch.testing.assert_close(model.iwae(x + shift, 2, labels=labels, generator=rng(0)), truth(x))
    estimate = model.log_likelihood(x + shift, 7, labels=labels, chunk=14, generator=rng(0))
    torch.testing.assert_close(estimate, truth(x))
    drawn = model.sample(5000, labels=torch.full((5000,), 2), generator=rng(0)).mean(0) - parameters()[1]
    # 5 standard errors of a mean of 5,000 draws whose standard deviation is at most 1.6.
    assert (drawn - torch.tensor([2, 0, 0, 0, -2])).abs().max() < 5 * 1.6 / math.sqrt(5000)


def test_samples_have_the_model_covariance():
    """Catches samples without the noise of p(x | z), or a noise of sigma squared: 5 standard errors of 20,000 draws."""
    (weight, _), n = parameters(), 20_000
    cov = weight @ weight.mT + SIGMA**2 * torch.eye(D, dtype=F64)
    model = linear_vae(exact=True)
    x = model.sample(n, generator=rng(0))
    spread = cov.diagonal()
    assert ((torch.cov(x.mT) - cov).abs() < 5 * (2 * spread[:, None] * spread / n).sqrt()).all()
    clean = torch.cov(model.sample(n, mean=True, generator=rng(0)).mT)
    assert ((clean - weight @ weight.mT).abs() < 5 * (2 * spread[:, None] * spread / n).sqrt()).all()


def test_reconstruction_is_the_mean_at_the_centre_of_the_posterior():
    """Catches a reconstruction with noise, or one of logits."""
    x = data(4)
    weight, bias = parameters()
    mean, _ = linear_gaussian.posterior(x, weight, bias, SIGMA)
    torch.testing.assert_close(linear_vae(exact=True).reconstruct(x), mean @ weight.mT + bias)
    shown = VAE((1, 8, 8), 2, hidden=(8,), generator=rng(0)).reconstruct(images(3))
    assert shown.shape == (3, 1, 8, 8) and 0 < float(shown.min()) and float(shown.max()) < 1


# ---------------------------------------------------------------- the pieces


def test_gaussian_kl_against_torch():
    """Catches a sum over the batch, logvar taken for the logarithm of the deviation, and a lost half."""
    mu, logvar = torch.randn(2, 4, 3, generator=rng(0), dtype=F64)
    normal = torch.distributions.Normal
    peer = torch.distributions.kl_divergence(normal(mu, (0.5 * logvar).exp()), normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(vae.gaussian_kl(mu, logvar), peer)
    tiny = vae.gaussian_kl(torch.zeros(1, 1), torch.full((1, 1), 1e-4))
    assert float(tiny) == pytest.approx(0.25e-8, rel=1e-2, abs=0)  # l²/4, which exp(l) − 1 − l rounds away


def test_reparameterize_moves_and_scales():
    """Catches exp(logvar) for exp(logvar / 2); with several draws per x the batch stays in its place."""
    mu, logvar = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, math.log(9.0)]])
    eps = torch.tensor([[[1.0, 1.0]], [[-1.0, 0.0]]])
    torch.testing.assert_close(vae.reparameterize(mu, logvar, eps), torch.tensor([[[2.0, 5.0]], [[0.0, 2.0]]]))


@pytest.mark.parametrize("options", [{}, {"num_importance": 4}, {"beta": 3.0}, {"beta": 0.0}], ids=str)
def test_loss_is_the_mean_bound(options):
    """Catches a loss of another bound than asked for, a sum over the batch, and a beta on the wrong term."""
    model = VAE((1, 8, 8), 3, hidden=(16,), generator=rng(0), **options)
    x = images(6)
    mu, logvar = model.encode(x)
    if "num_importance" in options:
        wanted = model.iwae(x, 4, generator=rng(1))
    else:
        wanted = model.elbo(x, generator=rng(1)) - (options.get("beta", 1.0) - 1) * vae.gaussian_kl(mu, logvar)
    torch.testing.assert_close(model.loss(x, generator=rng(1)), -wanted.mean())


def test_explicit_noise_is_the_noise_that_is_used():
    """Catches eps that is ignored: the same noise gives the same bound, and zero noise that at the mean."""
    model, x = linear_vae(exact=False), data(3)
    eps = torch.randn(4, 3, K, generator=rng(0), dtype=F64)
    torch.testing.assert_close(model.elbo(x, eps=eps), model.elbo(x, 4, generator=rng(0)))
    torch.testing.assert_close(model.iwae(x, 4, eps=eps), model.iwae(x, 4, generator=rng(0)))
    mu, logvar = model.encode(x)
    at_mean = model.log_prob_given(x, mu) - vae.gaussian_kl(mu, logvar)
    torch.testing.assert_close(model.elbo(x, eps=torch.zeros(1, 3, K, dtype=F64)), at_mean)


def test_log_likelihood_depends_on_neither_chunk_nor_batch():
    """Catches chunks that reuse noise or drop a remainder, and images that share noise."""
    model, x = linear_vae(exact=False), data(5)
    whole = model.log_likelihood(x, 30, generator=rng(0))
    for chunk in (1, 7, 30, 65, 1000):
        torch.testing.assert_close(model.log_likelihood(x, 30, chunk=chunk, generator=rng(0)), whole)
    torch.testing.assert_close(model.log_likelihood(x[:2], 30, generator=rng(0)), whole[:2])
    assert not model.log_likelihood(x, 3, generator=rng(0)).requires_grad
    assert model.log_likelihood(x[:0]).shape == (0,)


def test_bounds_repeat_with_the_seed_and_leave_the_global_one():
    """Catches draws from the global state."""
    model, x = linear_vae(exact=False), data(3)
    before = torch.get_rng_state()
    calls = (model.elbo, lambda x, generator: model.iwae(x, 3, generator=generator), model.loss, model.log_likelihood)
    for call in calls:
        one, two, other = (call(x, generator=rng(seed)) for seed in (0, 0, 1))
        assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_gradients_reach_every_parameter():
    """Catches a detached encoder or scale, for every kind of net and likelihood."""
    for options in (
        {"likelihood": "gaussian"},
        {"likelihood": "discretised", "levels": 17, "net": "conv", "width": 4, "num_classes": 2},
        {"num_importance": 3},
    ):
        model = VAE((1, 8, 8), 2, hidden=(8,), generator=rng(0), **options)
        labels = (torch.tensor([0, 1, 1]),) if "num_classes" in options else ()
        model.loss((images(3) * 16).round() / 16, *labels, generator=rng(0)).backward()
        assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in model.parameters())


def test_the_elbo_gradient_of_the_exact_encoder_vanishes():
    """Catches a gradient that is not the bound's: where q is the posterior, no change of the encoder improves it.

    The mean of 40 gradients of 100 draws each, against 5 of its standard errors.
    """
    model, x = linear_vae(exact=True), data(4)
    draws = []
    for seed in range(40):
        (gradient,) = torch.autograd.grad(model.elbo(x, 100, generator=rng(seed)).mean(), model.encoder[0].bias)
        draws.append(gradient)
    draws = torch.stack(draws)
    assert (draws.mean(0).abs() < 5 * draws.std(0) / math.sqrt(40) + 1e-12).all()
    assert float(draws.std(0).max()) > 1e-4


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads the peak memory in kilobytes, as Linux gives it"
)
def test_log_likelihood_of_many_images_takes_no_more_memory_than_of_few():
    """Catches buffers that stay allocated image after image: 10,000 MNIST images once took 10 GB."""
    script = (
        "import resource, torch; from course_lib.models.vae import VAE\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "model, x = VAE((784,), 50, hidden=(8,)), torch.zeros(160, 784)\n"
        "model.log_likelihood(x[:20], 3000); few = peak()\n"
        "model.log_likelihood(x, 3000); print(peak() - few)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 30  # MB


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_training_on_digits(net):
    """Catches a model that does not learn, or that ignores z: it beats the best that knows no z by 1.5 nats."""
    x, test = datasets.digits("train").images, datasets.digits("test").images[:200]
    model = VAE((1, 8, 8), 6, hidden=(64,), net=net, width=16, generator=rng(0))
    train(model, x, steps=600, batch_size=64, lr=5e-3, schedule="cosine", generator=rng(1), progress=False)
    p = x.mean(0).clamp(1e-3, 1 - 1e-3)
    without_z = (test * p.log() + (1 - test) * (1 - p).log()).flatten(1).sum(1).mean()
    with torch.no_grad():
        elbo = model.elbo(test, 5, generator=rng(2)).mean()
        iwae = model.iwae(test, 50, generator=rng(3)).mean()
    assert without_z + 1.5 < elbo < iwae
    # A thousand draws make a better bound than fifty; their noise is 0.02 nats over 200 images.
    assert iwae < model.log_likelihood(test, 1000, generator=rng(4)).mean() + 0.05


def test_learnt_scale_finds_the_noise():
    """Catches a scale that is not learnt, or learnt as a variance: the noise of the data is 0.5."""
    model = VAE(D, K, hidden=(), likelihood="gaussian", generator=rng(0)).double()
    train(model, data(1000), steps=600, lr=0.02, schedule="cosine", generator=rng(1), progress=False)
    assert float(model.likelihood.scale.detach()) == pytest.approx(SIGMA, rel=0.05)


# ---------------------------------------------------------------- limits and bad input


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_an_overflowing_logvar_is_limited_and_comes_back(size):
    """Catches inf − inf from exp(logvar): bounds and gradients stay finite, and the gradient points back inside."""
    model = VAE(4, 2, hidden=(), likelihood="gaussian", scale=1.0, generator=rng(0))
    for sign in (1, -1):
        with torch.no_grad():
            model.encoder[0].weight.zero_()
            model.encoder[0].bias.copy_(torch.tensor([0.0, 0.0, sign * size, sign * size]))
        x = torch.ones(3, 4)
        _, logvar = model.encode(x)
        assert torch.equal(logvar, torch.full((3, 2), sign * vae.LOGVAR_LIMIT))
        assert all(
            torch.isfinite(bound).all() for bound in (model.elbo(x), model.iwae(x, 4), model.log_likelihood(x, 9))
        )
        (gradient,) = torch.autograd.grad(model.loss(x, generator=rng(0)), model.encoder[0].bias)
        assert torch.isfinite(gradient).all()
        assert (sign * gradient[2:] > 0).all()  # a descent step goes towards 0


def model(**options) -> VAE:
    return VAE((1, 4, 4), 2, hidden=(4,), generator=rng(0), **options)


ONE = torch.zeros(1, 1, 4, 4)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: model().iwae(ONE, 0), "k must be at least 1, got 0"),
        (lambda: model().elbo(ONE, 0), "num_samples must be at least 1"),
        (lambda: model().log_likelihood(ONE, 0), "num_samples must be at least 1"),
        (lambda: model().log_likelihood(ONE, chunk=0), "chunk must be at least 1"),
        (lambda: model().elbo(ONE[:, 0]), r"x must have shape \(b, 1, 4, 4\), got \(1, 4, 4\)"),
        (lambda: model().elbo(ONE.long()), "x must hold floating-point"),
        (lambda: model().elbo(ONE * math.nan), "x has 16 NaN"),
        (lambda: model().loss(ONE + 255), r"x must lie in \[0, 1\] for the bernoulli likelihood, got 255 to 255"),
        (lambda: model(likelihood="gaussian").elbo(ONE / 0), "x has 16 NaN"),
        (lambda: model(likelihood="discretised").elbo(ONE + 0.3), "x must lie on 256 levels"),
        (lambda: model(likelihood="discretised", levels=1), "levels must be at least 2"),
        (lambda: model(likelihood="gausian"), "did you mean 'gaussian'"),
        (lambda: model(likelihood="gaussian", scale=0), "scale must be greater than 0"),
        (lambda: model(scale=1.0), "scale has no meaning"),
        (lambda: model(net="cnn"), "net must be one of mlp, conv"),
        (lambda: model(beta=-1), "beta must be at least 0"),
        (lambda: model(beta=4, num_importance=5), "beta must be 1 with num_importance > 1"),
        (lambda: model(num_importance=0), "num_importance must be at least 1"),
        (lambda: VAE((1, 4, 4), 0), "latent_dim must be at least 1"),
        (lambda: VAE((16,), 2, net="conv"), r"shape must be \(channels, height, width\)"),
        (lambda: VAE((1, 7, 7), 2, net="conv"), "shape must have even sides above 4, got 7 by 7"),
        (lambda: model().decode(torch.zeros(1, 3)), r"z must have shape \(b, 2\)"),
        (lambda: model().elbo(ONE, eps=torch.zeros(0, 1, 2)), r"eps must have shape \(samples, 1, 2\)"),
        (lambda: model().elbo(ONE, labels=torch.tensor([0])), "labels are for a conditional VAE"),
        (lambda: model(num_classes=3).elbo(ONE), "labels must be 1 whole numbers from 0 to 2, one per x, got none"),
        (lambda: model(num_classes=3).loss(ONE, torch.tensor([3])), "labels must be .* got 3 to 3"),
        (lambda: model(num_classes=3).sample(2, labels=torch.tensor([0])), r"labels must be 2 .* of shape \(1,\)"),
    ],
)
def test_bad_input(call, says, no_shape_check):
    """Catches an argument that is accepted in silence, or refused without its name and the remedy."""
    with pytest.raises(ValueError, match=says):
        call()


def test_building_leaves_the_global_seed_alone():
    """Catches layers that initialise themselves from the global state."""
    before = torch.get_rng_state()
    one, two = (VAE((1, 8, 8), 2, net="conv", width=4, activation=nn.ReLU, generator=rng(0)) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretised"])
def test_on_the_gpu(likelihood):
    """Catches a tensor left on the CPU."""
    gpu = VAE((1, 8, 8), 2, net="conv", width=4, likelihood=likelihood, levels=17, num_classes=10).cuda()
    digits = datasets.digits("train")
    x, labels = digits.images[:20].cuda(), digits.labels[:20].cuda()
    train(gpu, (x, labels), steps=3, generator=rng(0), progress=False)
    assert gpu.log_likelihood(x, 100, labels=labels, generator=rng(0)).is_cuda
    assert gpu.sample(20, labels=labels, generator=rng(0)).is_cuda
