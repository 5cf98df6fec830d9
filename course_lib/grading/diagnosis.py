"""Which mistake is it? A wrong answer is compared with the known mistakes, run on the very same inputs.

In this order, the first that agrees in every case is the diagnosis:

1. a known mistake of the task, exactly;
2. the right answer with an axis kept or swapped;
3. a known mistake with an axis kept or swapped, or in another dtype;
4. the right answer under a simple change: a sign, a factor, a logarithm too many, a sum for a mean, ...;
5. a known mistake with another sign or times a constant;
6. two known mistakes at once, where their effects add or multiply.

Simpler explanations come first, so that a mistake is not mistaken for another one times two. Of two known mistakes
that agree on every case the one declared first is named.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from course_lib.grading.compare import agree, is_tensor, number, outputs_of, tolerances
from course_lib.grading.task import Case, Task


@dataclass(frozen=True)
class Diagnosis:
    name: str
    sentence: str


def diagnose(task: Task, cases: list[Case], seen: list[dict], right: list[dict], bank) -> Diagnosis | None:
    """The mistake that explains an answer in every case, or None.

    Args:
        task, cases: what was asked.
        seen, right: records of the answer and of the reference, one a case.
        bank: called without arguments, gives (mistake, its records) for every known mistake; run only when needed.
    """
    look = _Look(task, cases, seen, right)
    if any(values is None and not record["error"] for values, record in zip(look.got, seen, strict=True)):
        return None  # an answer that gives nothing comparable in some case fits no mistake
    if all(record["error"] for record in right):
        return None
    known = [(mistake, records) for mistake, records in bank() if not look.right_like(records)]
    for mistake, records in known:
        if look.same(records):
            return Diagnosis(mistake.name, mistake.sentence)
    for change in _SHAPES:
        if look.same(right, change.test):
            return Diagnosis(change.name, change.sentence)
    for change, (mistake, records) in itertools.product(_SHAPES, known):
        if look.same(records, change.test):
            return Diagnosis(mistake.name, f"{mistake.sentence} {change.sentence}")
    if (found := _simple(look)) is not None:
        return found
    for mistake, records in known:
        if (factor := look.factor(look.numbers(records))) is not None:
            besides = "the sign is turned" if factor == -1 else f"it is {factor:.4g} times that"
            return Diagnosis(mistake.name, f"{mistake.sentence} Besides, {besides}.")
    for (one, first), (two, second) in itertools.combinations(known, 2):
        if look.both(look.numbers(first), look.numbers(second)):
            return Diagnosis(f"{one.name}+{two.name}", f"Two things at once. {one.sentence} {two.sentence}")
    return None


class _Look:
    """Comparisons of an answer's records with others', in float64 and at ten times the tolerance of the task."""

    def __init__(self, task: Task, cases: list[Case], seen: list[dict], right: list[dict]):
        self.task, self.cases, self.seen, self.right = task, cases, seen, right
        self.limits = [tuple(10 * t for t in tolerances(task, case)) for case in cases]
        self.got, self.want = self.numbers(seen), self.numbers(right)

    def numbers(self, records: list[dict]) -> list[tuple | None]:
        return [_numbers(self.task, case, record) for case, record in zip(self.cases, records, strict=True)]

    def right_like(self, records: list[dict]) -> bool:
        """Whether these records are right in everything: a mistake that is right on these inputs explains nothing."""
        return self._alike(records, self.numbers(records), self.right, self.want)

    def same(self, records: list[dict], change=None) -> bool:
        """Whether the answer does what `records` do: equal values, or values related by `change` where they differ."""
        return self._alike(self.seen, self.got, records, self.numbers(records), change)

    def _alike(self, mine: list[dict], got: list, theirs: list[dict], want: list, change=None) -> bool:
        changed, as_right = False, True  # as_right: the values are the right ones, so something else must be wrong
        for i, (a, b, gots, wants) in enumerate(zip(mine, theirs, got, want, strict=True)):
            if a["error"] or b["error"]:
                if not (a["error"] and b["error"]) or a["error"]["type"] != b["error"]["type"]:
                    return False
                as_right = False
                continue
            if gots is None or wants is None:
                return False
            for g, w in zip(gots, wants, strict=True):
                if not _equal(g, w, *self.limits[i]):
                    if change is None or not change(g, w, *self.limits[i]):
                        return False
                    changed = True
            truth = self.want[i] or ()
            as_right &= len(truth) == len(wants) and all(
                map(lambda w, t, i=i: _equal(w, t, *self.limits[i]), wants, truth)
            )
        if change is not None and not changed:
            return False
        return not as_right or self._same_side_effects(mine, theirs, dtypes=change is None)

    def _same_side_effects(self, mine: list[dict], theirs: list[dict], *, dtypes: bool) -> bool:
        for case, limits, a, b in zip(self.cases, self.limits, mine, theirs, strict=True):
            if a["mutated"] != b["mutated"] or (dtypes and _dtypes(a) != _dtypes(b)):
                return False
            if (a["again"] is None) != (b["again"] is None) or bool(a["grad_error"]) != bool(b["grad_error"]):
                return False
            if not case.grad or a["grad_error"]:
                continue
            if len(a["grads"] or []) != len(b["grads"] or []):
                return False
            for got, want in zip(a["grads"] or [], b["grads"] or [], strict=True):
                if not is_tensor(got) or not is_tensor(want):
                    return False
                finite = want[want.isfinite()]
                scale = max(1.0, float(finite.abs().max()) if finite.numel() else 0.0)
                if not _equal(got.double(), want.double(), limits[0], limits[1] * scale):
                    return False
        return True

    def pairs(self, want: list) -> list | None:
        """(limits, got, want) of every output in every case, or None if one side lacks some."""
        if any(g is None or w is None for g, w in zip(self.got, want, strict=True)):
            return None
        rows = zip(self.limits, self.got, want, strict=True)
        return [(limits, g, w) for limits, gots, wants in rows for g, w in zip(gots, wants, strict=True)]

    def factor(self, want: list) -> float | None:
        """c if the answer is c times `want` everywhere, c neither 0 nor 1."""
        pairs = self.pairs(want)
        if pairs is None or len(self.task.outputs) > 1 or any(g.shape != w.shape for _, g, w in pairs):
            return None
        got, want_ = (torch.cat([pair[i].reshape(-1) for pair in pairs]) for i in (1, 2))
        usable = got.isfinite() & want_.isfinite() & (want_.abs() > 1e-6)
        if int(usable.sum()) < 2:
            return None
        at = int(torch.where(usable, want_.abs(), -torch.ones_like(want_)).argmax())
        found = float(got[at] / want_[at])
        if abs(found) < 1e-3 or abs(found - 1) < 1e-3:
            return None
        found = float(round(found)) if abs(found - round(found)) < 1e-4 else found
        return found if all(_equal(g, found * w, *limits) for limits, g, w in pairs) else None

    def both(self, first: list, second: list) -> bool:
        """Whether the answer is what two mistakes give together: in every output their effects added, or multiplied."""
        rows = list(zip(self.limits, self.got, self.want, first, second, strict=True))
        if any(part is None for row in rows for part in row):
            return False
        flat = [(limits, *parts) for limits, *values in rows for parts in zip(*values, strict=True)]
        if any(len({value.shape for value in parts}) > 1 for _, *parts in flat):
            return False
        for join in (lambda r, a, b: a + (b - r), lambda r, a, b: a * (b / r)):
            if all(_equal(g, _joined(join, r, a, b), *limits) for limits, g, r, a, b in flat):
                return True
        return False


def _joined(join, right: torch.Tensor, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Two effects joined; where that is undefined (inf − inf, 0/0) the one that changed something."""
    whole = join(right, one, two)
    return torch.where(whole.isfinite(), whole, torch.where(one == right, two, one))


