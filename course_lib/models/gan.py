"""A compact bidirectional GAN: a generator, an encoder that inverts it, and a judge of (image, code) pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from course_lib import checks, gaussian, nets
from course_lib._typing import Float, Number, Tensor


class BiGAN(nn.Module):
    """Images G(z), z ~ N(0, I), codes E(x), and a discriminator D(x, z) that tells (x, E(x)) from (G(z), z).

    Where D is fooled the two kinds of pairs have one distribution, and E inverts G.

    `loss` is one number for one optimiser step of both players at once: the discriminator's loss, and that of
    generator and encoder, each with a gradient for its own player only.

    Args:
        event_shape: (channels, height, width) of an image with pixels in [0, 1].
        latent_dim: length of z.
        width: channels of the first convolution of each network.
        r1: weight γ of γ/2 |∇D|² at real images and their codes, on a quarter of each batch; without it the codes run
            away, and the two players circle.
        cycle: weight of |E(G(z)) − z|² / latent_dim; 0 leaves inversion to the game alone.
        generator: source of the initial weights.
    References:
        J. Donahue, P. Krähenbühl, T. Darrell (2017), arXiv:1605.09782, eq. 2 and section 3 (here with the
        non-saturating loss of I. Goodfellow et al. (2014), arXiv:1406.2661, section 3);
        L. Mescheder, A. Geiger, S. Nowozin (2018), arXiv:1801.04406, eq. 9 (r1).
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        latent_dim: int,
        *,
        width: int = 16,
        r1: Number = 1.0,
        cycle: Number = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.event_shape = tuple(checks.count(size, "event_shape") for size in event_shape)
        self.latent_dim = checks.count(latent_dim, "latent_dim")
        self.r1, self.cycle = checks.number(r1, "r1", at_least=0), checks.number(cycle, "cycle", at_least=0)
        options = {"width": width, "generator": generator}
        self.generator = nets.ConvDecoder(latent_dim, self.event_shape, **options)
        self.encoder = nets.ConvEncoder(self.event_shape, latent_dim, activation=_leaky, **options)
        self.discriminator = PairDiscriminator(self.event_shape, latent_dim, **options)

    def decode(self, z: Float[Tensor, "b latent"]) -> Float[Tensor, "b ..."]:
        """Images G(z) (b, *event_shape) in [0, 1]."""
        checks.tensor(z, "z", ndim=2)
        if z.shape[1] != self.latent_dim:
            raise ValueError(f"z must have shape (b, {self.latent_dim}), got {tuple(z.shape)}")
        return self.generator(z).sigmoid()

    def encode(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b latent"]:
        """Codes E(x) (b, latent_dim)."""
        self._check(x)
        return self.encoder(x)

    def reconstruct(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """G(E(x)), like x: what of an image survives the way through the latent space."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n ..."]:
        """Draw (n, *event_shape): G(z), z from N(0, I). There is no density to go with them."""
        return self.decode(self._noise(checks.count(n, "n"), generator))

    def loss(self, x: Float[Tensor, "b ..."], *, generator: torch.Generator | None = None) -> Float[Tensor, ""]:
        """E softplus(−D(x, E(x))) + E softplus(D(G(z), z)) + penalties for D, and the same with −D for G and E."""
        self._check(x)
        z = self._noise(len(x), generator)
        fake, code = self.decode(z), self.encoder(x)

        on_real, on_fake = self.discriminator(x, code.detach()), self.discriminator(fake.detach(), z)
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        if self.r1:
            pair = [part[: max(1, len(x) // 4)].detach().requires_grad_(True) for part in (x, code)]
            slopes = torch.autograd.grad(self.discriminator(*pair).sum(), pair, create_graph=True)
            loss = loss + 0.5 * self.r1 * sum(slope.square().flatten(1).sum(1).mean() for slope in slopes)

        # The discriminator as the other player sees it: its weights are given, no gradient reaches them.
        frozen = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        on_real = torch.func.functional_call(self.discriminator, frozen, (x, code))
        on_fake = torch.func.functional_call(self.discriminator, frozen, (fake, z))
        loss = loss + F.softplus(on_real).mean() + F.softplus(-on_fake).mean()
        if self.cycle:
            loss = loss + self.cycle * (self.encoder(fake) - z).square().mean()
        return loss

    def _noise(self, n: int, generator: torch.Generator | None) -> Tensor:
        return gaussian.normal(n, next(self.parameters()).new_zeros(0, self.latent_dim), generator)

    def _check(self, x: Tensor) -> None:
        checks.tensor(x, "x")
        if not x.ndim or x.shape[1:] != self.event_shape:
            wanted = ", ".join(map(str, self.event_shape))
            raise ValueError(f"x must have shape (b, {wanted}), got {tuple(x.shape)}")


class PairDiscriminator(nn.Module):
    """D(x, z): convolutions on the image, then a small network on its features and the code; logits (b,)."""

    def __init__(self, event_shape, latent_dim: int, *, width: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.features = nets.ConvEncoder(event_shape, 64, width=width, activation=_leaky, generator=generator)
        self.head = nets.MLP([64 + latent_dim, 128, 1], _leaky, generator=generator)

    def forward(self, x: Float[Tensor, "b ..."], z: Float[Tensor, "b latent"]) -> Float[Tensor, " b"]:
        return self.head(torch.cat([_leaky()(self.features(x)), z], 1))[:, 0]


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)
