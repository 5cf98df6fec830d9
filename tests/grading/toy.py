"""Two small tasks on which the engine is tested: one result with gradient and edges, and a pair of results."""

import inspect
import types

import torch

from course_lib.grading import Case, Mistake, Task


def _draw(g, n, d, dtype=torch.float32):
    return torch.randn(n, d, generator=g, dtype=dtype)


def log_mean_exp(x, scale):
    """log of the mean over rows of exp(scale·x): (n, d) -> (d,)."""
    return torch.logsumexp(scale * x, 0) - torch.log(torch.tensor(float(len(x)), dtype=x.dtype))


def _cases(g):
    return [
        Case("five points", (_draw(g, 5, 2), 0.7), grad=(0,)),
        Case("float64", (_draw(g, 8, 3, torch.float64), 1.3), grad=(0,)),
        Case("one dimension", (_draw(g, 4, 1), 2.0), grad=(0,)),
        Case("far out", (300 * _draw(g, 6, 2), 1.0), edge=True),
    ]


def _in_place(x, scale):
    y = log_mean_exp(x.clone(), scale)
    x.mul_(scale)
    return y


TASK = Task(
    name="log_mean_exp",
    exercise="toy",
    points=2,
    signature=("x", "scale"),
    reference=log_mean_exp,
    cases=_cases,
    mistakes=(
        Mistake("sum_for_mean", "You forgot to divide by n.", lambda x, scale: torch.logsumexp(scale * x, 0)),
        Mistake("overflow", "exp overflows.", lambda x, scale: (scale * x).exp().mean(0).log()),
        Mistake("no_scale", "You forgot the scale.", lambda x, scale: log_mean_exp(x, 1.0)),
        Mistake("wrong_axis", "You average over the wrong axis.", lambda x, scale: log_mean_exp(x.T, scale)),
        Mistake("mean_of_x", "The log of a mean is not the mean of the logs.", lambda x, scale: (scale * x).mean(0)),
        Mistake("detached", "The result is cut off from its input.", lambda x, scale: log_mean_exp(x, scale).detach()),
        Mistake("in_place", "You change x.", _in_place),
    ),
    next_step="Try it on log weights.",
)


def centre(x):
    mean = x.mean(0)
    return x - mean, mean


PAIR = Task(
    name="centre",
    exercise="toy",
    points=1.0,
    signature=("x",),
    reference=centre,
    cases=lambda g: [Case("six points", (_draw(g, 6, 3),)), Case("square", (_draw(g, 3, 3),))],
    mistakes=(Mistake("overall_mean", "Take the mean of each column.", lambda x: (x - x.mean(), x.mean(0))),),
    next_step="",
    outputs=("centred", "mean"),
)


def number_of_pairs(n):
    return n * (n - 1) // 2


NUMBER = Task(
    name="number_of_pairs",
    exercise="toy",
    points=1.0,
    signature=("n",),
    reference=number_of_pairs,
    cases=lambda g: [Case("three", (3,)), Case("ten", (10,)), Case("one", (1,), edge=True)],
    mistakes=(Mistake("ordered", "Each pair is counted twice.", lambda n: n * (n - 1)),),
    next_step="",
)


def disguised(function):
    """A function of a task as a student might have written it: no trap that is set on the original reaches the copy."""
    function = inspect.unwrap(function)  # the shape checks of the tests wrap every function of the course
    scope = dict(function.__globals__)

    def copy(value, name):
        if not isinstance(value, types.FunctionType) or value.__module__ != function.__module__:
            return value
        value = inspect.unwrap(value)
        closure = value.__closure__ and tuple(
            types.CellType(copy(cell.cell_contents, cell.cell_contents.__name__))
            if isinstance(cell.cell_contents, types.FunctionType)
            else cell
            for cell in value.__closure__
        )
        copied = types.FunctionType(value.__code__, scope, name, value.__defaults__, closure)
        defaults = value.__kwdefaults__ or {}
        copied.__kwdefaults__ = {key: copy(default, key) for key, default in defaults.items()} or None
        return copied

    for name, value in list(scope.items()):
        scope[name] = copy(value, name)
    return copy(function, "answer")
