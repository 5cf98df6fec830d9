"""Grades a folder of submissions: finds them, runs each in a sandbox, judges what came back, writes as it goes.

One worker per job runs answers; this process alone knows what is right. Results are written the moment a submission is
done, so that an interrupted run leaves whole results.
"""

from __future__ import annotations

import os
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from course_lib import grading
from course_lib.grading import judge, submission
from course_lib.grading.pristine import pristine
from course_lib.grading.sandbox import Outcome, Sandbox, SandboxError
from course_lib.grading.submission import Found
from course_lib.grading.task import Result


@dataclass(frozen=True)
class Settings:
    """What every submission of a run is graded with; the same settings give the same verdicts."""

    seed: int
    timeout: float = 10.0
    memory: int = 2048
    output: int = 4000
    bubblewrap: bool = True
    hide: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graded:
    """One submission's outcome: the verdict on every task of its exercise, or the reason why there is none."""

    name: str
    exercise: str = ""
    reason: str = ""
    results: tuple[Result, ...] = ()
    outputs: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def status(self) -> str:
        return "ungradable" if self.reason else "graded"

    @property
    def score(self) -> float:
        return float(sum(result.earned for result in self.results))

    @property
    def max_score(self) -> float:
        return float(sum(result.points for result in self.results))


class Grader:
    """The side that knows the answers: the inputs of every task for one seed, and the verdict on what came back."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.exercises: dict[str, list[str]] = {}
        for name, task in grading.TASKS.items():
            self.exercises.setdefault(task.exercise, []).append(name)
        self._asked: dict[str, tuple[list, bytes]] = {}
        self._right: dict[str, list[dict]] = {}
        self._lock = threading.RLock()  # torch's settings are the process's: one verdict at a time

    def request(self, task: str) -> bytes:
        """The encoded inputs of a task: the same for every submission of the run, drawn from the seed."""
        return self._inputs(task)[1]

    def _inputs(self, task: str) -> tuple[list, bytes]:
        with self._lock:
            if task not in self._asked:
                self._asked[task] = judge.request(grading.TASKS[task], self.settings.seed)
            return self._asked[task]

    def judge(self, task: str, outcome: Outcome) -> Result:
        """The verdict on one task."""
        spec, (cases, _) = grading.TASKS[task], self._inputs(task)
        with self._lock:
            if outcome.status == "observed" and task not in self._right:
                self._right[task] = judge.expected(spec, cases)
            return _verdict(spec, cases, self._right.get(task), outcome, self.settings)

    def grade(self, found: Found, sandbox: Sandbox) -> Graded:
        """Everything about one submission, whatever is in its file."""
        try:
            if found.problem:
                raise submission.Unreadable(found.problem)
            cells = submission.read(found.path)
        except submission.Unreadable as error:
            return Graded(found.name, reason=str(error))
        except MemoryError:
            return Graded(
                found.name, reason="the notebook is too large to be read; clear its outputs, hand it in again"
            )
        return self.grade_cells(found.name, cells, sandbox)

    def grade_cells(
        self, name: str, cells: tuple[submission.Cell, ...], sandbox: Sandbox, exercise: str | None = None
    ) -> Graded:
        """The verdicts on a notebook that could be read; `exercise` is found by what it holds unless it is given."""
        try:
            exercise = exercise or submission.exercise_of(cells, self.exercises, os.path.basename(name))
        except submission.Unreadable as error:
            return Graded(name, reason=str(error))
        tasks = self.exercises[exercise]
        outcomes = sandbox.run(cells, tasks)
        with self._lock, pristine():  # once for all tasks
            results = tuple(self.judge(task, outcomes[task]) for task in tasks)
        outputs = {task: outcomes[task].output for task in tasks if outcomes[task].output}
        return Graded(name, exercise, "", results, outputs, sum(outcome.seconds for outcome in outcomes.values()))


def _verdict(task, cases: list, right: list | None, outcome: Outcome, settings: Settings) -> Result:
    status, loading = outcome.status, outcome.stage == "define"
    if status == "observed":
        return judge.judge(task, cases, outcome.observed, right)
    if status == "timeout" and loading:
        text = f"The cells that `{task.name}` needs did not finish within {settings.timeout:g} s."
        step = "Compute tables that take long inside a function, or make them smaller."
        return judge.outcome(task, "timeout", text, stage="define", step=step)
    if status == "timeout":
        late = judge.timed_out(task, settings.timeout)
        floods = len(outcome.output) >= settings.output
        return replace(late, next_step="It prints a great deal, which takes time: print less.") if floods else late
    if status == "memory":
        return judge.out_of_memory(task)
    if status == "crashed":
        return judge.crashed(task, outcome.message.rstrip(".") or "without a word")
    if status == "missing":
        return judge.outcome(
            task, "missing", outcome.message, step="Write the function in its cell, under the name it has."
        )
    step = "Restart the kernel and run the notebook from the top to see it yourself."
    return judge.outcome(task, "error", outcome.message or "It could not be defined.", trace=outcome.trace, step=step)


def new_seed() -> int:
    """A seed for one run: fresh inputs, the same for every submission, and reported so that a run can be repeated."""
    return secrets.randbelow(2**31)


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def grade_here(found: list[Found], settings: Settings, *, jobs: int, notice: Callable[[str], None]) -> Iterator[Graded]:
    """Grade on this machine, `jobs` submissions at a time, and yield each as it is done.

    Args:
        notice: called with the one sentence on what the sandbox lacks here, if it lacks something.

    Raises:
        SandboxError: if no worker can be started.
    """
    torch.set_num_threads(1)  # the other processors are the workers'
    waiting: queue.SimpleQueue[Found] = queue.SimpleQueue()
    for item in found:
        waiting.put(item)
    done: queue.SimpleQueue[Graded | Exception] = queue.SimpleQueue()
    stop, grader = threading.Event(), Grader(settings)
    sandboxes = [new_sandbox(grader) for _ in range(max(1, min(jobs, len(found))))]

    def work(sandbox: Sandbox) -> None:
        try:
            with sandbox:
                while not stop.is_set():
                    try:
                        item = waiting.get_nowait()
                    except queue.Empty:
                        return
                    done.put(grade_one(grader, item, sandbox))
        except Exception as error:
            done.put(error)

    threads = [threading.Thread(target=work, args=(sandbox,), daemon=True) for sandbox in sandboxes]
    for thread in threads:
        thread.start()
    try:
        weaker, lost = None, 0
        for _ in range(len(found)):
            while isinstance(graded := done.get(), Exception):
                lost += 1
                if lost == len(threads):
                    raise graded
            if weaker is None and (weaker := next((s.weaker for s in sandboxes if s.weaker), None)):
                notice(weaker)
            yield graded
        for thread in threads:  # nothing is left to do: let the workers end by themselves
            thread.join(2)
    finally:
        stop.set()
        for sandbox in sandboxes:
            sandbox.kill()
        for thread in threads:
            thread.join(5)


def new_sandbox(grader: Grader) -> Sandbox:
    """A worker for this grader's settings, not yet started."""
    settings = grader.settings
    return Sandbox(
        grader.request, timeout=settings.timeout, memory=settings.memory, output=settings.output,
        hide=tuple(Path(folder) for folder in settings.hide), bubblewrap=settings.bubblewrap,
    )  # fmt: skip


def grade_one(grader: Grader, item: Found, sandbox: Sandbox) -> Graded:
    """One submission; a fault of ours in it is its own reason and stops nobody else's."""
    try:
        return grader.grade(item, sandbox)
    except SandboxError:
        raise
    except Exception as error:
        return Graded(
            item.name, reason=f"the grader itself failed on it ({type(error).__name__}: {error}); report this"
        )
