"""exercises/ from solutions/: what is stripped, signed and locked, and that exercises/ is in step."""

import copy
import json
import shutil
import subprocess
import sys

import pytest

from course_lib.grading import TASKS, build
from tests.grading.answers import EXERCISES, ROOT, functions, sources


def code(source, **nbgrader):
    meta = {"nbgrader": {"schema_version": 3, "grade": False, "solution": False, "locked": False, **nbgrader}}
    return {"cell_type": "code", "id": "a", "metadata": meta if nbgrader else {}, "source": source,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "42"}], "execution_count": 3}  # fmt: skip


def notebook(*cells):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


ANSWER = "def f(x):\n    ### BEGIN SOLUTION\n    return x + 1\n    ### END SOLUTION\n"


def test_a_solution_becomes_the_stub_at_its_indent():
    """A solution that leaks into the exercise, or a stub at the wrong indent (a syntax error for every student)."""
    cell = build.release(notebook(code(ANSWER, solution=True, grade_id="f")))["cells"][0]
    assert cell["source"] == "def f(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()\n"
    assert cell["metadata"]["deletable"] is False and "editable" not in cell["metadata"]


def test_a_solution_cell_without_markers_is_emptied_whole():
    """An unmarked solution handed to the students."""
    cell = build.release(notebook(code("def f(x):\n    return x + 1", solution=True, grade_id="f")))["cells"][0]
    assert cell["source"] == "# YOUR CODE HERE\nraise NotImplementedError()"


def test_outputs_and_counts_go_and_check_cells_are_locked():
    """The solution's printed answers left in the exercise, or a check that students may edit."""
    cell = build.release(notebook(code("check(f)", grade=True, locked=True, grade_id="check_f", points=2)))["cells"][0]
    assert cell["outputs"] == [] and cell["execution_count"] is None
    assert cell["metadata"]["deletable"] is False and cell["metadata"]["editable"] is False


def test_the_checksum_follows_everything_nbgrader_signs():
    """A signature that does not notice other points, another id, another source, or another role."""
    base = code("check(f)", grade=True, locked=True, grade_id="check_f", points=2)
    changes = [{"points": 3}, {"grade_id": "check_g"}, {"solution": True}, {"grade": False}]
    sums = {build.checksum(base), build.checksum({**base, "source": "check(g)"})}
    for change in changes:
        other = copy.deepcopy(base)
        other["metadata"]["nbgrader"].update(change)
        sums.add(build.checksum(other))
    assert len(sums) == 2 + len(changes)
    assert all(len(value) == 32 for value in sums)


def test_the_source_is_not_changed():
    """A build that strips the solutions themselves."""
    before = notebook(code(ANSWER, solution=True, grade_id="f"))
    kept = copy.deepcopy(before)
    build.release(before)
    assert before == kept


@pytest.mark.parametrize("source, solution, word", [
    ("### BEGIN SOLUTION\nx = 1", True, "END SOLUTION"),
    ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", True, "inside another"),
    ("### BEGIN SOLUTION\nx = 1\n### END SOLUTION", False, "solution: false"),
    ("### BEGIN HIDDEN TESTS\nassert f(1) == 2\n### END HIDDEN TESTS", True, "HIDDEN TESTS"),
])  # fmt: skip
def test_markers_that_make_no_sense_are_refused(source, solution, word):
    """A forgotten END that swallows the rest of a cell in silence, or a solution in a cell that is not stripped."""
    with pytest.raises(ValueError, match=word):
        build.release(notebook(code(source, solution=solution, grade_id="f")))


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_notebooks_keep_the_contract(exercise):
    """Points that differ from the task's, a missing answer cell, a check of another function."""
    text = (ROOT / "solutions" / f"{exercise}.ipynb").read_text(encoding="utf-8")
    assert build.problems(json.loads(text), exercise) == []
    for old, new in [('"points": 2', '"points": 7'), ('"grade_id": "check_', '"grade_id": "test_'),
                     ("check(", "print("), ('"locked": true', '"locked": false'), ("def ", "def other_")]:  # fmt: skip
        assert old in text
        assert build.problems(json.loads(text.replace(old, new)), exercise), (old, new)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_exercises_hold_stubs_and_solutions_hold_outputs(exercise):
    """Answers in exercises/, or solutions that were committed without being run, or with an error."""
    stubs = functions(sources("exercises"))
    for name in (name for name, task in TASKS.items() if task.exercise == exercise):
        with pytest.raises(NotImplementedError):
            stubs[name](*range(len(TASKS[name].signature)))
    text = (ROOT / "exercises" / f"{exercise}.ipynb").read_text(encoding="utf-8")
    assert "SOLUTION" not in text and '"outputs": []' in text and "image/png" not in text
    solved = json.loads((ROOT / "solutions" / f"{exercise}.ipynb").read_text(encoding="utf-8"))
    cells = {cell["metadata"].get("nbgrader", {}).get("grade_id", ""): cell for cell in solved["cells"]}
    for name, cell in cells.items():
        if name.startswith("check_"):
            shown = ["".join(out["data"]["text/plain"]) for out in cell["outputs"] if "data" in out]
            assert [float(value) for value in shown] == [cell["metadata"]["nbgrader"]["points"]]
    assert not any(out["output_type"] == "error" for cell in solved["cells"] for out in cell.get("outputs", []))


