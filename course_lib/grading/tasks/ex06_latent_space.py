"""Tasks of ex06: walking between codes, directions of attributes, arithmetic, and how well latents know factors."""

from __future__ import annotations

import torch

from course_lib.grading.task import ANSWERS, Case, Mistake, Task
from course_lib.grading.tasks import _draw as draw
from course_lib.grading.tasks._draw import F32, F64

EXERCISE = "ex06_latent_space"
FORBIDDEN = (*ANSWERS, "course_lib.latent", "course_lib.disentanglement")


def _unit(v):
    return v / torch.linalg.vector_norm(v)


# --- slerp ----------------------------------------------------------------------------------------------------------


def _lerp(z0, z1, t):
    return (1 - t)[:, None] * z0 + t[:, None] * z1


def _angle(z0, z1):
    u, v = _unit(z0), _unit(z1)
    return 2 * torch.atan2(torch.linalg.vector_norm(u - v), torch.linalg.vector_norm(u + v))


def _cosine(z0, z1):
    return z0 @ z1 / (z0.norm() * z1.norm())


def _acos(z0, z1):
    return torch.acos(_cosine(z0, z1).clamp(-1, 1))


def _arc(z0, z1, t, angle, over=torch.sin):
    return (((1 - t) * angle).sin()[:, None] * z0 + (t * angle).sin()[:, None] * z1) / over(angle)


def _slerp_reference(z0, z1, t):
    angle = _angle(z0, z1)
    return _lerp(z0, z1, t) if angle < 1e-6 else _arc(z0, z1, t, angle)


def _slerp_wrong(angle=_angle, over=torch.sin, ends=lambda z0, z1: (z0, z1), end=lambda path, z0, z1, t: path):
    """The path with one thing changed: how the angle is made, what the sines are divided by, what is mixed."""

    def answer(z0, z1, t):
        omega = angle(z0, z1)
        path = _lerp(*ends(z0, z1), t) if omega.abs() < 1e-6 else _arc(*ends(z0, z1), t, omega, over)
        return end(path, z0, z1, t)

    return answer


def _lengths(path, z0, z1, t):
    return path * ((1 - t) * z0.norm() + t * z1.norm())[:, None]


def _raw_angle(z0, z1):
    return torch.acos((z0 @ z1).clamp(-1, 1))


def _slerp_cases(g):
    def turned(d, angle, length0, length1):
        u = _unit(draw.normal(g, d, dtype=F64))
        v = draw.normal(g, d, dtype=F64)
        v = _unit(v - (v @ u) * u)
        return length0 * u, length1 * (torch.cos(angle) * u + torch.sin(angle) * v)

    def one(d, s, dtype, label, low=0.0, high=1.0, angle=None, grad=(0, 1, 2), edge=False):
        omega = draw.uniform(g, 0.5, 2.5, dtype=F64) if angle is None else torch.tensor(angle, dtype=F64)
        z0, z1 = turned(d, omega, draw.number(g, 0.6, 1.2), draw.number(g, 1.5, 3.0))
        t = draw.uniform(g, low, high, s, dtype=dtype)
        return Case(label, (z0.to(dtype), z1.to(dtype), t), grad=grad, edge=edge)

    def parallel(d, dtype):
        # Rounding takes the cosine of some parallel vectors above 1, where acos is NaN: look for such a pair.
        for _ in range(1000):
            z0 = draw.normal(g, d, dtype=dtype)
            z1 = draw.number(g, 1.5, 3.0) * z0
            if min(_cosine(z0, z1), _unit(z0) @ _unit(z1)) > 1:
                break
        t = draw.uniform(g, 0.1, 0.9, 3, dtype=dtype)
        return Case("parallel vectors whose cosine is rounded to more than 1", (z0, z1, t), edge=True)

    t = draw.uniform(g, 0.1, 0.9, 3, dtype=F64)
    # Along an axis, where no way to compute the angle rounds it away from 0.
    along, same = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 2.5, 0.0, 0.0], dtype=F64)
    return [
        one(2, 2, F64, "2 steps in the plane"),
        one(3, 4, F32, "4 steps in 3 dimensions"),
        one(16, 7, F64, "7 steps in 16 dimensions"),
        one(64, 5, F32, "5 steps in 64 dimensions"),
        one(4, 1, F64, "a single step"),
        one(3, 3, F64, "as many steps as dimensions"),
        one(5, 4, F64, "a narrow angle", angle=0.6),
        one(5, 4, F64, "a wide angle", angle=2.8),
        one(5, 3, F64, "steps beyond the ends", low=1.2, high=1.6),
        one(6, 3, F32, "ends 0.001 apart in angle", angle=1e-3, grad=(), edge=True),
        one(6, 3, F64, "ends 1e-5 apart in angle", angle=1e-5, grad=(), edge=True),
        Case("one direction, two lengths", (along, 2 * along, t.to(F32)), edge=True),
        parallel(5, F32),
        parallel(8, F64),
        Case("the same vector twice", (same, same.clone(), t), edge=True),
        Case("codes of one dimension", (torch.tensor([0.5]), torch.tensor([2.0]), t.to(F32)), edge=True),
    ]


