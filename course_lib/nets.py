"""Networks that several models share."""

from __future__ import annotations

import itertools
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
