"""Networks that several models share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from course_lib import checks
from course_lib._typing import Float, Number, Tensor

# The gain with which a layer keeps the variance of its inputs: weights of variance 1/inputs.
SIGNAL = 3**0.5


def linear(inputs: int, outputs: int, *, gain: Number = 1.0, generator: torch.Generator | None = None) -> nn.Linear:
    """A linear layer whose weights are drawn from U(−gain/√inputs, gain/√inputs) and its bias from that with gain 1.

    With gain 1 the distribution is that of `nn.Linear`, which itself can only draw from torch's global generator. With
    `SIGNAL` outputs vary as much as inputs do, where gain 1 loses two thirds of the variance in each layer.

    Args:
        inputs, outputs: sizes, at least 1.
        gain: factor of the weights.
        generator: source of randomness; None uses torch's own.

    Raises:
        ValueError: if a size is not a positive whole number.

    References:
        Y. LeCun, L. Bottou, G. Orr, K.-R. Müller (1998), Efficient BackProp, section 4.6.
    """
    layer = nn.utils.skip_init(nn.Linear, checks.count(inputs, "inputs"), checks.count(outputs, "outputs"))
    return _draw(layer, inputs**-0.5, gain, generator)


def _draw(layer: nn.Module, bound: float, gain: Number, generator: torch.Generator | None) -> nn.Module:
    with torch.no_grad():
        layer.weight.uniform_(-gain * bound, gain * bound, generator=generator)
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
    gain: Number = 1.0,
    generator: torch.Generator | None = None,
) -> nn.Conv2d | nn.ConvTranspose2d:
    """A convolution drawn like `linear`, its fan-in being the number of inputs that meet in one output.

    With an even kernel twice the stride it divides height and width by the stride, or multiplies them with `up`.

    Args:
        inputs, outputs: channels. kernel, stride: in pixels.
        up: the transposed convolution.
        gain: as in `linear`.
        generator: source of randomness; None uses torch's own.
    """
    kind = nn.ConvTranspose2d if up else nn.Conv2d
    layer = nn.utils.skip_init(kind, inputs, outputs, kernel, stride=stride, padding=(kernel - stride + 1) // 2)
    bound = (inputs * kernel**2 / (stride**2 if up else 1)) ** -0.5
    return _draw(layer, bound, gain, generator)


class ConvEncoder(nn.Sequential):
    """Image to vector: convolutions that halve the image while its sides are even and above 4, then linear layers.

    Args:
        shape: (channels, height, width).
        outputs: length of the vector.
        hidden: widths of linear layers between the last convolution and the vector.
        width: channels after the first halving; they double each time, up to 4 times this.
        activation: as in `MLP`.
        gain, generator: of the initial weights, as in `linear`.
    """

    def __init__(self, shape, outputs, *, hidden=(), width=32, activation=nn.SiLU, gain=1.0, generator=None) -> None:
        shapes, drawn = _halvings(shape, width), {"gain": gain, "generator": generator}
        layers: list[nn.Module] = []
        for (before, *_), (after, *_) in itertools.pairwise(shapes):
            layers += [conv(before, after, 4, stride=2, **drawn), activation()]
        layers.append(nn.Flatten())
        for before, after in itertools.pairwise([math.prod(shapes[-1]), *hidden, outputs]):
            layers += [linear(before, after, **drawn), activation()]
        super().__init__(*layers[:-1])


class ConvDecoder(nn.Sequential):
    """Vector to image: `ConvEncoder` backwards, `hidden` from the vector on, with transposed convolutions."""

    def __init__(self, inputs, shape, *, hidden=(), width=32, activation=nn.SiLU, gain=1.0, generator=None) -> None:
        shapes, drawn = _halvings(shape, width), {"gain": gain, "generator": generator}
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([inputs, *hidden, math.prod(shapes[-1])]):
            layers += [linear(before, after, **drawn), activation()]
        layers.insert(-1, nn.Unflatten(1, shapes[-1]))
        for (before, *_), (after, *_) in itertools.pairwise(reversed(shapes)):
            layers += [conv(before, after, 4, stride=2, up=True, **drawn), activation()]
        super().__init__(*layers[:-1])


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
