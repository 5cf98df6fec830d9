"""The training loop against plain loops and closed forms."""

import math

import pytest
import torch
from torch import nn

import course_lib
from course_lib import training
from tests.small_training import Point, Regression, points, quiet, same


def test_train_is_the_loop_of_the_lectures():
    """Catches any hidden step: 12 lines of plain torch must reach the same parameters from the same draws."""
    x = points(100)
    ours, theirs = Regression(), Regression()
    history = quiet(ours, x, steps=50, batch_size=32, lr=1e-2, generator=course_lib.rng(5))

    generator = course_lib.rng(5)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    order, losses = torch.empty(0, dtype=torch.long), []
    for _ in range(50):
        if len(order) < 32:
            order = torch.randperm(len(x), generator=generator)
        batch, order = x[order[:32]], order[32:]
        loss = theirs.loss(batch, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    torch.testing.assert_close(history.losses, torch.tensor(losses))
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_it_learns():
    """Catches a loop that runs and learns nothing: a mean is recovered to 1 %."""
    x = points(500) + 3
    model = Point(loss_of=lambda theta, batch: (theta - batch.double().mean()).square().sum())
    quiet(model, x, steps=500, lr=0.1, batch_size=500)
    assert abs(model.theta.item() / x.mean().item() - 1) < 0.01


def test_the_optimiser_uses_the_rate_of_its_step():
    """Catches a schedule not applied, or applied one step late: under a constant slope Adam moves by the rate."""
    theta = []

    def loss(parameter, _):
        theta.append(parameter.item())
        return parameter.sum()

    quiet(Point(loss_of=loss), points(), steps=8, lr=0.1, warmup=3, schedule="cosine")
    moved = -torch.tensor(theta, dtype=torch.float64).diff()
    expected = [training.learning_rate(k, lr=0.1, steps=8, warmup=3, schedule="cosine") for k in range(7)]
    torch.testing.assert_close(moved, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


def test_average_against_the_recursion():
    """Catches decay and its complement exchanged, a missing warm-up, an average taken before the step."""
    theta = []
    model = Point(start=1.0, loss_of=lambda parameter, _: (theta.append(parameter.item()), parameter.sum())[1])
    history = quiet(model, points(), steps=30, lr=0.1, ema=0.7)
    average = 1.0
    for t, value in enumerate([*theta[1:], model.theta.item()], start=1):
        decay = min(0.7, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * value
    assert history.averaged.theta.item() == pytest.approx(average, rel=1e-12)
    assert abs(average - model.theta.item()) > 0.1  # so that returning the model itself would be seen
    assert quiet(Point(), points(), steps=1).averaged is None


def test_average_takes_the_buffers_of_the_model():
    """Catches batch statistics left at their start in the averaged model."""

    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def loss(self, x):
            return self.norm(x).square().mean()

    model = Normed()
    history = quiet(model, points() + 5, steps=20, ema=0.9)
    assert torch.equal(history.averaged.norm.running_mean, model.norm.running_mean)
    assert model.norm.running_mean.min() > 1


@pytest.mark.parametrize("clip", [0.5, 100.0])
def test_clipping_limits_the_norm_of_the_whole_gradient(clip):
    """Catches clipping by value, per parameter, after the step, and a limit that also stretches small gradients."""
    seen = []

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

        def loss(self, x):
            if self.a.grad is not None:
                seen.append((self.a.grad.item(), self.b.grad.item()))
            return 3 * self.a.sum() + 4 * self.b.sum()

    # The optimiser clears gradients after the loss: at the next call we see what the step before has used.
    quiet(Two(), points(), steps=3, clip=clip)
    for a, b in seen:
        assert math.hypot(a, b) == pytest.approx(min(clip, 5.0), rel=1e-5) and a / b == pytest.approx(0.75)
    assert len(seen) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_bad_loss_stops_and_gives_back_good_parameters(value):
    """Catches a training that goes on with NaN, names another step, or leaves NaN in the parameters."""
    calls = []

    def loss(theta, _):
        calls.append(theta.item())
        return theta.sum() * (value if len(calls) == 26 else 1.0)

    model = Point(loss_of=loss)
    with pytest.raises(RuntimeError, match=r"loss became .* in step 26 of 100; .* step 20 .*smaller lr than 0.1"):
        quiet(model, points(), steps=100, lr=0.1, log_every=10)
    assert model.theta.item() == calls[20] and len(calls) <= 30


def test_bad_gradient_with_a_good_loss_is_found():
    """Catches a check of the loss alone: sqrt at 0 has a finite value and an infinite slope."""
    model = Point(loss_of=lambda theta, _: theta.clamp(min=0).sqrt().sum())
    with pytest.raises(RuntimeError, match="a parameter became infinite or NaN"):
        quiet(model, points(), steps=1)
    assert model.theta.item() == 0.0


def test_no_step_waits_for_the_device(monkeypatch):
    """Catches `.item()`, float(), or a truth value of a tensor in every step: they are counted, log points excepted."""
    waits = []
    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "cpu", "numpy"):
        plain = getattr(torch.Tensor, name)
        counted = lambda self, *a, _plain=plain, _name=name, **k: (waits.append(_name), _plain(self, *a, **k))[1]  # noqa: E731
        monkeypatch.setattr(torch.Tensor, name, counted)
    counts = []
    for steps_ in (100, 300):
        waits.clear()
        quiet(Regression(), points(), steps=steps_, log_every=steps_ // 2, clip=1.0, ema=0.9, schedule="cosine")
        counts.append(len(waits))
    assert counts[0] == counts[1] and 0 < counts[0] < 30


@pytest.mark.gpu
def test_no_step_waits_for_a_gpu():
    """Catches hidden synchronisations inside torch calls: CUDA itself raises on each."""
    model = Regression(noise=0.0).cuda()
    x = points().cuda()
    run = training._Run(model, x, {**DEFAULTS, "steps": 20}, None, None)
    run.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            run.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")


DEFAULTS = {"batch_size": 10, "lr": 1e-3, "weight_decay": 0.0, "betas": [0.9, 0.999], "warmup": 0, "schedule": "cosine",
            "clip": 1.0, "ema": 0.9}  # fmt: skip


def test_mode_of_the_model_is_given_back():
    """Catches dropout left off during training, or left on for the samples drawn after it."""
    model = Regression().eval()
    seen = []
    plain = model.loss
    model.loss = lambda x, *, generator=None: (seen.append(model.training), plain(x, generator=generator))[1]
    quiet(model, points(), steps=2)
    assert seen == [True, True] and not model.training


def test_default_generator_repeats_and_global_state_is_untouched():
    """Catches shuffling by torch's global generator: two runs must agree and leave it alone."""
    state = torch.get_rng_state()
    a, b = Regression(), Regression()
    quiet(a, points(), steps=5, batch_size=10), quiet(b, points(), steps=5, batch_size=10)
    assert same(a, b) and torch.equal(torch.get_rng_state(), state)
    c = Regression()
    quiet(c, points(), steps=5, batch_size=10, generator=course_lib.rng(1))
    assert not same(a, c)


def test_frozen_parameters_stay(tmp_path):
    """Catches weight decay or the average touching what the caller froze."""
    model = Regression()
    model.net[0][0].weight.requires_grad_(False)
    before = model.net[0][0].weight.clone()
    history = quiet(model, points(), steps=5, weight_decay=0.1, ema=0.5)
    assert torch.equal(model.net[0][0].weight, before) and torch.equal(history.averaged.net[0][0].weight, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"lr": -1.0}, "lr must be greater than 0"),
        ({"ema": 1.0}, "ema must be at most"),
        ({"clip": 0.0}, "clip must be greater than 0"),
        ({"warmup": 10}, "warmup must be at most 9"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"checkpoint_every": 0.5}, "checkpoint_every must"),
        ({"resume": True}, "resume=True needs checkpoint="),
        ({"data": torch.empty(0, 2)}, "data must hold tensors of one common length of at least 1"),
        ({"data": (torch.zeros(3, 2), torch.zeros(4))}, r"lengths \[3, 4\]"),
        ({"data": torch.tensor([[0.0, math.nan]])}, "data has 1 NaN or infinite entries out of 2"),
        ({"data": "points"}, "data must be a tensor"),
        ({"data": torch.tensor(3.0)}, "data must be a tensor"),
        ({"model": nn.Linear(2, 1)}, r"model must have a method loss\(x\), Linear has none"),
        ({"model": Point(loss_of=lambda theta, x: theta * x.double().sum(1))}, r"shape \(\), got shape \(100,\)"),
        ({"model": Point(loss_of=lambda theta, x: 3.0)}, r"shape \(\), got float"),
        ({"model": Point().requires_grad_(False)}, "model must have trainable parameters"),
    ],
)
def test_bad_arguments_are_named(options, message, no_shape_check):
    """Catches errors from deep inside torch: each names the argument, what was given and what is expected."""
    options = {"model": Regression(), "data": points(), "steps": 10, **options}
    with pytest.raises(ValueError, match=message):
        quiet(options.pop("model"), options.pop("data"), **options)


def test_device_is_the_models_unless_told():
    """Catches a model moved behind the caller's back, and a device chosen that this machine lacks."""
    device = training.pick_device()
    assert (torch.ones(1, device=device) + 1).item() == 2
    model = Regression()
    quiet(model, points(), steps=1)
    assert next(model.parameters()).device.type == "cpu"
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert device.type == "cpu"
