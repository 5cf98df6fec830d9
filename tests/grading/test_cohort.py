"""`course grade` on folders of what students hand in: every file gets its verdict or its sentence."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from course_lib import cli, paths
from course_lib.grading import cohort, report
from course_lib.grading.cohort import Graded
from tests.grading.notebooks import RIGHT, cell, notebook, right, write

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading a folder needs Linux or macOS")
EX01 = "ex01_density_estimation"


def rows(out):
    with open(out / "grades.csv", newline="", encoding="utf-8") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


def results(out, name):
    return json.loads((out / name / "results.json").read_text())


def test_a_mixed_folder(tmp_path, capsys):
    """Catches a bad file stopping the batch, and any status, score or file that the contract names being off."""
    folder, out = tmp_path / "in", tmp_path / "out"
    write(folder / "ann.ipynb", right())
    write(folder / "bob/hw.ipynb", right(outlier_mask="def outlier_mask(a, b, c):\n    while True: pass"))
    write(folder / "eve/hw.ipynb", right(log_ball_to_cube_ratio="def log_ball_to_cube_ratio(d): return 0.0"))
    write(folder / "=cmd().ipynb", notebook("import os\nos._exit(1)", RIGHT["log_ball_to_cube_ratio"]))
    write(folder / "-dash é\n.ipynb", right())
    write(folder / "cut.ipynb", right()[:100])
    write(folder / "other.ipynb", notebook("print('hello')"))
    (folder / "dir.ipynb").mkdir()
    status = cli.main(["grade", str(folder), "--out", str(out), "--seed", "1", "--jobs", "2", "--timeout", "4"])
    said = capsys.readouterr().out
    assert status == 1
    table = rows(out)
    assert set(table) == {"ann.ipynb", "bob/hw.ipynb", "eve/hw.ipynb", "'=cmd().ipynb", "'-dash é\n.ipynb", "cut.ipynb",
                          "other.ipynb", "dir.ipynb"}  # fmt: skip
    assert list(table["ann.ipynb"])[:5] == ["submission", "exercise", "score", "max_score", "status"]
    ann, bob, eve = table["ann.ipynb"], table["bob/hw.ipynb"], table["eve/hw.ipynb"]
    assert ann["kde_log_density"] == "missing" and ann["histogram_log_density"] == ann["outlier_mask"] == "passed"
    assert ann["status"] == "graded" and ann["exercise"] == EX01 and 0 < float(ann["score"]) < float(ann["max_score"])
    assert bob["outlier_mask"] == "timeout" and bob["histogram_log_density"] == "passed"
    assert eve["log_ball_to_cube_ratio"] == "wrong" and eve["outlier_mask"] == "passed"
    assert table["'=cmd().ipynb"]["log_ball_to_cube_ratio"] == "passed"  # the cell that exits is no part of the answer
    for name in ("cut.ipynb", "other.ipynb", "dir.ipynb"):
        assert table[name]["status"] == "ungradable" and name in said
        assert results(out, name)["score"] == 0 and results(out, name)["output"].startswith("Not graded")
    data = results(out, "ann.ipynb")
    assert data["score"] == float(ann["score"]) == sum(test["score"] for test in data["tests"])
    assert {test["status"] for test in data["tests"]} == {"passed", "failed"}
    assert (out / "bob/hw.ipynb/feedback.html").is_file() and (out / "-dash é\n.ipynb/results.json").is_file()


def test_solutions_get_full_marks_and_a_regrade_replaces(tmp_path, capsys):
    """Catches a grader that refuses the course's own solutions, and an old score that outlives a worse notebook."""
    folder, out = tmp_path / "in", tmp_path / "out"
    source = paths.repo_dir() / "solutions" / f"{EX01}.ipynb"
    write(folder / "x.ipynb", source.read_bytes())
    command = ["grade", str(folder), "--out", str(out)]
    assert cli.main(command) == 0
    first = rows(out)["x.ipynb"]
    assert first["score"] == first["max_score"] != "0"
    write(folder / "x.ipynb", "garbage")
    assert cli.main(command) == 1
    assert rows(out)["x.ipynb"]["score"] == "0" and results(out, "x.ipynb")["score"] == 0
    write(folder / "x.ipynb", (paths.repo_dir() / "exercises" / f"{EX01}.ipynb").read_bytes())
    assert cli.main(command) == 0
    row = rows(out)["x.ipynb"]
    assert row["score"] == "0" and {row[task] for task in cohort.Grader(cohort.Settings(0)).exercises[EX01]} == {
        "missing"
    }


