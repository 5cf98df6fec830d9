"""The side that knows the right answers: it draws the inputs, and afterwards judges what the probe saw.

Expected values are computed only after the answer has run, so that nothing near the answer ever held them. The
stages, in order: signature, forbidden, error, shape, device, dtype, finite and value, mutated, repeat, gradient. The
first stage that fails in any case is reported, with the smallest case in which it fails; a known mistake that
explains the answer in every case is the diagnosis whichever stage found it (see `diagnosis`).
"""

from __future__ import annotations

import torch

from course_lib.grading import codec, compare, probe
from course_lib.grading.compare import Fault, is_tensor
from course_lib.grading.diagnosis import Records, diagnose
from course_lib.grading.pristine import pristine
from course_lib.grading.task import Case, Result, Task
from course_lib.grading.verdicts import crashed, out_of_memory, outcome, timed_out, which

__all__ = ["crashed", "judge", "out_of_memory", "outcome", "request", "timed_out"]

_STAGES = ("error", "shape", "device", "dtype", "finite", "value", "mutated", "repeat", "gradient")


def request(task: Task, seed: int) -> tuple[list[Case], bytes]:
    """Fresh inputs from a seed, and the message that carries them to the probe (no label, no expected value)."""
    with pristine():
        cases = list(task.cases(torch.Generator().manual_seed(int(seed))))
        return cases, _message(task, cases)


def _message(task: Task, cases: list[Case]) -> bytes:
    asked = [{"args": case.args, "grad": list(case.grad)} for case in cases]
    return codec.encode({"signature": list(task.signature), "forbidden": list(task.forbidden), "cases": asked})


def expected(task: Task, cases: list[Case]) -> list[dict]:
    """What the probe sees of the reference: worked out once where many answers meet the same inputs."""
    with pristine():
        return _records(task, task.reference, cases)


def judge(task: Task, cases: list[Case], observations: bytes | bytearray, right: list[dict] | None = None) -> Result:
    """The verdict on what the probe saw.

    Args:
        task, cases: what was asked (`cases` from `request`).
        observations: what `probe.observe` returned; it may come from a hostile process.
        right: what `expected` gave, if it is known already; never in a process that runs answers.
    """
    with pristine():
        try:
            seen = _read(observations, len(cases))
        except codec.CodecError as error:
            return outcome(task, "crashed", f"What came back from the run of `{task.name}` could not be read: {error}.")
        return _judge(task, cases, seen, right)


def _read(observations: bytes | bytearray, wanted: int) -> dict:
    """The observation with every field checked, since whoever ran beside the probe may have written it."""
    seen = codec.decode(observations)
    if type(seen) is not dict or not {"signature", "forbidden", "records"} <= seen.keys():
        raise codec.CodecError("fields are missing")
    text = (str, type(None))
    if type(seen["signature"]) not in text or type(seen["forbidden"]) is not list or type(seen["records"]) is not list:
        raise codec.CodecError("a field is of the wrong kind")
    if seen["signature"] is None and len(seen["records"]) != wanted:
        raise codec.CodecError(f"{len(seen['records'])} records for {wanted} cases")
    seen["forbidden"] = [name for name in seen["forbidden"] if type(name) is str]
    for record in seen["records"]:
        kinds = {"container": str, "mutated": list}
        if type(record) is not dict or not {"outputs", "again", "grads", "error", "grad_error"} <= record.keys():
            raise codec.CodecError("a record lacks fields")
        if any(type(record.get(name)) is not kind for name, kind in kinds.items()):
            raise codec.CodecError("a record holds fields of the wrong kind")
        record["mutated"] = [at for at in record["mutated"] if type(at) is int]
        for name in ("error", "grad_error"):
            record[name] = _error(record[name])
        if record["grads"] is not None and not (type(record["grads"]) is list and all(map(is_tensor, record["grads"]))):
            raise codec.CodecError("gradients that are no tensors")
    return seen


def _error(value) -> dict | None:
    if value is None:
        return None
    if type(value) is not dict or type(value.get("type")) is not str or type(value.get("message")) is not str:
        raise codec.CodecError("an error report of the wrong kind")
    lines = value.get("lines")
    lines = [tuple(line) for line in lines if type(line) is list and len(line) == 3] if type(lines) is list else []
    return {"type": value["type"], "message": value["message"], "lines": lines}