SLERP = Task(
    name="slerp",
    exercise=EXERCISE,
    points=2.0,
    signature=("z0", "z1", "t"),
    reference=_slerp_reference,
    cases=_slerp_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("straight_line",
            "This is the straight line (1 - t)·z0 + t·z1 for every angle. It is right only when the angle goes to 0.",
            _lerp),
        Mistake("no_limit",
            "When both vectors point the same way sin(angle) is 0, and 0/0 is NaN. Return (1 - t)·z0 + t·z1 there.",
            lambda z0, z1, t: _arc(z0, z1, t, _acos(z0, z1))),
        Mistake("no_clamp",
            "Rounding can take the cosine of parallel vectors above 1, where acos is NaN. Clamp it to [-1, 1] first.",
            _slerp_wrong(angle=lambda z0, z1: torch.acos(_cosine(z0, z1)))),
        Mistake("small_number_in_the_denominator",
            "A small number is added to sin(angle), which avoids NaN but gives 0 when both vectors point the same way. "
            "Return (1 - t)·z0 + t·z1 there.",
            lambda z0, z1, t: _arc(z0, z1, t, _acos(z0, z1), lambda a: a.sin() + 1e-8)),
        Mistake("unit_vectors_mixed",
            "The path runs between the unit vectors. Only the angle is taken from the directions: the sines weigh the "
            "raw vectors.",
            _slerp_wrong(ends=lambda z0, z1: (_unit(z0), _unit(z1)))),
        Mistake("lengths_apart",
            "Directions and lengths are interpolated separately. Here the sines weigh the raw vectors.",
            _slerp_wrong(ends=lambda z0, z1: (_unit(z0), _unit(z1)), end=_lengths)),
        Mistake("result_normalised",
            "The points of the path are scaled to length 1. Leave them as the formula gives them.",
            _slerp_wrong(end=lambda path, z0, z1, t: path / path.norm(dim=1, keepdim=True))),
        Mistake("angle_of_raw_vectors",
            "The angle is the acos of z0·z1. Divide that product by both lengths first.",
            _slerp_wrong(angle=_raw_angle)),
        Mistake("cosine_for_angle",
            "The cosine of the angle is used as the angle. Take its acos.",
            _slerp_wrong(angle=lambda z0, z1: _unit(z0) @ _unit(z1))),
        Mistake("half_angle",
            "The angle is half of the right one.",
            _slerp_wrong(angle=lambda z0, z1: 0.5 * _angle(z0, z1))),
        Mistake("ends_swapped",
            "The path starts at z1. At t = 0 it must be z0.",
            lambda z0, z1, t: _slerp_reference(z1, z0, t)),
        Mistake("not_divided",
            "The two sines are not divided by sin(angle), so the path misses both ends.",
            _slerp_wrong(over=torch.ones_like)),
        Mistake("divided_by_angle",
            "The two sines are divided by the angle. Divide by its sine.",
            _slerp_wrong(over=lambda a: a)),
        Mistake("t_clamped",
            "The steps t are clamped to [0, 1]. The formula also goes on beyond the ends.",
            lambda z0, z1, t: _slerp_reference(z0, z1, t.clamp(0, 1))),
        Mistake("gradient_stopped",
            "The values are right, but the result is detached: no gradient reaches the vectors.",
            lambda *a: _slerp_reference(*a).detach()),
    ),
    next_step="Halfway between two draws of N(0, I) in 64 dimensions, compare the length of your path with the line's.",
)  # fmt: skip

# --- attribute_direction --------------------------------------------------------------------------------------------


def _with_without(z, has):
    return z[has], z[~has]


def _groups(combine):
    """A direction made from the codes with and without the attribute."""
    return lambda z, has: combine(*_with_without(z, has))


