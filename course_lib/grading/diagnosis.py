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

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from course_lib.grading.compare import agree, is_tensor, number, outputs_of, tolerances
from course_lib.grading.task import Case, Mistake, Task


@dataclass(frozen=True)
class Diagnosis:
    name: str
    sentence: str


class Records:
    """What one function does in each case, run when first looked at: most mistakes are ruled out by the first case."""

    def __init__(self, task: Task, cases: list[Case], record: Callable[[int], dict]):
        self.task, self.cases = task, cases
        self.record = functools.cache(record)
        self.numbers = functools.cache(lambda i: _numbers(task, cases[i], self.record(i)))


def diagnose(
    task: Task, got: Records, right: Records, bank: list[tuple[Mistake, Records]], first: int
) -> Diagnosis | None:
    """The mistake that explains an answer in every case, or None.

    Args:
        task: what was asked.
        got, right: what the answer and the reference do.
        bank: what every known mistake does.
        first: the case to look at first, in which the answer is known to fail.
    """
    look = _Look(task, got, right, first)
    if any(got.numbers(i) is None and not got.record(i)["error"] for i in look.order):
        return None  # an answer that gives nothing comparable in some case fits no mistake
    for mistake, records in bank:
        if look.same(records) and not look.right_like(records):
            return Diagnosis(mistake.name, mistake.sentence)
    for change in _SHAPES:
        if look.same(right, change.test):
            return Diagnosis(change.name, change.sentence)
    for change, (mistake, records) in itertools.product(_SHAPES, bank):
        if look.same(records, change.test):
            return Diagnosis(mistake.name, f"{mistake.sentence} {change.sentence}")
    if look.right_values():
        return None
    if (found := _simple(look)) is not None:
        return found
    for mistake, records in bank:
        if (factor := look.factor(records)) is not None:
            besides = "the sign is turned" if factor == -1 else f"it is {factor:.4g} times that"
            return Diagnosis(mistake.name, f"{mistake.sentence} Besides, {besides}.")
    for (one, a), (two, b) in itertools.combinations(bank, 2):
        if look.both(a, b):
            return Diagnosis(f"{one.name}+{two.name}", f"Two things at once. {one.sentence} {two.sentence}")
    return None


