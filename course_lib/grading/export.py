"""Takes an exercise to other graders: an autograder.zip for Gradescope, a course folder for nbgrader."""

from __future__ import annotations

import io
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import course_lib
from course_lib import checks, grading, paths
from course_lib.grading import build, report

_SETUP = """#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image of the autograder.
set -euo pipefail
here=/autograder/source
find_python() {
  for name in python3.13 python3.12 python3.11 python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$name"; return; fi
  done
}
if [ -z "$(find_python)" ]; then
  apt-get update && apt-get install -y python3.11 python3.11-venv
fi
python="$(find_python)"
if ! "$python" -m venv /autograder/venv; then
  apt-get update && apt-get install -y "$python-venv" && "$python" -m venv /autograder/venv
fi
/autograder/venv/bin/python -m pip install --no-cache-dir REQUIREMENTS
# Where it can be had, bubblewrap shuts answers off from the rest of the container.
apt-get install -y bubblewrap || echo "no bubblewrap: answers run with limits only"
chmod -R go-rwx "$here/course_lib/grading/tasks"
"""

_RUN = """#!/usr/bin/env bash
# Gradescope runs this for every submission.
results=/autograder/results/results.json
mkdir -p /autograder/results
# Should anything below go wrong, the student still reads a sentence and the instructor sees that it happened.
cat > "$results" <<'JSON'
FALLBACK
JSON
python=/autograder/venv/bin/python
[ -x "$python" ] || python="$(command -v python3)"
cd /
PYTHONPATH=/autograder/source OMP_NUM_THREADS=1 "$python" -m course_lib.grading.gradescope EXERCISE \\
  /autograder/submission "$results"
exit 0
"""

_FALLBACK = {
    "score": 0,
    "output": "The autograder stopped before it was done. This says nothing about your answers: tell your instructor.",
    "stdout_visibility": "hidden",
    "tests": [],
}

_CONFIG = """# Made by `course export nbgrader`. In this folder: nbgrader generate_assignment {exercise}
# Students and autograding need the course installed (pip install the course's checkout) beside nbgrader.
c = get_config()
c.CourseDirectory.course_id = "generative_models"
c.ExecutePreprocessor.timeout = 300
c.ClearSolutions.code_stub = {{"python": "# YOUR CODE HERE\\nraise NotImplementedError()"}}
"""


def find_exercise(given: str) -> str:
    """The exercise meant by "1", "ex01" or its whole name.

    Raises:
        ValueError: there is none; the sentence suggests the nearest.
    """
    known = list(dict.fromkeys(task.exercise for task in grading.TASKS.values()))
    stem = Path(given).name.removesuffix(".ipynb")
    stem = f"ex{int(stem):02d}" if stem.isdecimal() and len(stem) < 3 else stem
    for exercise in known:
        if stem in (exercise, exercise.split("_")[0]):
            return exercise
    return checks.one_of(stem, "EXERCISE", known)


def gradescope(exercise: str, out: str | Path) -> Path:
    """Write autograder.zip for one exercise.

    Args:
        exercise: such as "ex01_density_estimation".
        out: the zip file to write, or a folder to write autograder.zip in.

    Returns:
        The file written.
    """
    exercise = find_exercise(exercise)
    target = Path(out) if str(out).endswith(".zip") else Path(out) / "autograder.zip"
    target.parent.mkdir(parents=True, exist_ok=True)
    run = _RUN.replace("FALLBACK", json.dumps(_FALLBACK, indent=1)).replace("EXERCISE", exercise)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "setup.sh", _SETUP.replace("REQUIREMENTS", _requirements()).encode(), 0o755)
        _add(archive, "run_autograder", run.encode(), 0o755)
        for name, data in _package(exercise):
            _add(archive, name, data, 0o644)
    _write_bytes(target, buffer.getvalue())
    return target


def _requirements() -> str:
    """What grading needs, at the versions it was exported with: an image built later grades alike."""
    import numpy
    import torch

    return f'"torch=={torch.__version__.split("+")[0]}" "numpy=={numpy.__version__}"'


def _package(exercise: str) -> Iterator[tuple[str, bytes]]:
    """(name in the archive, bytes) of the library, of its tasks only those of `exercise`."""
    package = Path(course_lib.__file__).resolve().parent
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        is_task = inside.parts[:2] == ("grading", "tasks") and inside.name != "__init__.py"
        if is_task and not (inside.stem == exercise or not inside.stem.startswith("ex")):
            continue
        yield f"course_lib/{inside.as_posix()}", path.read_bytes()


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int) -> None:
    info = zipfile.ZipInfo(name, date_time=(2024, 1, 1, 0, 0, 0))  # the same course gives the same bytes
    info.external_attr = (stat.S_IFREG | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


def _write_bytes(target: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def nbgrader(exercise: str, out: str | Path) -> Path:
    """Write a course folder that nbgrader works in: the source notebook, the released one, the configuration.

    Args:
        exercise: such as "ex01_density_estimation".
        out: the course folder; what else is in it stays.

    Returns:
        The folder.

    Raises:
        ValueError: this course_lib has no solutions/ beside it.
    """
    exercise = find_exercise(exercise)
    root = paths.repo_dir()
    source = root / "solutions" / f"{exercise}.ipynb" if root else None
    if source is None or not source.is_file():
        raise ValueError(f"solutions/{exercise}.ipynb is not here; run this in a checkout of the course")
    notebook = json.loads(source.read_text(encoding="utf-8"))
    out = Path(out)
    texts = {"source": source.read_text(encoding="utf-8"), "release": build.dumps(build.release(notebook))}
    for folder, text in texts.items():
        (out / folder / exercise).mkdir(parents=True, exist_ok=True)
        report.write(out / folder / exercise / f"{exercise}.ipynb", text)
    config = out / "nbgrader_config.py"
    if not config.exists():  # an instructor's own configuration is theirs
        report.write(config, _CONFIG.format(exercise=exercise))
    return out