_direction_reference = _groups(lambda a, b: _unit(a.mean(0) - b.mean(0)))


def _pooled(a, b):
    spread = torch.cat([a - a.mean(0), b - b.mean(0)]).square().mean(0)
    return _unit((a.mean(0) - b.mean(0)) / spread)


def _direction_cases(g):
    def one(n, d, dtype, label, with_it=None, offset=0.0, grad=(0,), edge=False):
        with_it = draw.integer(g, 1, max(1, (n - 1) // 2)) if with_it is None else with_it
        has = torch.randperm(n, generator=g) < with_it
        towards = 2.5 * _unit(draw.normal(g, d, dtype=F64))
        z = draw.normal(g, n, d, dtype=F64) * draw.uniform(g, 0.5, 1.0, d, dtype=F64)
        shift = draw.normal(g, d, dtype=F64) + offset
        return Case(label, ((z + shift + has[:, None] * towards).to(dtype), has), grad=grad, edge=edge)

    return [
        one(5, 2, F64, "5 codes in the plane", with_it=2),
        one(9, 3, F32, "9 codes in 3 dimensions", with_it=3),
        one(40, 8, F64, "40 codes in 8 dimensions"),
        one(100, 16, F32, "100 codes in 16 dimensions"),
        one(4, 4, F64, "as many codes as dimensions"),
        one(6, 1, F32, "codes of one dimension", with_it=4),
        one(7, 3, F64, "codes far from the origin", offset=30.0),
        one(8, 3, F64, "one code with the attribute", with_it=1, edge=True),
        one(8, 3, F32, "one code without it", with_it=7, edge=True),
        one(2, 5, F64, "two codes", with_it=1, edge=True),
    ]


ATTRIBUTE_DIRECTION = Task(
    name="attribute_direction",
    exercise=EXERCISE,
    points=1.0,
    signature=("z", "has_attribute"),
    outputs=("direction",),
    reference=_direction_reference,
    cases=_direction_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("not_normalised",
            "The direction has the length of the difference of the means. Divide it by that length.",
            _groups(lambda a, b: a.mean(0) - b.mean(0))),
        Mistake("reversed",
            "The direction points from those with the attribute to those without. Subtract the mean without from the "
            "mean with.",
            _groups(lambda a, b: _unit(b.mean(0) - a.mean(0)))),
        Mistake("mean_of_those_with_it",
            "This is the mean of the codes with the attribute. Subtract the mean of those without.",
            _groups(lambda a, b: _unit(a.mean(0)))),
        Mistake("means_added",
            "The two means are added. Subtract them.",
            _groups(lambda a, b: _unit(a.mean(0) + b.mean(0)))),
        Mistake("sums_not_means",
            "The groups are summed, so the larger one decides. Take the mean of each group.",
            _groups(lambda a, b: _unit(a.sum(0) - b.sum(0)))),
        Mistake("divided_by_square",
            "The difference is divided by its squared length. Take the root.",
            _groups(lambda a, b: (a.mean(0) - b.mean(0)) / (a.mean(0) - b.mean(0)).square().sum())),
        Mistake("absolute_values_sum_to_one",
            "The absolute values sum to one. The Euclidean length must be one.",
            _groups(lambda a, b: torch.nn.functional.normalize(a.mean(0) - b.mean(0), p=1, dim=0))),
        Mistake("means_normalised_first",
            "Each mean is scaled to length 1 before they are subtracted. Scale only the difference.",
            _groups(lambda a, b: _unit(_unit(a.mean(0)) - _unit(b.mean(0))))),
        Mistake("unit_means_subtracted",
            "Each mean is scaled to length 1 and their difference is not. Scale only the difference.",
            _groups(lambda a, b: _unit(a.mean(0)) - _unit(b.mean(0)))),
        Mistake("codes_normalised_first",
            "Each code is scaled to length 1 before the means are taken. Use the codes as they are.",
            _groups(lambda a, b: _unit((a / a.norm(dim=1, keepdim=True)).mean(0)
                                       - (b / b.norm(dim=1, keepdim=True)).mean(0)))),
        Mistake("medians",
            "These are medians. The task asks for means.",
            _groups(lambda a, b: _unit(a.median(0).values - b.median(0).values))),
        Mistake("divided_by_variance",
            "The difference is divided by the variance of each dimension, as a linear classifier would. Here it is the "
            "plain difference of the means.",
            _groups(_pooled)),
    ),
    next_step="Add it to codes without the attribute, in small steps, and decode each step.",
)  # fmt: skip

# --- project_out ----------------------------------------------------------------------------------------------------


def _project_reference(direction, other):
    return _unit(direction - (direction @ other) / (other @ other) * other)


def _project_cases(g):
    def one(d, dtype, label, cosine=None, lengths=(None, None), edge=False):
        a, b = (draw.number(g, 0.4, 0.8) if length is None else length for length in lengths)
        other = _unit(draw.normal(g, d, dtype=F64))
        across = draw.normal(g, d, dtype=F64)
        across = _unit(across - (across @ other) * other)
        share = draw.number(g, 0.3, 0.8) if cosine is None else cosine
        direction = share * other + (1 - share**2) ** 0.5 * across
        return Case(label, ((a * direction).to(dtype), (b * other).to(dtype)), grad=(0, 1), edge=edge)

    return [
        one(2, F64, "two directions in the plane"),
        one(3, F32, "3 dimensions"),
        one(3, F64, "a direction that points away from the other", cosine=-0.6),
        one(10, F64, "10 dimensions", lengths=(2.0, 3.0)),
        one(64, F32, "64 dimensions", lengths=(1.0, 1.7)),
        one(5, F64, "unit vectors", lengths=(1.0, 1.0)),
        one(4, F64, "nothing to remove", cosine=0.0, edge=True),
        one(6, F64, "an other of length 0.001", lengths=(1.0, 1e-3), edge=True),
        one(6, F32, "an other of length 1000", lengths=(0.5, 1e3), edge=True),
        one(7, F64, "two directions 0.05 apart in angle", cosine=0.99875, edge=True),
    ]


PROJECT_OUT = Task(
    name="project_out",
    exercise=EXERCISE,
    points=2.0,
    signature=("direction", "other"),
    outputs=("direction",),
    reference=_project_reference,
    cases=_project_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("other_taken_as_unit",
            "The vector (direction·other)·other is other's part only if other has length 1. Divide by other·other.",
            lambda a, b: _unit(a - (a @ b) * b)),
        Mistake("divided_by_length",
            "The product direction·other is divided by other's length once. Divide by other·other, the squared length.",
            lambda a, b: _unit(a - (a @ b) / b.norm() * b)),
        Mistake("divided_by_the_wrong_vector",
            "The product is divided by direction·direction. Divide by other·other.",
            lambda a, b: _unit(a - (a @ b) / (a @ a) * b)),
        Mistake("cosine_times_other",
            "The cosine of the angle is not the length of other's part unless both vectors have length 1.",
            lambda a, b: _unit(a - (a @ b) / (a.norm() * b.norm()) * b)),
        Mistake("not_normalised",
            "The other's part is removed, but the rest is shorter than 1. Divide it by its length.",
            lambda a, b: a - (a @ b) / (b @ b) * b),
        Mistake("normalised_before",
            "The direction is scaled to length 1 before the part is removed, and is shorter afterwards. Scale it last.",
            lambda a, b: _unit(a) - (_unit(a) @ b) / (b @ b) * b),
        Mistake("nothing_removed",
            "This is the direction at length 1, with other's part still in it.",
            lambda a, b: _unit(a)),
        Mistake("part_added",
            "Other's part is added. Subtract it.",
            lambda a, b: _unit(a + (a @ b) / (b @ b) * b)),
        Mistake("removed_twice",
            "Other's part is removed twice, which mirrors the direction. Once is enough.",
            lambda a, b: _unit(a - 2 * (a @ b) / (b @ b) * b)),
        Mistake("the_part_itself",
            "This is other's part of the direction. Return what is left without it.",
            lambda a, b: _unit((a @ b) / (b @ b) * b)),
        Mistake("arguments_swapped",
            "The direction's part is removed from other. It is the other way round.",
            lambda a, b: _project_reference(b, a)),
        Mistake("other_subtracted_whole",
            "The whole of other is subtracted. Subtract only the multiple of it that direction contains.",
            lambda a, b: _unit(a - b)),
        Mistake("unit_vectors_subtracted",
            "The two unit vectors are subtracted. Subtract only the multiple of other that direction contains.",
            lambda a, b: _unit(_unit(a) - _unit(b))),
    ),
    next_step="Edit with it, and measure how much the other attribute still moves.",
)  # fmt: skip