def _judge(task: Task, cases: list[Case], seen: dict, right: list[dict] | None) -> Result:
    if seen["signature"] is not None:
        called = f"{len(task.signature)} arguments, ({', '.join(task.signature)})"
        text = f"`{task.name}` is called with {called}; yours takes ({seen['signature']})."
        return outcome(task, "wrong", text, stage="signature", step="Keep the `def` line as it was given.")
    if seen["forbidden"]:
        text = f"Your answer calls `{seen['forbidden'][0]}`, which does the whole task. Write it out yourself."
        return outcome(task, "wrong", text, stage="forbidden")
    errors = [record["error"] for record in seen["records"]]
    if errors and all(error and error["type"] == "NotImplementedError" for error in errors):
        return outcome(
            task,
            "missing",
            f"`{task.name}` is not written yet.",
            step="Replace the line that raises NotImplementedError.",
        )
    right = right or _records(task, task.reference, cases)
    faults = [fault for i, case in enumerate(cases) for fault in _faults(task, i, case, seen["records"][i], right[i])]
    if not faults:
        return Result(
            task.name,
            "passed",
            task.points,
            f"`{task.name}` is right in all {len(cases)} checks.",
            next_step=task.next_step,
        )
    return _explain(task, cases, seen["records"], right, faults)


def _records(task: Task, function, cases: list[Case]) -> list[dict]:
    """What the probe sees of a function of ours."""
    return codec.decode(probe.observe(function, _message(task, cases), guard=False))["records"]


def _lazily(task: Task, cases: list[Case], function) -> Records:
    return Records(task, cases, lambda i: _records(task, function, [cases[i]])[0])


def _faults(task: Task, i: int, case: Case, record: dict, right: dict) -> list[Fault]:
    """Everything that is wrong in one case, at most one fault of each stage."""
    if right["error"]:
        raise RuntimeError(f"the reference of {task.name} fails in {which(case)}: {right['error']['message']}")
    if record["error"]:
        return [
            Fault("error", i, f"It raises {record['error']['type']}: {record['error']['message'] or '(no message)'}")
        ]
    got, want = compare.outputs_of(record, task), compare.outputs_of(right, task)
    if got is None:
        names = ", ".join(task.outputs)
        kind = compare.kind_of(record["outputs"])
        return [Fault("shape", i, f"It should return {len(task.outputs)} values ({names}), yours returns {kind}.")]
    kinds = [compare.kind_fault(task, case, name, g, w) for name, g, w in zip(task.outputs, got, want, strict=True)]
    faults = [Fault(kind[0], i, kind[1]) for kind in kinds if kind]
    comparable = all(kind is None or kind[0] == "dtype" for kind in kinds)
    if comparable:
        faults += _value_faults(task, i, case, got, want)
    faults += _conduct_faults(task, i, case, record)
    if case.grad and comparable and not any(fault.stage in ("finite", "value") for fault in faults):
        faults += _gradient_faults(task, i, case, record, right)
    return faults


def _exact(task: Task, case: Case) -> dict:
    """The record of the reference on the inputs in float64: it shows what rounding alone does to a right answer."""
    wide = compare.widened(case)
    record = _records(task, task.reference, [wide])[0] if wide else {"error": True}
    return {"outputs": None, "grads": None} if record["error"] else record


def _value_faults(task: Task, i: int, case: Case, got: tuple, want: tuple) -> list[Fault]:
    if task.compare:
        if task.compare(case, got, want):
            return []
        return [Fault("value", i, f"{' and '.join(task.outputs)} are not right.")]
    if task.canonical:
        got, want = task.canonical(case, got), task.canonical(case, want)
    if not any(compare.value_fault(task, case, "", g, w, None) for g, w in zip(got, want, strict=True)):
        return []
    exact = compare.outputs_of(_exact(task, case), task) or (None,) * len(want)
    if task.canonical and None not in exact:
        exact = task.canonical(case, exact)
    rows = zip(task.outputs, got, want, exact, strict=True)
    return [Fault(f[0], i, f[1], f[2]) for row in rows if (f := compare.value_fault(task, case, *row))]