class _Look:
    """Comparisons of an answer with other functions, in float64 and at ten times the tolerance of the task."""

    def __init__(self, task: Task, got: Records, right: Records, first: int):
        self.task, self.got, self.right = task, got, right
        self.order = [first, *(i for i in range(len(got.cases)) if i != first)]
        self.strict = [tolerances(task, case) for case in got.cases]
        self.limits = [(10 * rtol, 10 * atol) for rtol, atol in self.strict]

    def right_like(self, records: Records) -> bool:
        """Whether these records are right in everything: a mistake that is right on these inputs explains nothing."""
        return self._alike(records, self.right, self.strict)

    def right_values(self) -> bool:
        """Whether all values are right, so that what is wrong is the kind of thing returned, or the conduct."""
        return self.fits(_equal, self.right)

    def same(self, records: Records, change=None) -> bool:
        """Whether the answer does what `records` do: equal values, or values related by `change` where they differ."""
        return self._alike(self.got, records, self.limits, change)

    def _alike(self, mine: Records, theirs: Records, limits: list, change=None) -> bool:
        changed, as_right = False, True  # as_right: the values are the right ones, so something else must be wrong
        for i in self.order:
            a, b = mine.record(i), theirs.record(i)
            if a["error"] or b["error"]:
                if not (a["error"] and b["error"]) or a["error"]["type"] != b["error"]["type"]:
                    return False
                as_right = False
                continue
            got, want, truth = mine.numbers(i), theirs.numbers(i), self.right.numbers(i) or ()
            if got is None or want is None:
                return False
            for g, w in zip(got, want, strict=True):
                if not _equal(g, w, *limits[i]):
                    if change is None or not change(g, w, *limits[i]):
                        return False
                    changed = True
            as_right = as_right and all(_equal(w, t, *limits[i]) for w, t in zip(want, truth, strict=True))
        if change is not None and not changed:
            return False
        return not as_right or self._same_conduct(mine, theirs, dtypes=change is None)

    def _same_conduct(self, mine: Records, theirs: Records, *, dtypes: bool) -> bool:
        """Whether two functions with the right values are alike in the rest: dtypes, arguments, gradients."""
        for i in self.order:
            a, b = mine.record(i), theirs.record(i)
            if a["mutated"] != b["mutated"] or (dtypes and _dtypes(a) != _dtypes(b)):
                return False
            if (a["again"] is None) != (b["again"] is None) or bool(a["grad_error"]) != bool(b["grad_error"]):
                return False
            if not mine.cases[i].grad or a["grad_error"]:
                continue
            if len(a["grads"] or []) != len(b["grads"] or []):
                return False
            for got, want in zip(a["grads"] or [], b["grads"] or [], strict=True):
                finite = want[want.isfinite()]
                scale = max(1.0, float(finite.abs().max()) if finite.numel() else 0.0)
                if not _equal(got.double(), want.double(), self.limits[i][0], self.limits[i][1] * scale):
                    return False
        return True

    def pairs(self, other: Records, turn: bool = False) -> Iterator[tuple | None]:
        """(limits, got, want) of every output in every case, or None where one side lacks it."""
        for i in self.order:
            got, want = self.got.numbers(i), other.numbers(i)
            if got is None or want is None:
                yield None
                return
            yield from ((self.limits[i], g, w) for g, w in zip(got, want[::-1] if turn else want, strict=True))

    def fits(self, relation, other: Records, turn: bool = False) -> bool:
        """Whether relation(got, want, rtol, atol) holds of every output in every case."""
        return all(pair is not None and relation(pair[1], pair[2], *pair[0]) for pair in self.pairs(other, turn))

    def factor(self, other: Records) -> float | None:
        """c if the answer is c times the other's result everywhere, c neither 0 nor 1."""
        found = None
        for pair in self.pairs(other):
            if pair is None or len(self.task.outputs) > 1 or pair[1].shape != pair[2].shape:
                return None
            limits, got, want = pair
            usable = got.isfinite() & want.isfinite() & (want.abs() > 1e-6)
            if found is None and bool(usable.any()):
                at = int(torch.where(usable, want.abs(), -torch.ones_like(want)).argmax())
                found = float(got.reshape(-1)[at] / want.reshape(-1)[at])
                found = float(round(found)) if abs(found - round(found)) < 1e-4 else found
            if found is not None and not _equal(got, found * want, *limits):
                return None
        return None if found is None or abs(found) < 1e-3 or abs(found - 1) < 1e-3 else found

    def both(self, first: Records, second: Records) -> bool:
        """Whether the answer is what two mistakes give together: in every output their effects added, or multiplied."""
        return any(all(self._joined(i, join, first, second) for i in self.order) for join in _JOINS)

    def _joined(self, i: int, join, first: Records, second: Records) -> bool:
        sides = [side.numbers(i) for side in (self.got, self.right, first, second)]
        if None in sides:
            return False
        for got, right, one, two in zip(*sides, strict=True):
            if not got.shape == right.shape == one.shape == two.shape:
                return False
            whole = join(right, one, two)
            alone = torch.where(one == right, two, one)  # where joining is undefined (inf − inf): the one that matters
            if not _equal(got, torch.where(whole.isfinite(), whole, alone), *self.limits[i]):
                return False
        return True


_JOINS = (lambda right, one, two: one + (two - right), lambda right, one, two: one * (two / right))


def _simple(look: _Look) -> Diagnosis | None:
    """A simple change of the right answer that explains every case."""
    for change in _VALUES:
        if look.fits(change.test, look.right):
            return Diagnosis(change.name, change.sentence)
    outputs = look.task.outputs
    if len(outputs) == 2 and look.fits(_equal, look.right, turn=True):
        text = f"The two results come in the wrong order: first {outputs[0]}, then {outputs[1]}."
        return Diagnosis("swapped_outputs", text)
    if (factor := look.factor(look.right)) is not None:
        text = f"Everywhere you return {factor:.6g} times the right answer: a constant factor is wrong."
        return Diagnosis("constant_factor", text)
    if len(outputs) == 1 and look.fits(lambda got, want, *_: got.shape == want.shape, look.right):
        shift = torch.cat([(got - want).reshape(-1) for _, got, want in look.pairs(look.right)])
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


def _equal(got: torch.Tensor, want: torch.Tensor, rtol, atol) -> bool:
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