# --- latent_analogy -------------------------------------------------------------------------------------------------


def _analogy(mean=lambda z: z.mean(0), signs=(1, -1, 1), end=lambda v: v):
    """An analogy with one thing changed: the mean of a group, the three signs, what is done at the end."""
    return lambda *groups: end(sum(s * mean(z) for s, z in zip(signs, groups, strict=True)))


def _analogy_cases(g):
    def one(sizes, d, dtype, label, grad=(0, 1, 2), edge=False):
        groups = [draw.normal(g, n, d, dtype=dtype) + draw.uniform(g, -2, 2, d, dtype=dtype) for n in sizes]
        return Case(label, tuple(groups), grad=grad, edge=edge)

    return [
        one((2, 3, 4), 2, F64, "groups of 2, 3 and 4 codes"),
        one((5, 2, 3), 4, F32, "groups of 5, 2 and 3 codes"),
        one((20, 30, 25), 8, F64, "groups of 20 to 30 codes"),
        one((4, 4, 4), 4, F64, "three groups of 4 codes in 4 dimensions"),
        one((12, 7, 9), 64, F32, "64 dimensions"),
        one((3, 5, 2), 1, F64, "codes of one dimension"),
        one((1, 1, 1), 3, F32, "one code in each group", edge=True),
        one((6, 1, 3), 3, F64, "one code in one group", edge=True),
    ]


