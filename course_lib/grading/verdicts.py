"""Verdicts that need no comparison: an answer that is missing, hangs, runs out of memory or takes the process down."""

from __future__ import annotations

from collections.abc import Sequence

from course_lib.grading.task import Case, Result, Task


def outcome(task: Task, status: str, message: str, *, stage: str = "", trace: str = "", step: str = "") -> Result:
    """A verdict of this status; the stage is the status unless it is given."""
    return Result(task.name, status, task.points, message, trace=trace, stage=stage or status, next_step=step)


def timed_out(task: Task, seconds: float | int, cases: Sequence[Case] = (), reached: int | None = None) -> Result:
    """The answer was stopped; `reached` is the number of the case in which it was, if that is known."""
    text = f"`{task.name}` did not finish within {seconds:g} s{_where(cases, reached)}."
    step = "Look for a loop whose condition never becomes false, or for a Python loop over every pair of points."
    return outcome(task, "timeout", text, step=step)


def out_of_memory(task: Task, cases: Sequence[Case] = (), reached: int | None = None) -> Result:
    """The answer met the limit on memory."""
    text = f"`{task.name}` asked for more memory than it may have{_where(cases, reached)}."
    return outcome(task, "memory", text, step="Look for a tensor with an axis too many, or for a list that only grows.")


def crashed(task: Task, how: str, cases: Sequence[Case] = (), reached: int | None = None) -> Result:
    """The process of the answer ended without a word; `how` says what is known, as in "signal 11"."""
    text = f"`{task.name}` ended the whole process ({how}){_where(cases, reached)}, so there is no result to look at."
    step = "An answer returns a value: it does not exit, and it leaves the process alone."
    return outcome(task, "crashed", text, step=step)


def which(case: Case) -> str:
    """A case as it is named in a sentence."""
    return f"the case “{case.label}”"


def _where(cases: Sequence[Case], reached: int | None) -> str:
    return f": it was in {which(cases[reached])}" if reached is not None and 0 <= reached < len(cases) else ""
