"""When two results are the same: kinds, shapes, dtypes and numbers, with tolerances that follow the dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from course_lib.grading import codec
from course_lib.grading.task import Case, Task


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an answer: the stage that found it, in which case, and in words."""

    stage: str
    case: int
    text: str
    example: str = ""


def outputs_of(record: dict, task: Task) -> tuple | None:
    """What a record returned as a tuple of as many values as the task names, or None if it is not that many."""
    value, several = record["outputs"], len(task.outputs) > 1
    if not several:
        return (value,)
    return tuple(value) if isinstance(value, tuple | list) and len(value) == len(task.outputs) else None


def is_tensor(value) -> bool:
    return isinstance(value, torch.Tensor)


def number(value):
    """A Python number if `value` is one or a 0-dim tensor, else None."""
    if is_tensor(value):
        return value.item() if value.ndim == 0 and not value.is_complex() else None
    return value if isinstance(value, bool | int | float) else None


def kind_of(value) -> str:
    """What a value is, in words for a student."""
    if is_tensor(value):
        return f"a tensor of shape {tuple(value.shape)} and {str(value.dtype).removeprefix('torch.')}"
    if value is None:
        return "None (is a `return` missing?)"
    if isinstance(value, codec.Opaque):
        return value.text
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)} values"
    return f"a Python {type(value).__name__}"


def low_precision(case: Case) -> bool:
    """Whether a case's numbers are held to the tolerances of float32 (all but those with float64 inputs)."""
    return not any(is_tensor(arg) and arg.dtype == torch.float64 for arg in case.args)


def tolerances(task: Task, case: Case) -> tuple[float | int, float | int]:
    """(rtol, atol): the task's own, tighter for float64 inputs, but not so that a float32 constant is wrong."""
    return (task.rtol, task.atol) if low_precision(case) else (task.rtol * 1e-2, task.atol * 1e-1)


def agree(got: torch.Tensor, want: torch.Tensor, rtol, atol, *, slack=0.0, nan_equal: bool = False) -> torch.Tensor:
    """Elementwise: equal infinities, or |got − want| ≤ atol + rtol·|want| + slack; NaN agrees with NaN if told."""
    got, want = got.double(), want.double()
    near = (got - want).abs() <= atol + rtol * want.abs() + slack
    same = (near & got.isfinite() & want.isfinite()) | (got == want)
    return same | (got.isnan() & want.isnan()) if nan_equal else same


def double(value):
    """A value with all float tensors in float64."""
    if is_tensor(value):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(double(item) for item in value)
    return value


def widened(case: Case) -> Case | None:
    """The case with its float32 inputs in float64, or None if it has none or they are hidden in a fixture."""
    if not any(is_tensor(arg) and arg.dtype == torch.float32 for arg in case.args):
        return None
    if any(isinstance(arg, codec.Fixture) for arg in case.args):
        return None
    return replace(case, args=double(case.args))


def rounding(want: torch.Tensor, exact) -> torch.Tensor | float:
    """How far a right answer in float32 may stray in an ill-conditioned case: four times the reference's own error."""
    if not is_tensor(exact) or exact.shape != want.shape or not exact.is_floating_point():
        return 0.0
    error = 4 * (want.double() - exact.double()).abs()
    return torch.where(error.isfinite(), error.minimum(1e-2 * (1 + exact.abs())), torch.zeros_like(error))


def kind_fault(task: Task, case: Case, name: str, got, want) -> tuple[str, str] | None:
    """(stage, text) if `got` is not the kind of thing `want` is: a tensor or a number, its shape, its dtype."""
    if not is_tensor(want):
        value = number(got)
        if value is None or (isinstance(want, bool) and not isinstance(value, bool)):
            return "shape", f"The {name} should be a {type(want).__name__}, you return {kind_of(got)}."
        return None
    if not is_tensor(got):
        if isinstance(got, codec.Opaque) and "on device" in got.text:
            return "device", f"The {name} should be on the CPU like the inputs, you return {got.text}."
        hint = " Keep it a tensor: no `.item()`, `float(...)` or `.numpy()`." if number(got) is not None else ""
        return "shape", f"The {name} should be a tensor of shape {tuple(want.shape)}, you return {kind_of(got)}.{hint}"
    if got.shape != want.shape:
        return "shape", f"The {name} should have shape {tuple(want.shape)}, you return shape {tuple(got.shape)}."
    free = want.is_floating_point() and not any(is_tensor(arg) and arg.is_floating_point() for arg in case.args)
    if got.dtype != want.dtype and not (free and not got.is_complex()):
        want_dtype, got_dtype = (str(t.dtype).removeprefix("torch.") for t in (want, got))
        return "dtype", f"The {name} should be {want_dtype} here (as the inputs are), you return {got_dtype}."
    return None


