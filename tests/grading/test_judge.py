"""The judge refuses what is wrong, accepts what is right, and names the mistake."""

import collections
import math
from dataclasses import replace

import pytest
import torch

from course_lib.grading import Case, codec, judge, probe
from tests.grading.toy import NUMBER, PAIR, TASK, centre, log_mean_exp, number_of_pairs

Pair = collections.namedtuple("Pair", "first second")


def verdict(answer, task=TASK, seed=0):
    cases, request = judge.request(task, seed)
    return judge.judge(task, cases, probe.observe(answer, request, guard=False))


def _loop(x, scale):
    terms = [[float(scale) * float(v) for v in column] for column in x.T]
    tops = [max(column) for column in terms]
    rows = [top + math.log(sum(math.exp(v - top) for v in c) / len(c)) for c, top in zip(terms, tops, strict=True)]
    return torch.stack([log_mean_exp(x, scale)[i] * 0 + row for i, row in enumerate(rows)])


RIGHT = {
    "the reference": (TASK, log_mean_exp),
    "float64 inside": (TASK, lambda x, s: log_mean_exp(x.double(), s).to(x.dtype)),
    "shifted by hand": (TASK, lambda x, s: (s * x - (s * x).amax(0)).exp().mean(0).log() + (s * x).amax(0)),
    "a non-contiguous result": (TASK, lambda x, s: torch.stack([log_mean_exp(x, s)] * 2, 1)[:, 0]),
    "in place on a clone": (TASK, lambda x, s: log_mean_exp(x.clone().mul_(s), 1.0)),
    "vmap": (TASK, lambda x, s: torch.vmap(lambda c: log_mean_exp(c[:, None], s)[0])(x.T)),
    "a parameter as result, differentiable": (
        TASK,
        lambda x, s: log_mean_exp(x + torch.nn.Parameter(torch.zeros(())), s),
    ),
    "a list for a tuple": (PAIR, lambda x: list(centre(x))),
    "a named tuple": (PAIR, lambda x: Pair(*centre(x))),
    "an expanded mean": (PAIR, lambda x: (x - x.mean(0, keepdim=True), x.mean(0))),
    "a 0-dim tensor for an int": (NUMBER, lambda n: torch.tensor(number_of_pairs(n))),
    "a float for an int": (NUMBER, lambda n: n * (n - 1) / 2),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name):
    """Catches tolerances that are too tight and stages that insist on one way of writing it."""
    task, answer = RIGHT[name]
    for seed in range(5):
        result = verdict(answer, task, seed)
        assert result.passed and result.score == 1.0, result.message + result.example


