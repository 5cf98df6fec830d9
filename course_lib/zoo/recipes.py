"""What the reference models are: data, network, training and seed as plain values.

A new model adds a line to RECIPES. `networks.py` and `data.py` read them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace

from course_lib import checks
from course_lib.zoo import data as sources

# Raised when the code behind the recipes changes so that the same values stand for another model.
GENERATION = 1


@dataclass(frozen=True)
class Recipe:
    """One model from data to weights.

    Args:
        name: of the model and its files.
        about: what it is for, in a line.
        model: the class, a key of `networks.MODELS`.
        options: its arguments, except the shape, which comes from the data, and the generator.
        data: a key of `data.DEFAULTS`.
        data_options: changes to `data.DEFAULTS`.
        training: arguments of `training.train`; with `ema` the averaged parameters are kept.
        seed: of the initial weights, the order of the data and the noise.
        repeats: how many models are trained and measured, from seed, seed + 1, …; the weights of the first are kept.
        figures: what is measured, keys of `figures.MEASURES`.
        bundled: whether the weights come with the course, or only the card.
    """

    name: str
    about: str
    model: str
    data: str
    options: dict = field(default_factory=dict)
    data_options: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    seed: int = 0
    repeats: int = 1
    figures: tuple[str, ...] = ()
    bundled: bool = True

    def declaration(self) -> dict:
        """The values that decide what the weights are. `about`, `repeats`, `figures`, `bundled` do not."""
        kept = ("name", "model", "data", "options", "training", "seed")
        values = {key: value for key, value in asdict(self).items() if key in kept}
        values["data_options"] = self.all_data_options
        return {"generation": GENERATION, **values}

    @property
    def all_data_options(self) -> dict:
        return sources.DEFAULTS[self.data] | self.data_options

    @property
    def hash(self) -> str:
        """sha256 of `declaration()` as JSON with sorted keys. It covers these values, not the code that reads them."""
        text = json.dumps(self.declaration(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def is_reference(self) -> bool:
        """Whether this is the course's own recipe of that name, with nothing changed."""
        return self.name in RECIPES and RECIPES[self.name].hash == self.hash

    @property
    def command(self) -> str:
        """The command that makes it."""
        reference = RECIPES.get(self.name, self)
        words = ["course train", self.name]
        words += [f"--data {self.data}"] if self.data != reference.data else []
        if self.training["steps"] != reference.training["steps"]:
            words.append(f"--steps {self.training['steps']}")
        return " ".join([*words, f"--seed {self.seed}"] if self.seed != reference.seed else words)


def recipe(name: str, *, data: str | None = None, steps: int | None = None, seed: int | None = None) -> Recipe:
    """The recipe called `name`, with other data, another number of steps or another seed if they are given.

    Raises:
        ValueError: a name, data set or number that does not exist; it suggests the nearest.
    """
    checks.one_of(name, "name", RECIPES)
    found = RECIPES[name]
    if data is not None and checks.one_of(data, "data", sources.DEFAULTS) != found.data:
        found = replace(found, data=data, data_options={}, figures=("reconstruction",), repeats=1)
    if steps is not None:
        warmup = min(found.training.get("warmup", 0), checks.count(steps, "steps") - 1)
        changed = {"steps": int(steps)} | ({"warmup": warmup} if "warmup" in found.training else {})
        found = replace(found, training=found.training | changed)
    if seed is not None:
        found = replace(found, seed=checks.count(seed, "seed", at_least=0, at_most=2**63 - 1))
    return found if found.hash == RECIPES[name].hash else replace(found, repeats=1)


RECIPES = {
    made.name: made
    for made in (
        Recipe(
            "face_oracle",
            "reads the factors of a face back from its picture, colour or grey, sharp or blurred",
            "face_oracle",
            "faces",
            data_options={"num": 20_000},
            training={"steps": 5000, "batch_size": 128, "lr": 2e-3, "warmup": 100, "schedule": "cosine"},
            figures=("oracle",),
        ),
        *(
            Recipe(
                name,
                about,
                "vae",
                "faces",
                options={"latent_dim": 10, "net": "conv", "width": 16, "hidden": [128], "likelihood": "gaussian",
                         "scale": 0.1, "beta": beta},
                training={"steps": 15_000, "batch_size": 16, "lr": 6e-3, "warmup": 100, "schedule": "cosine",
                          "clip": 5000.0, "ema": 0.99},
                repeats=repeats,
                figures=("reconstruction", "disentanglement", "valid_samples"),
            )
            for name, beta, repeats, about in (
                ("vae_faces", 1.0, 5, "a VAE of the faces"),
                ("beta4_vae_faces", 4.0, 1, "the same with 4 times the weight on the KL: smoother, with the smile"),
                ("beta_vae_faces", 40.0, 5, "the same with 40 times the weight on the KL: less detail, latents apart"),
                ("ae_faces", 0.0, 1, "the same without the KL, so an autoencoder: nothing orders its latent space"),
            )
        ),
        Recipe(
            "vae_digits",
            "a VAE of the 8x8 digits with a latent plane, to be looked at whole",
            "vae",
            "digits",
            options={"latent_dim": 2, "hidden": [128, 128]},
            training={"steps": 6000, "batch_size": 128, "lr": 2e-3, "warmup": 100, "schedule": "cosine", "ema": 0.995},
            figures=("elbo", "reconstruction"),
        ),
        Recipe(
            "cvae_digits",
            "a conditional VAE of the 8x8 digits: the label is given, the latent holds the style",
            "vae",
            "digits",
            options={"latent_dim": 8, "hidden": [128, 128], "num_classes": 10},
            training={"steps": 6000, "batch_size": 128, "lr": 2e-3, "warmup": 100, "schedule": "cosine", "ema": 0.995},
            figures=("elbo", "reconstruction", "label_accuracy"),
        ),
        *(
            Recipe(
                name,
                about,
                "vae",
                "mnist",
                options={"latent_dim": 50, "hidden": [200, 200], "activation": "elu"} | options,
                training={"steps": steps, "batch_size": 100, "lr": 2e-3, "warmup": 1000, "schedule": "cosine",
                          "ema": 0.9995},
                repeats=2,
                figures=("log_likelihood",),
                bundled=False,
            )
            for name, steps, options, about in (
                ("vae_mnist", 130_000, {},
                 "one stochastic layer of 50, two layers of 200 ELU units each way, binarised anew for each batch"),
                ("iwae_mnist", 300_000, {"num_importance": 50},
                 "the same on the importance-weighted bound with 50 draws; wants a GPU"),
            )
        ),
    )
}  # fmt: skip
