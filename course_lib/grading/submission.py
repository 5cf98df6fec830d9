"""Finds submissions in folders and reads their notebooks: each becomes cells, or one clear sentence.

Nothing here runs or even parses a student's code: notebooks are bytes, then JSON, then strings.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 20 * 2**20
"""A larger notebook is refused: it is nearly always outputs, which grading does not need."""
MAX_SOURCE = 2 * 2**20
MAX_CELLS = 5000
SKIPPED_FOLDERS = {".ipynb_checkpoints", "__MACOSX", ".git", ".venv", "node_modules"}


class Unreadable(Exception):
    """A submission that cannot be graded; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Found:
    """One submission: its name (the path below the PATH given) and where it is; `problem` if it cannot be opened."""

    name: str
    path: Path
    problem: str | None = None


@dataclass(frozen=True)
class Cell:
    """A code cell: its source, the task its nbgrader metadata names (if any) and its number in the notebook, from 1."""

    source: str
    grade_id: str | None
    number: int


def find(paths: Iterable[str | Path], *, exclude: Iterable[Path] = ()) -> list[Found]:
    """The submissions under `paths`, in the order given and by name, each once, and no two with the same name.

    A notebook is one submission; a folder is searched. Symbolic links below a folder are never followed: a link could
    lead to another student's work or out of the folder. `exclude` names folders that are not searched (the output).
    """
    skip = {_real(folder) for folder in exclude}
    found: list[tuple[Path, Found]] = []
    seen: set[str] = set()
    for path in map(Path, paths):
        items = _walk(path, skip) if path.is_dir() else [_inspect(path, path.name, link_ok=True)]
        for item in items:
            key = _real(item.path) if item.problem is None else os.path.abspath(item.path)
            if key not in seen:
                seen.add(key)
                found.append((path, item))
    return _distinct(found)


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _walk(root: Path, skip: set[str]) -> list[Found]:
    items: list[Found] = []

    def unreadable(error: OSError) -> None:
        where = Path(error.filename or root)
        name = os.path.relpath(where, root)
        items.append(Found(name, where, f"the folder cannot be read ({error.strerror}); check its permissions"))

    for folder, subfolders, files in os.walk(root, onerror=unreadable):
        keep = []
        for sub in sorted(subfolders):
            full = Path(folder, sub)
            if sub in SKIPPED_FOLDERS or _real(full) in skip:
                continue
            link = full.is_symlink()
            if sub.endswith(".ipynb") and not link and _is_result(full):
                continue
            if sub.endswith(".ipynb"):
                items.append(_inspect(full, os.path.relpath(full, root)))
            if not link:
                keep.append(sub)
        subfolders[:] = keep
        for name in sorted(files):
            if name.endswith(".ipynb") and not name.startswith("._"):
                full = Path(folder, name)
                items.append(_inspect(full, os.path.relpath(full, root)))
    return sorted(items, key=lambda item: item.name)


def _is_result(folder: Path) -> bool:
    """Whether this is what an earlier `course grade` wrote for a submission, rather than something handed in."""
    return (folder / "results.json").is_file()


def _inspect(path: Path, name: str, *, link_ok: bool = False) -> Found:
    try:
        mode = (path.stat() if link_ok else path.lstat()).st_mode
    except OSError as error:
        return Found(name, path, f"cannot be opened ({error.strerror}); check that it exists and its permissions")
    if stat.S_ISLNK(mode):
        return Found(name, path, "is a symbolic link, which is not followed; replace it by the notebook itself")
    if stat.S_ISDIR(mode):
        return Found(name, path, "is a folder with a notebook's name; rename it, or hand in the notebook inside it")
    if not stat.S_ISREG(mode):
        return Found(name, path, "is not a regular file; hand in the notebook as saved by Jupyter")
    return Found(name, path)


def _distinct(found: list[tuple[Path, Found]]) -> list[Found]:
    """Prefix the name of PATH where two PATHs hold submissions of the same name; number them if even that is alike."""
    counts: dict[str, int] = {}
    for _, item in found:
        counts[item.name] = counts.get(item.name, 0) + 1
    result, used = [], {item.name for _, item in found if counts[item.name] == 1}
    for root, item in found:
        name = item.name
        if counts[name] > 1:
            parent = root if root.is_dir() else root.absolute().parent
            stem = f"{parent.resolve().name or 'root'}/{item.name}"
            name, number = stem, 2
            while name in used:
                name, number = f"{parent.resolve().name or 'root'}-{number}/{item.name}", number + 1
            used.add(name)
        result.append(Found(name, item.path, item.problem))
    return result


