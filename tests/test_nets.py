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


@pytest.mark.parametrize("shape, left", [((1, 8, 8), 4), ((3, 32, 32), 4), ((1, 28, 28), 7), ((1, 16, 8), 4)])
def test_conv_nets_mirror_each_other(shape, left):
    """Catches a decoder whose image is not the encoder's size, and halving that goes on through odd sizes."""
    encoder = nets.ConvEncoder(shape, 5, width=4, generator=course_lib.rng(0))
    decoder = nets.ConvDecoder(5, shape, width=4, generator=course_lib.rng(0))
    x = torch.rand(2, *shape, generator=course_lib.rng(1))
    assert encoder(x).shape == (2, 5)
    assert decoder(encoder(x)).shape == x.shape
    assert min(nn.Sequential(*list(encoder)[:-2])(x).shape[2:]) == left
    assert not isinstance(encoder[-1], nn.SiLU) and not isinstance(decoder[-1], nn.SiLU)


def test_hidden_layers_lie_between_convolutions_and_code():
    """Catches hidden layers on the wrong side of the map, without activation, or in one order in both directions."""
    encoder = nets.ConvEncoder((1, 8, 8), 5, hidden=(7, 6), width=4, generator=course_lib.rng(0))
    decoder = nets.ConvDecoder(5, (1, 8, 8), hidden=(6, 7), width=4, generator=course_lib.rng(0))
    there = [(layer.in_features, layer.out_features) for layer in encoder if isinstance(layer, nn.Linear)]
    back = [(layer.in_features, layer.out_features) for layer in decoder if isinstance(layer, nn.Linear)]
    assert there == [(64, 7), (7, 6), (6, 5)] and back == [(5, 6), (6, 7), (7, 64)]
    kinds = [type(layer).__name__ for layer in decoder]
    assert kinds == ["Linear", "SiLU", "Linear", "SiLU", "Linear", "Unflatten", "SiLU", "ConvTranspose2d"]
    x = torch.rand(2, 1, 8, 8, generator=course_lib.rng(1))
    assert decoder(encoder(x)).shape == x.shape


@pytest.mark.parametrize("kind", ["linear", "down", "up"])
def test_gain_keeps_the_variance_of_a_signal(kind):
    """Catches a gain that is not applied, or applied as a variance: outputs vary as inputs do, not a third as much."""
    drawn = {"gain": nets.SIGNAL, "generator": course_lib.rng(0)}
    if kind == "linear":
        layer, shape = nets.linear(500, 400, **drawn), (4000, 500)
    else:
        layer, shape = nets.conv(32, 32, 4, stride=2, up=kind == "up", **drawn), (50, 32, 12, 12)
    y = layer(torch.randn(shape, generator=course_lib.rng(1))).detach()
    inside = y if y.ndim == 2 else y[:, :, 1:-1, 1:-1]  # at the border a part of the window is padding
    assert float(inside.var()) == pytest.approx(1, abs=0.06)


def test_every_pixel_matters_and_is_made():
    """Catches padding that cuts the border: each input pixel reaches the code, and each output pixel varies with it."""
    encoder = nets.ConvEncoder((1, 8, 8), 3, width=4, generator=course_lib.rng(0))
    x = torch.rand(1, 1, 8, 8, generator=course_lib.rng(1), requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(x).sum(), x)
    assert (gradient != 0).all()
    images = nets.ConvDecoder(3, (1, 8, 8), width=4, generator=course_lib.rng(0))(
        torch.randn(9, 3, generator=course_lib.rng(2))
    )
    assert (images.std(0) > 0).all()


def test_conv_weights_come_from_the_generator_alone_and_keep_the_signal():
    """Catches convolutions initialised from the global state, and a fan-in that is the wrong way round for `up`."""
    state = torch.get_rng_state()
    up = nets.conv(64, 4, 4, stride=2, up=True, generator=course_lib.rng(0))
    down = nets.conv(16, 64, 4, stride=2, generator=course_lib.rng(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(down.weight, nets.conv(16, 64, 4, stride=2, generator=course_lib.rng(0)).weight)
    # 16 x 4 x 4 = 64 x 4 x 4 / 2² inputs meet in each output.
    assert float(up.weight.detach().abs().max()) == pytest.approx(1 / 16, rel=1e-2)
    assert float(down.weight.detach().abs().max()) == pytest.approx(1 / 16, rel=1e-2)
