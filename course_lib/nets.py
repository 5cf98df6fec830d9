"""Networks that several models share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from course_lib import checks
from course_lib._typing import Float, Tensor


def linear(inputs: int, outputs: int, *, generator: torch.Generator | None = None) -> nn.Linear:
    """A linear layer whose weights and bias are drawn from U(−1/√inputs, 1/√inputs) with `generator`.

    The distribution is that of `nn.Linear`, which itself can only draw from torch's global generator.

    Args:
        inputs, outputs: sizes, at least 1.
        generator: source of randomness; None uses torch's own.

    Raises:
        ValueError: if a size is not a positive whole number.
    """
    layer = nn.utils.skip_init(nn.Linear, checks.count(inputs, "inputs"), checks.count(outputs, "outputs"))
    bound = inputs**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class MLP(nn.Sequential):
    """A multilayer perceptron: linear layers with an activation between them, none after the last.

    Args:
        sizes: widths from the input to the output, at least two; `[2, 64, 64, 1]` has two hidden layers.
        activation: makes the activation module, for instance `nn.SiLU`.
        generator: source of the initial weights; None uses torch's own.

    Raises:
        ValueError: if there are fewer than two sizes or one is not a positive whole number.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[], nn.Module] = nn.SiLU,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        sizes = [checks.count(size, "sizes") for size in sizes]
        if len(sizes) < 2:
            raise ValueError(f"sizes must name at least an input and an output width, got {sizes}")
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [linear(inputs, outputs, generator=generator), activation()]
        super().__init__(*layers[:-1])

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return super().forward(x)


def conv(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    up: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Conv2d | nn.ConvTranspose2d:
    """A convolution drawn like `linear`, its fan-in being the number of inputs that meet in one output.

    With an even kernel twice the stride it divides height and width by the stride, or multiplies them with `up`.

    Args:
        inputs, outputs: channels. kernel, stride: in pixels.
        up: the transposed convolution.
        generator: source of randomness; None uses torch's own.
    """
    kind = nn.ConvTranspose2d if up else nn.Conv2d
    layer = nn.utils.skip_init(kind, inputs, outputs, kernel, stride=stride, padding=(kernel - stride + 1) // 2)
    bound = (inputs * kernel**2 / (stride**2 if up else 1)) ** -0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class ConvEncoder(nn.Sequential):
    """Image to vector: convolutions that halve the image while its sides are even and above 4, then a linear layer.

    Args:
        shape: (channels, height, width).
        outputs: length of the vector.
        width: channels after the first halving; they double each time, up to 4 times this.
        activation, generator: as in `MLP`.
    """

    def __init__(self, shape, outputs, *, width=32, activation=nn.SiLU, generator=None) -> None:
        shapes = _halvings(shape, width)
        layers: list[nn.Module] = []
        for (before, *_), (after, *_) in itertools.pairwise(shapes):
            layers += [conv(before, after, 4, stride=2, generator=generator), activation()]
        layers += [nn.Flatten(), linear(math.prod(shapes[-1]), outputs, generator=generator)]
        super().__init__(*layers)


class ConvDecoder(nn.Sequential):
    """Vector to image: the mirror image of `ConvEncoder`, with transposed convolutions."""

    def __init__(self, inputs, shape, *, width=32, activation=nn.SiLU, generator=None) -> None:
        shapes = _halvings(shape, width)
        layers = [linear(inputs, math.prod(shapes[-1]), generator=generator), nn.Unflatten(1, shapes[-1])]
        for (before, *_), (after, *_) in itertools.pairwise(reversed(shapes)):
            layers += [activation(), conv(before, after, 4, stride=2, up=True, generator=generator)]
        super().__init__(*layers)


def _halvings(shape: Sequence[int], width: int) -> list[tuple[int, int, int]]:
    """(channels, height, width) of an image and of what is left of it after each halving."""
    if len(shape) != 3:
        raise ValueError(f"shape must be (channels, height, width), got {tuple(shape)}")
    channels, h, w = (checks.count(size, "shape") for size in shape)
    shapes, width = [(channels, h, w)], checks.count(width, "width")
    while h % 2 == 0 and w % 2 == 0 and min(h, w) > 4:
        h, w = h // 2, w // 2
        shapes.append((min(width * 2 ** (len(shapes) - 1), 4 * width), h, w))
    if len(shapes) == 1:
        raise ValueError(f"shape must have even sides above 4, got {h} by {w}; pad the images or use an MLP")
    return shapes
