"""A network that reads the factors of a face back from its picture, and says whether it is a face at all."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from course_lib import checks, nets
from course_lib._typing import Bool, Float, Number, Tensor
from course_lib.datasets.faces import FACTORS, RANGES, render
from course_lib.datasets.images import LUMA

SIZE = 32
GLASSES = FACTORS.index("glasses")
# The `error` below which a picture is a face. More than 99 % of held-out faces are below it, sharp ones and those
# blurred by a pixel; the card of the model says what share of other pictures is.
VALID_BELOW = 0.04


class FaceOracle(nn.Module):
    """Convolutions from a 32x32 RGB picture to the factors of `datasets.faces`.

    Pictures of other sizes are resized, grey ones stand in all three channels; the training shows both kinds, and
    blurred and coarse ones, since what models draw is blurred. A regression of the six continuous factors, each in
    units of its range, and the log odds of glasses.

    Args:
        shape: of the pictures to train on, (3, 32, 32).
        width: channels after the first convolution (`nets.ConvEncoder`).
        hidden: units between the convolutions and the factors.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (3, SIZE, SIZE),
        *,
        width: int = 24,
        hidden: int = 64,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if tuple(shape) != (3, SIZE, SIZE):
            raise ValueError(
                f"shape must be (3, {SIZE}, {SIZE}), got {tuple(shape)}; train on colour faces of that size"
            )
        self.body = nets.ConvEncoder(shape, hidden, width=width, generator=generator)
        self.head = nn.Sequential(nn.SiLU(), nets.linear(hidden, len(FACTORS), generator=generator))

    def forward(self, images: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n 7"]:
        """Factors in [0, 1] units of their ranges, unbounded, and in the column of glasses their log odds."""
        return self.head(self.body(images - 0.5))

    def loss(
        self, images: Float[Tensor, "n 3 32 32"], factors: Float[Tensor, "n 7"], *, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """Squared errors of the continuous factors over the variance of a uniform one, plus log loss of glasses."""
        out, target = self(_disturb(images, generator)), _to_unit(factors)
        log_loss = F.binary_cross_entropy_with_logits(out[:, GLASSES], target[:, GLASSES])
        squares = 12 * (out - target).square().mean(0)
        return squares[[i for i in range(len(FACTORS)) if i != GLASSES]].sum() + log_loss

    @torch.no_grad()
    def read(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 7"]:
        """The factors (n, 7) that the pictures show, each within its range; glasses as a probability.

        Args:
            images: (n, 3 or 1, h, w) in [0, 1], of any size; anything is read as if it were a face, see `valid`.
        Raises:
            ValueError: another shape, no images, or NaN.
        """
        out = self(_prepare(images).to(self.head[1].weight))
        low, high = out.new_tensor(list(RANGES.values())).unbind(1)
        out[:, GLASSES] = out[:, GLASSES].sigmoid()
        return low + (high - low) * out.clamp(0, 1)

    @torch.no_grad()
    def error(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """How far the pictures are from the faces that the read factors draw, (n,), 0 at best.

        Root mean square difference of the pixels in the worst 8x8 patch, at 32x32, in the picture's own colours, after
        a blur of both. A face is no better than its worst part. The drawn face may be blurred further, as much as
        suits the picture: a blurred face is a face.
        """
        seen = _prepare(images)
        factors = self.read(images)
        factors[:, GLASSES] = factors[:, GLASSES].round()
        drawn = render(factors, size=SIZE, colour=images.shape[1] == 3).to(seen).expand_as(seen)
        seen, errors = blur(seen), []
        for _ in range(4):
            drawn = blur(drawn)
            squares = (seen - drawn).square().mean(1, keepdim=True)
            errors.append(F.avg_pool2d(squares, 8, stride=4).flatten(1).amax(1))
        return torch.stack(errors).amin(0).sqrt()

    def valid(self, images: Float[Tensor, "n c h w"], threshold: Number = VALID_BELOW) -> Bool[Tensor, " n"]:
        """Whether each picture is a face: redrawing it from what was read gives it back, `error` < threshold."""
        return self.error(images) < checks.number(threshold, "threshold", above=0)


def _prepare(images: Tensor) -> Tensor:
    """Pictures as the network wants them, (n, 3, 32, 32)."""
    checks.finite(checks.tensor(images, "images", ndim=4), "images")
    n, channels, height, width = images.shape
    if not n or channels not in (1, 3) or not height or not width:
        raise ValueError(f"images must have shape (n, 3, h, w) or (n, 1, h, w), got {tuple(images.shape)}")
    if (height, width) != (SIZE, SIZE):
        images = F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
    return images.expand(-1, 3, -1, -1)


def blur(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Binomial blur, 5 pixels wide: a standard deviation of one pixel."""
    taps = images.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    n, channels, height, width = images.shape
    rows = F.pad(images.reshape(n * channels, 1, height, width), (2, 2, 2, 2), mode="replicate")
    return F.conv2d(F.conv2d(rows, taps.view(1, 1, 5, 1)), taps.view(1, 1, 1, 5)).reshape(images.shape)


def _disturb(images: Tensor, generator: torch.Generator) -> Tensor:
    """A shuffled batch as models would draw it: every second picture grey; a third blurred, a third coarse; noise."""
    images = images.clone()
    images[::2] = torch.einsum("nchw,c->nhw", images[::2], images.new_tensor(LUMA))[:, None]
    coarse = F.interpolate(F.avg_pool2d(images[1::3], 2), scale_factor=2, mode="bilinear", align_corners=False)
    for rows, dull in ((slice(0, None, 3), blur(images[::3])), (slice(1, None, 3), coarse)):
        share = torch.rand(len(dull), 1, 1, 1, generator=generator, device=images.device)
        images[rows] = torch.lerp(images[rows], dull, share)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images + 0.05 * noise * torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)


def _to_unit(factors: Tensor) -> Tensor:
    low, high = factors.new_tensor(list(RANGES.values())).unbind(1)
    return (factors - low) / (high - low)
