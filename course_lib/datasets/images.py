"""Small real images that need no network: scikit-learn's handwritten digits and patches of its two photographs."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch

from course_lib import checks
from course_lib._typing import Float, Tensor

# ITU-R BT.601 luma: how bright red, green and blue look to the eye.
LUMA = (0.299, 0.587, 0.114)


class Images(NamedTuple):
    """Grey images and their classes.

    images: (n, 1, height, width) float32 in [0, 1]. labels: (n,) long.
    """

    images: Tensor
    labels: Tensor


@lru_cache(maxsize=1)
def _digits_file():
    from sklearn.datasets import load_digits

    return load_digits()


@lru_cache(maxsize=1)
def _photograph_files():
    from sklearn.datasets import load_sample_image

    return [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]


def digits(split: str = "train") -> Images:
    """The 1,797 handwritten digits of scikit-learn, 8x8 pixels with 17 grey levels, as numbers 0, 1/16, ..., 1.

    Within each class every fifth image is a test image, in the order of the file: 1,442 train, 355 test. The split
    is the same on every machine.

    Args:
        split: "train", "test" or "all".

    Returns:
        images (n, 1, 8, 8) float32 in [0, 1] and labels (n,) long.

    Raises:
        ValueError: if `split` is none of the three.

    References:
        E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
    """
    checks.one_of(split, "split", ("train", "test", "all"))
    file = _digits_file()
    images = torch.tensor(file.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(file.target, dtype=torch.long)
    if split == "all":
        return Images(images, labels)
    # Rank of each image among those of its class: the file cycles through the digits, so a plain stride would not do.
    rank = torch.nn.functional.one_hot(labels).cumsum(0).gather(1, labels[:, None])[:, 0]
    chosen = (rank % 5 == 0) if split == "test" else (rank % 5 != 0)
    return Images(images[chosen], labels[chosen])


def photographs() -> list[Tensor]:
    """The two colour photographs of scikit-learn, a temple and a flower.

    Returns:
        two tensors (3, height, width), float32 in [0, 1]; both photographs are 427 by 640 pixels.
    """
    return [torch.tensor(photo, dtype=torch.float32).permute(2, 0, 1) / 255 for photo in _photograph_files()]


def patches(size: int, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n 1 size size"]:
    """Square grey patches from random places of the two photographs.

    Every patch that fits in a photograph is equally likely; patches may overlap. Grey is the luma
    0.299 R + 0.587 G + 0.114 B.

    Args:
        size: side of a patch in pixels, at most the photographs' shorter side.
        n: number of patches.
        generator: source of randomness; None uses torch's own.

    Returns:
        (n, 1, size, size) float32 in [0, 1].

    Raises:
        ValueError: if `size` or `n` is not a whole number in range.
    """
    weights = torch.tensor(LUMA)
    photos = torch.stack([torch.einsum("chw,c->hw", photo, weights) for photo in photographs()])
    num_photos, height, width = photos.shape
    size = checks.count(size, "size", at_most=min(height, width))
    n = checks.count(n, "n")
    which = torch.randint(num_photos, (n,), generator=generator)
    top = torch.randint(height - size + 1, (n,), generator=generator)
    left = torch.randint(width - size + 1, (n,), generator=generator)
    offset = torch.arange(size)
    rows = (top[:, None] + offset)[:, :, None]
    columns = (left[:, None] + offset)[:, None, :]
    return photos[which[:, None, None], rows, columns][:, None].clamp(0, 1)
