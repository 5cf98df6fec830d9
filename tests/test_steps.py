"""Batches, learning rates and Adam, against their formulas."""

import math

import pytest
import torch
from torch import nn

import course_lib
from course_lib import steps, training
from tests.small_training import Point, Regression, points, quiet


@pytest.mark.parametrize(("n", "size", "sizes"), [(10, 4, [4, 4]), (8, 4, [4, 4]), (50, 100, [50])])
def test_an_epoch_visits_rows_once_in_equal_batches(n, size, sizes):
    """Catches rows drawn twice in an epoch, a short last batch, an off-by-one that drops a full last batch."""
    batches = training.Batches(torch.arange(n), size, generator=course_lib.rng(0), device=torch.device("cpu"))
    for _ in range(3):
        epoch = [batches.next()[0] for _ in sizes]
        assert [len(b) for b in epoch] == sizes
        rows = torch.cat(epoch)
        assert len(rows.unique()) == len(rows)
    assert batches.next()[0].tolist() != epoch[0].tolist()


def test_tuples_stay_aligned_and_functions_draw_from_the_generator():
    """Catches images shuffled apart from their labels, and a data function that is fed another generator."""
    x, y = torch.arange(10.0), torch.arange(10) * 2
    batches = training.Batches((x, y), 3, generator=course_lib.rng(0), device=torch.device("cpu"))
    a, b = batches.next()
    assert torch.equal(a * 2, b.float())
    drawn = []

    def draw(generator, n):
        drawn.append(torch.rand(n, generator=generator))
        return drawn[-1]

    quiet(
        Point(loss_of=lambda theta, x: (theta * x.double()).sum()),
        draw,
        steps=3,
        batch_size=4,
        generator=course_lib.rng(9),
    )
    assert torch.equal(torch.cat(drawn), torch.rand(12, generator=course_lib.rng(9)))


def test_cosine_and_warmup_against_the_formula():
    """Catches an off-by-one at either end, and a cosine that starts before the warm-up ends."""
    rate = [training.learning_rate(k, lr=2.0, steps=10, warmup=4, schedule="cosine") for k in range(10)]
    assert rate[:4] == [0.5, 1.0, 1.5, 2.0] and rate[4] == 2.0
    assert rate[7] == pytest.approx(1.0) and rate[9] == pytest.approx(1 + math.cos(math.pi * 5 / 6))
    assert {training.learning_rate(k, lr=2.0, steps=10) for k in range(10)} == {2.0}


def test_adam_is_fused_here_and_decay_is_decoupled():
    """Catches the slow unfused kernel, and weight decay as an L2 term, which Adam would normalise away."""
    parameter = nn.Parameter(torch.ones(3))
    plain = steps.adam([parameter], lr=0.1)
    assert type(plain) is torch.optim.Adam and plain.defaults["fused"]
    decayed = steps.adam([parameter], lr=0.1, weight_decay=0.5)
    parameter.grad = torch.zeros(3)
    decayed.step()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 1 - 0.1 * 0.5))


def test_old_torch_without_fused_adam_still_trains(monkeypatch):
    """Catches a crash on torch 2.2, whose fused Adam refuses the CPU with a RuntimeError."""
    plain = torch.optim.Adam.__init__

    def init(self, *args, fused=None, **options):
        if fused:
            raise RuntimeError("`fused=True` requires all the params to be on CUDA")
        plain(self, *args, **options)

    monkeypatch.setattr(torch.optim.Adam, "__init__", init)
    assert quiet(Regression(), points(), steps=3).steps == 3
