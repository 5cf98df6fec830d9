"""Argument checks with sentences for people: what was given, what was expected, what to do.

The lowest floor of the library: it imports nothing of the course.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

import torch


def tensor(value, name: str, *, ndim: int | tuple[int, ...] | None = None, floating: bool = True) -> torch.Tensor:
    """Return `value` if it is a tensor of an accepted number of dimensions, else raise a ValueError that names it."""
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{name} must be a torch tensor, got {type(value).__name__}; wrap it in torch.as_tensor(...)")
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if allowed is not None and value.ndim not in allowed:
        wanted = " or ".join(str(n) for n in allowed)
        raise ValueError(f"{name} must have {wanted} dimension(s), got shape {tuple(value.shape)}")
    if floating and not value.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, got {value.dtype}; use {name}.float()")
    return value


def finite(value: torch.Tensor, name: str) -> torch.Tensor:
    """Raise a ValueError that counts the NaN and infinite entries of `value`, if there are any."""
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise ValueError(f"{name} has {bad} NaN or infinite entries out of {value.numel()}; drop or repair them first")
    return value


def data(value, name: str = "x", *, dim: int | None = None, min_samples: int = 1) -> torch.Tensor:
    """A finite float tensor (n, d) with at least `min_samples` rows and, if `dim` is given, exactly `dim` columns."""
    tensor(value, name, ndim=2)
    if len(value) < min_samples:
        raise ValueError(f"{name} has {len(value)} samples, at least {min_samples} are needed")
    if dim is not None and value.shape[1] != dim:
        raise ValueError(f"{name} must have shape (n, {dim}), got {tuple(value.shape)}")
    return finite(value, name)


def number(
    value,
    name: str,
    *,
    above: float | int | None = None,
    at_least: float | int | None = None,
    at_most: float | int | None = None,
) -> float:
    """A finite real number within bounds, as a float; 0-dim tensors are welcome."""
    try:
        result = float(value.detach() if isinstance(value, torch.Tensor) else value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(result):
        raise ValueError(f"{name} must be finite, got {result}")
    if above is not None and not result > above:
        raise ValueError(f"{name} must be greater than {above:g}, got {result:g}")
    if at_least is not None and result < at_least:
        raise ValueError(f"{name} must be at least {at_least:g}, got {result:g}")
    if at_most is not None and result > at_most:
        raise ValueError(f"{name} must be at most {at_most:g}, got {result:g}")
    return result


def count(value, name: str, *, at_least: int = 1, at_most: int | None = None) -> int:
    """A whole number within bounds."""
    result = number(value, name, at_least=at_least, at_most=at_most)
    if result != int(result):
        raise ValueError(f"{name} must be a whole number, got {result:g}")
    return int(result)


def one_of(value: str, name: str, choices: Iterable[str]) -> str:
    """One of the names in `choices`; the error suggests the nearest one."""
    choices = list(choices)
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}{hint}")
    return value
