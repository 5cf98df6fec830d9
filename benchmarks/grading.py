"""Submissions per minute: `course grade` beside `nbgrader autograde` and `otter run`, same notebook, same run.

    python benchmarks/grading.py [--submissions 200] [--sample 6] [--venv DIR]

The peers are installed in an environment of their own and use this environment's torch. The notebook holds the
imports, the answers and the checks of ex02 (6 tasks), no figures; each peer runs our checks in its own way, so that
all three judge the same answers on the same kind of inputs. Prints seconds per submission, start-up included, and
ratios; ends with 1 if `course grade` is not at least 20 times as fast as both.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import venv
import zipfile
from pathlib import Path

EXERCISE = "ex02_maximum_likelihood"
ROOT = Path(__file__).resolve().parent.parent
PEERS = ["nbgrader==0.9.6", "otter-grader==6.1.6"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--sample", type=int, default=6, help="submissions given to each peer (0: no peers)")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "course-bench-graders")
    args = parser.parse_args()
    python = peers(args.venv) if args.sample else None
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        notebook = small(json.loads((ROOT / "solutions" / f"{EXERCISE}.ipynb").read_text()))
        ours, cpu, memory = course(work, notebook, args.submissions)
        rows = [("course grade", args.submissions, ours)]
        if args.sample:
            rows.append(("nbgrader autograde", args.sample, nbgrader(work, notebook, args.sample, python)))
            rows.append(("otter run", args.sample, otter(work, notebook, args.sample, python)))
    print(f"{'':20} submissions  s each  per minute  ratio")
    for name, count, seconds in rows:
        print(f"{name:20} {count:>11}  {seconds:6.3f}  {60 / seconds:10.1f}  {seconds / ours:5.1f}")
    print(f"course grade: {cpu:.3f} s of processor time each, workers and start-up included; at most {memory:.0f} MB")
    print(f"{cohort_cores()} processors, load {os.getloadavg()[0]:.1f} (other work here slows all three)")
    return 0 if all(seconds >= 20 * ours for _, _, seconds in rows[1:]) else 1


def cohort_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def peers(folder: Path) -> Path:
    """The python of an environment that holds the peers, made on first use; torch comes from this environment."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *PEERS, "ipykernel"], check=True)
        site = next((folder / "lib").glob("python*/site-packages"))
        here = [p for p in sys.path if p.endswith("site-packages")]
        (site / "torch_of_the_course.pth").write_text("\n".join([str(ROOT), *here]))
        (folder / "ready").touch()
    return python


def small(notebook: dict) -> dict:
    """The notebook without text, figures and experiments: imports, answers, checks."""
    cells = []
    for cell in notebook["cells"]:
        meta = cell["metadata"].get("nbgrader", {})
        if cell["cell_type"] == "code" and (meta.get("solution") or meta.get("grade")):
            cells.append(cell | {"outputs": [], "execution_count": None})
    source = "import math\nimport torch\nfrom course_lib import check"
    first = {
        "cell_type": "code",
        "id": "imports",
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": [first, *cells], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def course(work: Path, notebook: dict, count: int) -> tuple[float, float, float]:
    """(seconds, processor seconds) for each submission, and the most memory in MB that all processes took together."""
    for i in range(count):
        target = work / "ours" / f"s{i}" / f"{EXERCISE}.ipynb"
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(notebook))
    if (
        sys.platform == "linux"
    ):  # what bubblewrap leaves behind becomes a child of this process, and its time is counted
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    cpu, peak, done = processor_seconds(), [0.0], threading.Event()
    watch = threading.Thread(target=watch_memory, args=(peak, done))
    watch.start()
    started = time.perf_counter()
    command = [sys.executable, "-m", "course_lib.cli", "grade", str(work / "ours"), "--out", str(work / "out")]
    said = run(command, ROOT)
    seconds = time.perf_counter() - started
    done.set()
    watch.join()
    used = processor_seconds() - cpu
    rows = (work / "out" / "grades.csv").read_text().splitlines()[1:]
    assert len(rows) == count and all(row.count("passed") == 6 for row in rows), said[-2000:]
    return seconds / count, used / count, peak[0]


def processor_seconds() -> float:
    """Processor time of all children that have ended so far, and of their children."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0)[0]:
            pass
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def watch_memory(peak: list[float], done: threading.Event) -> None:
    """Keep in `peak[0]` the most MB that this process's descendants held at once, shared pages counted once."""
    import psutil

    while not done.wait(0.2):
        total = 0
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error, AttributeError):
                memory = process.memory_full_info()
                total += getattr(memory, "pss", memory.rss)
        peak[0] = max(peak[0], total / 2**20)


def nbgrader(work: Path, notebook: dict, count: int, python: Path) -> float:
    base = work / "nbgrader"
    source = base / "source" / EXERCISE / f"{EXERCISE}.ipynb"
    source.parent.mkdir(parents=True)
    source.write_text(json.dumps(notebook))
    (base / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'bench'\n")
    run([python, "-m", "nbgrader", "generate_assignment", EXERCISE], base)
    for i in range(count):
        target = base / "submitted" / f"s{i}" / EXERCISE / f"{EXERCISE}.ipynb"
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(notebook))
    started = time.perf_counter()
    said = run([python, "-m", "nbgrader", "autograde", EXERCISE], base)
    seconds = time.perf_counter() - started
    graded = len(list((base / "autograded").glob(f"*/{EXERCISE}/{EXERCISE}.ipynb")))
    assert graded == count, said[-2000:]
    return seconds / count


def otter(work: Path, notebook: dict, count: int, python: Path) -> float:
    base = work / "otter"
    names = [
        c["metadata"]["nbgrader"]["grade_id"] for c in notebook["cells"][1:] if c["metadata"]["nbgrader"]["solution"]
    ]
    (base / "tests").mkdir(parents=True)
    for name in names:
        code = f">>> from course_lib.grading import grade\n>>> grade({name!r}, {name}).passed\nTrue"
        case = {"name": name, "points": 1, "suites": [{"cases": [{"code": code, "hidden": False}], "type": "doctest"}]}
        (base / "tests" / f"{name}.py").write_text(f"OK_FORMAT = True\ntest = {case!r}\n")
    run([python, "-m", "otter", "generate", "-t", "tests", "-o", "autograder.zip", "--no-environment"], base)
    assert zipfile.is_zipfile(base / "autograder.zip")
    cells = [c for c in notebook["cells"] if not c["metadata"].get("nbgrader", {}).get("grade")]
    started = time.perf_counter()
    for i in range(count):
        (base / f"s{i}.ipynb").write_text(json.dumps(notebook | {"cells": cells}))
        (base / f"out{i}").mkdir()
        said = run([python, "-m", "otter", "run", f"s{i}.ipynb", "-a", "autograder.zip", "-o", f"out{i}"], base)
        results = json.loads((base / f"out{i}" / "results.json").read_text())
        tests = [test for test in results["tests"] if test["name"] in names]
        assert sum(test.get("score", 0) for test in tests) == len(names), (results, said[-2000:])
    return (time.perf_counter() - started) / count


def run(command: list, folder: Path) -> str:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=1800)
    text = done.stdout + done.stderr
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{text[-3000:]}")
    return text


if __name__ == "__main__":
    sys.exit(main())
