"""Builders of callable arguments: what a task sends instead of a net, a critic or a decoder.

`codec.Fixture(name, params)` names one of these; it is built anew for every call, on both sides, from plain tensors
and numbers, so that no callable ever crosses between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def linear_encoder(weight: torch.Tensor, bias: torch.Tensor) -> Callable:
    """An encoder: x (b, ...) -> mu (b, k), logvar (b, k) between −2 and 2.

    Args:
        weight: (2k, d), d being the number of entries of one x.
        bias: (2k,).
    """

    def encode(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mu, logvar = (x.flatten(1) @ weight.T + bias).chunk(2, dim=1)
        return mu, 2 * torch.tanh(logvar)

    return encode


def linear_decoder(weight: torch.Tensor, bias: torch.Tensor, shape: Sequence[int]) -> Callable:
    """A decoder: z (b, k) -> logits (b, *shape).

    Args:
        weight: (d, k), d being the number of entries of `shape`.
        bias: (d,).
        shape: of one x.
    """

    def decode(z: torch.Tensor) -> torch.Tensor:
        return (z @ weight.T + bias).reshape(len(z), *shape)

    return decode


#: name -> function(**params) -> the callable argument. Exercise sets that need callables add theirs here.
BUILDERS: dict[str, Callable[..., Callable]] = {
    "linear_encoder": linear_encoder,
    "linear_decoder": linear_decoder,
}


def build(name: str, params: dict) -> Callable:
    """The callable argument `name` with these parameters.

    Raises:
        ValueError: no builder has that name.
    """
    if name not in BUILDERS:
        raise ValueError(
            f"fixture must be one of {', '.join(BUILDERS) or 'those in BUILDERS (none yet)'}, got {name!r}"
        )
    return BUILDERS[name](**params)
