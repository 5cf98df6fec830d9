"""The tasks of every set: no right answer refused, no known mistake accepted or misnamed."""

import re
import warnings

import pytest
import torch

from course_lib.grading import TASKS
from tests.grading.answers import EXERCISES, functions, solutions, sources, verdict
from tests.grading.right import ex01, ex02, ex05, ex06
from tests.grading.wrong import WRONG

# Shapes are the answers' affair here, and enforcing them in the library triples the time.
pytestmark = pytest.mark.usefixtures("no_shape_check")

CONTRACT = {
    "histogram_log_density": ("x_train", "edges", "x"),
    "kde_log_density": ("x_train", "x", "bandwidth"),
    "leave_one_out_log_likelihood": ("x_train", "bandwidth"),
    "log_ball_to_cube_ratio": ("d",),
    "outlier_mask": ("log_p_train", "log_p", "alpha"),
    "gaussian_mle": ("x",),
    "gaussian_log_prob": ("x", "mean", "cov"),
    "gmm_e_step": ("x", "weights", "means", "covs"),
    "gmm_m_step": ("x", "resp"),
    "monte_carlo_kl": ("log_p", "log_q"),
    "class_posterior": ("log_px_given_y", "log_prior"),
    "reparameterize": ("mu", "logvar", "eps"),
    "gaussian_kl": ("mu", "logvar"),
    "bernoulli_log_likelihood": ("logits", "x"),
    "elbo": ("x", "encode", "decode", "eps", "beta"),
    "iwae_bound": ("log_w",),
    "linear_gaussian_log_marginal": ("x", "weight", "bias", "sigma"),
    "linear_gaussian_posterior": ("x", "weight", "bias", "sigma"),
    "slerp": ("z0", "z1", "t"),
    "attribute_direction": ("z", "has_attribute"),
    "project_out": ("direction", "other"),
    "latent_analogy": ("z_a", "z_b", "z_c"),
    "mutual_information_gap": ("mi", "factor_entropy"),
}
RIGHT = {**ex01.RIGHT, **ex02.RIGHT, **ex05.RIGHT, **ex06.RIGHT}
MISTAKES = [(name, mistake) for name in CONTRACT for mistake in TASKS[name].mistakes]
SOLUTIONS = solutions()


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_is_declared(name):
    """A task that was lost, renamed, or given other arguments, no points, or fewer than five known mistakes."""
    task = TASKS[name]
    assert task.signature == CONTRACT[name]
    assert task.exercise in EXERCISES and task.points > 0
    assert len(task.mistakes) >= 5
    assert len({mistake.name for mistake in task.mistakes}) == len(task.mistakes)


@pytest.mark.parametrize("name", CONTRACT)
def test_cases_repeat_from_their_seed_and_differ_between_seeds(name):
    """Inputs drawn from a global generator, or the same for everybody."""

    def flat(seed):
        cases = TASKS[name].cases(torch.Generator().manual_seed(seed))
        return [str(arg.tolist() if isinstance(arg, torch.Tensor) else arg) for case in cases for arg in case.args]

    assert flat(3) == flat(3) != flat(4)


@pytest.mark.parametrize("name", CONTRACT)
def test_cases_cover_what_answers_differ_in(name):
    """A task without its edges, without float64 or float32, or with one size of batch only."""
    cases = TASKS[name].cases(torch.Generator().manual_seed(0))
    first = [case.args[0] for case in cases]
    assert any(case.edge for case in cases)
    assert len({case.label for case in cases}) >= len(cases) - 1
    if name == "log_ball_to_cube_ratio":
        assert max(first) == 1000 and min(first) == 1
        return
    assert {x.dtype for x in first} == {torch.float32, torch.float64}
    assert len({len(x) for x in first}) >= 3
    if name not in ("histogram_log_density", "outlier_mask"):  # these two are constant almost everywhere
        assert any(case.grad for case in cases)


