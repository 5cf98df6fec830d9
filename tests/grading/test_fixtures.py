"""The callable arguments that tasks send: they are built from tensors and numbers alone, and gradients flow through."""

import pytest
import torch

from course_lib import rng
from course_lib.grading import codec, fixtures, probe


def _draw(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def test_an_encoder_returns_mu_and_logvar_of_each_picture():
    """mu and logvar swapped or cut at the wrong axis, or a logvar so large that exp overflows."""
    weight, bias = _draw(4, 6), _draw(4, seed=1)
    encode = fixtures.build("linear_encoder", {"weight": weight, "bias": bias})
    x = _draw(5, 1, 2, 3, seed=2)
    mu, logvar = encode(100 * x)
    torch.testing.assert_close(mu, 100 * x.reshape(5, 6) @ weight[:2].T + bias[:2])
    assert mu.shape == logvar.shape == (5, 2)
    assert float(logvar.abs().max()) <= 2 and float(logvar.std()) > 0.1


def test_a_decoder_returns_logits_in_the_shape_of_a_picture():
    """Logits in another shape than x, or pixels in another order."""
    weight, bias = _draw(6, 2), _draw(6, seed=1)
    decode = fixtures.build("linear_decoder", {"weight": weight, "bias": bias, "shape": [1, 2, 3]})
    z = _draw(5, 2, seed=2)
    assert decode(z).shape == (5, 1, 2, 3)
    torch.testing.assert_close(decode(z).flatten(1), z @ weight.T + bias)


@pytest.mark.parametrize("name", fixtures.BUILDERS)
def test_a_fixture_travels_as_data_and_passes_gradients_on(name):
    """A callable that needs pickle, or one that cuts the gradient of its input."""
    params = {"weight": _draw(4, 4), "bias": _draw(4, seed=1)} | ({"shape": [4]} if "decoder" in name else {})
    sent = codec.decode(codec.encode(codec.Fixture(name, params)))
    x = _draw(3, 4, seed=2).requires_grad_()
    out = probe._realise(sent)(x)
    sum(part.square().sum() for part in (out if isinstance(out, tuple) else (out,))).backward()
    assert float(x.grad.abs().min()) > 0


def test_an_unknown_fixture_is_named():
    """A misspelt fixture that fails far from its cause."""
    with pytest.raises(ValueError, match="linear_encoder"):
        fixtures.build("linear_encodre", {})
