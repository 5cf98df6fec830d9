"""From a recipe to a model: fetch the data, build the network, train, measure, write."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from course_lib import paths, rng
from course_lib.training import pick_device, train
from course_lib.zoo import data, figures, files
from course_lib.zoo.networks import build
from course_lib.zoo.recipes import Recipe


class Made(NamedTuple):
    """What `make` leaves: the path of the weights and the card, or where to go on if it was stopped."""

    path: Path | None
    card: dict
    stopped_at: int | None = None


def make(
    made: Recipe,
    *,
    device: str | torch.device | None = None,
    resume: bool = False,
    progress: bool = True,
    folder: str | Path | None = None,
) -> Made:
    """Train the recipe's model, measure it, and write weights and card.

    On the CPU with one thread the weights are the same, byte for byte, on every run with the same torch on the same
    processor, stopped and resumed or not. The state of a stopped training waits in the user's cache.

    Args:
        made: the recipe.
        device: where to train; None picks the fastest.
        resume: go on from where a stopped training of this recipe ended. Of the further seeds of a recipe with
            repeats, those that were trained alone, perhaps beside each other, are taken from their cards.
        progress: show how far it is.
        folder: where to write; None means the course's data for its own recipes, else the user's cache.
    Raises:
        ValueError: data that cannot be had, a device that is not there, or a disk that is full.
        RuntimeError: a training that diverged.
    """
    device = pick_device() if device is None else torch.device(device)
    x, known = data.images(made.data, made.all_data_options, "train")
    batch = (x, known) if made.options.get("num_classes") or made.model == "face_oracle" else x
    binarised = made.all_data_options.get("binarise", False)
    runs, kept = [], None
    for seed in range(made.seed, made.seed + made.repeats):
        one = replace(made, seed=seed, repeats=1)
        if resume and kept is not None and (run := _made_alone(one)):
            runs.append(run)
            continue
        generator = rng(seed)
        model = build(one, generator)
        trained = data.Binarised(model) if binarised else model
        state = _state_file(one)
        history = train(trained, batch, generator=generator, device=device, checkpoint=state, resume=resume,
                        progress=progress, **made.training)  # fmt: skip
        if history.interrupted:
            return Made(None, {}, history.steps)
        spent = history.processor_seconds
        spent = None if spent is None else round(spent, 1)
        best = trained if history.averaged is None else history.averaged
        model = (best.model if binarised else best).cpu().eval().requires_grad_(False)
        run = {"seed": seed, "seconds": round(history.seconds, 1), "processor_seconds": spent}
        runs.append(run | {"figures": figures.measure(one, model, rng(seed))})
        kept = model if kept is None else kept
    card = {
        "about": made.about,
        "declaration": made.declaration(),
        "command": made.command,
        "figures": runs[0]["figures"],
        "runs": runs,
        "parameters": sum(p.numel() for p in kept.parameters()),
        "hardware": _hardware(device),
        "versions": {"torch": torch.__version__.split("+")[0], "python": platform.python_version()},
    }
    path = files.write(made, kept.state_dict(), card, folder)
    for seed in range(made.seed, made.seed + made.repeats):
        _state_file(replace(made, seed=seed)).unlink(missing_ok=True)
    return Made(path, card)


def _made_alone(one: Recipe) -> dict | None:
    """What the card of a training of this seed alone says of it, if there is one."""
    try:
        return files.read_card(one)["runs"][0]
    except ValueError:
        return None


def _state_file(made: Recipe) -> Path:
    return paths.cache_dir() / "training" / f"{made.name}-{made.hash[:12]}.pt"


def _hardware(device: torch.device) -> dict:
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    used = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": used, "processor": processor, "threads": torch.get_num_threads(), "cores": os.cpu_count()}
