"""Small models and a silent `train`, shared by the tests of the training loop."""

import signal

import torch
from torch import nn

import course_lib
from course_lib import nets, training


class Regression(nn.Module):
    """A small stochastic model: noise on its input through `generator`, dropout through torch's own."""

    def __init__(self, *, dropout: float = 0.0, noise: float = 0.1) -> None:
        super().__init__()
        self.net = nn.Sequential(nets.MLP([2, 16, 1], nn.Tanh, generator=course_lib.rng(0)), nn.Dropout(dropout))
        self.noise = noise
        self.calls = 0

    def loss(self, x, *, generator=None):
        self.calls += 1
        noisy = x + self.noise * torch.randn(x.shape, generator=generator)
        return (self.net(noisy)[:, 0] - x.prod(1)).square().mean()


class Point(nn.Module):
    """One parameter θ with the gradient of our choice: loss = slope · θ, or what `loss_of` says."""

    def __init__(self, start=0.0, slope=1.0, loss_of=None):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([start], dtype=torch.float64))
        self.loss_of = loss_of or (lambda theta, x: slope * theta.sum())

    def loss(self, x):
        return self.loss_of(self.theta, x)


def points(n=100, seed=1):
    return torch.randn(n, 2, generator=course_lib.rng(seed))


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def quiet(model, data, **options):
    return training.train(model, data, progress=False, **options)


def stop_at(model, call):
    """Make the loss press the stop button in its `call`-th evaluation."""
    plain = model.loss

    def loss(x, *, generator=None):
        if model.calls + 1 == call:
            signal.raise_signal(signal.SIGINT)
        return plain(x, generator=generator)

    model.loss = loss
    return model
