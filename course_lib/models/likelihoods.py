"""What a decoder's output means: p(x | parameters) for pixels that are bits, real numbers or grey levels."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib import checks, gaussian
from course_lib._typing import Float, Number, Tensor

# The smallest scale that a likelihood may learn. Without a floor, a decoder that reproduces some pixel exactly gains
# without limit, as a mixture component does that shrinks onto one point.
SMALLEST_SCALE = 1e-3


def limited(value: Tensor, low: float, high: float) -> Tensor:
    """`value` kept within [low, high]; beyond a limit the gradient is the one at the limit, so that it can come back.

    A plain clamp has no gradient out there: a network that once strays would never return.
    """
    return _Limited.apply(value, low, high)


class _Limited(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, low: float, high: float) -> Tensor:
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient, None, None


class Bernoulli(nn.Module):
    """Pixels in [0, 1]: log p(x | l) = Σ x log σ(l) + (1 − x) log(1 − σ(l)), with logits l.

    A likelihood in the strict sense for x of 0 and 1 only. In between it is the expectation over the bits that x
    stands for, so such a bound is in nats per *binarised* image.
    """

    def log_prob(self, logits: Float[Tensor, "*batch n"], x: Float[Tensor, "*#batch n"]) -> Float[Tensor, "*batch"]:
        # x log σ(l) + (1 − x) log σ(−l) = x l − log(1 + e^l), finite for any l.
        return (x * logits).sum(-1) - F.softplus(logits).sum(-1)

    def mean(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def draw(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        return (_uniform(logits, generator) < logits.sigmoid()).to(logits)

    def check(self, x: Tensor) -> None:
        _within_unit_interval(x, "bernoulli")


class _Scaled(nn.Module):
    """A likelihood with one scale for all pixels: fixed if it is given, learnt if not."""

    def __init__(self, scale: Number | None, start: float) -> None:
        super().__init__()
        self.learnt = scale is None
        value = torch.tensor(math.log(start if scale is None else checks.number(scale, "scale", above=0)))
        if self.learnt:
            self.log_scale = nn.Parameter(value)
        else:
            self.register_buffer("log_scale", value)

    @property
    def scale(self) -> Tensor:
        """(), at least SMALLEST_SCALE where it is learnt."""
        return self._log_scale().exp()

    def _log_scale(self) -> Tensor:
        return limited(self.log_scale, math.log(SMALLEST_SCALE), 20.0) if self.learnt else self.log_scale


class Gaussian(_Scaled):
    """Real pixels: log p(x | m) = −Σ (x − m)² / 2s² − n log s − n/2 log 2π.

    Args:
        scale: the standard deviation s in the units of x; None learns it.
    """

    def __init__(self, scale: Number | None = None) -> None:
        super().__init__(scale, start=0.3)

    def log_prob(self, mean: Float[Tensor, "*batch n"], x: Float[Tensor, "*#batch n"]) -> Float[Tensor, "*batch"]:
        log_scale = self._log_scale()
        squared = ((x - mean) * (-log_scale).exp()).square().sum(-1)
        return -0.5 * squared - mean.shape[-1] * (log_scale + 0.5 * math.log(2 * math.pi))

    def mean(self, mean: Tensor) -> Tensor:
        return mean

    def draw(self, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        return mean + self.scale * gaussian.normal(len(mean), mean, generator)

    def check(self, x: Tensor) -> None:
        checks.finite(x, "x")


class DiscretisedLogistic(_Scaled):
    """Grey levels 0, 1/(L−1), …, 1: the mass of a logistic density (mean m, scale s) in the bin of each level.

    With a and b the standardised ends of the bin: σ(b) − σ(a) = σ(b) σ(−a) (1 − e^(a−b)), where nothing cancels. The
    first bin reaches to −∞ and the last to +∞, so the masses of the L levels sum to one.

    Args:
        levels: L, for instance 256 or 17.
        scale: s in the units of x; None learns it.
    References:
        D. Kingma et al. (2016), arXiv:1606.04934, section 4 and appendix; T. Salimans et al. (2017), arXiv:1701.05517.
    """

    def __init__(self, levels: int = 256, scale: Number | None = None) -> None:
        super().__init__(scale, start=0.1)
        self.levels = checks.count(levels, "levels", at_least=2)

    def log_prob(self, mean: Float[Tensor, "*batch n"], x: Float[Tensor, "*#batch n"]) -> Float[Tensor, "*batch"]:
        log_scale = self._log_scale()
        width, half = (-log_scale).exp(), 0.5 / (self.levels - 1)
        centred = x - mean
        above = F.logsigmoid((centred + half) * width)  # log of the mass below the bin's upper end
        below = F.logsigmoid((half - centred) * width)  # log of the mass above its lower end
        inner = above + below + torch.log(-torch.expm1(-2 * half * width))
        log_mass = torch.where(x < half, above, torch.where(x > 1 - half, below, inner))
        return log_mass.sum(-1)

    def mean(self, mean: Tensor) -> Tensor:
        return mean.clamp(0, 1)

    def draw(self, mean: Tensor, generator: torch.Generator | None) -> Tensor:
        x = mean + self.scale * torch.logit(_uniform(mean, generator))
        return (x.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)

    def check(self, x: Tensor) -> None:
        _within_unit_interval(x, "discretised")
        steps = x.detach() * (self.levels - 1)
        off = float((steps - steps.round()).abs().max())
        if off > 1e-2:
            raise ValueError(
                f"x must lie on {self.levels} levels from 0 to 1, an entry is {off:.2g} of a step off; "
                "set levels= to what the data have, or round x"
            )


def by_name(name: str, *, levels: int = 256, scale: Number | None = None) -> nn.Module:
    """The likelihood called "bernoulli", "gaussian" or "discretised"; the first has no scale."""
    checks.one_of(name, "likelihood", ("bernoulli", "gaussian", "discretised"))
    if name == "bernoulli" and scale is not None:
        raise ValueError("scale has no meaning for the bernoulli likelihood; leave it out")
    return {
        "bernoulli": Bernoulli,
        "gaussian": lambda: Gaussian(scale),
        "discretised": lambda: DiscretisedLogistic(levels, scale),
    }[name]()


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator is not None else like.device
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=device).to(like)


def _within_unit_interval(x: Tensor, name: str) -> None:
    low, high = (float(v) for v in x.detach().aminmax())
    if not (0 <= low and high <= 1):  # NaN fails too
        checks.finite(x, "x")
        raise ValueError(f"x must lie in [0, 1] for the {name} likelihood, got {low:.4g} to {high:.4g}; rescale it")
