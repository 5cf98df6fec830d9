"""Moving about in a latent space, on spaces where every answer is known."""

import math

import pytest
import torch

from course_lib import latent, rng

F64 = torch.float64
T = torch.linspace(0, 1, 11, dtype=F64)


def vectors(n: int, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=rng(seed), dtype=F64)


def test_lerp_is_the_straight_path():
    """Catches ends the wrong way round."""
    z0, z1 = vectors(2)
    path = latent.lerp(z0, z1, T)
    torch.testing.assert_close(path[0], z0)
    torch.testing.assert_close(path[-1], z1)
    torch.testing.assert_close(path[3], 0.7 * z0 + 0.3 * z1)


def test_slerp_turns_evenly_on_the_sphere():
    """Catches a wrong angle: unit vectors stay units, and equal steps of t are equal angles."""
    z0, z1 = vectors(2) / vectors(2).norm(dim=1, keepdim=True)
    path = latent.slerp(z0, z1, T)
    torch.testing.assert_close(path.norm(dim=1), torch.ones(11, dtype=F64))
    cosines = (path[1:] * path[:-1]).sum(1)
    torch.testing.assert_close(cosines, torch.full((10,), math.cos(math.acos(float(z0 @ z1)) / 10), dtype=F64))
    torch.testing.assert_close(path[0], z0)
    torch.testing.assert_close(path[-1], z1)


