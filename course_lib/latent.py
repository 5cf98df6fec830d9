"""Moving about in a latent space: interpolation, arithmetic, directions of attributes, and the way back from images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from course_lib import checks
from course_lib._typing import Bool, Float, Number, Tensor


def lerp(z0: Float[Tensor, " d"], z1: Float[Tensor, " d"], t: Float[Tensor, " s"]) -> Float[Tensor, "s d"]:
    """The straight path (1 − t) z0 + t z1.

    Halfway between two independent draws of N(0, I_d) its length is √(d/2), not √d: in high dimension the middle of
    the path is where the prior puts no mass.

    Args:
        z0, z1: ends (d,).
        t: positions (s,), 0 at z0 and 1 at z1.
    Returns:
        (s, d).
    """
    _ends(z0, z1, t)
    return (1 - t)[:, None] * z0 + t[:, None] * z1


def slerp(z0: Float[Tensor, " d"], z1: Float[Tensor, " d"], t: Float[Tensor, " s"]) -> Float[Tensor, "s d"]:
    """The path along the arc: sin((1 − t) ω)/sin ω · z0 + sin(t ω)/sin ω · z1, with ω the angle between z0 and z1.

    Ends of one direction have ω = 0 and the limit (1 − t) z0 + t z1.

    Args:
        z0, z1: ends (d,), neither of them 0.
        t: positions (s,), 0 at z0 and 1 at z1.
    Returns:
        (s, d), of constant length if z0 and z1 are equally long.
    Raises:
        ValueError: an end at the origin, which has no direction, or opposite ends, which many arcs join.
    References:
        K. Shoemake (1985), SIGGRAPH, section 3.3; T. White (2016), arXiv:1609.04468.
    """
    _ends(z0, z1, t)
    u, v = _unit(z0, "z0"), _unit(z1, "z1")
    # Right for every angle, where acos(u · v) loses half the digits near 0 and π. The squares keep gradients finite.
    sine, cosine = (u - v).square().sum(), (u + v).square().sum()
    eps = torch.finfo(u.dtype).eps
    if float(cosine.detach()) <= 4 * eps:
        raise ValueError(
            "z0 and z1 must not point in opposite directions: many arcs join them; go through a third point"
        )
    if float(sine.detach()) <= 4 * eps:
        return lerp(z0, z1, t)
    omega = 2 * torch.atan2(sine.sqrt(), cosine.sqrt())
    return (((1 - t) * omega).sin()[:, None] * z0 + (t * omega).sin()[:, None] * z1) / omega.sin()


def traversal(z: Float[Tensor, " d"], dim: int, values: Float[Tensor, " s"]) -> Float[Tensor, "s d"]:
    """Copies of z (d,) in which coordinate `dim` takes each of `values` (s,): (s, d).

    Raises:
        ValueError: a dim outside 0 … d − 1.
    """
    checks.tensor(z, "z", ndim=1)
    dim = checks.count(dim, "dim", at_least=0, at_most=len(z) - 1)
    here = torch.arange(len(z), device=z.device) == dim
    return torch.where(here, checks.tensor(values, "values", ndim=1)[:, None].to(z), z)


def analogy(z_a: Float[Tensor, "a d"], z_b: Float[Tensor, "b d"], z_c: Float[Tensor, "c d"]) -> Float[Tensor, " d"]:
    """mean(z_a) − mean(z_b) + mean(z_c): a is to b as the result is to c. The groups may differ in size.

    References:
        A. Radford, L. Metz, S. Chintala (2016), arXiv:1511.06434, section 6.3.2 (mean codes of three examples each).
    """
    for z, name in ((z_a, "z_a"), (z_b, "z_b"), (z_c, "z_c")):
        checks.data(z, name, dim=z_a.shape[-1])
    return z_a.mean(0) - z_b.mean(0) + z_c.mean(0)


def attribute_direction(z: Float[Tensor, "n d"], has_attribute: Bool[Tensor, " n"]) -> Float[Tensor, " d"]:
    """Unit vector from the mean code of those without the attribute to the mean code of those with it.

    Args:
        z: codes (n, d).
        has_attribute: (n,) True for those with it.
    Returns:
        (d,), length 1.
    Raises:
        ValueError: an empty group, or two groups with one mean.
    References:
        A. Larsen et al. (2016), arXiv:1512.09300, section 4.2 (attribute vectors).
    """
    checks.data(z, "z")
    checks.tensor(has_attribute, "has_attribute", ndim=1, floating=False)
    if has_attribute.dtype != torch.bool or len(has_attribute) != len(z):
        got = f"{has_attribute.dtype} of shape {tuple(has_attribute.shape)}"
        raise ValueError(f"has_attribute must be {len(z)} True or False, one per row of z, got {got}")
    count = int(has_attribute.sum())
    if count in (0, len(z)):
        raise ValueError(
            f"has_attribute must be True for some rows and False for others, got {count} True of {len(z)}: "
            f"one group is empty and has no mean; take more samples or another threshold"
        )
    return _unit(z[has_attribute].mean(0) - z[~has_attribute].mean(0), "the difference of the group means")


def project_out(
    direction: Float[Tensor, " d"], others: Float[Tensor, " d"] | Float[Tensor, "m d"]
) -> Float[Tensor, " d"]:
    """`direction` without its part in the span of `others`, at unit length: an edit that leaves them alone.

    With B an orthonormal basis of the span: n − B B' n, normalised. Several directions that are not orthogonal must
    go together: removed one after another, the last would bring the first back.

    Args:
        direction: (d,).
        others: (d,) one direction, or (m, d) several; lengths do not matter.
    Returns:
        (d,), length 1.
    Raises:
        ValueError: a direction of length 0, or one that lies in the span, so that nothing remains.
    References:
        Y. Shen et al. (2020), InterFaceGAN, arXiv:1907.10786, section 3.2 (conditional manipulation).
    """
    unit = _unit(checks.tensor(direction, "direction", ndim=1), "direction")
    rows = torch.atleast_2d(checks.tensor(others, "others", ndim=(1, 2)))
    rows = torch.stack([_unit(row, "others") for row in rows])
    # Gram-Schmidt, each vector twice: once leaves a rest of rounding size times the condition number.
    tolerance, basis = 100 * torch.finfo(unit.dtype).eps, []
    for row in [*rows, unit]:
        rest = row
        for _ in range(2):
            for axis in basis:
                rest = rest - (rest @ axis) * axis
        if float(rest.detach().norm()) > tolerance:
            basis.append(rest / rest.norm())
        elif row is unit:
            raise ValueError("direction lies in the span of others, nothing remains of it; leave some of them out")
    return basis[-1]


def edit(
    z: Float[Tensor, "n d"], direction: Float[Tensor, " d"], amounts: Float[Tensor, " s"]
) -> Float[Tensor, "s n d"]:
    """z + amount · direction for every amount: (s, n, d)."""
    checks.data(z, "z", dim=len(checks.tensor(direction, "direction", ndim=1)))
    return z + checks.tensor(amounts, "amounts", ndim=1)[:, None, None].to(z) * direction


class Inversion(NamedTuple):
    """z: best codes (n, d). errors: their mean squared errors (n,). history: (steps + 1,) mean of the best so far."""

    z: Tensor
    errors: Tensor
    history: Tensor


def invert(
    decode: Callable[[Tensor], Tensor],
    x: Float[Tensor, "n ..."],
    start: Float[Tensor, "n d"] | Float[Tensor, "r n d"],
    *,
    steps: int = 200,
    lr: Number = 0.05,
    prior: Number = 0.0,
) -> Inversion:
    """Codes whose images come closest to x, by Adam on z: minimise mean (decode(z) − x)² + prior · |z|² / d.

    The problem is not convex: from several starts per x the best end is kept, and of each run its best step.

    Args:
        decode: z (n, d) -> images (n, ...), differentiable.
        x: images (n, ...).
        start: where to begin, (n, d), or (r, n, d) for r starts per x.
        steps: optimiser steps.
        lr: Adam's, in the units of z.
        prior: pull towards the origin, where the prior N(0, I) has its mass; 0 for none.
    Returns:
        Inversion, without gradient.
    Raises:
        ValueError: shapes that do not fit, or a decoder that returns NaN at the start.
    References:
        A. Creswell, A. Bharath (2018), arXiv:1802.05701, algorithm 1.
    """
    steps, lr = checks.count(steps, "steps"), checks.number(lr, "lr", above=0)
    prior = checks.number(prior, "prior", at_least=0)
    checks.finite(checks.tensor(x, "x"), "x")
    checks.finite(checks.tensor(start, "start", ndim=(2, 3)), "start")
    starts = start.detach() if start.ndim == 3 else start.detach()[None]
    if starts.shape[1] != len(x):
        raise ValueError(f"start must have one code per x, got shape {tuple(start.shape)} for {len(x)} images")
    z = starts.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=lr)
    best, best_objective, best_error, history = z.detach().clone(), None, None, []
    for step in range(steps + 1):
        with torch.enable_grad():
            images = decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])
            if images.shape[1:] != x.shape:
                raise ValueError(f"decode must return {tuple(x.shape)} for start, got {tuple(images.shape[1:])}")
            error = (images - x).square().flatten(2).mean(2)  # (r, n)
            objective = error + prior * z.square().mean(2)
        if best_objective is None:
            checks.finite(objective.detach(), "decode(start)")
            best_objective, best_error = objective.detach().clone(), error.detach().clone()
        better = objective.detach() < best_objective
        best_objective = torch.where(better, objective.detach(), best_objective)
        best_error = torch.where(better, error.detach(), best_error)
        best = torch.where(better[..., None], z.detach(), best)
        history.append(best_error.gather(0, best_objective.argmin(0, keepdim=True)).mean())
        if step < steps:
            (z.grad,) = torch.autograd.grad(objective.sum(), z)
            optimizer.step()
    winner = best_objective.argmin(0)
    column = torch.arange(len(x), device=x.device)
    return Inversion(best[winner, column], best_error[winner, column], torch.stack(history))


def _ends(z0: Tensor, z1: Tensor, t: Tensor) -> None:
    for value, name in ((z0, "z0"), (z1, "z1"), (t, "t")):
        checks.finite(checks.tensor(value, name, ndim=1), name)
    if z0.shape != z1.shape:
        raise ValueError(f"z1 must have the length of z0, {len(z0)}, got {len(z1)}")


def _unit(vector: Tensor, name: str) -> Tensor:
    checks.finite(vector, name)
    largest = vector.detach().abs().max()  # first, so that squares neither overflow nor vanish
    if not float(largest) > 0:
        raise ValueError(f"{name} has length 0 and no direction; give a vector other than 0")
    scaled = vector / largest
    return scaled / scaled.norm()
