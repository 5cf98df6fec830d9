"""The compact BiGAN: who learns from which part of the loss, and what the penalties are."""

import pytest
import torch
from torch.nn import functional as F

from course_lib import rng
from course_lib.models.gan import BiGAN


def tiny(**options) -> BiGAN:
    return BiGAN((1, 8, 8), 3, width=4, generator=rng(0), **options).double()


def batch(n=12):
    return torch.rand(n, 1, 8, 8, generator=rng(1), dtype=torch.float64)


def gradients(model, part) -> list[torch.Tensor]:
    return [p.grad.clone() for p in getattr(model, part).parameters()]


def test_discriminator_learns_from_its_own_loss():
    """Catches the other player's loss leaking into the discriminator, swapped labels, a mean that is a sum."""
    model, x = tiny(r1=0.0), batch()
    model.loss(x, generator=rng(2)).backward()
    got = gradients(model, "discriminator")
    model.zero_grad()
    z = torch.randn(12, 3, generator=rng(2), dtype=torch.float64)
    with torch.no_grad():
        fake, code = model.decode(z), model.encode(x)
    logits = torch.cat([model.discriminator(x, code), model.discriminator(fake, z)])
    labels = torch.cat([torch.ones(12), torch.zeros(12)]).double()
    (2 * F.binary_cross_entropy_with_logits(logits, labels)).backward()
    torch.testing.assert_close(got, gradients(model, "discriminator"))


def test_generator_and_encoder_learn_to_be_mistaken():
    """Catches the saturating loss, a sign, and a penalty of the discriminator that reaches the other player."""
    model, x = tiny(r1=3.0, cycle=0.7), batch()
    model.loss(x, generator=rng(2)).backward()
    got = gradients(model, "generator") + gradients(model, "encoder")
    model.zero_grad()
    z = torch.randn(12, 3, generator=rng(2), dtype=torch.float64)
    fake = model.decode(z)
    on_real, on_fake = model.discriminator(x, model.encode(x)), model.discriminator(fake, z)
    loss = -(F.logsigmoid(-on_real).mean() + F.logsigmoid(on_fake).mean()) + 0.7 * F.mse_loss(model.encode(fake), z)
    loss.backward()
    torch.testing.assert_close(got, gradients(model, "generator") + gradients(model, "encoder"))


def test_penalty_is_half_the_squared_slope_at_real_pairs():
    """Catches a missing half, a norm that is not squared, a mean over pixels, fakes taken for real.

    The slopes come from central differences, one coordinate at a time.
    """
    x = batch(4)  # a quarter of four is one pair
    with_penalty, without = (tiny(r1=r1).loss(x, generator=rng(2)) for r1 in (2.0, 0.0))
    model = tiny()
    pair = torch.cat([x[:1].flatten(1), model.encode(x[:1])], 1).detach()
    steps = 1e-5 * torch.eye(pair.shape[1], dtype=torch.float64)
    points = torch.cat([pair + steps, pair - steps])
    above, below = model.discriminator(points[:, :64].reshape(-1, 1, 8, 8), points[:, 64:]).chunk(2)
    slope = (above - below) / 2e-5
    torch.testing.assert_close(with_penalty - without, 0.5 * 2.0 * slope.square().sum(), rtol=1e-5, atol=1e-9)


def test_images_are_images_and_codes_are_codes():
    """Catches logits shown as pixels, and shapes that do not go round."""
    model = tiny()
    x = model.sample(5, generator=rng(0))
    assert x.shape == (5, 1, 8, 8) and 0 <= x.min() and x.max() <= 1
    assert model.encode(x).shape == (5, 3)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.encode(x)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode(torch.zeros(2, 1, 8, 9)), r"x must have shape \(b, 1, 8, 8\), got \(2, 1, 8, 9\)"),
        (lambda m: m.loss(torch.zeros(1, 8, 8)), "x must have shape"),
        (lambda m: m.decode(torch.zeros(2, 4)), r"z must have shape \(b, 3\), got \(2, 4\)"),
        (lambda m: m.sample(0), "n must be at least 1"),
        (lambda m: tiny(r1=-1.0), "r1 must be at least 0"),
        (lambda m: tiny(cycle=-1.0), "cycle must be at least 0"),
    ],
)
def test_bad_arguments_are_named(call, message, no_shape_check):
    """Catches errors from deep inside torch."""
    with pytest.raises(ValueError, match=message):
        call(tiny())
