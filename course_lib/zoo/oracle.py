"""How well the oracle reads faces, and what it takes for one: the figures on its card."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib import datasets
from course_lib.datasets.faces import FACTORS
from course_lib.datasets.images import LUMA
from course_lib.models.face_oracle import FaceOracle, blur


def views(images: Tensor) -> dict[str, Tensor]:
    """The same faces (n, 3, 32, 32) in the ways that the oracle must be able to read."""
    grey = torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA))[:, None]
    return {"colour": images, "grey": grey, "blurred": blur(images), "blurred_grey": blur(grey)}


def spoilt(images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Pictures (m, c, h, w) that are no faces, most of them made of faces (n, 3, 32, 32)."""
    size = images.shape[-1]
    half, others = size // 2, images.roll(1, 0)
    eyeless, mouthless = images.clone(), images.clone()
    eyeless[:, :, 11:21, 5:27] = images[:, :, 10:11, 5:27]
    mouthless[:, :, 19:27, 6:26] = images[:, :, 19:20, 6:26]
    shuffled = torch.randperm(size**2, generator=generator)
    return {
        "two_faces_mixed": (images + others) / 2,
        "left_and_right_of_two": torch.cat([images[..., :half], others[..., half:]], 3),
        "top_and_bottom_of_two": torch.cat([images[:, :, :half], others[:, :, half:]], 2),
        "without_eyes": eyeless,
        "without_mouth": mouthless,
        "upside_down": images.flip(2),
        "mean_face": images.mean(0, keepdim=True),
        "one_colour": images.mean((2, 3), keepdim=True).expand_as(images),
        "shuffled_pixels": images.flatten(2)[:, :, shuffled].view_as(images),
        "noise": torch.rand(images.shape, generator=generator),
        "digits": F.interpolate(datasets.digits("test").images, (size, size), mode="bilinear"),
    }


def figures(oracle: FaceOracle, images: Tensor, factors: Tensor, generator: torch.Generator) -> dict[str, float]:
    """R² of each continuous factor and accuracy of glasses for each view; what share of which pictures is valid."""
    found = {}
    for view, seen in views(images).items():
        read = oracle.read(seen)
        left = (read - factors).square().mean(0) / factors.var(0, correction=0)
        for i, name in enumerate(FACTORS):
            if name == "glasses":
                found[f"{view}_glasses_accuracy"] = float((read[:, i].round() == factors[:, i]).float().mean())
            else:
                found[f"{view}_{name}_r2"] = 1 - float(left[i])
        found[f"valid_{view}"] = float(oracle.valid(seen).float().mean())
    return found | {
        f"valid_{name}": float(oracle.valid(seen).float().mean()) for name, seen in spoilt(images, generator).items()
    }
