"""How the functions written out in the lectures are compared with the library's: one case per twin.

A lecture's cell tagged `core` and `twin:course_lib.module.name` defines `name`. Its case here is a function that is
given one version of `name`, calls it on fixed inputs, and returns what came out; it is called with the cell's version
and with the library's, and both results must agree.

To add one: write a function `(f) -> tensor, number, or a tuple, list or dict of them` and decorate it with
`@twin("course_lib.module.name")`. Make its inputs inside, from `rng(seed)`, so that both versions get equal ones.
"""

from collections.abc import Callable

import torch

from course_lib import rng

CASES: dict[str, Callable] = {}


def twin(name: str) -> Callable:
    """Register a case under the dotted name of the library's version."""

    def register(case: Callable) -> Callable:
        if name in CASES:
            raise ValueError(f"{name} has two cases in tests/notebooks/twins.py; keep one")
        CASES[name] = case
        return case

    return register


def points(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=rng(seed))


def mixture(k: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights (k,), means (k, d), covariances (k, d, d), none of them special."""
    generator = rng(seed)
    weights = torch.rand(k, generator=generator) + 0.2
    factors = torch.randn(k, d, d, generator=generator)
    return (
        weights / weights.sum(),
        2.0 * torch.randn(k, d, generator=generator),
        factors @ factors.mT + 0.5 * torch.eye(d),
    )


@twin("course_lib.models.densities.kde_log_prob")
def kde_log_prob(f):
    return f(points(40, 2, 0), 2.0 * points(25, 2, 1), 0.3)


@twin("course_lib.models.mixture.e_step")
def e_step(f):
    return f(points(50, 2, 2), *mixture(3, 2, 3))


@twin("course_lib.models.mixture.m_step")
def m_step(f):
    return f(points(50, 2, 4), torch.softmax(points(50, 3, 5), dim=1))


@twin("course_lib.gaussian.log_prob")
def gaussian_log_prob(f):
    _, means, covs = mixture(1, 3, 6)
    return f(points(30, 3, 7), means[0], covs[0])


@twin("course_lib.metrics.monte_carlo_kl")
def monte_carlo_kl(f):
    return f(points(30, 1, 8)[:, 0], points(30, 1, 9)[:, 0])


@twin("course_lib.gaussian.mixture_log_prob")
def mixture_log_prob(f):
    return f(points(30, 2, 10), *mixture(3, 2, 11)), f(1e3 + points(5, 2, 12), *mixture(3, 2, 11))


def machine(d: int, k: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Weight (d, k), bias (d,) and sigma of a linear-Gaussian model, none of them special."""
    return points(d, k, seed), points(d, 1, seed + 1)[:, 0], 0.7


@twin("course_lib.models.linear_gaussian.log_joint")
def linear_gaussian_log_joint(f):
    return f(points(20, 4, 13), points(20, 3, 14), *machine(4, 3, 15))


@twin("course_lib.models.linear_gaussian.posterior")
def linear_gaussian_posterior(f):
    return f(points(20, 4, 17), *machine(4, 3, 18))


@twin("course_lib.models.vae.reparameterize")
def reparameterize(f):
    return f(points(10, 3, 20), points(10, 3, 21), points(10, 3, 22))


@twin("course_lib.models.vae.gaussian_kl")
def gaussian_kl(f):
    return f(points(10, 3, 23), points(10, 3, 24))


@twin("course_lib.samplers.annealed_importance_sampling")
def annealed_importance_sampling(f):
    """The log weights and the last states; the third thing returned is each version's own."""

    def log_start(z):
        return -0.5 * z.square().sum(1)

    def log_target(z):
        return -(z - 1).square().sum(1) - z[:, 0].square() * z[:, 1].square()

    betas = torch.linspace(0, 1, 6).square()
    return f(log_start, log_target, points(30, 2, 25), betas, steps=0.3, leapfrog=2, generator=rng(26))[:2]


@twin("course_lib.models.vae.VAE")
def small_vae(f):
    """The first weights, the bound with given noise, and the loss with noise of its own."""
    model = f(12, 3, hidden=(8, 6), generator=rng(27))
    bound = model.elbo(points(5, 12, 28).sigmoid(), eps=points(10, 3, 29).view(2, 5, 3))
    return [*model.parameters()], bound, model.loss(points(5, 12, 30).sigmoid(), generator=rng(31))


@twin("course_lib.disentanglement.mutual_information_gap")
def mutual_information_gap(f):
    return f(points(6, 4, 32).abs(), 2 + points(1, 4, 33)[0].abs())


@twin("course_lib.latent.slerp")
def slerp(f):
    """Ends of unequal length, and ends of one direction."""
    (a, b), t = points(2, 6, 40), torch.linspace(-0.5, 1.5, 9)
    return f(a, b, t), f(a, 3 * a, t)


@twin("course_lib.latent.analogy")
def analogy(f):
    return f(points(3, 5, 41), points(4, 5, 42), points(2, 5, 43))


@twin("course_lib.latent.attribute_direction")
def attribute_direction(f):
    return f(points(20, 5, 44), points(20, 1, 45)[:, 0] > 0.3)


@twin("course_lib.latent.project_out")
def project_out(f):
    """Against one direction, and against three that are not at right angles."""
    return f(points(1, 6, 46)[0], points(1, 6, 47)[0]), f(points(1, 6, 46)[0], points(3, 6, 48))
