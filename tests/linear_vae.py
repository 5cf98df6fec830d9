"""A VAE that is linear throughout, so that its exact likelihood and posterior are known."""

import torch

from course_lib import rng
from course_lib.models import linear_gaussian, vae

D, K, SIGMA = 5, 2, 0.5


def parameters() -> tuple[torch.Tensor, torch.Tensor]:
    """weight (5, 2) with orthogonal columns, so that the posterior's covariance is diagonal; bias (5,)."""
    columns, _ = torch.linalg.qr(torch.randn(D, K, generator=rng(0), dtype=torch.float64))
    return columns * torch.tensor([1.5, 0.8], dtype=torch.float64), torch.linspace(-1, 1, D, dtype=torch.float64)


def data(n: int, seed: int = 1) -> torch.Tensor:
    weight, bias = parameters()
    z, eps = (torch.randn(n, size, generator=rng(seed + i), dtype=torch.float64) for i, size in enumerate((K, D)))
    return z @ weight.mT + bias + SIGMA * eps


def linear_vae(*, exact: bool, num_classes: int = 0) -> vae.VAE:
    """The model as a VAE whose encoder is the exact posterior, or off by a shift of 0.2 and variances times 0.8, 1.5.

    With classes, class y adds the vector (y, 0, 0, 0, -y) to x.
    """
    weight, bias = parameters()
    options = {"hidden": (), "likelihood": "gaussian", "scale": SIGMA, "generator": rng(0)}
    model = vae.VAE(D, K, num_classes=num_classes, **options).double()
    origin = torch.zeros(1, D, dtype=torch.float64)
    at_origin, cov = linear_gaussian.posterior(origin, weight, bias, SIGMA)
    slope = linear_gaussian.posterior(torch.eye(D, dtype=torch.float64), weight, bias, SIGMA)[0] - at_origin  # (D, K)
    shift = torch.zeros(num_classes, D, dtype=torch.float64)
    shift[:, 0] = torch.arange(num_classes)
    shift[:, -1] = -shift[:, 0]
    with torch.no_grad():
        model.likelihood.log_scale.fill_(torch.tensor(SIGMA, dtype=torch.float64).log())
        model.decoder[0].weight.copy_(torch.cat([weight, shift.mT], 1))
        model.decoder[0].bias.copy_(bias)
        model.encoder[0].weight.zero_()
        model.encoder[0].weight[:K] = torch.cat([slope.mT, -slope.mT @ shift.mT], 1)
        model.encoder[0].bias[:K] = at_origin[0] + (0 if exact else 0.2)
        factors = torch.ones(2) if exact else torch.tensor([0.8, 1.5])
        model.encoder[0].bias[K:] = (cov.diagonal() * factors).log()
    return model