WRONG = {
    "one argument": (TASK, lambda x: x, "signature"),
    "nothing": (TASK, lambda x, s: None, "shape"),
    "a number": (TASK, lambda x, s: 1.0, "shape"),
    "a string": (TASK, lambda x, s: "right", "shape"),
    "a tuple": (TASK, lambda x, s: (log_mean_exp(x, s), 1), "shape"),
    "three values": (PAIR, lambda x: (*centre(x), 0), "shape"),
    "an array": (TASK, lambda x, s: log_mean_exp(x, s).detach().numpy(), "shape"),
    "item": (TASK, lambda x, s: log_mean_exp(x, s)[0].item(), "shape"),
    "kept axis": (TASK, lambda x, s: log_mean_exp(x, s)[None], "shape"),
    "float64 always": (TASK, lambda x, s: log_mean_exp(x, s).double(), "dtype"),
    "meta device": (TASK, lambda x, s: log_mean_exp(x, s).to("meta"), "device"),
    "all NaN": (TASK, lambda x, s: log_mean_exp(x, s) * math.nan, "finite"),
    "one entry off": (TASK, lambda x, s: log_mean_exp(x, s) + 1e-2 * torch.eye(x.shape[1], dtype=x.dtype)[0], "value"),
    "wrong in float64": (TASK, lambda x, s: log_mean_exp(x, s) * (1 + 1e-4 * (x.dtype == torch.float64)), "value"),
    "changes x": (TASK, lambda x, s: log_mean_exp(x, s) + 0 * x.mul_(1.5).sum().nan_to_num(0, 0, 0), "mutated"),
    "random": (TASK, lambda x, s: log_mean_exp(x, s) + 1e-2 * torch.rand(()), "value"),
    "numpy on the way": (TASK, lambda x, s: log_mean_exp(torch.from_numpy(x.numpy()), s), "gradient"),
    "wrong gradient": (TASK, lambda x, s: log_mean_exp(x, s) + x.sum() - x.sum().detach(), "gradient"),
    "not written": (TASK, lambda x, s: (_ for _ in ()).throw(NotImplementedError), "missing"),
    "an int for a bool": (replace(NUMBER, reference=lambda n: n > 3), lambda n: int(n > 3), "shape"),
    "off by one": (NUMBER, lambda n: n * (n - 1) // 2 + (n == 10), "value"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_refused_at_their_stage(name):
    """Catches a stage that does nothing: each of these answers is right in all but one respect."""
    task, answer, stage = WRONG[name]
    result = verdict(answer, task)
    assert not result.passed and result.score == 0.0 and result.stage == stage, result
    assert result.status == ("missing" if stage == "missing" else "wrong") and result.message


def test_every_known_mistake_is_named():
    """Catches a mistake that is diagnosed as another one, or only in some draws."""
    for task in (TASK, PAIR, NUMBER):
        for mistake in task.mistakes:
            for seed in range(5):
                result = verdict(mistake.answer, task, seed)
                assert result.diagnosis == mistake.name and mistake.sentence in result.message, (mistake.name, result)


HARMLESS = {
    "kept axis": lambda f: lambda *a: f(*a)[None],
    "float64 result": lambda f: lambda *a: f(*a).double(),
    "float64 inside": lambda f: lambda x, s: f(x.double(), s).to(x.dtype),
    "sign": lambda f: lambda *a: -f(*a),
    "twice": lambda f: lambda *a: 2 * f(*a),
    "printing": lambda f: lambda *a: (print("hello"), f(*a))[1],
    "no gradient": lambda f: lambda *a: f(*a).detach(),
}


def test_mistakes_are_named_through_a_harmless_change(capsys):
    """Catches a diagnosis that needs the student's code to be the bank's: ≥ 90 % of mistakes × changes are named."""
    named, total = 0, 0
    for mistake in TASK.mistakes:
        for name, change in HARMLESS.items():
            if mistake.name in ("detached", "in_place") and name in ("sign", "twice", "no gradient", "float64 inside"):
                continue  # with right values but another sign the simpler diagnosis is the sign
            total += 1
            named += verdict(change(mistake.answer)).diagnosis == mistake.name
    assert named >= 0.9 * total, f"{named} of {total}"


SIMPLE = {
    "wrong_sign": lambda x, s: -log_mean_exp(x, s),
    "base_two": lambda x, s: log_mean_exp(x, s) / math.log(2),
    "constant_factor": lambda x, s: 3 * log_mean_exp(x, s),
    "constant_offset": lambda x, s: log_mean_exp(x, s) + 0.5,
    "kept_axis": lambda x, s: log_mean_exp(x, s)[None],
    "summed": lambda x, s: log_mean_exp(x, s).sum(),
    "sum_for_mean+no_scale": lambda x, s: torch.logsumexp(x, 0),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_simple_changes_and_pairs_are_named(name):
    """Catches a relation tested the wrong way round, and pairs of mistakes that are not joined."""
    assert verdict(SIMPLE[name]).diagnosis == name


def test_pairs_of_results():
    """Catches outputs compared in the wrong order, and a transposition seen only in the square case."""
    assert verdict(lambda x: centre(x)[::-1], PAIR).diagnosis == "swapped_outputs"
    assert verdict(lambda x: (centre(x)[0].T, centre(x)[1]), PAIR).diagnosis == "transposed"


def test_unknown_mistake_shows_the_smallest_case():
    """Catches a counter-example that is large or is not one."""
    result = verdict(lambda x, s: log_mean_exp(x, s) + (x.shape[1] > 1) * x[0] ** 2)
    assert result.diagnosis is None and "five points" in result.example
    assert "expected" in result.example and "got" in result.example and "It is right in 1 of 4 checks" in result.message
    assert len(result.example) < 400


def test_rounding_in_an_ill_conditioned_case_is_forgiven_but_not_more():
    """Catches a right computation refused because the reference itself rounds, and slack without limit."""
    x = torch.tensor([1e4, 1e4 + 1.0, 1e4 + 2.5])
    case = Case("far from zero", (x,))

    def naive(x):
        return (x * x).mean() - x.mean() ** 2

    task = replace(TASK, reference=naive, signature=("x",), cases=lambda g: [case], mistakes=())
    assert verdict(lambda x: naive(x.double()).float(), task).passed
    assert not verdict(lambda x: naive(x.double()).float() + 8.0, task).passed


def test_gradients_of_symmetric_arguments_are_symmetrised():
    """Catches a refusal of a gradient that differs only in its antisymmetric part, and acceptance of any gradient."""
    a = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    task = replace(TASK, reference=lambda a: a[0, 1] * 2, signature=("a",), mistakes=())
    task = replace(task, cases=lambda g: [Case("a matrix", (a,), grad=(0,), symmetric=(0,))])
    assert verdict(lambda a: a[0, 1] + a[1, 0], task).passed
    assert not verdict(lambda a: (a[0, 1] + a[0, 0] - a[0, 0].detach()) * 2, task).passed


def test_free_signs_and_own_comparisons():
    """Catches a canonical form or a comparison that is applied to one side only."""
    task = replace(PAIR, canonical=lambda case, out: tuple(o * torch.sign(o.reshape(-1)[0]) for o in out), mistakes=())
    assert verdict(lambda x: (-centre(x)[0], centre(x)[1]), task).passed
    assert not verdict(lambda x: (2 * centre(x)[0], centre(x)[1]), task).passed
    near = replace(PAIR, compare=lambda case, want, got: bool((want[1] - got[1]).abs().max() < 1), mistakes=())
    assert verdict(lambda x: (x, centre(x)[1] + 0.5), near).passed
    assert not verdict(lambda x: (x, centre(x)[1] + 1.5), near).passed


def test_masks_made_from_numbers_may_have_any_dtype():
    """Catches a dtype check where the contract has none, and one that is missing where there is a float input."""
    ones = replace(NUMBER, reference=lambda n: torch.ones(n, n).tril(), mistakes=())
    assert verdict(lambda n: torch.ones(n, n, dtype=torch.float64).tril(), ones).passed
    assert verdict(lambda n: torch.ones(n, n, dtype=torch.int64).tril(), ones).passed


@pytest.mark.parametrize("data", [b"", b"junk", codec.encode(None), codec.encode({"signature": None}),
    codec.encode({"signature": None, "forbidden": [], "records": []}),
    codec.encode({"signature": None, "forbidden": [], "records": [1, 2, 3, 4]}),
    codec.encode({"signature": 3, "forbidden": [], "records": [{}] * 4})])  # fmt: skip
def test_forged_observations_are_crashes(data):
    """Catches a judge that raises, or passes, on an observation that the probe did not write."""
    cases, _ = judge.request(TASK, 0)
    assert judge.judge(TASK, cases, data).status == "crashed"


def test_records_of_other_inputs_do_not_pass():
    """Catches inputs that do not depend on the seed: a recorded right observation must be useless the next time."""
    _, old = judge.request(TASK, 1)
    cases, _ = judge.request(TASK, 2)
    assert not judge.judge(TASK, cases, probe.observe(log_mean_exp, old)).passed