LATENT_ANALOGY = Task(
    name="latent_analogy",
    exercise=EXERCISE,
    points=1.0,
    signature=("z_a", "z_b", "z_c"),
    outputs=("code",),
    reference=_analogy(),
    cases=_analogy_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("b_and_c_swapped",
            "The signs of b and c are swapped. It is a - b + c.",
            _analogy(signs=(1, 1, -1))),
        Mistake("a_and_b_swapped",
            "The signs of a and b are swapped. It is a - b + c.",
            _analogy(signs=(-1, 1, 1))),
        Mistake("all_added",
            "All three means are added. Subtract that of b.",
            _analogy(signs=(1, 1, 1))),
        Mistake("c_subtracted",
            "The mean of c is subtracted as well. It is a - b + c.",
            _analogy(signs=(1, -1, -1))),
        Mistake("c_left_out",
            "This is a - b, the change alone. Add it to c.",
            _analogy(signs=(1, -1, 0))),
        Mistake("sums_not_means",
            "The groups are summed. Take the mean of each.",
            _analogy(mean=lambda z: z.sum(0))),
        Mistake("mean_of_a_group_over_dimensions",
            "The mean runs over everything in a group. It runs over its codes and leaves one value for each dimension.",
            _analogy(mean=lambda z: z.mean().expand(z.shape[1]))),
        Mistake("first_code_of_each",
            "Only the first code of each group is used. Use the mean of the group.",
            _analogy(mean=lambda z: z[0])),
        Mistake("codes_paired",
            "The codes of the three groups are combined one by one. The groups may differ in size: take their means "
            "first.",
            lambda a, b, c: (a - b + c).mean(0)),
        Mistake("shortest_group",
            "All groups are cut to the size of the smallest. Use every code.",
            lambda a, b, c: _analogy(mean=lambda z: z[: min(len(a), len(b), len(c))].mean(0))(a, b, c)),
        Mistake("medians",
            "These are medians. The task asks for means.",
            _analogy(mean=lambda z: z.median(0).values)),
        Mistake("normalised",
            "The result is scaled to length 1. It is a code, not a direction: leave it as it is.",
            _analogy(end=_unit)),
        Mistake("averaged_over_three",
            "The result is divided by 3. The three means are added and subtracted, not averaged.",
            _analogy(end=lambda v: v / 3)),
    ),
    next_step="Decode it, and ask somebody which face they would have expected.",
)  # fmt: skip

# --- mutual_information_gap -----------------------------------------------------------------------------------------


def _gap(mi, rest=lambda top: top[1]):
    top = mi.sort(0, descending=True).values
    return top[0] - rest(top)


def _gap_of_latents(mi, factor_entropy):
    best, second = mi.topk(2, dim=1).values.T
    return ((best - second) / factor_entropy).mean()


def _gap_reference(mi, factor_entropy):
    return (_gap(mi) / factor_entropy).mean()


