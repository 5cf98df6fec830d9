"""The real nbgrader, in an environment of its own: it makes the same exercises and gives the same marks.

The environment is made once and kept in pytest's cache; torch and the rest are borrowed from the one the tests run in.
Where nbgrader cannot be installed, because the package registry cannot be reached, the tests are skipped and say so.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from course_lib import cli
from course_lib.grading import TASKS
from tests.grading.answers import EXERCISES, ROOT, sources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("nbgrader")]
WANTED = "nbgrader==0.9.6"

# Everything that may not spoil a mark: both streams, at the level of Python and of file descriptors, and a warning.
NOISE = """

import os, sys, warnings
_quiet_{name} = {name}
def {name}({arguments}):
    print("on stdout")
    print("on stderr", file=sys.stderr)
    os.write(2, b"on descriptor 2\\n")
    warnings.warn("a warning")
    return _quiet_{name}({arguments})
"""

MARKS = """
import json, sys
from nbgrader.api import Gradebook
with Gradebook("sqlite:///" + sys.argv[1]) as book:
    marks = {s.student.id: {g.name: [g.score, g.max_score, g.needs_manual_grade] for n in s.notebooks for g in n.grades}
             for s in book.find_assignment(sys.argv[2]).submissions}
print(json.dumps(marks))
"""


@pytest.fixture(scope="module")
def nbgrader(request, tmp_path_factory):
    """A function that runs a program of nbgrader's environment in a course folder and returns what it printed."""
    home = Path(request.config.cache.mkdir(WANTED.replace("==", "-")))
    venv = home / "venv"
    programs = venv / ("Scripts" if os.name == "nt" else "bin")
    if not (home / "complete").exists():
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
        installed = subprocess.run([str(programs / "python"), "-m", "pip", "install", "-q", WANTED],
                                   capture_output=True, text=True, timeout=900)  # fmt: skip
        if installed.returncode:
            pytest.skip(f"{WANTED} could not be installed: {installed.stderr.strip().splitlines()[-1]}")
        (home / "complete").touch()
    # Paths in a .pth file come after the environment's own packages, so that nbgrader keeps its versions of the rest.
    own = subprocess.run([str(programs / "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                         capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    Path(own, "course.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")

    base = tmp_path_factory.mktemp("nbgrader")
    names = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
        "COURSE_CACHE",
        "MPLCONFIGDIR",
    )
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV", "MPLBACKEND")}
    env |= {name: str(base / name.lower()) for name in names}
    env |= {"HOME": str(base), "PATH": f"{programs}{os.pathsep}{env['PATH']}", "OMP_NUM_THREADS": "1"}

    def run(course, program, *args):
        done = subprocess.run([str(programs / program), *args], cwd=course, env=env, capture_output=True, text=True,
                              timeout=500)  # fmt: skip
        assert done.returncode == 0, f"{program} {' '.join(args)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    return run


@pytest.fixture(scope="module", params=EXERCISES)
def released(request, nbgrader, tmp_path_factory):
    """(exercise, course folder) after `nbgrader generate_assignment` has run on the solution."""
    exercise, course = request.param, tmp_path_factory.mktemp("course")
    source = course / "source" / exercise
    source.mkdir(parents=True)
    shutil.copy(ROOT / "solutions" / f"{exercise}.ipynb", source)
    nbgrader(course, "nbgrader", "generate_assignment", exercise, f"--course-dir={course}")
    return exercise, course


def test_exercises_are_what_nbgrader_makes(released):
    """A difference from `nbgrader generate_assignment` in any cell: source, id, metadata, checksum, output."""
    exercise, course = released
    theirs = json.loads((course / "release" / exercise / f"{exercise}.ipynb").read_text(encoding="utf-8"))
    ours = json.loads((ROOT / "exercises" / f"{exercise}.ipynb").read_text(encoding="utf-8"))
    for index, (mine, other) in enumerate(zip(ours["cells"], theirs["cells"], strict=True)):
        assert mine == other, f"cell {index}"
    assert ours == theirs
    assert any("checksum" in cell["metadata"].get("nbgrader", {}) for cell in theirs["cells"])


def _hand_in(course, exercise, student, answers):
    """Submit the released notebook with some answer cells filled in."""
    notebook = json.loads((course / "release" / exercise / f"{exercise}.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        meta = cell["metadata"].get("nbgrader", {})
        if meta.get("solution") and meta["grade_id"] in answers:
            cell["source"] = answers[meta["grade_id"]]
    folder = course / "submitted" / student / exercise
    folder.mkdir(parents=True)
    (folder / f"{exercise}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def test_autograde_gives_full_marks_to_a_solved_copy_and_none_to_an_unsolved_one(released, nbgrader):
    """Marks lost to a print or a warning, marks given to a stub, or a wrong answer that earns some."""
    exercise, course = released
    tasks = {name: task for name, task in TASKS.items() if task.exercise == exercise}
    solved = {name: source + NOISE.format(name=name, arguments=", ".join(tasks[name].signature))
              for name, source in sources().items() if name in tasks}  # fmt: skip
    wrong = list(tasks)[-1]
    names = tasks[wrong].signature
    _hand_in(course, exercise, "solved", solved)
    _hand_in(course, exercise, "unsolved", {})
    _hand_in(
        course, exercise, "one_wrong", solved | {wrong: f"def {wrong}({', '.join(names)}):\n    return 0 * {names[0]}"}
    )
    nbgrader(course, "nbgrader", "autograde", exercise, f"--course-dir={course}")
    marks = json.loads(nbgrader(course, "python", "-c", MARKS, str(course / "gradebook.db"), exercise))
    full = {f"check_{name}": [task.points, task.points, False] for name, task in tasks.items()}
    assert marks["solved"] == full
    assert marks["unsolved"] == {name: [0.0, points, False] for name, (_, points, _) in full.items()}
    assert marks["one_wrong"] == full | {f"check_{wrong}": [0.0, tasks[wrong].points, False]}


def test_the_exported_course_folder_works_in_nbgrader(nbgrader, tmp_path):
    """Catches an export whose configuration nbgrader refuses, whose release is not nbgrader's, or that cannot grade."""
    exercise = EXERCISES[0]
    assert cli.main(["export", "nbgrader", exercise, "--out", str(tmp_path)]) == 0
    ours = json.loads((tmp_path / "release" / exercise / f"{exercise}.ipynb").read_text(encoding="utf-8"))
    nbgrader(tmp_path, "nbgrader", "generate_assignment", exercise, "--force")
    theirs = json.loads((tmp_path / "release" / exercise / f"{exercise}.ipynb").read_text(encoding="utf-8"))
    assert ours == theirs
    names = {name: task for name, task in TASKS.items() if task.exercise == exercise}
    _hand_in(tmp_path, exercise, "solved", {name: source for name, source in sources().items() if name in names})
    nbgrader(tmp_path, "nbgrader", "autograde", exercise)
    marks = json.loads(nbgrader(tmp_path, "python", "-c", MARKS, str(tmp_path / "gradebook.db"), exercise))
    assert marks["solved"] == {f"check_{name}": [task.points, task.points, False] for name, task in names.items()}
