"""Data: exact densities, and images, all at hand without a network but for the downloads."""

from __future__ import annotations

import importlib

from course_lib.datasets.base import Density
from course_lib.datasets.toy import (
    DENSITIES,
    Checkerboard,
    Circles,
    GaussianMixture,
    GridOfGaussians,
    Pinwheel,
    RingOfGaussians,
    TwoMoons,
    density,
)

# Loaded when first touched: they lean on scikit-learn or on the network.
_LAZY = {"Images": "images", "digits": "images", "patches": "images", "photographs": "images",
         "fashion_mnist": "downloads", "mnist": "downloads"}  # fmt: skip

__all__ = ["DENSITIES", "Checkerboard", "Circles", "Density", "GaussianMixture", "GridOfGaussians", "Pinwheel",
           "RingOfGaussians", "TwoMoons", "density", *_LAZY]  # fmt: skip


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(f"course_lib.datasets.{_LAZY[name]}"), name)
    if name in ("captions", "downloads", "faces", "images"):
        return importlib.import_module(f"course_lib.datasets.{name}")
    raise AttributeError(f"module 'course_lib.datasets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
