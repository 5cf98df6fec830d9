"""Shows every mutant killed, and by which test: `python -m tests.mutants.runner [NAME ...] [--area AREA]`.

Each mutant is applied to a copy of the tree, and its tests run there until the first failure. A start of pytest with
torch takes seconds, so this process loads torch once and forks for each mutant. At the end the tests that killed run
once more on the unchanged tree: a test that fails there as well has killed nothing.
"""

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "*.egg-info", ".ipynb_checkpoints")
KILLED = "killed"


@dataclass
class Outcome:
    """What became of a mutant: `verdict` is KILLED, or says why it is not; `test` is the first that failed."""

    name: str
    verdict: str
    test: str = ""
    seconds: float = 0.0


def bank(root: Path) -> dict[str, list]:
    """All mutants by area, the modules of tests/mutants that hold a list MUTANTS."""
    names = {path.stem for path in (root / "tests/mutants").glob("*.py")}
    areas = sorted(names - {"mutant", "runner", "test_mutants", "__init__"})
    return {area: importlib.import_module(f"tests.mutants.{area}").MUTANTS for area in areas}


def fault(mutant, root: Path) -> str:
    """Why the mutant cannot be tried, or nothing."""
    if not (root / mutant.file).is_file():
        return f"there is no file {mutant.file}"
    found = (root / mutant.file).read_text(encoding="utf-8").count(mutant.old)
    if found != 1:
        return f"its old text occurs {found} times in {mutant.file}, not once"
    absent = [test for test in mutant.tests if not (root / test.split("::")[0]).is_file()]
    return f"there is no {', '.join(absent)}" if absent else ""


class Recorder:
    """A pytest plugin that keeps what failed."""

    def __init__(self):
        self.failed: list[str] = []
        self.uncollected: list[str] = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.uncollected.append(report.nodeid)


def start(tree: Path, tests: list[str], result: Path, *options: str) -> int:
    """Fork a process that runs `tests` in `tree` and writes what failed to `result`; returns its id."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    try:
        os.setsid()
        # Started in the background of a script, this process ignores SIGINT, and tests of the stop button would fail.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(result.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(tree)
        for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
            del sys.modules[name]
        sys.path[:] = [str(tree), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
        os.environ["PYTHONPATH"] = str(tree)
        import pytest

        recorder = Recorder()
        code = pytest.main(["-q", f"--rootdir={tree}", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "timeout=120",
                            *options, *tests], plugins=[recorder])  # fmt: skip
        result.write_text(json.dumps([int(code), recorder.failed, recorder.uncollected]))
    finally:
        os._exit(0)


def read(result: Path) -> tuple[int, list[str], list[str]] | None:
    try:
        return json.loads(result.read_text())
    except (OSError, ValueError):
        return None


def judge(mutant, result: Path, seconds: float) -> Outcome:
    """Turn what the forked process wrote into an outcome."""
    answer = read(result)
    if answer is None:
        log = result.with_suffix(".log")
        last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
        return Outcome(mutant.name, f"the tests gave no answer: {''.join(last)}", seconds=seconds)
    code, failed, uncollected = answer
    if failed:
        return Outcome(mutant.name, KILLED, failed[0], seconds)
    if uncollected or code > 1:
        return Outcome(mutant.name, f"the tests cannot even be collected: {', '.join(uncollected)}", seconds=seconds)
    return Outcome(mutant.name, "SURVIVES its tests", seconds=seconds)


def run(mutants: list, root: Path, scratch: Path, jobs: int, limit: float, report) -> list[Outcome]:
    """Try every mutant; `report` is called with each outcome as it comes."""
    trees = []
    for job in range(min(jobs, len(mutants))):
        trees.append(scratch / f"tree{job}")
        shutil.copytree(root, trees[-1], ignore=NOT_COPIED, symlinks=True)
        if (root / ".venv").exists():
            (trees[-1] / ".venv").symlink_to(root / ".venv")
    waiting, running, outcomes = list(mutants), {}, []
    while waiting or running:
        while waiting and trees:
            mutant, tree = waiting.pop(0), trees.pop()
            source = (root / mutant.file).read_text(encoding="utf-8")
            (tree / mutant.file).write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
            result = scratch / f"result{len(waiting)}.json"
            running[start(tree, list(mutant.tests), result, "-x")] = (mutant, tree, result, source, time.monotonic())
        time.sleep(0.05)
        for pid, (mutant, tree, result, source, began) in list(running.items()):
            ended, _ = os.waitpid(pid, os.WNOHANG)
            seconds = time.monotonic() - began
            if not ended and seconds > limit:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            elif not ended:
                continue
            (tree / mutant.file).write_text(source, encoding="utf-8")
            trees.append(tree)
            del running[pid]
            outcomes.append(judge(mutant, result, seconds))
            report(outcomes[-1])
    killers = sorted({outcome.test for outcome in outcomes if outcome.verdict == KILLED})
    if killers:
        result = scratch / "unchanged.json"
        os.waitpid(start(trees[0], killers, result), 0)
        code, failed, uncollected = read(result) or (2, killers, [])
        for outcome in outcomes:
            if outcome.test in failed or uncollected or code > 1:
                outcome.verdict = "not killed: the test fails without the mutant as well"
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only mutants whose name contains one of these (default: all)")
    parser.add_argument("--area", help="only mutants of this module of tests/mutants (default: all)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds one mutant's tests may take")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree (default: this one)")
    args = parser.parse_args()
    root = args.root.resolve()
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]  # the forked runs are runs of their own
    os.environ.update(PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1", MPLBACKEND="Agg")
    sys.dont_write_bytecode = True  # stale bytecode would hide a mutant of the same length
    sys.path.insert(0, str(root))

    mutants = [m for area, found in bank(root).items() if args.area in (None, area) for m in found
               if not args.names or any(name in m.name for name in args.names)]  # fmt: skip
    outcomes = [Outcome(m.name, reason) for m in mutants if (reason := fault(m, root))]
    for module in ("torch", "torch._dynamo", "scipy.stats", "jaxtyping", "beartype", "pytest"):
        importlib.import_module(module)
    width = max([len(m.name) for m in mutants], default=0)

    def show(outcome: Outcome) -> None:
        by = f"killed by {outcome.test}" if outcome.verdict == KILLED else outcome.verdict
        print(f"{outcome.name:{width}}  {by}  ({outcome.seconds:.1f} s)", flush=True)

    for outcome in outcomes:
        show(outcome)
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        fit = [m for m in mutants if not fault(m, root)]
        tried = run(fit, root, Path(scratch), max(args.jobs, 1), args.limit, show)
    for outcome in tried:
        if outcome.test and outcome.verdict != KILLED:
            show(outcome)
    killed = sum(outcome.verdict == KILLED for outcome in tried)
    print(f"{killed} of {len(mutants)} mutants killed")
    return 0 if mutants and killed == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