def _gap_cases(g):
    def one(latents, factors, dtype, label, edge=False, grad=(0, 1)):
        entropy = draw.uniform(g, 0.7, 2.5, factors, dtype=F64)
        mi = entropy * draw.uniform(g, 0.05, 0.3, latents, factors, dtype=F64)
        winner = torch.randint(latents, (factors,), generator=g)
        mi[winner, torch.arange(factors)] += 0.5 * entropy * draw.uniform(g, 0.2, 1.0, factors, dtype=F64)
        return Case(label, (mi.to(dtype), entropy.to(dtype)), grad=grad, edge=edge)

    entropy = draw.uniform(g, 0.5, 2, 3, dtype=F64)
    tied = entropy * torch.tensor([[0.5], [0.2], [0.5], [0.1]], dtype=F64)
    known = torch.diag(entropy).to(F32)
    return [
        one(2, 2, F64, "2 latents, 2 factors"),
        one(3, 2, F32, "3 latents, 2 factors"),
        one(4, 6, F64, "more factors than latents"),
        one(10, 5, F32, "10 latents, 5 factors"),
        one(3, 3, F64, "as many factors as latents"),
        one(6, 1, F64, "a single factor", edge=True),
        one(2, 5, F32, "two latents only", edge=True),
        Case("two latents that know equally much: 0", (tied, entropy), edge=True),
        Case("every factor known from one latent: 1", (known, entropy.to(F32)), edge=True),
    ]


MUTUAL_INFORMATION_GAP = Task(
    name="mutual_information_gap",
    exercise=EXERCISE,
    points=2.0,
    signature=("mi", "factor_entropy"),
    outputs=("gap",),
    reference=_gap_reference,
    cases=_gap_cases,
    forbidden=FORBIDDEN,
    mistakes=(
        Mistake("not_divided_by_entropy",
            "The gaps are not divided by the entropies of the factors.",
            lambda mi, h: _gap(mi).mean()),
        Mistake("ratio_of_sums",
            "The gaps are added up before they are divided. Divide each by the entropy of its own factor first.",
            lambda mi, h: _gap(mi).sum() / h.sum()),
        Mistake("wrong_axis",
            "The two largest are searched among the factors of each latent. Search among the latents of each factor: "
            "dim=0.",
            _gap_of_latents),
        Mistake("no_gap",
            "This is the best latent's share alone. Subtract the second best.",
            lambda mi, h: (mi.amax(0) / h).mean()),
        Mistake("best_minus_worst",
            "The worst latent is subtracted. Subtract the second best.",
            lambda mi, h: ((mi.amax(0) - mi.amin(0)) / h).mean()),
        Mistake("best_minus_mean_of_the_rest",
            "The mean of all the other latents is subtracted. Subtract the second best.",
            lambda mi, h: (_gap(mi, rest=lambda top: top[1:].mean(0)) / h).mean()),
        Mistake("best_minus_mean",
            "The mean over all latents is subtracted. Subtract the second best.",
            lambda mi, h: ((mi.amax(0) - mi.mean(0)) / h).mean()),
        Mistake("second_minus_best",
            "The best is subtracted from the second best.",
            lambda mi, h: -_gap_reference(mi, h)),
        Mistake("not_sorted",
            "The first two latents are taken. Find the two that know most of each factor.",
            lambda mi, h: ((mi[0] - mi[1]) / h).mean()),
        Mistake("sorted_upwards",
            "The values are sorted from small to large, so these are the two worst latents.",
            lambda mi, h: ((mi.sort(0).values[1] - mi.sort(0).values[0]) / h).mean()),
        Mistake("sum_not_mean",
            "The gaps are summed. Return their mean over the factors.",
            lambda mi, h: (_gap(mi) / h).sum()),
        Mistake("averaged_over_latents",
            "The sum over the factors is divided by the number of latents. Divide by the number of factors.",
            lambda mi, h: (_gap(mi) / h).sum() / len(mi)),
        Mistake("relative_to_the_best",
            "The gap is divided by the best latent's information. Divide by the entropy of the factor.",
            lambda mi, h: (_gap(mi) / mi.amax(0)).mean()),
        Mistake("times_entropy",
            "The gaps are multiplied by the entropies. Divide.",
            lambda mi, h: (_gap(mi) * h).mean()),
        Mistake("one_value_per_factor",
            "This is one value for each factor. Return their mean, a single number.",
            lambda mi, h: _gap(mi) / h),
    ),
    next_step="Turn a table of codes by 45 degrees, and see what the gap says of the same information.",
)  # fmt: skip

TASKS = (SLERP, ATTRIBUTE_DIRECTION, PROJECT_OUT, LATENT_ANALOGY, MUTUAL_INFORMATION_GAP)
