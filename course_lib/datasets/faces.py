"""A world of cartoon faces whose factors are known: what a picture shows can be set, and an edit can be measured.

The factors are independent of each other, in the sampler and in the picture: one of them can be moved alone.
`captions` says a face in words; `course_lib.models.face_oracle` reads the factors back from a picture.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from course_lib import checks
from course_lib._typing import Float, Number, Tensor
from course_lib.datasets import face_drawing
from course_lib.datasets.images import LUMA

# The columns of a tensor of factors, and their ranges.
RANGES = {
    "pose": (-1.0, 1.0),  # turn of the head: −1 to the left of the picture, 1 to its right
    "smile": (-1.0, 1.0),  # −1 frowns, 1 laughs
    "age": (0.0, 1.0),  # grey hair and wrinkles
    "glasses": (0.0, 1.0),  # 0 without, 1 with; between them they are half transparent
    "hair": (0.0, 1.0),  # length: from the ears to the chest
    "skin": (0.0, 1.0),  # tone: light to dark
    "background": (0.0, 1.0),  # hue: violet, blue, teal, green, yellow
}
FACTORS = tuple(RANGES)
NEUTRAL = {"hair": 0.4, "skin": 0.3, "background": 0.3}


class Faces(NamedTuple):
    """Pictures and what they show.

    images: (n, 3 or 1, size, size) float32 in [0, 1]. factors: (n, 7), columns in the order of `FACTORS`.
    """

    images: Tensor
    factors: Tensor


def sample_factors(n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n 7"]:
    """Independent factors (n, 7): each uniform on its range, but glasses, which are on or off with equal chance.

    Raises:
        ValueError: if `n` is not a positive whole number.
    """
    device = generator.device if generator is not None else "cpu"
    u = torch.rand(checks.count(n, "n"), len(FACTORS), generator=generator, device=device)
    low, high = u.new_tensor(list(RANGES.values())).unbind(1)
    factors = low + (high - low) * u
    factors[:, FACTORS.index("glasses")] = factors[:, FACTORS.index("glasses")].round()
    return factors


def make_factors(**values: Number) -> Float[Tensor, "n 7"]:
    """Factors (n, 7) of a young, neutral face looking ahead, but for the named values.

    Args:
        values: numbers, or tensors (n,) of one common length: `make_factors(smile=1, pose=torch.linspace(-1, 1, 5))`.
    Raises:
        ValueError: an unknown name, a value out of its range, or lengths that differ.
    """
    for name in values:
        checks.one_of(name, "factor", FACTORS)
    columns = [torch.as_tensor(values.get(name, NEUTRAL.get(name, 0.0))).float() for name in FACTORS]
    lengths = sorted({c.numel() for c in columns if c.ndim})
    if len(lengths) > 1 or any(c.ndim > 1 for c in columns):
        raise ValueError(f"values must be numbers or tensors (n,) of one length, got lengths {lengths}")
    return check_factors(torch.stack([c.expand(lengths or 1) for c in columns], 1))


def check_factors(factors: Tensor) -> Tensor:
    """Return `factors` if they are (n, 7), finite and in range; else raise a ValueError that names the factor."""
    checks.data(factors, "factors", dim=len(FACTORS))
    ends = factors.detach().aminmax(dim=0)
    # One look at the device for all columns together.
    lows, highs = torch.stack([ends.min, ends.max]).tolist()
    for (name, (low, high)), least, most in zip(RANGES.items(), lows, highs, strict=True):
        if least < low or most > high:
            worst = least if least < low else most
            raise ValueError(f"factor {name} must be in [{low:g}, {high:g}], got {worst:g}; clamp it first")
    return factors


def render(
    factors: Float[Tensor, "n 7"], *, size: int = 32, colour: bool = True
) -> Float[Tensor, "n channels size size"]:
    """Draw faces, on the device of `factors`. A larger picture shows the same face with more detail.

    The picture is a continuous, piecewise differentiable function of the factors, and gradients pass through it.

    Args:
        factors: (n, 7), columns in the order of `FACTORS`, each in its range.
        size: side in pixels, 16 to 128.
        colour: RGB; else one channel, the luma 0.299 R + 0.587 G + 0.114 B of the colour picture.
    Returns:
        (n, 3 or 1, size, size) in [0, 1], in the dtype of `factors`.
    Raises:
        ValueError: a factor out of its range, by name; a size out of range.
    """
    check_factors(factors)
    size = checks.count(size, "size", at_least=16, at_most=128)
    mix = torch.eye(3) if colour else torch.tensor([LUMA])
    block = max(1, 2**18 // size**2)  # as many faces at a time as stay in the processor's cache
    wide = factors.float() if factors.dtype in (torch.float16, torch.bfloat16) else factors
    parts = [face_drawing.draw(rows, size, mix.to(wide)) for rows in wide.split(block)]
    return torch.cat(parts).to(factors.dtype)


def faces(n: int, *, size: int = 32, colour: bool = True, generator: torch.Generator | None = None) -> Faces:
    """Draw n faces with factors from `sample_factors`; size and colour as in `render`."""
    factors = sample_factors(n, generator=generator)
    return Faces(render(factors, size=size, colour=colour), factors)
