"""A small library behind a course on deep generative modelling.

`import course_lib` costs nothing: submodules, torch and the heavier packages they use are loaded when they are first
touched, so that `course --help` answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__version__ = "0.1.0"

_SUBMODULES = ("checks", "datasets", "disentanglement", "gaussian", "grading", "latent", "metrics", "models", "nets",
               "notebook", "paths", "plots", "quiz", "samplers", "training", "widgets", "zoo")  # fmt: skip


def rng(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A random generator of its own, seeded: every function of the course that draws takes one as `generator=`."""
    import torch

    return torch.Generator(device=device).manual_seed(seed)


def __getattr__(name: str):
    if name in _SUBMODULES:
        return importlib.import_module(f"course_lib.{name}")
    if name in ("check", "grade", "TASKS"):
        return getattr(importlib.import_module("course_lib.grading"), name)
    raise AttributeError(f"module 'course_lib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBMODULES])
