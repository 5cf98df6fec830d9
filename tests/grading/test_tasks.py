"""The tasks of every set: no right answer refused, no known mistake accepted or misnamed."""

import re
import warnings

import pytest
import torch

from course_lib.grading import TASKS
from tests.grading.answers import EXERCISES, functions, solutions, sources, verdict
from tests.grading.right import ex01, ex02, ex06

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
    "slerp": ("z0", "z1", "t"),
    "attribute_direction": ("z", "has_attribute"),
    "project_out": ("direction", "other"),
    "latent_analogy": ("z_a", "z_b", "z_c"),
    "mutual_information_gap": ("mi", "factor_entropy"),
}
RIGHT = {**ex01.RIGHT, **ex02.RIGHT, **ex06.RIGHT}
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
        wide = [arg.double() if isinstance(arg, torch.Tensor) and arg.ndim else arg for arg in args]
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


# Wrong answers that are in no bank: each breaks one word of the contract.
WRONG = {
    "a ridge of 1e-6": ("gmm_m_step", """
def gmm_m_step(x, resp):
    mass = resp.sum(0)
    means = resp.T @ x / mass[:, None]
    c = x[:, None] - means
    covs = torch.einsum("nk,nki,nkj->kij", resp, c, c) / mass[:, None, None]
    return mass / len(x), means, covs + 1e-6 * torch.eye(x.shape[1], dtype=x.dtype)"""),
    "no gradient": ("monte_carlo_kl", "def monte_carlo_kl(log_p, log_q):\n    return (log_p - log_q).mean().detach()"),
    "a float instead of a tensor": (
        "monte_carlo_kl", "def monte_carlo_kl(log_p, log_q):\n    return float((log_p - log_q).mean())"),
    "another dtype": ("class_posterior", """
def class_posterior(log_px_given_y, log_prior):
    return torch.softmax(log_px_given_y.double() + log_prior, 1)"""),
    "changes its argument": ("class_posterior", """
def class_posterior(log_px_given_y, log_prior):
    with torch.no_grad():
        log_px_given_y += log_prior
    return torch.softmax(log_px_given_y, 1)"""),
    "no axes when d = 1": ("gaussian_mle", """
def gaussian_mle(x):
    return x.mean(0), torch.cov(x.T, correction=0)"""),
    "overflow of gamma": ("log_ball_to_cube_ratio", """
def log_ball_to_cube_ratio(d):
    return math.log(math.pi ** (d / 2) / math.gamma(d / 2 + 1) / 2 ** d)"""),
    "an exponent clamped in the tails": ("kde_log_density", """
def kde_log_density(x_train, x, bandwidth):
    n, d = x_train.shape
    log_k = -0.5 * (x[:, None] - x_train).pow(2).sum(-1).clamp(max=1e6) / bandwidth**2
    return log_k.logsumexp(1) - math.log(n) - d * math.log(bandwidth * math.sqrt(2 * math.pi))"""),
    "the outlier dropped": ("leave_one_out_log_likelihood", """
def leave_one_out_log_likelihood(x_train, bandwidth):
    n, d = x_train.shape
    k = (-0.5 * (x_train[:, None] - x_train).pow(2).sum(-1) / bandwidth**2).exp() * (1 - torch.eye(n))
    log_p = (k.sum(1) / (n - 1)).log() - d * math.log(bandwidth * math.sqrt(2 * math.pi))
    return log_p[log_p.isfinite()].mean()"""),
    "weights as counts of winners": ("gmm_m_step", """
def gmm_m_step(x, resp):
    mass = resp.sum(0)
    means = resp.T @ x / mass[:, None]
    c = x[:, None] - means
    covs = torch.einsum("nk,nki,nkj->kij", resp, c, c) / mass[:, None, None]
    return torch.bincount(resp.argmax(1), minlength=resp.shape[1]).to(x) / len(x), means, covs"""),
    "a mask of numbers": ("outlier_mask", """
def outlier_mask(log_p_train, log_p, alpha):
    return (log_p < torch.quantile(log_p_train, float(alpha))).to(log_p.dtype)"""),
    "equal bins assumed": ("histogram_log_density", """
def histogram_log_density(x_train, edges, x):
    k = len(edges) - 1
    width = (edges[-1] - edges[0]) / k
    count = torch.histc(x_train, k, float(edges[0]), float(edges[-1]))
    j = ((x - edges[0]) / width).long().clamp(0, k - 1)
    inside = (x >= edges[0]) & (x <= edges[-1])
    return torch.where(inside, (count / len(x_train) / width).log()[j], -torch.inf)"""),
    "the library's own function": ("gaussian_log_prob", """
def gaussian_log_prob(x, mean, cov):
    from course_lib import gaussian
    return gaussian.log_prob(x, mean, cov)"""),
    "a line below 40 degrees": ("slerp", """
def slerp(z0, z1, t):
    cosine = z0 @ z1 / (z0.norm() * z1.norm())
    omega = cosine.clamp(-1, 1).acos()
    if cosine > 0.75:
        return (1 - t)[:, None] * z0 + t[:, None] * z1
    return (torch.sin((1 - t) * omega)[:, None] * z0 + torch.sin(t * omega)[:, None] * z1) / torch.sin(omega)"""),
    "its argument centred in place": ("attribute_direction", """
def attribute_direction(z, has_attribute):
    with torch.no_grad():
        z -= z.mean(0)
    d = z[has_attribute].mean(0) - z[~has_attribute].mean(0)
    return d / d.norm()"""),
    "a small number beside the length": ("project_out", """
def project_out(direction, other):
    rest = direction - (direction @ other) / (other @ other) * other
    return rest / (rest.norm() + 1e-4)"""),
    "a mean that is cut off": ("latent_analogy", """
def latent_analogy(z_a, z_b, z_c):
    return z_a.mean(0) - z_b.mean(0).detach() + z_c.mean(0)"""),
    "entropy as a constant": ("mutual_information_gap", """
def mutual_information_gap(mi, factor_entropy):
    best, second = mi.topk(2, dim=0).values
    return ((best - second) / factor_entropy.detach()).mean()"""),
    "the latent library": ("project_out", """
def project_out(direction, other):
    from course_lib import latent
    return latent.project_out(direction, other)"""),
}  # fmt: skip


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
