"""What a graded task is, and what a verdict on an answer is: plain data, no mathematics.

A new task is one `Task(...)` in a module of `course_lib.grading.tasks`; everything else here works on it unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Modules that hold answers: an answer that calls into one of them has not been written by the student.
ANSWERS = ("course_lib.models", "course_lib.gaussian", "course_lib.metrics", "course_lib.grading.tasks")

#: What can become of one task: `passed` is the only one that earns points.
STATUSES = ("passed", "wrong", "error", "timeout", "memory", "crashed", "missing")


@dataclass(frozen=True)
class Mistake:
    """A known wrong version: its name is the diagnosis, its sentence is what a good teacher would say about it."""

    name: str
    sentence: str
    answer: Callable


@dataclass(frozen=True)
class Case:
    """One call of the answer.

    Args:
        label: what is special about it, in words that read well after "in the case: ".
        args: positional arguments: tensors, numbers, booleans, strings, None, tuples, lists, `codec.Fixture`,
            `codec.Seeded`.
        grad: positions of float-tensor arguments whose gradient is compared.
        symmetric: positions among `grad` whose gradient is symmetrised over the last two axes before it is compared.
        simplex: positions among `grad` whose last axis sums to one, so that an answer may divide by that sum: only
            the gradient within the simplex is compared.
        edge: the contract names this corner (tails, empty bins, a singular matrix).
    """

    label: str
    args: tuple
    grad: tuple[int, ...] = ()
    symmetric: tuple[int, ...] = ()
    simplex: tuple[int, ...] = ()
    edge: bool = False


@dataclass(frozen=True)
class Task:
    """A graded function.

    Args:
        name: the function's name, unique across the course.
        exercise: the set it belongs to, such as "ex01_density_estimation".
        points: what it is worth.
        signature: the names of its arguments, in order.
        reference: the right answer; written for any dtype, and never run where the student's code runs.
        cases: draws the inputs, typical ones and every edge that the contract names, from a seeded generator.
        mistakes: the bank of known wrong versions; of two that agree on every case the first is the diagnosis.
        next_step: one sentence for a student who has passed.
        outputs: the names of what is returned; more than one means that a tuple is returned.
        rtol, atol: tolerances for float32; with float64 inputs rtol/100 and atol/10.
        forbidden: dotted names (modules or functions) whose call makes the task trivial.
        compare: replaces the comparison of values: `compare(case, expected, got) -> bool`, both tuples of outputs.
        canonical: applied to expected and got alike before they are compared, to remove a freedom that the contract
            leaves, such as the sign of a principal component: `canonical(case, outputs) -> outputs`.
    """

    name: str
    exercise: str
    points: float | int
    signature: tuple[str, ...]
    reference: Callable
    cases: Callable[[torch.Generator], list[Case]]
    mistakes: tuple[Mistake, ...]
    next_step: str
    outputs: tuple[str, ...] = ("result",)
    rtol: float | int = 1e-4
    atol: float | int = 1e-5
    forbidden: tuple[str, ...] = ANSWERS
    compare: Callable | None = None
    canonical: Callable | None = None


@dataclass(frozen=True)
class Result:
    """The verdict on one answer.

    Args:
        task: the task's name.
        status: one of `STATUSES`.
        points: what the task is worth.
        message: what to tell the student, in plain text.
        diagnosis: the name of the recognised mistake, or None.
        example: a small counter-example in plain text (input, expected, got), or "".
        trace: the lines of the student's own code at which it failed, or "".
        next_step: what to do now, or "".
        stage: the check that failed first ("shape", "value", "gradient", ...), or "".
    """

    task: str
    status: str
    points: float | int
    message: str
    diagnosis: str | None = None
    example: str = ""
    trace: str = ""
    next_step: str = ""
    stage: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    @property
    def score(self) -> float:
        """1 for a right answer, 0 for anything else: a formula that is half right is wrong."""
        return 1.0 if self.passed else 0.0

    @property
    def earned(self) -> float:
        return self.points * self.score
