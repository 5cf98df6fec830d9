"""Where the course keeps its files: in a checkout, in an installed package, and in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def data_dir() -> Path:
    """The folder of bundled data: `data/` of a checkout, or its copy inside the installed package (as on Colab)."""
    checkout = Path(__file__).resolve().parent.parent / "data"
    return checkout if (checkout / "manifest.json").is_file() else Path(__file__).resolve().parent / "_data"


def repo_dir() -> Path | None:
    """The checkout this package runs from, or None when it is installed without one."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "notebooks").is_dir() and (root / "pyproject.toml").is_file() else None


def cache_dir() -> Path:
    """Where downloads and progress live: `$COURSE_CACHE`, or `course` in the user's cache folder (not created here)."""
    if "COURSE_CACHE" in os.environ:
        return Path(os.environ["COURSE_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(base) / "course"