@pytest.mark.parametrize("name", CONTRACT)
def test_sentences_read_well(name):
    """Words run together where a string was wrapped, and sentences without an end."""
    task = TASKS[name]
    for text in [mistake.sentence for mistake in task.mistakes] + [task.next_step]:
        assert text[-1] in ".?"
        assert text[0].isupper() or text.startswith(("alpha", "exp(", "d // 2", "n is", "p and q"))
        assert "  " not in text
        words = text.replace("torch.", "").replace("math.", "").replace("...", "").replace("NaN", "nan")
        assert not re.search(r"[a-z)]\.[A-Z]|[a-z][A-Z]", words), text


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTRACT)
def test_the_solution_passes_200_seeds(name):
    """Tolerances too tight, an ill-conditioned draw, or a solution that is right for some inputs only."""
    failed = [(seed, result) for seed in range(200) if not (result := verdict(name, SOLUTIONS[name], seed)).passed]
    assert not failed, failed[0]


@pytest.mark.parametrize("name, answer", [(name, answer) for name in RIGHT for answer in RIGHT[name]],
                         ids=lambda value: getattr(value, "__name__", None))  # fmt: skip
def test_independent_right_answers_pass(name, answer):
    """A right answer refused: another algorithm, float64 inside, loops, torch.distributions, prints and warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed = [(seed, result) for seed in range(5) if not (result := verdict(name, answer, seed)).passed]
    assert not failed, failed[0]


def test_every_task_has_three_independent_right_answers():
    """A task added without its bank of right answers."""
    assert {name: len(RIGHT.get(name, ())) >= 3 for name in CONTRACT} == dict.fromkeys(CONTRACT, True)


@pytest.mark.parametrize("name, mistake", MISTAKES, ids=lambda value: getattr(value, "name", None))
def test_known_mistakes_are_refused_by_name(name, mistake):
    """A known mistake accepted, or named as another one."""
    for seed in range(2):
        result = verdict(name, mistake.answer, seed, guard=False)
        assert (result.passed, result.diagnosis) == (False, mistake.name), (seed, result)


def _aloud(answer):
    def changed(*args):
        print("here", args)
        warnings.warn("look", stacklevel=1)
        return answer(*args)

    return changed


def _in_float64(answer):
    def changed(*args):
        dtype = next((arg.dtype for arg in args if isinstance(arg, torch.Tensor)), None)
        floats = [isinstance(arg, torch.Tensor) and arg.ndim and arg.is_floating_point() for arg in args]
        wide = [arg.double() if float_ else arg for arg, float_ in zip(args, floats, strict=True)]
        result = answer(*wide)
        return _each(result, lambda v: v.to(dtype) if v.is_floating_point() and dtype else v)

    return changed


def _kept_axis(answer):
    return lambda *args: _each(answer(*args), lambda v: v.unsqueeze(-1) if v.ndim else v)


def _each(result, change):
    if isinstance(result, tuple):
        return tuple(_each(value, change) for value in result)
    return change(result) if isinstance(result, torch.Tensor) else result


@pytest.mark.slow
def test_nine_in_ten_mistakes_are_named_when_combined_with_a_harmless_change(capsys):
    """A diagnosis that holds only for the very code in the bank."""
    named, lost = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for change in (_aloud, _in_float64, _kept_axis):
            for name, mistake in MISTAKES:
                result = verdict(name, change(mistake.answer), 1, guard=False)
                assert not result.passed, (name, mistake.name, change.__name__)
                if result.diagnosis == mistake.name:
                    named += 1
                else:
                    lost.append(f"{name}.{mistake.name}{change.__name__} → {result.diagnosis}")
    with capsys.disabled():
        print(f"\nnamed {named} of {named + len(lost)}; not named: {', '.join(lost) or 'none'}")
    assert named >= 0.9 * (named + len(lost))


@pytest.mark.parametrize("case", WRONG)
def test_other_wrong_answers_are_refused(case):
    """A word of the contract that no case tests."""
    name, source = WRONG[case]
    for seed in range(2):
        result = verdict(name, functions({name: source})[name], seed)
        assert not result.passed, (seed, result)
        assert result.message


@pytest.mark.parametrize("name", CONTRACT)
def test_the_engine_agrees(name):
    """A difference between the judge alone and the road that students' answers take."""
    from course_lib.grading import grade

    stub = functions(sources("exercises"))[name]
    mistake = TASKS[name].mistakes[0]
    assert grade(name, SOLUTIONS[name], seed=5).passed
    assert grade(name, RIGHT[name][0], seed=5).passed
    assert grade(name, mistake.answer, seed=5).score == 0.0
    assert grade(name, stub, seed=5).status == "missing"