def _conduct_faults(task: Task, i: int, case: Case, record: dict) -> list[Fault]:
    """What an answer does beside its result: it leaves its arguments alone and gives the same again."""
    faults = []
    for at in record["mutated"][:1]:
        name = task.signature[at] if 0 <= at < len(task.signature) else "an argument"
        faults.append(Fault("mutated", i, f"It changes its argument `{name}`."))
    if record["again"] is not None:
        first, second = (compare.outputs_of({"outputs": record[key]}, task) for key in ("outputs", "again"))
        if second is None or not all(compare.repeats(task, case, a, b) for a, b in zip(first, second, strict=True)):
            faults.append(Fault("repeat", i, "Called twice with the same arguments it gives two different results."))
    return faults


def _gradient_faults(task: Task, i: int, case: Case, record: dict, right: dict) -> list[Fault]:
    names = ", ".join(f"`{task.signature[at]}`" for at in case.grad)
    if error := record["grad_error"]:
        text = f"The values are right, but they cannot be differentiated with respect to {names}"
        return [Fault("gradient", i, f"{text}: {error['type']}: {error['message']}")]
    grads, wanted = record["grads"] or [], right["grads"] or []
    if not wanted or all(not bool(g.any()) for g in wanted):
        return []
    if not grads:
        return [Fault("gradient", i, f"The values are right, but no gradient reaches {names}.")]
    exact = None
    for at, (position, want) in enumerate(zip(case.grad, wanted, strict=True)):
        got = grads[at] if at < len(grads) else None
        if compare.gradient_agrees(task, case, position, got, want):
            continue
        exact = exact or _exact(task, case)
        if exact["grads"] and compare.gradient_agrees(task, case, position, got, want, exact["grads"][at]):
            continue
        name = task.signature[position]
        example = ""
        if is_tensor(got) and got.shape == want.shape:
            example = compare.show(f"d/d{name}", got, want, compare.agree(got, want, 1e-3, 1e-4))
        return [
            Fault("gradient", i, f"The values are right, but the gradient with respect to `{name}` is not.", example)
        ]
    return []


def _explain(task: Task, cases: list[Case], seen: list[dict], right: list[dict], faults: list[Fault]) -> Result:
    """The verdict on a wrong answer: the mistake if it is known, and the smallest case that shows it."""

    def order(fault: Fault):
        case = cases[fault.case]
        size = sum(arg.numel() for arg in case.args if is_tensor(arg))
        return case.edge, _STAGES.index(fault.stage), size, fault.case

    fault = min(faults, key=order)
    case, record = cases[fault.case], seen[fault.case]
    error = record["error"] if fault.stage == "error" else record["grad_error"] if fault.stage == "gradient" else None
    if error and (error["type"] == "MemoryError" or "can't allocate memory" in error["message"]):
        return out_of_memory(task, cases, fault.case)
    known = [(mistake, _lazily(task, cases, mistake.answer)) for mistake in task.mistakes]
    sides = (Records(task, cases, side.__getitem__) for side in (seen, right))
    found = diagnose(task, *sides, known, fault.case)
    good = len(cases) - len({fault.case for fault in faults})
    share = f" It is right in {good} of {len(cases)} checks." if good else ""
    sentence = found.sentence if found else f"{fault.text}{share}"
    example = f"{which(case)[4:]}: {compare.show_inputs(task, case)}"
    if fault.example:
        example += f"\n{fault.example}"
    elif found and fault.stage != "error":
        example += f"\n{fault.text}"
    lines = error["lines"] if error else []
    trace = "\n".join(dict.fromkeys(f"line {number}, in {name}: {text}" for number, name, text in lines))
    if found and error:
        example += f"\n{fault.text}"
    status = "error" if fault.stage == "error" else "wrong"
    step = "" if found else _NEXT.get(fault.stage, "")
    return Result(
        task.name, status, task.points, sentence, found.name if found else None, example, trace, step, fault.stage
    )


_NEXT = {
    "error": "Call your function on these inputs in a cell of its own and read the last line of the error first.",
    "shape": "Print the shape after each line and find the first that surprises you.",
    "dtype": "Make new tensors like the inputs: `x.new_zeros(...)`, or `dtype=x.dtype`.",
    "finite": "Ask at which step the first inf or NaN appears: often an exp that overflows, a log of 0, or inf − inf.",
    "value": "Work this case out on paper, and compare line by line.",
    "mutated": "Work on `x.clone()`, or avoid operations in place such as `+=` and `relu_`.",
    "repeat": "Use only the arguments: no global state, and no randomness of your own.",
    "gradient": "Stay with torch operations on the way: no `.detach()`, `.item()`, `.numpy()` or `torch.tensor(...)`.",
}