def read(path: str | Path) -> tuple[Cell, ...]:
    """The code cells of a notebook of format 4.

    Raises:
        Unreadable: for anything else, with what to do.
    """
    raw = _bytes(Path(path))
    if not raw.strip():
        raise Unreadable("the file is empty; ask for the notebook to be saved and handed in again")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("the file is not text, so not a notebook; export it again with File > Download") from None
    if "\x00" in text:
        raise Unreadable("the file is not text, so not a notebook; export it again with File > Download")
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "too deeply nested or malformed"
        raise Unreadable(
            f"the file is not a whole notebook (it breaks off or is damaged: {where}); hand it in again"
        ) from None
    return _cells(notebook)


def _bytes(path: Path) -> bytes:
    # O_NONBLOCK: a pipe put in place of the file must not hang the batch.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise Unreadable(f"cannot be opened ({error.strerror}); check its permissions") from None
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise Unreadable("is not a regular file; hand in the notebook as saved by Jupyter")
        if info.st_size > MAX_BYTES:
            raise Unreadable(
                f"the notebook has {info.st_size / 2**20:.0f} MB, the limit is {MAX_BYTES // 2**20} MB; "
                "clear all outputs, save and hand it in again"
            )
        try:
            return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror}); check the disk it lies on") from None


def _cells(notebook) -> tuple[Cell, ...]:
    if not isinstance(notebook, Mapping):
        raise Unreadable("the file is JSON but not a notebook; hand in the .ipynb file itself")
    version = notebook.get("nbformat")
    if "worksheets" in notebook or (isinstance(version, int) and version < 4):
        raise Unreadable(
            f"the notebook has the old format {version}; open it in Jupyter, save it (that makes it format 4), "
            "hand it in again"
        )
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise Unreadable("the file has no cells, so it is not a notebook; hand in the .ipynb file itself")
    if len(cells) > MAX_CELLS:
        raise Unreadable(
            f"the notebook has {len(cells)} cells, the limit is {MAX_CELLS}; remove what is not the exercise"
        )
    result, size = [], 0
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, Mapping) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        source = "".join(part for part in source if isinstance(part, str)) if isinstance(source, list) else source
        if not isinstance(source, str):
            continue
        # Lone surrogates are legal in JSON and in no file: they must not stop the report from being written.
        source = source.encode("utf-8", "replace").decode("utf-8")
        size += len(source)
        result.append(Cell(source, _grade_id(cell), number))
    if size > MAX_SOURCE:
        raise Unreadable(
            f"the notebook holds {size / 2**20:.0f} MB of code, the limit is {MAX_SOURCE // 2**20} MB; shorten it"
        )
    if not result:
        raise Unreadable("the notebook has no code cell; hand in the exercise notebook with its answers")
    return tuple(result)


def _grade_id(cell: Mapping) -> str | None:
    """The task an answer cell is for, from nbgrader's metadata; None for check cells and on anything malformed."""
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
    if not isinstance(nbgrader, Mapping) or nbgrader.get("solution") is not True:
        return None
    name = nbgrader.get("grade_id")
    return name if isinstance(name, str) and len(name) <= 200 else None


_BOUND = re.compile(r"^(?:async\s+)?(?:def\s+([A-Za-z_]\w*)|([A-Za-z_]\w*)\s*(?::[^=\n]*)?=(?!=))", re.MULTILINE)


def names(cells: Iterable[Cell]) -> set[str]:
    """Names the notebook seems to define at top level, and the tasks its metadata names; no code is parsed."""
    result = set()
    for cell in cells:
        result.update(a or b for a, b in _BOUND.findall(cell.source))
        if cell.grade_id:
            result.add(cell.grade_id)
    return result


def exercise_of(cells: Iterable[Cell], exercises: Mapping[str, Iterable[str]], filename: str = "") -> str:
    """The exercise set whose tasks the notebook holds most of; the file's name decides between equals.

    Args:
        cells: the notebook's code cells.
        exercises: exercise → names of its tasks.
        filename: the submission's file name.

    Raises:
        Unreadable: if it holds no task of any exercise.
    """
    present = names(cells)
    scores = {
        exercise: (len(present.intersection(tasks)), exercise in filename, exercise.split("_")[0] in filename)
        for exercise, tasks in exercises.items()
    }
    best = max(scores, key=scores.get, default=None)
    if best is None or not scores[best][0]:
        raise Unreadable(
            "no function of any exercise was found; keep the names of the functions to write, "
            f"and hand in one of {', '.join(exercises) or 'the exercises'}"
        )
    return best