def value_fault(task: Task, case: Case, name: str, got, want, exact) -> tuple[str, str, str] | None:
    """(stage, text, example) if the numbers differ."""
    rtol, atol = tolerances(task, case)
    if not is_tensor(want):
        value = number(got)
        same = value == want or (math.isfinite(value) and abs(value - want) <= atol + rtol * abs(want))
        return None if same else ("value", f"The {name} is not right.", _pair(name, float(want), float(value)))
    right = agree(got, want, rtol, atol)
    if bool(right.all()):
        return None
    if is_tensor(exact) and exact.shape == want.shape:
        right |= agree(got, exact, rtol, atol, slack=rounding(want, exact))
        if bool(right.all()):
            return None
    if bool((~right & ~got.isfinite() & want.isfinite()).any()):
        bad = "NaN" if bool((~right & got.isnan()).any()) else "infinite"
        return (
            "finite",
            f"In the {name} there are {bad} entries where the right answer is a finite number.",
            show(name, got, want, right),
        )
    return "value", f"The values of the {name} are not right.", show(name, got, want, right)


def repeats(task: Task, case: Case, first, second) -> bool:
    """Whether a second call gave the same, up to rounding."""
    if not is_tensor(first) or not is_tensor(second):
        return type(first) is type(second) and (first == second or first != first)
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    rtol, atol = tolerances(task, case)
    return first.is_complex() or bool(agree(first, second, rtol, atol, nan_equal=True).all())


def gradient_agrees(task: Task, case: Case, position: int, got, want: torch.Tensor, exact=None) -> bool:
    """Whether the gradient with respect to one argument is right, where the right one is finite."""
    if not is_tensor(got) or got.shape != want.shape:
        return False
    rtol, atol = tolerances(task, case)
    got, want = _free(case, position, got), _free(case, position, want)
    exact = _free(case, position, exact) if is_tensor(exact) else None
    defined = want.isfinite()
    largest = float(want[defined].abs().max()) if bool(defined.any()) else 0.0
    atol = atol * max(1.0, largest)  # rounding in a sum goes with its largest term
    slack = rounding(want, exact)
    return bool((agree(got, want, 3 * rtol, 3 * atol, slack=slack) | ~defined).all())


def _free(case: Case, position: int, gradient: torch.Tensor) -> torch.Tensor:
    """The part of a gradient that the contract fixes: that of a symmetric matrix, or of a vector that sums to one."""
    gradient = gradient.double()
    if position in case.symmetric:
        gradient = 0.5 * (gradient + gradient.mT)
    if position in case.simplex:
        gradient = gradient - gradient.mean(-1, keepdim=True)
    return gradient


def show(name: str, got: torch.Tensor, want: torch.Tensor, right: torch.Tensor) -> str:
    """Expected and got in at most six numbers each: all of a small result, else the entries that differ."""
    if want.numel() <= 6:
        return _pair(name, want.tolist(), got.tolist())
    wrong = (~right).nonzero()[:3].tolist()
    return "\n".join(
        _pair(f"{name}[{', '.join(map(str, at))}]", want[tuple(at)].item(), got[tuple(at)].item()) for at in wrong
    )


def _pair(name: str, want, got) -> str:
    return f"{name}: expected {brief(want)}, got {brief(got)}"


def brief(value) -> str:
    """A number or a nested list of numbers in few digits."""
    if isinstance(value, list):
        return "[" + ", ".join(brief(item) for item in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def show_inputs(task: Task, case: Case) -> str:
    """The arguments of a case in a few numbers: small tensors in full, others by shape."""
    parts = []
    for name, value in zip(task.signature, case.args, strict=False):
        if is_tensor(value):
            dtype = "" if value.dtype == torch.float32 else f", {str(value.dtype).removeprefix('torch.')}"
            text = brief(value.tolist()) if value.numel() <= 6 else f"tensor of shape {tuple(value.shape)}{dtype}"
        elif isinstance(value, codec.Fixture):
            text = f"a {value.name}"
        elif isinstance(value, codec.Seeded):
            text = f"a generator seeded with {value.seed}"
        else:
            text = brief(value) if isinstance(value, float | int | list) else repr(value)[:60]
        parts.append(f"{name} = {text}")
    return "; ".join(parts)