@pytest.fixture
def course(tmp_path):
    """A folder with the real solutions and exercises in it."""
    for folder in ("solutions", "exercises"):
        (tmp_path / folder).mkdir()
        for exercise in EXERCISES:
            shutil.copy(ROOT / folder / f"{exercise}.ipynb", tmp_path / folder)
    return tmp_path


def test_exercises_are_in_step(course, capsys):
    """Solutions edited without `course build`."""
    assert build.run(check=True, root=course) == 0, capsys.readouterr().out


def test_check_names_what_differs_and_changes_nothing(course, capsys):
    """A check that repairs in silence, or that passes a missing, an edited or a stray exercise."""
    first, second = (course / "exercises" / f"{exercise}.ipynb" for exercise in EXERCISES[:2])
    first.unlink()
    second.write_text(second.read_text(encoding="utf-8").replace("Homework", "Housework"), encoding="utf-8")
    shutil.copy(second, course / "exercises" / "ex99_other.ipynb")
    before = second.read_bytes()
    assert build.run(check=True, root=course) == 1
    out = capsys.readouterr().out
    assert "is missing" in out and "is not what" in out and "ex99_other.ipynb has no notebook in solutions/" in out
    assert second.read_bytes() == before and not first.exists()
    (course / "exercises" / "ex99_other.ipynb").unlink()
    assert build.run(root=course) == 0
    assert build.run(check=True, root=course) == 0


def test_a_student_s_answers_are_not_lost(course, capsys):
    """`course build` run in the folder where somebody has done the exercises."""
    target = course / "exercises" / f"{EXERCISES[0]}.ipynb"
    work = target.read_text(encoding="utf-8").replace("raise NotImplementedError()", "return 1")
    target.write_text(work, encoding="utf-8")
    assert build.run(root=course) == 0
    assert "kept in" in capsys.readouterr().out
    assert target.with_name(target.name + ".bak").read_text(encoding="utf-8") == work


def test_a_broken_solution_is_named_and_the_others_are_built(course, capsys):
    """One bad notebook that stops the build with a traceback, or leaves a half-written exercise."""
    bad, good = (course / "solutions" / f"{exercise}.ipynb" for exercise in EXERCISES[:2])
    bad.write_text(bad.read_text(encoding="utf-8")[:500], encoding="utf-8")
    (course / "exercises" / good.name).unlink()
    before = (course / "exercises" / bad.name).read_bytes()
    assert build.run(root=course) == 1
    assert f"solutions/{bad.name} cannot be built" in capsys.readouterr().out
    assert (course / "exercises" / bad.name).read_bytes() == before
    assert (course / "exercises" / good.name).exists()
    assert not list((course / "exercises").glob("*.part"))


def test_a_folder_without_solutions_is_refused(tmp_path):
    """A build of nothing that reports success."""
    with pytest.raises(ValueError, match="solutions/"):
        build.run(root=tmp_path)
    (tmp_path / "solutions").mkdir()
    with pytest.raises(ValueError, match="number of notebooks"):
        build.run(root=tmp_path)


def test_the_command_line(tmp_path):
    """`course build --check` that is not registered, or whose status does not say what happened."""
    course = [sys.executable, "-m", "course_lib.cli", "build"]
    done = subprocess.run([*course, "--check"], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert (done.returncode, done.stdout.count("is up to date")) == (0, len(EXERCISES)), done
    wrong = subprocess.run([*course, "--chek"], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert wrong.returncode == 2 and "--check" in wrong.stderr
