"""Exports run where they are meant to: Gradescope's layout, rebuilt bare; nbgrader's course folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import course_lib
from course_lib import cli, paths
from course_lib.grading import build, export
from tests.grading.notebooks import right, write

EX01 = "ex01_density_estimation"


def unpack(archive: Path, to: Path) -> None:
    with zipfile.ZipFile(archive) as z:
        for info in z.infolist():
            path = Path(z.extract(info, to))
            path.chmod(info.external_attr >> 16 & 0o777)


def gradescope(source: Path, tmp_path: Path) -> dict:
    """Run `run_autograder` in a copy of Gradescope's layout that sees Python and nothing of the checkout."""
    results = tmp_path / "results"
    results.mkdir(exist_ok=True)
    root = Path(course_lib.__file__).resolve().parent.parent
    libraries = next(p for p in sys.path if p.endswith("site-packages"))
    hide = ["--tmpfs", str(root)] if (root / "pyproject.toml").exists() else []
    back = ["--ro-bind", sys.prefix, sys.prefix] if Path(sys.prefix).is_relative_to(root) else []
    command = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "--tmpfs", "/autograder", *hide, *back]
    for name in ("source", "submission", "results"):
        command += ["--bind", str(tmp_path / name), f"/autograder/{name}"]
    command += ["--ro-bind", str(source / "run_autograder"), "/autograder/run_autograder"]
    command += ["--bind", str(Path(sys.prefix)), "/autograder/venv"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": libraries}
    done = subprocess.run(
        [*command, "/autograder/run_autograder"], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads((results / "results.json").read_text()) | {"said": done.stdout + done.stderr}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bwrap") or os.geteuid() != 0, reason="needs bubblewrap and the right to mount")
def test_run_autograder_in_gradescopes_layout(tmp_path, capsys):
    """Catches a zip that needs the checkout or the network, or leaves no results.json when it breaks."""
    assert cli.main(["export", "gradescope", "ex01", "--out", str(tmp_path / "zip")]) == 0
    unpack(tmp_path / "zip" / "autograder.zip", tmp_path / "source")
    write(tmp_path / "submission" / "my work.ipynb", right())
    write(tmp_path / "submission" / "notes.ipynb", "not a notebook")
    first = gradescope(tmp_path / "source", tmp_path)
    assert {t["name"]: t["status"] for t in first["tests"]}["histogram_log_density"] == "passed", first
    assert first["score"] == sum(t["score"] for t in first["tests"]) > 0
    shutil.rmtree(tmp_path / "submission")
    write(tmp_path / "submission" / "x.ipynb", "{")
    assert "x.ipynb" in gradescope(tmp_path / "source", tmp_path)["output"]
    (tmp_path / "source" / "course_lib" / "grading" / "cohort.py").write_text("raise SystemExit(9)")
    broken = gradescope(tmp_path / "source", tmp_path)
    assert broken["score"] == 0 and "tell your instructor" in broken["output"]


def test_the_zip_holds_one_exercise_and_no_solutions(tmp_path):
    """Catches shipping the solutions or other exercises' answers, scripts that cannot run, changing bytes."""
    path = export.gradescope("1", tmp_path / "a.zip")
    with zipfile.ZipFile(path) as z:
        names = z.namelist()
        assert {n for n in names if "/tasks/ex" in n} == {f"course_lib/grading/tasks/{EX01}.py"}
        assert not any("solutions" in n or "__pycache__" in n or n.startswith("/") or ".." in n for n in names)
        assert all(z.getinfo(n).external_attr >> 16 & 0o111 for n in ("setup.sh", "run_autograder"))
        for name in ("setup.sh", "run_autograder"):
            subprocess.run(["bash", "-n"], input=z.read(name), check=True)
    assert path.read_bytes() == export.gradescope(EX01, tmp_path / "b.zip").read_bytes()


def test_the_nbgrader_folder(tmp_path):
    """Catches a release that is not the built exercise, and overwriting an instructor's own configuration."""
    write(tmp_path / "nbgrader_config.py", "mine")
    export.nbgrader("ex01", tmp_path)
    assert (tmp_path / "nbgrader_config.py").read_text() == "mine"
    source = (tmp_path / "source" / EX01 / f"{EX01}.ipynb").read_text()
    assert source == (paths.repo_dir() / "solutions" / f"{EX01}.ipynb").read_text()
    released = (tmp_path / "release" / EX01 / f"{EX01}.ipynb").read_text()
    assert released == build.dumps(build.release(json.loads(source))) and "BEGIN SOLUTION" not in released
    export.nbgrader("ex01", tmp_path / "new")
    compile((tmp_path / "new" / "nbgrader_config.py").read_text(), "nbgrader_config.py", "exec")


@pytest.mark.parametrize("args, words", [
    (["gradescop", "ex01", "--out", "x"], "did you mean 'gradescope'"),
    (["gradescope", "ex01_density", "--out", "x"], "did you mean"),
    (["gradescope", "ex99", "--out", "x"], "EXERCISE"),
    (["gradescope", "ex01"], "--out"),
])  # fmt: skip
def test_wrong_usage_is_status_2(tmp_path, monkeypatch, capsys, args, words):
    """Catches an export of the wrong thing instead of a suggestion."""
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main(["export", *args])
    except SystemExit as error:
        status = error.code
    assert status == 2 and words in capsys.readouterr().err and not os.listdir(tmp_path)
