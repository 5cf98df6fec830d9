"""From a recipe to its network with fresh weights."""

from __future__ import annotations

import torch
from torch import nn

from course_lib import rng
from course_lib.models import face_oracle, vae
from course_lib.zoo import data
from course_lib.zoo.recipes import Recipe

MODELS = {"face_oracle": face_oracle.FaceOracle, "vae": vae.VAE}
ACTIVATIONS = {"elu": nn.ELU, "silu": nn.SiLU}


def build(recipe: Recipe, generator: torch.Generator | None = None) -> nn.Module:
    """The recipe's network with fresh weights, drawn with `generator`, or with the recipe's seed if there is none."""
    options = dict(recipe.options)
    if "activation" in options:
        options["activation"] = ACTIVATIONS[options["activation"]]
    generator = rng(recipe.seed) if generator is None else generator
    return MODELS[recipe.model](data.shape(recipe.data, recipe.all_data_options), **options, generator=generator)
