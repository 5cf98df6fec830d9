"""Submissions are found once each and under distinct names; whatever is no notebook becomes one sentence."""

import json
import os

import pytest

from course_lib.grading import submission
from tests.grading.notebooks import cell, notebook, right, write


def names(*paths, **kw):
    return {item.name: item.problem for item in submission.find(paths, **kw)}


def test_names_are_paths_below_the_folder(tmp_path):
    """Catches naming by file alone, which merges equal names of different folders."""
    for name in (
        "a/ex.ipynb",
        "b/ex.ipynb",
        "b c/-é\n.ipynb",
        ".ipynb_checkpoints/x.ipynb",
        "__MACOSX/y.ipynb",
        "._z.ipynb",
    ):
        write(tmp_path / name, right())
    assert names(tmp_path) == {"a/ex.ipynb": None, "b/ex.ipynb": None, "b c/-é\n.ipynb": None}


def test_two_paths_never_share_a_name(tmp_path):
    """Catches one student's result overwriting another's when two folders are given."""
    for name in ("one/x/ex.ipynb", "two/x/ex.ipynb", "one/y.ipynb"):
        write(tmp_path / name, right())
    assert set(names(tmp_path / "one" / "x", tmp_path / "two" / "x", tmp_path / "one" / "y.ipynb")) == {
        "x/ex.ipynb", "x-2/ex.ipynb", "y.ipynb"}  # fmt: skip
    assert len(names(tmp_path / "one", tmp_path / "one" / "y.ipynb")) == 2  # given twice, graded once


def test_output_folder_and_earlier_results_are_not_searched(tmp_path):
    """Catches a regrade that takes its own output for submissions."""
    write(tmp_path / "ex.ipynb", right())
    write(tmp_path / "grades/ex.ipynb/results.json", "{}")
    write(tmp_path / "old/ex.ipynb/results.json", "{}")
    assert set(names(tmp_path, exclude=[tmp_path / "grades"])) == {"ex.ipynb"}


def test_what_is_no_regular_file_is_named_not_opened(tmp_path):
    """Catches following links out of the folder, hanging on a pipe, and losing a folder called x.ipynb."""
    write(tmp_path / "secret.txt", "x")
    folder = tmp_path / "in"
    write(folder / "dir.ipynb" / "inner.ipynb", right())
    os.symlink(tmp_path / "secret.txt", folder / "link.ipynb")
    os.symlink(folder, folder / "loop")
    os.symlink("nowhere", folder / "dangling.ipynb")
    os.mkfifo(folder / "pipe.ipynb")
    found = names(folder)
    assert found.pop("dir.ipynb/inner.ipynb") is None
    assert set(found) == {"dir.ipynb", "link.ipynb", "dangling.ipynb", "pipe.ipynb"}
    assert "folder" in found["dir.ipynb"] and "link" in found["link.ipynb"] and "regular" in found["pipe.ipynb"]


BAD = {
    "empty": ("", "empty"),
    "blank": ("  \n", "empty"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "not text"),
    "nul": (b"{\x00}", "not text"),
    "truncated": (right()[:-40], "not a whole notebook"),
    "deep": ("[" * 200_000, "not a whole notebook"),
    "digits": ('{"nbformat": ' + "9" * 5000 + "}", "not a whole notebook"),
    "list": ("[1, 2]", "not a notebook"),
    "string": ('"x"', "not a notebook"),
    "no cells": ('{"nbformat": 4}', "no cells"),
    "v3": (json.dumps({"nbformat": 3, "worksheets": [{"cells": []}]}), "format 3"),
    "only text": (notebook(cell("hello", kind="markdown")), "no code cell"),
    "huge code": (notebook("x = 1\n" * 400_000), "MB of code"),
    "many cells": (notebook(*["x"] * 5001), "5001 cells"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_notebooks_are_refused_with_what_to_do(tmp_path, name):
    """Catches a reader that raises anything but its own sentence on what students upload."""
    content, words = BAD[name]
    with pytest.raises(submission.Unreadable, match=words) as error:
        submission.read(write(tmp_path / "x.ipynb", content))
    assert "Traceback" not in str(error.value) and len(str(error.value)) < 300


def test_a_huge_file_is_not_read(tmp_path):
    """Catches reading a file of any size into memory."""
    path = tmp_path / "x.ipynb"
    with open(path, "wb") as file:
        file.truncate(submission.MAX_BYTES + 1)
    with pytest.raises(submission.Unreadable, match="clear all outputs"):
        submission.read(path)


def test_malformed_cells_are_skipped_not_fatal(tmp_path):
    """Catches a KeyError or TypeError on cells that lack fields or hold other types; lone surrogates stay writable."""
    cells = [None, 3, {}, {"cell_type": "code"}, {"cell_type": "code", "source": [1, "a = ", "2"]},
             {"cell_type": "code", "source": {"x": 1}}, {"cell_type": "code", "source": "s = '\ud800'"},
             {"cell_type": "code", "source": "b", "metadata": {"nbgrader": 7}},
             {"cell_type": "code", "source": "c", "metadata": {"nbgrader": {"solution": True, "grade_id": 1}}},
             {"cell_type": "markdown"}]  # fmt: skip
    path = write(tmp_path / "x.ipynb", json.dumps({"nbformat": 4, "cells": cells}))
    read = submission.read(path)
    assert [c.source for c in read] == ["", "a = 2", "s = '?'", "b", "c"]
    assert [c.number for c in read] == [4, 5, 7, 8, 9] and not any(c.grade_id for c in read)


def test_only_answer_cells_carry_a_task():
    """Catches taking the check cell's grade_id for the answer's."""
    check = cell("check(f)") | {"metadata": {"nbgrader": {"solution": False, "grade": True, "grade_id": "check_f"}}}
    read = submission._cells(json.loads(notebook(cell("def f(): pass", "f"), check)))
    assert [c.grade_id for c in read] == ["f", None]


def test_the_exercise_is_the_one_with_most_tasks():
    """Catches going by file name alone, or by the first exercise that has any name in common."""
    cells = submission._cells(json.loads(notebook("def a(x): pass", "def b(x): pass", "c = 1")))
    exercises = {"ex01_one": ["a", "z"], "ex02_two": ["b", "c"]}
    assert submission.exercise_of(cells, exercises, "ex01_one.ipynb") == "ex02_two"
    assert submission.exercise_of(cells[:1], {"ex01": ["a"], "ex02": ["a"]}, "ex02.ipynb") == "ex02"
    with pytest.raises(submission.Unreadable, match="keep the names"):
        submission.exercise_of(cells, {"ex03": ["q"]}, "ex03.ipynb")
