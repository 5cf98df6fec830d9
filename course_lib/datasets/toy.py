"""Densities in the plane that are known exactly; the Gaussian mixtures among them are in `mixtures`.

Each has the log density to compare a model with, the sampler to train it on, and the entropy, which is the smallest
mean negative log-likelihood any model can reach.
"""

from __future__ import annotations

import inspect
import math

import numpy as np
import torch

from course_lib import checks, gaussian
from course_lib._typing import Number, Tensor
from course_lib.datasets.base import Density
from course_lib.datasets.mixtures import GaussianMixture, GridOfGaussians, RingOfGaussians

__all__ = ["DENSITIES", "Checkerboard", "Circles", "GaussianMixture", "GridOfGaussians", "Pinwheel",
           "RingOfGaussians", "TwoMoons", "density"]  # fmt: skip


class TwoMoons(Density):
    """Two interleaved half circles of radius 1, drawn with equal chance, blurred by N(0, noise^2 I).

    The upper one is (cos t, sin t), the lower one (1 - cos t, 1/2 - sin t), t uniform in [0, pi]: the geometry of
    `sklearn.datasets.make_moons`. The density is the integral over the arcs, p(x) = E_t N(x; c(t), noise^2 I).

    Args:
        noise: standard deviation of the blur, > 0.
    """

    name = "two_moons"

    def __init__(self, noise: Number = 0.1):
        self.noise = checks.number(noise, "noise", above=0)
        pad = 5 * self.noise
        self.bounds = ((-1 - pad, 2 + pad), (-0.5 - pad, 1 + pad))

    def _log_prob(self, x: Tensor) -> Tensor:
        upper = _half_circle_log_prob(x, self.noise)
        lower = _half_circle_log_prob(x.new_tensor([1.0, 0.5]) - x, self.noise)  # the upper one, turned about
        return torch.logaddexp(upper, lower) - math.log(2)

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        t = math.pi * _uniform(n, generator)
        upper = torch.stack([t.cos(), t.sin()], 1)
        is_upper = _uniform(n, generator) < 0.5
        x = torch.where(is_upper[:, None], upper, upper.new_tensor([1.0, 0.5]) - upper)
        return x + self.noise * gaussian.normal(n, x, generator)

    def _compute_entropy(self) -> float:
        """The trapezoid rule where there is mass; at a spacing of half the noise it is exact to rounding."""
        pad, step = 9 * self.noise, self.noise / 2
        grid = torch.cartesian_prod(
            torch.arange(-1 - pad, 2 + pad, step, dtype=torch.float64),
            torch.arange(-0.5 - pad, 1 + pad, step, dtype=torch.float64),
        )
        near = ((grid.norm(dim=1) - 1).abs() < pad) | (
            ((grid - grid.new_tensor([1.0, 0.5])).norm(dim=1) - 1).abs() < pad
        )
        log_p = self.log_prob(grid[near])
        return -float((log_p.exp() * log_p).sum()) * step**2


