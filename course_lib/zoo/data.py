"""The images that recipes are trained and measured on."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from course_lib import datasets, rng
from course_lib.datasets import faces

# Every setting of a data set. A recipe may change some; all of them are part of its declaration.
DEFAULTS = {
    "faces": {"num": 10_000, "size": 32, "colour": True, "seed": 1000},
    "digits": {},
    "mnist": {"binarise": True},
}
TEST_FACES = 10_000


def shape(data: str, options: dict) -> tuple[int, int, int]:
    """(channels, height, width) of the images."""
    if data == "faces":
        return (3 if options["colour"] else 1, options["size"], options["size"])
    return {"digits": (1, 8, 8), "mnist": (1, 28, 28)}[data]


def images(data: str, options: dict, split: str) -> tuple[Tensor, Tensor]:
    """The images (n, channels, height, width) of "train" or "test", and their labels (n,) or factors (n, f).

    Faces of the two splits are drawn with different seeds; digits and MNIST have a split of their own.

    Raises:
        ValueError: if MNIST cannot be had. The digits do not stand in for it: they have another shape.
    """
    return _images(data, split, tuple(sorted(options.items())))


@lru_cache(maxsize=2)
def _images(data: str, split: str, options: tuple) -> tuple[Tensor, Tensor]:
    if data == "digits":
        return datasets.digits(split)
    if data == "mnist":
        return datasets.mnist(split, fallback=False)
    settings = dict(options)
    num, seed = (settings["num"], settings["seed"]) if split == "train" else (TEST_FACES, settings["seed"] + 1)
    return faces.faces(num, size=settings["size"], colour=settings["colour"], generator=rng(seed))


def binarise(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Bits that are 1 with probability x, the shape of x."""
    device = x.device if generator is None else generator.device
    return (torch.rand(x.shape, generator=generator, device=device).to(x.device) < x).to(x.dtype)


class Binarised(nn.Module):
    """A model that sees its grey images as bits, drawn anew in each step: a pixel is 1 with probability its grey."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def loss(self, x: Tensor, *labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.model.loss(binarise(x, generator), *labels, generator=generator)
