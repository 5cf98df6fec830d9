"""Weights and cards on disk: NAME.safetensors holds the weights, NAME.json says how they came about.

The head of a safetensors file has no checksum, so the course adds its own: the file names the recipe's hash and the
sha256 of its tensors, and `load` believes no file without them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import paths
from course_lib.zoo.networks import build
from course_lib.zoo.recipes import RECIPES, Recipe, recipe


def folders() -> tuple[Path, Path]:
    """Where models are looked for: those of the course, then those this user made."""
    return paths.data_dir() / "models", paths.cache_dir() / "models"


def stem(made: Recipe) -> str:
    """Name of the files. A changed recipe has its hash in it, so that it never replaces the course's own."""
    return made.name if made.is_reference else f"{made.name}-{made.hash[:12]}"


def load(
    name: str,
    *,
    data: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    folder: str | Path | None = None,
) -> nn.Module:
    """The trained model called `name`, on the CPU, in evaluation mode, its parameters frozen.

    Args:
        name: a key of RECIPES.
        data, steps, seed: changes to its recipe, as they were given to `course train`.
        folder: where the files are; None looks in the course's data, then in the user's cache.
    Raises:
        ValueError: unknown name; weights that are absent, truncated, damaged, no safetensors, or made by another
            recipe. The sentence names the command that mends it.
    """
    wanted = recipe(name, data=data, steps=steps, seed=seed)
    path = _find(wanted, ".safetensors", folder)
    tensors = read_weights(path, wanted)
    model = build(wanted)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    odd = sorted(key for key in shapes.keys() | tensors.keys()
                 if key not in tensors or tuple(tensors[key].shape) != shapes.get(key))  # fmt: skip
    if odd:
        raise ValueError(f"{path} does not fit the model: {', '.join(odd[:3])} differ(s); {_mend(wanted)}")
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


def card(name: str, *, folder: str | Path | None = None, **changes) -> dict:
    """What is known of the model called `name`: recipe, seconds, hardware, versions and measured figures.

    Raises:
        ValueError: as for `load`.
    """
    return read_card(recipe(name, **changes), folder)


def read_card(wanted: Recipe, folder: str | Path | None = None) -> dict:
    """The card of the model that `wanted` makes."""
    path = _find(wanted, ".json", folder)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        made_by = found["recipe"]
    except (OSError, ValueError, TypeError, KeyError):
        raise ValueError(f"{path} is no card of a model; {_mend(wanted)}") from None
    if made_by != wanted.hash:
        raise ValueError(f"{path} describes a model of another recipe than {wanted.name!r} has now; {_mend(wanted)}")
    return found


def read_weights(path: str | Path, wanted: Recipe) -> dict[str, Tensor]:
    """The tensors of `path` if `wanted` made them and every byte of them is as it was."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            head = json.loads((file.metadata() or {}).get("course", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is truncated or no safetensors file ({error}); {_mend(wanted)}") from None
    if not isinstance(head, dict) or not {"recipe", "tensors"} <= head.keys():
        raise ValueError(f"{path} does not say which recipe made it; {_mend(wanted)}")
    if head["recipe"] != wanted.hash:
        raise ValueError(
            f"{path} was made by another recipe than {wanted.name!r} has now "
            f"({str(head['recipe'])[:12]}, now {wanted.hash[:12]}); {_mend(wanted)}"
        )
    if head["tensors"] != checksum(tensors):
        raise ValueError(f"{path} is damaged: its weights differ from their checksum; {_mend(wanted)}")
    return tensors


def write(made: Recipe, weights: dict[str, Tensor], found: dict, folder: str | Path | None = None) -> Path:
    """Write weights and card, each whole or not at all, and enter them in the manifest of the course's data.

    Returns:
        the path of the weights.
    """
    from safetensors.torch import save

    course, user = folders()
    home = course if made.is_reference and paths.repo_dir() is not None else user
    for_weights = Path(folder) if folder is not None else home if made.bundled else user
    for_card = Path(folder) if folder is not None else home
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    head = {"name": made.name, "recipe": made.hash, "tensors": checksum(tensors)}
    path = for_weights / f"{stem(made)}.safetensors"
    # One entry: safetensors writes several in an order that changes from run to run.
    _write(path, save(tensors, metadata={"course": json.dumps(head)}))
    text = json.dumps({"name": made.name, "recipe": made.hash, "tensors": head["tensors"], **found}, indent=2)
    _write(for_card / f"{stem(made)}.json", (text + "\n").encode())
    if course in (for_weights, for_card):
        _enter(made, [p for p in (path, for_card / f"{stem(made)}.json") if p.parent == course])
    return path


def checksum(tensors: dict[str, Tensor]) -> str:
    """sha256 of names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _find(wanted: Recipe, suffix: str, folder: str | Path | None) -> Path:
    places = folders() if folder is None else (Path(folder),)
    for place in places:
        if (path := place / f"{stem(wanted)}{suffix}").is_file():
            return path
    what = "weights" if suffix == ".safetensors" else "card"
    why = "" if wanted.bundled and wanted.is_reference else " (they do not come with the course)"
    raise ValueError(f"there is no {what} of {wanted.name!r} in {' or '.join(map(str, places))}{why}; {_mend(wanted)}")


def _mend(wanted: Recipe) -> str:
    return f"make it anew with: {wanted.command}"


def _write(path: Path, content: bytes) -> None:
    """Write a file beside `path` and let it take the name: a crash leaves the old one as it was."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error}); free some space or choose another folder") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _enter(made: Recipe, files: list[Path]) -> None:
    """Describe `files` in data/manifest.json; the other entries stay as they are."""
    from course_lib import manifest

    root = paths.data_dir()
    entries = manifest.read(root)
    source = {"digits": "scikit-learn's handwritten digits", "mnist": "MNIST"}.get(made.data, "the course's faces")
    for path in files:
        entries[path.relative_to(root).as_posix()] = {
            "source": f"trained for this course on {source}",
            "licence": "that of the course",
            "made": RECIPES[made.name].command,
            "sha256": manifest.sha256(path),
        }
    text = json.dumps(dict(sorted(entries.items())), indent=2, ensure_ascii=False)
    _write(root / "manifest.json", (text + "\n").encode())