class Circles(Density):
    """Two concentric circles of radii 1 and `factor`, drawn with equal chance, blurred by N(0, noise^2 I).

    A circle of radius R blurred has the closed form
    log p(x) = -log(2 pi s^2) - (r - R)^2 / (2 s^2) + log i0e(r R / s^2), with r = |x|, s the noise and i0e the
    exponentially scaled Bessel function of order 0 (the geometry of `sklearn.datasets.make_circles` at factor 1/2).

    Args:
        noise: standard deviation of the blur, > 0.
        factor: radius of the inner circle, between 0 and 1.
    References:
        Abramowitz and Stegun (1964), eq. 9.6.16 (the integral representation of I_0).
    """

    name = "circles"

    def __init__(self, noise: Number = 0.1, factor: Number = 0.5):
        self.noise = checks.number(noise, "noise", above=0)
        self.factor = checks.number(factor, "factor", above=0, at_most=1)
        edge = 1 + 5 * self.noise
        self.bounds = ((-edge, edge), (-edge, edge))

    def _log_prob(self, x: Tensor) -> Tensor:
        return self._radial(torch.linalg.vector_norm(x, dim=1))

    def _radial(self, r: Tensor) -> Tensor:
        def circle(radius: float) -> Tensor:
            gauss = -0.5 * ((r - radius) / self.noise).square() - math.log(2 * math.pi * self.noise**2)
            return gauss + torch.special.i0e(r * (radius / self.noise**2)).log()

        return torch.logaddexp(circle(1.0), circle(self.factor)) - math.log(2)

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        t = 2 * math.pi * _uniform(n, generator)
        radius = torch.where(_uniform(n, generator) < 0.5, 1.0, self.factor)
        x = radius[:, None] * torch.stack([t.cos(), t.sin()], 1)
        return x + self.noise * gaussian.normal(n, x, generator)

    def _compute_entropy(self) -> float:
        """The density depends on the radius only: one integral, by Gauss-Legendre panels as wide as the noise."""
        edges = torch.arange(math.ceil(1 / self.noise) + 12, dtype=torch.float64)[:, None] * self.noise
        nodes, weights = _gauss_legendre(16, edges)
        r = edges + self.noise * nodes
        log_p = self._radial(r)
        return -float((self.noise * weights * 2 * math.pi * r * log_p.exp() * log_p).sum())


class Checkerboard(Density):
    """Uniform on the eight dark squares of a 4 x 4 board on [-4, 4]^2: log p = -log 32 there, -inf elsewhere."""

    name = "checkerboard"
    bounds = ((-4.0, 4.0), (-4.0, 4.0))

    def _log_prob(self, x: Tensor) -> Tensor:
        column, row = (x / 2).floor().unbind(1)
        inside = (x >= -4).all(1) & (x < 4).all(1) & ((column + row) % 2 == 0)
        # 0 * x keeps the result attached to x: the gradient is zero wherever there is one.
        return torch.where(inside, -math.log(32), -math.inf).to(x.dtype) + 0 * x.sum(1)

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        column = (4 * _uniform(n, generator)).floor()
        row = 2 * (2 * _uniform(n, generator)).floor() + column % 2  # the same parity as the column
        corner = torch.stack([column, row], 1) - 2
        # A hair less than a whole square, so that float32 rounding never lands a point in the next one.
        within = (1 - 2**-21) * torch.stack([_uniform(n, generator), _uniform(n, generator)], 1)
        return 2 * (corner + within)

    def _compute_entropy(self) -> float:
        return math.log(32)


class Pinwheel(Density):
    """Gaussian blades around the origin, twisted: a point at radius r is turned by twist * r^2.

    A turn that depends on the radius alone keeps areas, so the density is that of the straight blades at the point
    turned back, and the entropy is theirs. (The usual pinwheel turns by a function of the radial noise instead, which
    has no exact density.)

    Args:
        num_arms: blades.
        radial_std: standard deviation along a blade.
        tangential_std: standard deviation across it.
        twist: turn in radians at radius 1.
        radius: distance of the blades' centres from the origin.
    References:
        After the data of Johnson et al. (2016), arXiv:1603.06277.
    """

    name = "pinwheel"

    def __init__(
        self,
        num_arms: int = 5,
        radial_std: Number = 0.5,
        tangential_std: Number = 0.12,
        twist: Number = 0.25,
        radius: Number = 1.8,
    ):
        num_arms = checks.count(num_arms, "num_arms")
        radial = checks.number(radial_std, "radial_std", above=0)
        tangential = checks.number(tangential_std, "tangential_std", above=0)
        self.twist = checks.number(twist, "twist")
        radius = checks.number(radius, "radius", at_least=0)
        angles = torch.arange(num_arms, dtype=torch.float64) * (2 * math.pi / num_arms)
        turns = _rotation(angles)  # (k, 2, 2)
        blade = torch.diag(torch.tensor([radial, tangential], dtype=torch.float64).square())
        weights = torch.full((num_arms,), 1 / num_arms, dtype=torch.float64)
        self._blades = GaussianMixture(weights, radius * turns[:, :, 0], turns @ blade @ turns.mT)
        edge = radius + 5 * max(radial, tangential)
        self.bounds = ((-edge, edge), (-edge, edge))

    def _log_prob(self, x: Tensor) -> Tensor:
        return self._blades.log_prob(self._turn(x, -self.twist))

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        return self._turn(self._blades.sample(n, generator=generator), self.twist)

    def _compute_entropy(self) -> float:
        return self._blades.entropy()

    @staticmethod
    def _turn(x: Tensor, twist: float) -> Tensor:
        return (_rotation(twist * x.square().sum(1)) @ x[:, :, None])[:, :, 0]


