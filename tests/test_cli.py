"""The `course` command as its user meets it: as a process, with an exit status and sentences."""

import argparse
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from course_lib import cli

ROOT = Path(__file__).resolve().parents[1]


def course(*args, root=ROOT, cwd=None, **variables):
    """Run `course` from the checkout at `root`."""
    environment = os.environ | {"PYTHONPATH": str(root)} | variables
    return subprocess.run([sys.executable, "-m", "course_lib.cli", *args], cwd=cwd or root, env=environment,
                          capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)  # fmt: skip


def cell(source: str) -> dict:
    return {"cell_type": "code", "id": "only", "metadata": {}, "source": source, "outputs": [], "execution_count": None}


@pytest.fixture
def checkout(tmp_path):
    """A small checkout of its own: the library, and lectures that work, fail and hang."""
    shutil.copytree(ROOT / "course_lib", tmp_path / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data", tmp_path / "data")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for name, source in {"00_start_here": "print(6 * 7)", "01_good": "x = 'done'\nx", "02_bad": "1 / 0"}.items():
        book = {"cells": [cell(source)], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"notebooks/{name}.ipynb").write_text(json.dumps(book))
    return tmp_path


def test_every_command_has_its_module_and_help():
    """Catches a command that is announced but cannot be imported, or whose help crashes."""
    for name in cli.COMMANDS:
        assert importlib.util.find_spec(f"course_lib.commands.{name}"), name
        done = course(name, "--help")
        assert done.returncode == 0 and done.stdout.startswith("usage: course " + name), done.stderr
    overview = course("--help")
    assert overview.returncode == 0
    assert all(re.search(rf"^  {name} ", overview.stdout, re.M) for name in cli.COMMANDS)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["labb"], "did you mean 'lab'"),
        (["--doctor"], "did you mean 'doctor'"),
        (["run"], "required: NN|all"),
        (["run", "--ot", "x", "00"], "no option '--ot'; did you mean '--out'"),
        (["run", "--out=", "77"], "no lecture '77'"),
        (["run", "01_godo"], "did you mean '01_good'"),
        (["run", "00", "--timeout", "never"], "invalid float value"),
        (["run", "00", "--timeout", "-3"], "positive number of seconds"),
        (["run", "00", "--out", "pyproject.toml"], "--out must be a folder"),
        (["lab", "9"], "there is no lecture '9' (there are 00, 01, 02)"),
        (["doctor", "--loud"], "no option '--loud'"),
        (["doctor", "me"], "'me'"),
        ([], "usage: course COMMAND"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_suggestion(checkout, args, words):
    """Catches a traceback, status 1 or silence where the user mistyped."""
    done = course(*args, root=checkout)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_run_goes_on_after_a_failure_and_lists_it(checkout, tmp_path):
    """Catches a run that stops at the first failure, forgets it in the exit status, or writes what failed."""
    done = course("run", "all", "--out", "made/here", root=checkout)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["lecture", "seconds", "peak", "MB"]
    for line, name in zip(lines[1:3], ["00_start_here", "01_good"], strict=True):
        assert re.fullmatch(rf"{name} +\d+\.\d +\d+", line)
        assert 10 < int(line.split()[2]) < 2000  # a Python kernel is neither nothing nor huge
    assert lines[3].startswith("02_bad") and "ZeroDivisionError" in lines[3]
    assert lines[4] == "1 of 3 failed: 02_bad"
    assert sorted(path.name for path in (checkout / "made/here").iterdir()) == ["00_start_here.ipynb", "01_good.ipynb"]
    written = json.loads((checkout / "made/here/00_start_here.ipynb").read_text())
    assert "42" in json.dumps(written["cells"][0]["outputs"])


def test_run_of_good_lectures_ends_with_0_and_writes_nothing_unasked(checkout):
    """Catches a run that rewrites the committed notebooks although --out was not given."""
    before = {path.name: path.read_bytes() for path in (checkout / "notebooks").iterdir()}
    done = course("run", "0", "01_good.ipynb", "00", root=checkout, cwd=checkout / "notebooks")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["lecture", "00_start_here", "01_good"]
    assert {path.name: path.read_bytes() for path in (checkout / "notebooks").iterdir()} == before


def test_run_stops_a_cell_that_hangs(checkout):
    """Catches a --timeout that is not passed on: a loop would hold the run for ever."""
    book = json.loads((checkout / "notebooks/02_bad.ipynb").read_text())
    book["cells"] = [cell("while True: pass")]
    (checkout / "notebooks/02_bad.ipynb").write_text(json.dumps(book))
    done = course("run", "02", "--timeout", "2", root=checkout)
    assert done.returncode == 1
    assert "02_bad" in done.stdout and "longer than 2 s" in done.stdout


def test_doctor_names_everything(tmp_path):
    """Catches a doctor that leaves out what a student needs to know, or that changes something by looking."""
    cache = tmp_path / "cache"
    done = course("doctor", COURSE_CACHE=str(cache))
    import ipywidgets
    import jupyterlab
    import torch

    versions = [sys.version.split()[0], torch.__version__, jupyterlab.__version__, ipywidgets.__version__]
    topics = ["CUDA:", "MPS:", "MB free", "digits", "MNIST", "needs a download", "a small training step takes"]
    for words in [*versions, *topics, str(cache)]:
        assert words in done.stdout, words
    assert "datasets.mnist('train')" in done.stdout  # the command that mends it
    assert not cache.exists()
    marked = any(line.startswith("!") for line in done.stdout.splitlines())
    assert done.returncode == marked, done.stdout


def test_doctor_shows_progress_in_the_homework(tmp_path):
    """Catches a doctor that counts tries as solutions, or looks for the record in another place than `check` writes."""
    right = (
        "def log_ball_to_cube_ratio(d):\n import math\n return d/2*math.log(math.pi)-math.lgamma(d/2+1)-d*math.log(2)\n"
    )
    wrong = "def gaussian_mle(x): return x.mean(0), x.T @ x\n"
    for name, source in {"log_ball_to_cube_ratio": right, "gaussian_mle": wrong}.items():
        code = f"from course_lib.grading import check\n{source}print(float(check({name})))"
        variables = os.environ | {"PYTHONPATH": str(ROOT), "COURSE_CACHE": str(tmp_path)}
        subprocess.run([sys.executable, "-c", code], env=variables, cwd=tmp_path, check=True, timeout=120)
    done = course("doctor", COURSE_CACHE=str(tmp_path))
    assert re.search(r"homework +ex01_density_estimation: 1 of \d+ tasks solved", done.stdout), done.stdout
    assert re.search(r"homework +ex02_maximum_likelihood: 0 of \d+ tasks solved", done.stdout), done.stdout


def test_doctor_finds_damage_and_says_how_to_mend_it(checkout, tmp_path):
    """Catches a doctor that calls everything well: a changed data file, a cache that cannot be written."""
    (checkout / "data/thing.bin").write_bytes(b"1")
    entry = {"source": "s", "licence": "l", "made": "m", "sha256": "0" * 64}
    (checkout / "data/manifest.json").write_text(json.dumps({"thing.bin": entry}))
    blocked = tmp_path / "a file"
    blocked.write_text("")
    done = course("doctor", root=checkout, COURSE_CACHE=str(blocked / "cache"))
    assert done.returncode == 1
    assert re.search(r"^! data .*thing\.bin differs", done.stdout, re.M)
    assert re.search(r"^! cache .*cannot be written", done.stdout, re.M)
    assert "git checkout -- data" in done.stdout and "COURSE_CACHE" in done.stdout
    assert "2 problems to mend" in done.stdout


def test_doctor_without_jupyter(monkeypatch, capsys):
    """Catches a doctor that only works where nothing is wrong."""
    from course_lib.commands import doctor

    monkeypatch.setattr(doctor, "installed", lambda package: "" if package in ("jupyterlab", "ipywidgets") else "3.0")
    assert doctor.run(argparse.Namespace()) == 1
    printed = capsys.readouterr().out
    assert "! JupyterLab" in printed and "missing: jupyterlab" in printed and "missing: ipywidgets" in printed
    assert "lab" in printed.split("To mend it:")[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="stops JupyterLab by signal")
def test_lab_opens_jupyterlab_on_the_lecture(checkout, tmp_path):
    """Catches a `course lab` that opens the wrong place, cannot serve the notebook, or leaves a server behind."""
    port, token = free_port(), "a-token"
    environment = os.environ | {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    log = tmp_path / "log"
    with log.open("w") as out:
        options = ["--no-browser", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
        lab = subprocess.Popen([sys.executable, "-m", "course_lib.cli", "lab", "00", "--", *options], cwd=tmp_path,
                               env=environment | {"PYTHONPATH": str(checkout)}, stdout=out, stderr=out)  # fmt: skip
    try:
        page = ""
        for _ in range(240):
            try:
                url = f"http://127.0.0.1:{port}/api/contents/notebooks/00_start_here.ipynb?content=0&token={token}"
                page = urllib.request.urlopen(url, timeout=5).read().decode()
                break
            except OSError:
                assert lab.poll() is None, log.read_text()
                time.sleep(0.25)
        assert "00_start_here.ipynb" in page, log.read_text()
        assert "/lab/tree/notebooks/00_start_here.ipynb" in log.read_text()
    finally:
        lab.send_signal(signal.SIGTERM)
        assert lab.wait(30) is not None
