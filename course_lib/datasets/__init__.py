"""Data: exact densities, and images, all at hand without a network but for the downloads."""

from __future__ import annotations

import importlib

from course_lib.datasets.base import Density
from course_lib.datasets.captions import caption

# `datasets.faces` is the function; its module is reached by `from course_lib.datasets.faces import ...`.
from course_lib.datasets.faces import FACTORS, RANGES, Faces, faces, make_factors, render, sample_factors
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

__all__ = ["DENSITIES", "FACTORS", "RANGES", "Checkerboard", "Circles", "Density", "Faces", "GaussianMixture",
           "GridOfGaussians", "Pinwheel", "RingOfGaussians", "TwoMoons", "caption", "density", "faces", "make_factors",
           "render", "sample_factors", *_LAZY]  # fmt: skip


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(f"course_lib.datasets.{_LAZY[name]}"), name)
    if name in ("images", "downloads"):
        return importlib.import_module(f"course_lib.datasets.{name}")
    raise AttributeError(f"module 'course_lib.datasets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
