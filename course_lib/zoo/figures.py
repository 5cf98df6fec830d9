"""What is measured of a trained reference model and written on its card."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib import disentanglement
from course_lib.datasets import faces
from course_lib.models import vae
from course_lib.zoo import data, files, oracle
from course_lib.zoo.recipes import Recipe

Figures = dict[str, float]


def measure(made: Recipe, model: nn.Module, generator: torch.Generator) -> Figures:
    """All figures of the recipe, in its order, rounded to 5 digits."""
    found: Figures = {}
    with torch.no_grad():
        for name in made.figures:
            found |= MEASURES[name](made, model, generator)
    return {key: float(f"{value:.5g}") for key, value in found.items()}


def _test(made: Recipe, generator: torch.Generator, num: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Test images as the model was trained on them, and the labels if it wants them."""
    x, known = data.images(made.data, made.all_data_options, "test")
    x, known = x[:num], known[:num]
    if made.all_data_options.get("binarise", False):
        x = data.binarise(x, generator)
    return x, {"labels": known} if made.options.get("num_classes") else {}


def elbo(made: Recipe, model: nn.Module, generator: torch.Generator) -> Figures:
    """Mean evidence lower bound of at most 1,000 test images, in nats, with 10 draws each."""
    x, labels = _test(made, generator, 1000)
    return {"test_elbo": float(model.elbo(x, 10, generator=generator, **labels).mean())}


def reconstruction(made: Recipe, model: nn.Module, generator: torch.Generator) -> Figures:
    """Mean squared error of reconstructed test images; pixels are in [0, 1]."""
    x, labels = _test(made, generator)
    return {"test_squared_error": float((model.reconstruct(x, **labels) - x).square().mean())}


def label_accuracy(made: Recipe, model: nn.Module, generator: torch.Generator) -> Figures:
    """Share of 1,000 conditional samples whose nearest training image has the label that was asked for."""
    x, y = data.images(made.data, made.all_data_options, "train")
    labels = torch.arange(1000) % model.num_classes
    samples = model.sample(1000, labels=labels, mean=True, generator=generator)
    nearest = torch.cdist(samples.flatten(1), x.flatten(1)).argmin(1)
    return {"label_accuracy": float((y[nearest] == labels).float().mean())}


def log_likelihood(made: Recipe, model: nn.Module, generator: torch.Generator) -> Figures:
    """Importance-sampled log-likelihood of all test images, in nats, 5,000 draws each."""
    x, labels = _test(made, generator)
    log_p = model.log_likelihood(x, 5000, generator=generator, **labels)
    return {
        "negative_log_likelihood": -float(log_p.mean()),
        "standard_error": float(log_p.std()) / len(x) ** 0.5,
        "test_images": len(x),
        "importance_samples": 5000,
    }


def disentanglement_of_faces(made: Recipe, model: nn.Module, generator: torch.Generator) -> Figures:
    """MIG from 10,000 test faces, FactorVAE score from 400 votes of 32 faces each, latents in use, and the mean KL."""
    x, factors = data.images(made.data, made.all_data_options, "test")
    mu, logvar = model.encode(x)
    options = {"size": x.shape[-1], "colour": x.shape[1] == 3}
    votes = disentanglement.factor_vae_score(
        lambda rows: model.encode(faces.render(rows, **options))[0],
        lambda n, generator: faces.sample_factors(n, generator=generator),
        votes=400,
        batch_size=32,
        generator=generator,
    )
    return {
        "mig": float(disentanglement.mutual_information_gap(*disentanglement.mutual_information(mu, factors))),
        "factor_vae_score": votes,
        "active_units": disentanglement.active_units(mu),
        "kl": float(vae.gaussian_kl(mu, logvar).mean()),
    }


def oracle_readings(made: Recipe, model: nn.Module, generator: torch.Generator) -> Figures:
    """What `zoo.oracle` measures on 2,000 test faces."""
    x, factors = data.images(made.data, made.all_data_options, "test")
    return oracle.figures(model, x[:2000], factors[:2000], generator)


def valid_samples(made: Recipe, model: nn.Module, generator: torch.Generator) -> Figures:
    """Share of 1,000 draws that the oracle takes for a face: means of p(x | z), without its noise."""
    samples = model.sample(1000, mean=True, generator=generator)
    return {"valid_samples": float(files.load("face_oracle").valid(samples.clamp(0, 1)).float().mean())}


MEASURES = {
    "disentanglement": disentanglement_of_faces,
    "elbo": elbo,
    "oracle": oracle_readings,
    "reconstruction": reconstruction,
    "valid_samples": valid_samples,
    "label_accuracy": label_accuracy,
    "log_likelihood": log_likelihood,
}