def _simple(look: _Look) -> Diagnosis | None:
    """A simple change of the right answer that explains every case."""
    pairs = look.pairs(look.want)
    if not pairs:
        return None
    for change in _VALUES:
        if all(change.test(g, w, *limits) for limits, g, w in pairs):
            return Diagnosis(change.name, change.sentence)
    if len(look.task.outputs) == 2:
        turned = look.pairs([None if want is None else want[::-1] for want in look.want])
        if turned and all(_equal(g, w, *limits) for limits, g, w in turned):
            first, second = look.task.outputs
            return Diagnosis(
                "swapped_outputs", f"The two results come in the wrong order: first {first}, then {second}."
            )
    if (factor := look.factor(look.want)) is not None:
        text = f"Everywhere you return {factor:.6g} times the right answer: a constant factor is wrong."
        return Diagnosis("constant_factor", text)
    if len(look.task.outputs) == 1 and all(g.shape == w.shape for _, g, w in pairs):
        shift = torch.cat([(g - w).reshape(-1) for _, g, w in pairs])
        shift = shift[shift.isfinite()]
        if len(shift) > 3 and float(shift.abs().min()) > 1e-3 and float(shift.max() - shift.min()) < 1e-4:
            text = f"Everywhere you are off by {float(shift.mean()):+.6g}: a constant term is wrong or missing."
            return Diagnosis("constant_offset", text)
    return None


