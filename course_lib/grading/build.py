"""exercises/ from solutions/: what `nbgrader generate_assignment` would make, cell for cell, without nbgrader.

A solution notebook carries nbgrader's cell metadata (schema version 3). Releasing it empties outputs, puts a stub
where a solution stood, locks the cells a student must not change and signs the cells with nbgrader's checksums, so
that a department which uses nbgrader can go on from these files. nbgrader brings about a hundred packages; the part
of it that matters here is this page, and a test holds it to the real one.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from pathlib import Path

from course_lib import checks, paths

_STUBS = {"code": "# YOUR CODE HERE\nraise NotImplementedError()", "markdown": "YOUR ANSWER HERE"}
_BEGIN, _END = "BEGIN SOLUTION", "END SOLUTION"
# nbgrader also acts on these. The course has no use for them, its inputs being fresh on every check: they are refused.
_UNUSED = ("BEGIN HIDDEN TESTS", "BEGIN MARK SCHEME", "AUTOTEST")


def _flags(cell: dict) -> tuple[bool, bool, bool]:
    """(grade, solution, locked) of a cell as nbgrader reads them: a grade cell is locked, a solution cell never."""
    meta = cell["metadata"].get("nbgrader", {})
    grade, solution = meta.get("grade", False), meta.get("solution", False)
    return grade, solution, not solution and (grade or meta.get("locked", False))


def checksum(cell: dict) -> str:
    """nbgrader's signature of a cell: MD5 of source, type, the three flags, grade_id and, on a grade cell, points."""
    meta = cell["metadata"]["nbgrader"]
    flags = _flags(cell)
    parts = [cell["source"], cell["cell_type"], *map(str, flags), meta["grade_id"]]
    if flags[0]:
        parts.append(str(float(meta["points"])))
    return hashlib.md5("".join(parts).encode(), usedforsecurity=False).hexdigest()


def _without_solution(source: str, cell_type: str, is_solution: bool, where: str) -> str:
    """The source with each marked region replaced by the stub, or the stub alone where a solution has no marker."""
    kept: list[str] = []
    inside = found = False
    for line in source.split("\n"):
        if _BEGIN in line:
            if inside:
                raise ValueError(f"{where} has a '### {_BEGIN}' inside another; close the first with '### {_END}'")
            indent = re.match(r"\s*", line).group(0)
            kept += [indent + stub for stub in _STUBS[cell_type].split("\n")]
            inside = found = True
        elif _END in line:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise ValueError(f"{where} has a '### {_BEGIN}' without a '### {_END}'; add the closing marker")
    if found and not is_solution:
        raise ValueError(f"{where} holds a solution but its metadata says solution: false; mark it as a solution cell")
    return _STUBS[cell_type] if is_solution and not found else "\n".join(kept)


def release(notebook: dict) -> dict:
    """The student's version of a solution notebook (both as parsed JSON, nbformat 4).

    Args:
        notebook: the solution notebook; it is not changed.
    Returns:
        A new notebook: solutions stripped, outputs cleared, cells locked and signed.
    Raises:
        ValueError: markers or metadata do not make sense; the sentence names the cell.
    References:
        nbgrader 0.9.6, `converters/generate_assignment.py` (the order of steps) and `utils.compute_checksum`.
    """
    result = copy.deepcopy(notebook)
    result.get("metadata", {}).pop("celltoolbar", None)
    for index, cell in enumerate(result["cells"]):
        where = f"cell {index}"
        cell["source"] = _joined(cell["source"])
        for marker in _UNUSED:
            if marker in cell["source"]:
                raise ValueError(f"{where} contains {marker!r}, which this course does not use; remove it")
        grade, solution, locked = _flags(cell)
        if solution or locked:
            cell["metadata"]["deletable"] = False
        if locked:
            cell["metadata"]["editable"] = False
        if cell["cell_type"] in _STUBS:
            cell["source"] = _without_solution(cell["source"], cell["cell_type"], solution, where)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            for field in ("collapsed", "scrolled"):
                cell["metadata"].pop(field, None)
        if grade or solution or locked:
            cell["metadata"]["nbgrader"].update(checksum=checksum(cell), cell_type=cell["cell_type"])
    return result


