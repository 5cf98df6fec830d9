"""The shared networks, against torch's own layers."""

import pytest
import torch
from torch import nn

import course_lib
from course_lib import nets


def test_mlp_is_layers_with_activations_between_and_none_after_the_last():
    """Catches an activation after the output, which would make negative outputs impossible with a ReLU."""
    net = nets.MLP([3, 16, 8, 2], nn.ReLU, generator=course_lib.rng(0))
    kinds = [type(layer) for layer in net]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    x = torch.randn(50, 3, generator=course_lib.rng(1))
    by_hand = x
    for i in (0, 2):
        by_hand = (by_hand @ net[i].weight.T + net[i].bias).clamp(min=0)
    torch.testing.assert_close(net(x), by_hand @ net[4].weight.T + net[4].bias)
    assert net(x).min() < 0


def test_mlp_takes_any_batch_axes():
    """Catches a network that flattens its batch."""
    assert nets.MLP([3, 4])(torch.zeros(5, 6, 3)).shape == (5, 6, 4)


def test_weights_come_from_the_generator_alone():
    """Catches nn.Linear's own initialisation, which draws from torch's global generator."""
    state = torch.get_rng_state()
    a, b, c = (nets.MLP([4, 8, 1], generator=course_lib.rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a[0].weight, c[0].weight)


def test_initial_weights_are_distributed_as_torchs():
    """Catches a wrong bound (fan-out, missing root): same range and spread as nn.Linear, 400 x 300 weights."""
    ours, theirs = nets.linear(400, 300, generator=course_lib.rng(0)), nn.Linear(400, 300)
    # The standard deviation of 120,000 uniform draws is known to 0.2 %; 1 % is five times that.
    assert abs(ours.weight.std() / theirs.weight.std() - 1) < 0.01
    assert abs(ours.weight.abs().max() / theirs.weight.abs().max() - 1) < 0.01
    assert ours.bias.abs().max() <= 1 / 20


@pytest.mark.parametrize("sizes", [[3], [], [3, 0, 1], [3, 2.5]])
def test_bad_sizes_are_named(sizes, no_shape_check):
    """Catches a network built from nonsense, which fails only at its first batch."""
    with pytest.raises(ValueError, match="sizes must"):
        nets.MLP(sizes)