def _numbers(task: Task, case: Case, record: dict) -> tuple | None:
    """The outputs of a record as float64 tensors, or None if some are neither tensors nor numbers."""
    if record["error"]:
        return None
    outputs = outputs_of(record, task)
    if outputs is None:
        return None
    values = []
    for value in outputs:
        if is_tensor(value) and not value.is_complex():
            values.append(value.double())
        elif (plain := number(value)) is not None:
            values.append(torch.tensor(float(plain), dtype=torch.float64))
        else:
            return None
    if task.canonical:
        try:
            values = list(task.canonical(case, tuple(values)))
        except Exception:  # written for outputs of the right shapes
            return None
    return tuple(values)


def _dtypes(record: dict) -> list:
    value = record["outputs"]
    values = value if isinstance(value, tuple | list) else [value]
    return [v.dtype if is_tensor(v) else "number" if number(v) is not None else "other" for v in values]


def _equal(got: torch.Tensor, want: torch.Tensor, rtol: float, atol: float) -> bool:
    return got.shape == want.shape and bool(agree(got, want, rtol, atol, nan_equal=True).all())


@dataclass(frozen=True)
class _Change:
    """A relation between what was returned and what was meant: `test(got, want, rtol, atol)`."""

    name: str
    sentence: str
    test: object


def _kept(got, want, rtol, atol) -> bool:
    squeezed = [[size for size in value.shape if size != 1] for value in (got, want)]
    return got.shape != want.shape and squeezed[0] == squeezed[1] and _equal(got.reshape(want.shape), want, rtol, atol)


def _turned(got, want, rtol, atol) -> bool:
    return got.ndim >= 2 and got.shape[-1] > 1 and got.shape[-2] > 1 and _equal(got.mT, want, rtol, atol)


def _via(function):
    """The relation function(got) == want."""

    def test(got, want, rtol, atol) -> bool:
        return got.shape == want.shape and _equal(function(got), want, 10 * rtol, atol)

    return test


def _reduced(function, swap: bool = False):
    """function(got) == want, where got still has the axes that want has lost; with `swap` the other way round."""

    def test(got, want, rtol, atol) -> bool:
        long, short = (want, got) if swap else (got, want)
        return long.ndim > short.ndim == 0 and _equal(function(long), short, 10 * rtol, 10 * atol)

    return test


_SHAPES = (
    _Change("kept_axis", "The numbers are there, but an axis of size one too many or too few came with them.", _kept),
    _Change("transposed", "The result is transposed: rows and columns are swapped.", _turned),
)
_LOG2 = math.log(2)


def _root(got: torch.Tensor) -> torch.Tensor:
    return torch.where(got < 0, torch.full_like(got, math.nan), got.abs().sqrt())


def _reversed(got: torch.Tensor) -> torch.Tensor:
    return got.flip(0) if got.ndim else torch.full_like(got, math.nan)


_VALUES = (
    _Change("wrong_sign", "Everything has the wrong sign.", _via(torch.neg)),
    _Change("not_logged", "You return the number itself where its logarithm is asked for.", _via(torch.log)),
    _Change("logged", "You return the logarithm where the number itself is asked for.", _via(torch.exp)),
    _Change("base_two", "The logarithm is to base 2; here it is the natural one.", _via(lambda got: got * _LOG2)),
    _Change("nats_for_bits", "The result is in nats; divide by ln 2 for bits.", _via(lambda got: got / _LOG2)),
    _Change(
        "complement", "You return 1 minus the right answer: a condition is turned round.", _via(lambda got: 1 - got)
    ),
    _Change("not_squared", "You return the square root of the right answer.", _via(torch.square)),
    _Change("squared", "You return the square of the right answer.", _via(_root)),
    _Change("not_averaged", "You return one value for each sample; their mean is asked for.", _reduced(torch.mean)),
    _Change("not_summed", "You return the terms; their sum is asked for.", _reduced(torch.sum)),
    _Change(
        "averaged", "You average over the batch; a value for each sample is asked for.", _reduced(torch.mean, True)
    ),
    _Change("summed", "You sum over the batch; one value for each sample is asked for.", _reduced(torch.sum, True)),
    _Change("reversed", "The numbers are right but in the opposite order.", _via(_reversed)),
)