def _joined(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def dumps(notebook: dict) -> str:
    """A notebook as the text Jupyter itself writes: one space of indent, sorted keys, sources as lists of lines."""
    result = copy.deepcopy(notebook)
    for cell in result["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    return json.dumps(result, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def problems(notebook: dict, exercise: str) -> list[str]:
    """What breaks the contract between a solution notebook and the tasks of its exercise set, one sentence each.

    The cell that defines a task's function is a solution cell with the function's name as `grade_id`; the next cell
    calls `check` on it, is locked and graded, and carries the task's points.
    """
    from course_lib.grading import TASKS

    wanted = {name: task.points for name, task in TASKS.items() if task.exercise == exercise}
    found, said = [], []
    cells = notebook["cells"]
    for index, cell in enumerate(cells):
        meta = cell["metadata"].get("nbgrader")
        if meta is None or not meta.get("solution"):
            continue
        name = meta.get("grade_id", "")
        found.append(name)
        if name not in wanted:
            said.append(f"cell {index}: grade_id {name!r} is not a task of {exercise} ({', '.join(wanted)})")
            continue
        if f"def {name}(" not in _joined(cell["source"]):
            said.append(f"cell {index}: the answer cell of {name} does not define {name}")
        following = cells[index + 1] if index + 1 < len(cells) else {"metadata": {}, "source": ""}
        expected = {"schema_version": 3, "grade": True, "locked": True, "solution": False, "points": wanted[name],
                    "grade_id": f"check_{name}"}  # fmt: skip
        given = {k: following["metadata"].get("nbgrader", {}).get(k) for k in expected}
        if given != expected:
            said.append(f"cell {index + 1}: metadata of the check cell is {given}, expected {expected}")
        if _joined(following["source"]).strip() != f"check({name})":
            said.append(f"cell {index + 1}: must be exactly `check({name})`")
    said += [f"no answer cell for {name}" for name in wanted if name not in found]
    said += [f"two answer cells for {name}" for name in sorted({n for n in found if found.count(n) > 1})]
    return said


def _answered(text: str) -> bool:
    """Whether a notebook holds work: an answer cell without the stub (an unreadable file counts as work)."""
    try:
        cells = json.loads(text)["cells"]
        return any(_flags(cell)[1] and "raise NotImplementedError()" not in _joined(cell["source"]) for cell in cells)
    except (ValueError, KeyError, TypeError, AttributeError):
        return True


def _write(target: Path, text: str) -> None:
    """Write whole or not at all: a full disk or an interrupt leaves the old file as it was."""
    temporary = target.with_name(target.name + ".part")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _build_one(source: Path, target: Path, check: bool) -> tuple[bool, str]:
    """Build or compare one notebook: (is all well, the line to print)."""
    try:
        notebook = json.loads(source.read_text(encoding="utf-8"))
        said = problems(notebook, source.stem)
        if said:
            return False, f"solutions/{source.name}: " + "; ".join(said)
        text = dumps(release(notebook))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return False, f"solutions/{source.name} cannot be built: {error}"
    old = target.read_text(encoding="utf-8", errors="replace") if target.is_file() else None
    if old == text:
        return True, f"exercises/{target.name} is up to date"
    if check:
        state = "is missing" if old is None else f"is not what solutions/{source.name} makes"
        return False, f"exercises/{target.name} {state}; run `course build`"
    kept = ""
    try:
        target.parent.mkdir(exist_ok=True)
        if old is not None and _answered(old):
            backup = target.with_name(target.name + ".bak")
            _write(backup, old)
            kept = f"; it held answers, which are kept in exercises/{backup.name}"
        _write(target, text)
    except OSError as error:
        return False, f"exercises/{target.name} could not be written: {error.strerror or error}"
    return True, f"exercises/{target.name} built{kept}"


def run(check: bool = False, root: str | Path | None = None) -> int:
    """Build exercises/ from solutions/, or with `check` only compare; prints one line per notebook.

    Args:
        check: compare and change nothing.
        root: the course's folder; by default the checkout this package runs from.
    Returns:
        0 when exercises/ is (now) what solutions/ makes, 1 otherwise.
    Raises:
        ValueError: there is no solutions/ folder to build from.
    """
    root = Path(root) if root is not None else paths.repo_dir()
    if root is None or not (root / "solutions").is_dir():
        raise ValueError(f"root must hold a solutions/ folder, got {root}; run it in a checkout of the course")
    sources = sorted((root / "solutions").glob("ex*.ipynb"))
    checks.count(len(sources), "the number of notebooks in solutions/")
    results = [_build_one(source, root / "exercises" / source.name, check) for source in sources]
    strays = sorted({p.name for p in (root / "exercises").glob("*.ipynb")} - {p.name for p in sources})
    results += [(False, f"exercises/{name} has no notebook in solutions/; remove it") for name in strays]
    for _, line in results:
        print(line)
    return 0 if all(ok for ok, _ in results) else 1