@pytest.mark.parametrize("args, words", [
    (["nowher"], "did you mean 'nowhere'"),
    (["nowhere/notes.txt"], "not a notebook"),
    (["nowhere", "--jobs", "0"], "--jobs"),
    (["nowhere", "--timeout", "nan"], "--timeout"),
    (["nowhere", "--timeout", "-1"], "--timeout"),
    (["nowhere", "--memory", "1"], "--memory"),
    (["nowhere", "--seed", "-1"], "--seed"),
    (["nowhere", "--sed", "1"], "did you mean '--seed'"),
    (["nowhere", "--out", "nowhere/notes.txt"], "--out"),
    ([], "PATH"),
])  # fmt: skip
def test_wrong_usage_is_status_2(tmp_path, monkeypatch, capsys, args, words):
    """Catches wrong usage that is graded anyway, or ends without saying what to do."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "nowhere/notes.txt", "x")
    try:
        status = cli.main(["grade", *args])
    except SystemExit as error:  # argparse
        status = error.code
    assert status == 2 and words in capsys.readouterr().err


def test_an_empty_folder_is_status_1(tmp_path, capsys):
    """Catches success reported for nothing at all."""
    assert cli.main(["grade", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "no notebook" in capsys.readouterr().err


def test_a_result_that_cannot_be_replaced_is_removed_and_said(tmp_path, monkeypatch):
    """Catches an old score left standing after a full disk."""
    graded = Graded("x.ipynb", EX01)
    assert report.write_submission(tmp_path, graded) is None

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write", full)
    assert "No space left" in report.write_submission(tmp_path, graded)
    assert not (tmp_path / "x.ipynb" / "results.json").exists()


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    """Catches writing in place: half a results.json, or litter beside it."""
    path = write(tmp_path / "a.json", "old")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError):
        report.write(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_ctrl_c_leaves_finished_results_whole(tmp_path):
    """Catches an interrupt that loses finished results, leaves an old table, or leaves workers running."""
    folder, out = tmp_path / "in", tmp_path / "out"
    write(folder / "a.ipynb", right())
    slow = "import time\ndef outlier_mask(a, b, c): time.sleep(60)"
    write(folder / "b.ipynb", right(outlier_mask=slow))
    write(out / "grades.csv", "old")
    command = [
        sys.executable,
        "-m",
        "course_lib.cli",
        "grade",
        str(folder),
        "--out",
        str(out),
        "--jobs",
        "1",
        "--timeout",
        "60",
    ]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    until = time.monotonic() + 120
    while not (out / "a.ipynb" / "results.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "ctrl-C" in said and "b.ipynb" in said, said
    assert set(rows(out)) == {"a.ipynb"} and results(out, "a.ipynb")["score"] > 0
    assert not (out / "b.ipynb").exists()


def test_the_same_seed_gives_the_same_results(tmp_path):
    """Catches verdicts that depend on the order, the worker or the number of jobs."""
    for i in range(4):
        write(
            tmp_path / "in" / f"{i}.ipynb",
            right(log_ball_to_cube_ratio=f"def log_ball_to_cube_ratio(d): return -{i}.5 * d"),
        )
    found = cohort.submission.find([tmp_path / "in"])
    runs = []
    for jobs in (1, 3):
        graded = cohort.grade_here(found, cohort.Settings(seed=5), jobs=jobs, notice=lambda text: None)
        runs.append({g.name: g.results for g in graded})
    assert runs[0] == runs[1] and len(runs[0]) == 4


def test_solutions_of_other_exercises_in_one_folder(tmp_path, capsys):
    """Catches the columns of one exercise being filled for another."""
    for path in sorted((paths.repo_dir() / "solutions").glob("*.ipynb"))[:2]:
        write(tmp_path / "in" / path.name, path.read_bytes())
    assert cli.main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    row = rows(tmp_path / "out")[f"{EX01}.ipynb"]
    assert row["gaussian_mle"] == "" and row["kde_log_density"] == "passed"


def test_metadata_may_be_lost(tmp_path):
    """Catches grading that needs nbgrader's metadata, which Colab may drop, or the answer cells in order."""
    grader = cohort.Grader(cohort.Settings(seed=2))
    path = write(tmp_path / "x.ipynb", notebook(*(cell(source) for source in reversed(RIGHT.values()))))
    with cohort.new_sandbox(grader) as sandbox:
        graded = grader.grade(cohort.Found("x.ipynb", path), sandbox)
    assert {r.task for r in graded.results if r.passed} == set(RIGHT)


def test_a_timeout_by_printing_says_so():
    """Catches telling a student to look for an endless loop when it is the printing that takes the time."""
    settings = cohort.Settings(seed=0, output=100)
    for printed, word in (("x" * 100, "prints"), ("x" * 99, "loop")):
        result = cohort.Grader(settings).judge("outlier_mask", cohort.Outcome("timeout", output=printed, stage="call"))
        assert result.status == "timeout" and word in result.next_step
