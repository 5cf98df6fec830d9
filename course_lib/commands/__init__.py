"""The commands of `course`, one module each: `configure(parser)` adds the arguments, `run(args)` returns the status.

These modules import nothing heavy at their top, so that `course --help` and a wrong option answer at once.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from course_lib import paths

DONE, FAILED, WRONG_USAGE = 0, 1, 2


class UsageError(Exception):
    """Wrong usage: the sentence is shown, and `course` ends with status 2."""


def suggest(given: str, choices) -> str:
    """ "; did you mean ...?" for the nearest of `choices`, or nothing."""
    near = difflib.get_close_matches(given, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def lectures() -> dict[str, Path]:
    """The lectures of this checkout, "00", "01", ... → file, in order."""
    root = paths.repo_dir()
    if root is None:
        raise UsageError("the lectures are not here: this course_lib is installed without its checkout; clone the "
                         "course and run `make lab` there")  # fmt: skip
    found = {}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        if match := re.match(r"(\d\d)_", path.name):
            found[match.group(1)] = path
    return found


def find_lecture(given: str) -> Path:
    """The lecture meant by "1", "01", "01_density_estimation" or a path to it."""
    available = lectures()
    if re.fullmatch(r"\d{1,2}", given) and given.zfill(2) in available:
        return available[given.zfill(2)]
    stem = Path(given).name.removesuffix(".ipynb")
    for path in available.values():
        if path.stem == stem:
            return path
    if not available:
        raise UsageError("there is no lecture in notebooks/")
    names = [path.stem for path in available.values()]
    topics = {name[3:]: name for name in names}
    hint = suggest(stem, names) or suggest(
        topics.get(next(iter(difflib.get_close_matches(stem, topics, n=1)), ""), ""), names
    )
    raise UsageError(f"there is no lecture {given!r} (there are {', '.join(available)}){hint}")