def test_slerp_in_the_plane():
    """Catches vectors that are normalised on the way: ends of lengths 2 and 3 at a right angle."""
    path = latent.slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1 / 3, 1.0]))
    wanted = torch.tensor([[2.0, 0.0], [2 * math.cos(math.pi / 6), 3 * math.sin(math.pi / 6)], [0.0, 3.0]])
    torch.testing.assert_close(path, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("angle", [0.0, 1e-20, 1e-9, 1e-7, 1e-5, 1e-4, 7e-4, 1e-3, 0.1])
def test_slerp_near_parallel(angle, dtype):
    """Catches 0/0 and lost digits at small angles, where the path tends to the straight one, and a gradient of NaN."""
    z0 = torch.tensor([1.0, 0.0], dtype=dtype, requires_grad=True)
    z1 = torch.tensor([2 * math.cos(angle), 2 * math.sin(angle)], dtype=dtype)
    path = latent.slerp(z0, z1, T.to(dtype))
    straight = latent.lerp(z0, z1, T.to(dtype))
    assert float((path - straight).detach().abs().max()) < max(angle**2, 4 * torch.finfo(dtype).eps)
    path.sum().backward()
    assert torch.isfinite(z0.grad).all()


def test_slerp_keeps_the_length_that_lerp_loses():
    """Catches a slerp that is a lerp: in 400 dimensions the middle of the straight path is shorter by a root of 2."""
    z0, z1 = torch.randn(2, 400, generator=rng(0), dtype=F64)
    half = torch.tensor([0.5], dtype=F64)
    usual = float((z0.norm() + z1.norm()) / 2)
    assert float(latent.slerp(z0, z1, half).norm()) == pytest.approx(usual, rel=0.02)
    assert float(latent.lerp(z0, z1, half).norm()) == pytest.approx(usual / math.sqrt(2), rel=0.05)


def test_slerp_of_any_size():
    """Catches squares that overflow or vanish: the same arc at 1e-30 and 1e30, in float32."""
    z0, z1 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for size in (1e-30, 1e30):
        path = latent.slerp(z0 * size, z1 * size, T.float())
        torch.testing.assert_close(path / size, latent.slerp(z0, z1, T.float()))


def test_traversal_changes_one_coordinate():
    """Catches the wrong coordinate, and a z that is changed in place."""
    z = vectors(1)[0]
    before, values = z.clone(), torch.tensor([-1.0, 0.0, 2.0])
    out = latent.traversal(z, 4, values)
    assert torch.equal(out[:, 4], values.double())
    rest = [0, 1, 2, 3, 5]
    assert torch.equal(out[:, rest], z[rest].expand(3, -1))
    assert torch.equal(z, before)


def test_analogy_of_means():
    """Catches signs, and groups of different sizes that are subtracted before they are averaged."""
    a, b, c = vectors(3), vectors(5, seed=1), vectors(2, seed=2)
    torch.testing.assert_close(latent.analogy(a, b, c), a.mean(0) - b.mean(0) + c.mean(0))


def test_attribute_direction_points_to_those_who_have_it():
    """Catches the opposite direction, and a length other than 1."""
    z = vectors(4000)
    has = torch.arange(4000) % 4 == 0
    z[has, 2] += 5
    direction = latent.attribute_direction(z, has)
    assert float(direction.norm()) == pytest.approx(1)
    # Means of 1,000 and 3,000 rows: each of the other coordinates is off by 0.04 of 5, 5 standard errors are 0.04.
    torch.testing.assert_close(direction, torch.eye(6, dtype=F64)[2], rtol=0, atol=0.04)


def test_project_out_leaves_the_others_alone():
    """Catches one removed after another: with oblique directions the last would bring the first back."""
    direction, *others = vectors(4)
    others = torch.stack(others)
    out = latent.project_out(direction, others)
    assert float((others @ out).abs().max()) < 1e-12
    assert float(out.norm()) == pytest.approx(1)
    assert float(out @ direction) > 0
    # What is left is the least-squares residual.
    solution = torch.linalg.lstsq(others.mT, direction[:, None]).solution[:, 0]
    residual = direction - others.mT @ solution
    torch.testing.assert_close(out, residual / residual.norm())


def test_project_out_one_direction_of_any_length():
    """Catches the length of the other that is not divided out, and repeated others that are counted twice."""
    direction, other = vectors(2)
    wanted = direction - (direction @ other) / (other @ other) * other
    for others in (other, 100 * other, torch.stack([other, -3 * other, other])):
        torch.testing.assert_close(latent.project_out(direction, others), wanted / wanted.norm())


def test_edit_moves_every_code_by_every_amount():
    """Catches axes the wrong way round."""
    z, direction = vectors(3), vectors(1, seed=5)[0]
    out = latent.edit(z, direction, torch.tensor([0.0, 2.0]))
    assert out.shape == (2, 3, 6)
    torch.testing.assert_close(out[1] - out[0], 2 * direction.expand(3, 6))


def test_inversion_finds_the_code_of_a_linear_image():
    """Catches an optimiser that stops early or changes the start: the code of an image that can be made is found."""
    weight, z = vectors(12, 3), vectors(5, 3, seed=1)
    start = torch.zeros(5, 3, dtype=F64)
    found = latent.invert(lambda z: z @ weight.mT, z @ weight.mT, start, steps=600, lr=0.1)
    torch.testing.assert_close(found.z, z, rtol=0, atol=1e-3)
    assert not start.any()
    assert len(found.history) == 601 and (found.history.diff() <= 0).all()
    assert float(found.errors.max()) < 1e-5 and not found.z.requires_grad


def test_inversion_with_a_prior_is_ridge_regression():
    """Catches a prior of the wrong sign or scale: the minimum of mean square + c |z|²/d has a closed form."""
    weight, x, c = vectors(12, 3), vectors(2, 12, seed=1), 0.5
    found = latent.invert(lambda z: z @ weight.mT, x, torch.zeros(2, 3, dtype=F64), steps=800, lr=0.03, prior=c)
    ridge = torch.linalg.solve(weight.mT @ weight / 12 + c / 3 * torch.eye(3, dtype=F64), (x @ weight / 12).mT).mT
    torch.testing.assert_close(found.z, ridge, rtol=0, atol=2e-3)


def test_inversion_keeps_the_best_start():
    """Catches the first start kept for all: of two valleys, (z² − 1)² + z/4, the deeper one is at −1."""
    start = torch.tensor([[[1.2], [1.2]], [[-0.8], [0.9]]], dtype=F64)
    x = torch.zeros(2, 2, dtype=F64)

    def decode(z):
        return torch.cat([z.square() - 1, 0.5 * (z + 1)], 1)

    found = latent.invert(decode, x, start, steps=200, lr=0.05)
    torch.testing.assert_close(found.z[0], torch.tensor([-1.0], dtype=F64), rtol=0, atol=0.02)
    assert float(found.z[1]) > 0.5
    assert float(found.errors[0]) < 1e-3 < float(found.errors[1])


UP = torch.tensor([0.0, 1.0])


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: latent.slerp(UP, -UP, T.float()), "z0 and z1 must not point in opposite directions"),
        (lambda: latent.slerp(0 * UP, UP, T.float()), "z0 has length 0 and no direction"),
        (lambda: latent.slerp(UP, UP * math.nan, T.float()), "z1 has 2 NaN"),
        (lambda: latent.slerp(UP, torch.ones(3), T.float()), "z1 must have the length of z0, 2, got 3"),
        (lambda: latent.traversal(UP, 2, UP), "dim must be at most 1, got 2"),
        (lambda: latent.traversal(UP, -1, UP), "dim must be at least 0"),
        (lambda: latent.analogy(UP[None], torch.zeros(0, 2), UP[None]), "z_b has 0 samples"),
        (lambda: latent.analogy(UP[None], torch.zeros(1, 3), UP[None]), r"z_b must have shape \(n, 2\)"),
        (lambda: latent.attribute_direction(vectors(3), torch.zeros(3).bool()), "got 0 True of 3: one group is empty"),
        (lambda: latent.attribute_direction(vectors(3), torch.ones(3).bool()), "got 3 True of 3: one group is empty"),
        (lambda: latent.attribute_direction(vectors(3), torch.ones(3)), "has_attribute must be 3 True or False"),
        (lambda: latent.attribute_direction(vectors(3), torch.ones(2).bool()), "has_attribute must be 3 True or False"),
        (
            lambda: latent.attribute_direction(torch.ones(4, 2), torch.arange(4) < 2),
            "the difference of the group means has length 0",
        ),
        (lambda: latent.project_out(UP, -2 * UP), "direction lies in the span of others"),
        (lambda: latent.project_out(0 * UP, UP), "direction has length 0"),
        (lambda: latent.project_out(UP, 0 * UP), "others has length 0"),
        (lambda: latent.invert(lambda z: z, vectors(2), vectors(3)), "start must have one code per x"),
        (lambda: latent.invert(lambda z: z[:, :2], vectors(2), vectors(2)), r"decode must return \(2, 6\) for start"),
        (lambda: latent.invert(lambda z: z / 0, vectors(2), vectors(2)), r"decode\(start\) has 2 NaN"),
        (lambda: latent.invert(lambda z: z, vectors(2), vectors(2), steps=0), "steps must be at least 1"),
        (lambda: latent.invert(lambda z: z, vectors(2), vectors(2), prior=-1), "prior must be at least 0"),
    ],
)
def test_bad_input(call, says, no_shape_check):
    """Catches an argument that is accepted in silence, or refused without its name and the remedy."""
    with pytest.raises(ValueError, match=says):
        call()
