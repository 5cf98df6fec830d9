"""`course grade PATH...`: grade notebooks, or folders of them, in a sandbox; write marks and feedback."""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import signal
import sys
import threading
import time
from pathlib import Path

from course_lib.commands import DONE, FAILED, UsageError, suggest


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH",
                        help="notebooks, or folders searched for them (one submission each)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("grades"), metavar="DIR",
                        help="where grades.csv and the results of each submission go (default: grades)")  # fmt: skip
    parser.add_argument("--jobs", type=int, metavar="N", help="submissions at a time (default: one per processor)")
    parser.add_argument("--seed", type=int, metavar="S", help="draws the inputs (default: a new one, which is shown)")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="for one task (default: 10)")
    parser.add_argument("--memory", type=int, default=2048, metavar="MB", help="for one task (default: 2048)")
    parser.add_argument("--dask", metavar="ADDRESS", help="spread the work over the Dask scheduler at this address")


def run(args: argparse.Namespace) -> int:
    _check(args)
    gc.disable()  # importing torch makes many objects and hardly any garbage: a third of the time would go into looking
    from course_lib.grading import cohort, submission

    gc.freeze()
    gc.enable()

    found = submission.find(args.paths, exclude=[args.out])
    if not found:
        print(f"course: no notebook (*.ipynb) was found in {', '.join(map(str, args.paths))}", file=sys.stderr)
        return FAILED
    folders = {(path if path.is_dir() else path.parent).resolve() for path in (*args.paths, args.out)}
    settings = cohort.Settings(
        seed=cohort.new_seed() if args.seed is None else args.seed, timeout=args.timeout, memory=args.memory,
        hide=tuple(sorted(map(str, folders))),
    )  # fmt: skip
    return _Run(args, found, settings).run()


def _check(args: argparse.Namespace) -> None:
    for path in args.paths:
        if not path.exists() and not path.is_symlink():
            try:
                names = [entry.name for entry in path.parent.iterdir()]
            except OSError:
                names = []
            raise UsageError(f"there is no file or folder {str(path)!r}{suggest(path.name, names)}")
        if path.is_file() and path.suffix != ".ipynb":
            raise UsageError(f"{str(path)!r} is not a notebook; give .ipynb files, or folders that hold them")
    if args.jobs is not None and args.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {args.jobs}")
    if args.seed is not None and not 0 <= args.seed < 2**63:
        raise UsageError(f"--seed must be a whole number from 0 to 2^63 − 1, got {args.seed}")
    if not (0 < args.timeout <= 3600 and math.isfinite(args.timeout)):
        raise UsageError(f"--timeout must be a number of seconds above 0 and at most 3600, got {args.timeout:g}")
    if not 16 <= args.memory <= 2**20:
        raise UsageError(f"--memory must be from 16 to {2**20} MB, got {args.memory}")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out must be a folder to write to, {args.out}: {error.strerror}") from None


class _Run:
    """One run over a cohort: what came of each submission, and what went wrong beside the grading."""

    def __init__(self, args: argparse.Namespace, found: list, settings):
        self.args, self.found, self.settings = args, found, settings
        self.cohort: list = []
        self.problems: list[str] = []
        self.started = time.monotonic()

    def run(self) -> int:
        from course_lib.grading import report
        from course_lib.grading.cluster import ClusterError
        from course_lib.grading.sandbox import SandboxError

        # An old table must not stand beside new results, whatever stops this run.
        if not report.remove(self.args.out / "grades.csv"):
            self.problems.append(f"{self.args.out / 'grades.csv'}: the old one cannot be removed and is out of date")
        submissions = self._graded()
        try:
            for graded in submissions:
                with _whole():
                    self._keep(graded, report)
        except KeyboardInterrupt:
            self.problems.append("stopped by ctrl-C")
        except (SandboxError, ClusterError) as error:
            self.problems.append(str(error))
        finally:
            submissions.close()
        return self._end(report)

    def _graded(self):
        from course_lib.grading import cohort

        if self.args.dask:
            from course_lib.grading import cluster

            return cluster.grade_on_cluster(self.found, self.settings, address=self.args.dask, notice=_notice)
        jobs = self.args.jobs or cohort.cores()
        return cohort.grade_here(self.found, self.settings, jobs=jobs, notice=_notice)

    def _keep(self, graded, report) -> None:
        if problem := report.write_submission(self.args.out, graded):
            self.problems.append(f"{report.one_line(graded.name)}: {problem}")
        if graded.reason:
            self.problems.append(f"{report.one_line(graded.name)}: {report.one_line(graded.reason, 500)}")
        self.cohort.append(report.slim(graded))
        if sys.stderr.isatty():
            print(f"\r{len(self.cohort)}/{len(self.found)} ", end="", file=sys.stderr, flush=True)

    def _end(self, report) -> int:
        from course_lib import grading

        if sys.stderr.isatty():
            print("\r", end="", file=sys.stderr)
        missing = len(self.found) - len(self.cohort)
        if missing:
            done = {graded.name for graded in self.cohort}
            names = [report.one_line(item.name) for item in self.found if item.name not in done]
            more = f" and {missing - 5} more" if missing > 5 else ""
            self.problems.append(f"{missing} of {len(self.found)} not graded now ({', '.join(names[:5])}{more}); "
                                 "earlier results of theirs, if any, are as they were")  # fmt: skip
        exercises = {graded.exercise for graded in self.cohort}
        tasks = [name for name, task in grading.TASKS.items() if task.exercise in exercises]
        try:
            report.write(self.args.out / "grades.csv", report.grades_csv(self.cohort, tasks))
        except OSError as error:
            self.problems.append(f"{self.args.out / 'grades.csv'} could not be written ({error.strerror or error})")
        print(report.table(self.cohort))
        seconds = time.monotonic() - self.started
        print(f"\n{len(self.cohort)} submissions in {seconds:.1f} s, seed {self.settings.seed}, in {self.args.out}")
        if self.problems:
            print(f"\n{len(self.problems)} could not be done:")
            print("\n".join(f"  {problem}" for problem in self.problems))
        return FAILED if self.problems else DONE


@contextlib.contextmanager
def _whole():
    """Hold ctrl-C back until the block is done: a submission is kept altogether or not at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _notice(sentence: str) -> None:
    print(f"note: {sentence}", file=sys.stderr)
