"""Random inputs for the tasks' cases: every draw comes from the generator it is given."""

from __future__ import annotations

import torch

F32, F64 = torch.float32, torch.float64


def normal(g: torch.Generator, *shape: int, dtype: torch.dtype = F32) -> torch.Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=g, dtype=F64).to(dtype)


def uniform(
    g: torch.Generator, low: float | int, high: float | int, *shape: int, dtype: torch.dtype = F32
) -> torch.Tensor:
    """Uniform numbers in [low, high)."""
    return (low + (high - low) * torch.rand(shape, generator=g, dtype=F64)).to(dtype)


def number(g: torch.Generator, low: float | int, high: float | int) -> float:
    """One uniform number, as a Python float."""
    return uniform(g, low, high, dtype=F64).item()


def integer(g: torch.Generator, low: int, high: int) -> int:
    """One whole number in [low, high]."""
    return int(torch.randint(low, high + 1, (), generator=g))


def simplex(g: torch.Generator, *shape: int, dtype: torch.dtype = F32) -> torch.Tensor:
    """Positive numbers that sum to one along the last axis, none of them tiny."""
    return torch.softmax(normal(g, *shape, dtype=F64), -1).to(dtype)


def covariance(g: torch.Generator, d: int, dtype: torch.dtype = F32, scale: float = 1.0) -> torch.Tensor:
    """A random covariance (d, d), exactly symmetric, its eigenvalues well above zero."""
    root = normal(g, d, d, dtype=F64)
    cov = scale * (root @ root.T / d + 0.3 * torch.eye(d, dtype=F64))
    return ((cov + cov.T) / 2).to(dtype)


def covariances(g: torch.Generator, k: int, d: int, dtype: torch.dtype = F32) -> torch.Tensor:
    """`k` random covariances of different sizes, stacked to (k, d, d)."""
    return torch.stack([covariance(g, d, dtype, scale=number(g, 0.5, 2.0)) for _ in range(k)])
