"""Training state on disk: written whole or not at all, read back without running any code from the file."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from pathlib import Path

import torch

FORMAT = 1


def save(path: str | Path, state: dict) -> None:
    """Write `state` (tensors, numbers, strings, lists and dicts of them) to `path`, atomically.

    The bytes go to a file beside `path`, which then takes its name: a crash or a full disk leaves the old
    checkpoint as it was.

    Raises:
        ValueError: if the folder cannot be written or the disk is full.
    """
    path = Path(path)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    # torch reports a failed write as RuntimeError, the file system as OSError.
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"checkpoint {path} cannot be written ({error}); free some space or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def load(path: str | Path) -> dict:
    """Read what `save` wrote, on the CPU; every byte is checked against the file's own checksums.

    Raises:
        ValueError: if the file is absent, truncated, damaged, or not a checkpoint of this library.
    """
    path = Path(path)
    remedy = "delete it, or train without resume=True to write it anew"
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist")
    try:
        # torch skips the checksums of its own archive, so a flipped bit would become a wrong weight.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"checkpoint {path} is damaged (checksum of {damaged}); {remedy}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint {path} is truncated or not a checkpoint; {remedy}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"checkpoint {path} is not of this library's format {FORMAT}; {remedy}")
    return state
