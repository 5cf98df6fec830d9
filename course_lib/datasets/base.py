"""What an exact density is."""

from __future__ import annotations

import torch

from course_lib import checks
from course_lib._typing import Float, Tensor

Bounds = tuple[tuple[float, float], tuple[float, float]]


class Density:
    """What the exact densities share: argument checks, dtypes, bounded memory, and an entropy worked out once.

    A density defines `name`, `dim`, `bounds`, and the private `_log_prob`, `_sample` and `_compute_entropy`.
    """

    name: str
    dim: int = 2
    bounds: Bounds  # ((x_min, x_max), (y_min, y_max)): all but about 1e-6 of the mass, for plots and quadrature
    _entropy: float | None = None

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Exact log density in nats, differentiable in x; -inf only where the density is zero.

        Args:
            x: points (n, dim), any float dtype, any device.
        Returns:
            (n,), like x.
        Raises:
            ValueError: wrong shape, no points, or NaN.
        """
        checks.data(x, "x", dim=self.dim)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        return torch.cat([self._log_prob(block) for block in wide.split(2**11)]).to(x.dtype)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draw n points (n, dim) in torch's default dtype, on the generator's device."""
        return self._sample(checks.count(n, "n"), generator)

    def entropy(self) -> float:
        """Differential entropy -E[log p(x)] in nats, by quadrature or in closed form; the same on every call."""
        if self._entropy is None:
            self._entropy = self._compute_entropy()
        return self._entropy

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, {self.dim}-D>"
