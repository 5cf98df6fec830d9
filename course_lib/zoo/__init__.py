"""Reference models: one recipe each, trained by `course train NAME`, loaded by `zoo.load(NAME)` in one line."""

from __future__ import annotations

from course_lib.zoo.files import card, load, read_weights
from course_lib.zoo.make import make
from course_lib.zoo.networks import build
from course_lib.zoo.recipes import RECIPES, Recipe, recipe

__all__ = ["RECIPES", "Recipe", "build", "card", "load", "make", "read_weights", "recipe"]
