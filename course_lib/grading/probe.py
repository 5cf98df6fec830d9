"""The side that runs an answer: it gets code and inputs, and says what it saw. It knows no right answer.

Every case is called twice with fresh arguments: once as given, once more to see whether the result repeats and, where
a gradient is asked for, with arguments that require it. What is returned is copied at once, so that an answer cannot
change it afterwards. The observation is data for the judge: it may be forged by what ran here, and then it is wrong.
"""

from __future__ import annotations

import inspect
import linecache
import os
import sysconfig
import time
from collections.abc import Callable

import torch

from course_lib.grading import codec, fixtures, traps

#: The most an answer may return in one call; no task returns a thousandth of it.
MAX_OUTPUT = 4 * 2**20
MAX_VALUES = 100
_MAX_LINES = 5
_equal = torch.equal  # an answer may replace the one in torch
_NOT_THEIRS = tuple(
    os.path.realpath(folder) + os.sep
    for folder in (*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")),
                   os.path.dirname(torch.__file__), os.path.dirname(__file__))
)  # fmt: skip


class Stop(BaseException):
    """Raised into an answer from outside to end it, where it cannot be killed."""


def observe(
    answer: Callable, request: bytes, *, on_case: Callable[[int], None] | None = None, guard: bool = True
) -> bytes:
    """Run an answer on every case of a request and return the encoded observation.

    Args:
        answer: the function to be graded.
        request: what `judge.request` made.
        on_case: called with the number of each case before it is run.
        guard: set the traps that the request names (off for the reference and the known mistakes).

    Returns:
        Bytes of `{"signature": text or None, "forbidden": [name, ...], "records": [record, ...]}`, one record a case:
        `outputs`, `again` (None if the second call gave the same), `container`, `grads`, `mutated`, `error`,
        `grad_error`, `seconds`.
    """
    asked = codec.decode(request)
    seen: dict = {"signature": _signature(answer, len(asked["signature"])), "forbidden": [], "records": []}
    if seen["signature"] is None:
        undo = traps.set_traps(asked["forbidden"], answer) if guard else lambda: None
        try:
            for number, case in enumerate(asked["cases"]):
                if on_case:
                    on_case(number)
                seen["records"].append(_record(answer, case))
        finally:
            if guard:
                seen["forbidden"] = list(dict.fromkeys(traps.called))[:10]
            undo()
    return codec.encode(seen, lenient=True)


def _signature(answer, wanted: int) -> str | None:
    """What is wrong with the parameters of `answer`, or None if it takes `wanted` positional arguments."""
    try:
        signature = inspect.signature(answer)
    except Exception:  # some callables have none
        return None
    try:
        signature.bind(*range(wanted))
    except TypeError:
        return ", ".join(str(p) for p in signature.parameters)[:200]
    return None


def _record(answer: Callable, case: dict) -> dict:
    record: dict = {"outputs": None, "again": None, "container": "", "grads": None, "mutated": []}
    record |= {"error": None, "grad_error": None, "seconds": 0.0}
    before = time.perf_counter()
    args = [_realise(value) for value in case["args"]]
    result, record["error"] = _call(answer, args)
    record["seconds"] = time.perf_counter() - before
    if record["error"]:
        return record
    first = codec.encode(result, lenient=True, max_bytes=MAX_OUTPUT, max_nodes=MAX_VALUES)
    record["outputs"] = codec.decode(first)
    record["container"] = "tuple" if isinstance(result, tuple | list) else "single"
    record["mutated"] = [i for i, (now, then) in enumerate(zip(args, case["args"], strict=True)) if _changed(now, then)]
    again = [_realise(value) for value in case["args"]]
    for position in case["grad"]:
        again[position] = again[position].requires_grad_()
    result, error = _call(answer, again)
    if error:
        record["grad_error" if case["grad"] else "error"] = error
        return record
    if not _same(result, record["outputs"]):
        second = codec.encode(result, lenient=True, max_bytes=MAX_OUTPUT, max_nodes=MAX_VALUES)
        record["again"] = None if second == first else codec.decode(second)
    if case["grad"]:
        record["grads"], record["grad_error"] = _call(_gradients, [result, [again[i] for i in case["grad"]]])
    return record


def _call(function: Callable, args: list) -> tuple[object, dict | None]:
    try:
        with torch.enable_grad():
            return function(*args), None
    except Stop:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt of the answer are its own
        return None, _error(error)


def _realise(value):
    """A fresh argument: tensors are copied, fixtures built, generators seeded."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, codec.Fixture):
        return fixtures.build(value.name, {key: _realise(item) for key, item in value.params.items()})
    if isinstance(value, codec.Seeded):
        return torch.Generator().manual_seed(value.seed)
    if isinstance(value, list | tuple):
        return type(value)(_realise(item) for item in value)
    return value


def _changed(now, then) -> bool:
    if isinstance(then, torch.Tensor):
        same = type(now) is torch.Tensor and now.dtype == then.dtype and now.shape == then.shape
        return not same or not (_equal(now, then) or codec.encode(now, lenient=True) == codec.encode(then))
    if isinstance(then, list):
        return len(now) != len(then) or any(_changed(a, b) for a, b in zip(now, then, strict=True))
    if isinstance(then, tuple):
        return any(_changed(a, b) for a, b in zip(now, then, strict=True))
    return False


def _same(now, then) -> bool:
    """Whether two results are plainly equal; False where only their bytes can tell (NaN, subclasses, anything odd)."""
    if type(then) is torch.Tensor:
        return type(now) is torch.Tensor and now.dtype == then.dtype and now.shape == then.shape and _equal(now, then)
    if type(then) is tuple:
        return type(now) is tuple and len(now) == len(then) and all(map(_same, now, then))
    return type(now) is type(then) and type(then) in (int, float, bool) and now == then


def cotangent(like: torch.Tensor) -> torch.Tensor:
    """The fixed direction along which an output of this shape is differentiated: every entry has its own weight."""
    steps = torch.arange(like.numel(), dtype=torch.float64)
    return (1 + 0.5 * torch.sin(1 + 2.3 * steps)).reshape(like.shape).to(like.dtype)


def _gradients(result, inputs: list[torch.Tensor]) -> list:
    """Vector-Jacobian products of all float outputs; [] if nothing that was returned depends on the inputs."""
    outputs = list(result) if isinstance(result, tuple | list) else [result]
    outputs = [o for o in outputs if isinstance(o, torch.Tensor) and o.requires_grad]
    if not outputs:
        return []
    # The same products as with grad_outputs=, which would import a computer algebra system.
    total = sum((o * cotangent(o)).sum() for o in outputs)
    grads = torch.autograd.grad(total, inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g.detach() for x, g in zip(inputs, grads, strict=True)]


def _error(error: BaseException) -> dict:
    """Type, message and the student's own lines of an exception, as plain text."""
    try:
        message = str(error)[:400]
    except BaseException:
        message = ""
    lines: list = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not _ours(code.co_filename):
            text = linecache.getline(code.co_filename, trace.tb_lineno).strip()
            lines.append([trace.tb_lineno, code.co_name[:80], text[:160]])
        trace = trace.tb_next
    return {"type": type(error).__name__[:80], "message": message, "lines": lines[-_MAX_LINES:]}


def _ours(filename: str) -> bool:
    if filename.startswith("<frozen"):
        return True
    return os.path.realpath(filename).startswith(_NOT_THEIRS)