DENSITIES = {c.name: c for c in (TwoMoons, Circles, RingOfGaussians, GridOfGaussians, Checkerboard, Pinwheel)}


def density(name: str, **options) -> Density:
    """Build an exact density by name: two_moons, circles, ring, grid, checkerboard or pinwheel.

    Args:
        name: one of the names above.
        options: arguments of the class, such as noise=0.05.
    Raises:
        ValueError: an unknown name (with the nearest known one) or an unknown option.
    """
    build = DENSITIES[checks.one_of(name, "name", DENSITIES)]
    known = list(inspect.signature(build).parameters)
    for option in options:
        checks.one_of(option, f"option of {name}", known or ["none"])
    return build(**options)


def _half_circle_log_prob(x: Tensor, noise: float, num_nodes: int = 32) -> Tensor:
    """Log density (n,) of the unit half circle (cos t, sin t), 0 <= t <= pi, blurred by N(0, noise^2 I).

    With v the angle between x and a point of the arc, the integrand is proportional to exp(-kappa (1 - cos v)),
    kappa = |x| / noise^2, falling on [0, pi]. On each side of x the arc covers one stretch [a, b] of v; it is cut where
    the integrand has fallen by e^-40 and given Gauss-Legendre nodes of its own. So a far point, which sees a peak much
    narrower than the arc, is integrated as well as a near one. The nodes are constants to autograd: the gradient of
    the sum is the quadrature of the gradient, with no trouble at the centre.
    """
    with torch.no_grad():
        kappa = torch.linalg.vector_norm(x, dim=1) / noise**2
        from_top = torch.atan2(-x[:, 0], x[:, 1])  # angle of x from the middle of the arc, in (-pi, pi]
        side, psi = torch.where(from_top < 0, -1.0, 1.0).to(x), from_top.abs()
        half = math.pi / 2
        near = ((psi - half).clamp_min(0), (psi + half).clamp_max(math.pi))  # towards the middle of the arc
        away = (torch.where(psi > half, 3 * half - psi, 0.0), torch.where(psi > half, math.pi, half - psi))
        points, log_weights = [], []
        for direction, (start, stop) in ((-1, near), (1, away)):
            fallen = (2 * (start / 2).sin()).square() + 2 * 40 / kappa.clamp_min(1e-30)  # (2 sin(v/2))^2 at the cut
            stop = torch.minimum(stop, 2 * (fallen.sqrt() / 2).clamp_max(1).asin())
            nodes, weights = _gauss_legendre(num_nodes, x)
            width = (stop - start).clamp_min(0)[:, None]
            theta = half + side[:, None] * (psi[:, None] + direction * (start[:, None] + width * nodes))
            points.append(torch.stack([theta.cos(), theta.sin()], -1))
            log_weights.append((width * weights / math.pi).log())
        points, log_weights = torch.cat(points, 1), torch.cat(log_weights, 1)  # (n, nodes, 2), (n, nodes)
    scaled = (x[:, None, :] - points) / noise
    return (log_weights - 0.5 * scaled.square().sum(-1)).logsumexp(1) - math.log(2 * math.pi * noise**2)


def _gauss_legendre(num_nodes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the Gauss-Legendre rule on [0, 1], each (num_nodes,), like the given tensor."""
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    return torch.from_numpy((nodes + 1) / 2).to(like), torch.from_numpy(weights / 2).to(like)


def _uniform(n: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device if generator is not None else "cpu")


def _rotation(angle: Tensor) -> Tensor:
    """Rotation matrices (k, 2, 2) of the angles (k,), anticlockwise."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
