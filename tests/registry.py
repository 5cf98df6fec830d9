"""One tiny, fitted instance of every model of the course: test_registry.py runs its invariants over all of them.

A new model class adds a line to TINY; a test fails until it does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from course_lib import datasets, rng
from course_lib.models import densities, linear_gaussian, vae
from course_lib.training import train


@dataclass(frozen=True)
class Tiny:
    """How to make a small instance of a model.

    Args:
        build: builds and, where it must, fits it, in the dtype given; seconds at most, the same on every call.
        event_shape: shape of one sample.
        continuous: samples are real vectors, so a density in one or two dimensions must integrate to one.
    """

    build: Callable[[torch.dtype], object]
    event_shape: tuple[int, ...]
    continuous: bool = True


def moons(dtype: torch.dtype) -> torch.Tensor:
    return datasets.TwoMoons().sample(300, generator=rng(0)).to(dtype)


def fitted_vae(dtype: torch.dtype) -> vae.VAE:
    model = vae.VAE(2, 2, hidden=(16,), likelihood="gaussian", generator=rng(0)).to(dtype)
    train(model, moons(dtype), steps=50, progress=False, generator=rng(1))
    return model


TINY = {
    "Gaussian": Tiny(lambda dtype: densities.Gaussian().fit(moons(dtype)), (2,)),
    "GMM": Tiny(lambda dtype: densities.GMM(3).fit(moons(dtype), generator=rng(0), restarts=1), (2,)),
    "Histogram": Tiny(lambda dtype: densities.Histogram(bins=12).fit(moons(dtype)), (2,)),
    "KDE": Tiny(lambda dtype: densities.KDE(bandwidth=0.2).fit(moons(dtype)), (2,)),
    "ProbabilisticPCA": Tiny(lambda dtype: linear_gaussian.ProbabilisticPCA(1).fit(moons(dtype)), (2,)),
    "VAE": Tiny(fitted_vae, (2,)),
}
