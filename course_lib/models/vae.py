"""Variational autoencoders: plain, beta, conditional and importance weighted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from course_lib import checks, gaussian, nets
from course_lib._typing import Float, Int, Number, Tensor
from course_lib.models import likelihoods

# Where the encoder's log-variance ends: standard deviations from e^-10 to e^10. In float32 e^89 is infinite.
LOGVAR_LIMIT = 20.0


def reparameterize(
    mu: Float[Tensor, "*batch d"], logvar: Float[Tensor, "*batch d"], eps: Float[Tensor, "*samples d"]
) -> Float[Tensor, "*samples d"]:
    """A draw from N(mu, diag exp logvar) that gradients pass through: z = mu + exp(logvar / 2) · eps.

    Args:
        mu, logvar: (batch, d); logvar is the log of the variance.
        eps: standard normal noise, (batch, d) or (samples, batch, d).
    Returns:
        z, like eps.
    References:
        D. Kingma, M. Welling (2014), arXiv:1312.6114, section 2.4.
    """
    return mu + (0.5 * logvar).exp() * eps


def gaussian_kl(mu: Float[Tensor, "*batch d"], logvar: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """KL(N(mu, diag exp logvar) ‖ N(0, I)) = ½ Σ (mu² + exp logvar − 1 − logvar), in nats, summed over d.

    References:
        D. Kingma, M. Welling (2014), arXiv:1312.6114, appendix B.
    """
    # expm1(l) − l, unlike exp(l) − 1 − l, keeps its digits where the posterior all but equals the prior.
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar).sum(-1)


class VAE(nn.Module):
    """Latent-variable model p(x) = ∫ p(x | z) N(z; 0, I) dz with an encoder q(z | x) = N(mu(x), diag exp logvar(x)).

    log p(x) ≥ ELBO(x) = E_q[log p(x | z)] − KL(q(z | x) ‖ N(0, I)), with equality where q is the true posterior.

    The encoder's logvar is limited to ±20, so that no value overflows; beyond, the gradient is that at the limit.

    Args:
        event_shape: shape of one x, (d,) or (channels, height, width); a number d stands for (d,).
        latent_dim: length of z.
        hidden: widths of the hidden linear layers, from x to z; the decoder has them in reverse. () has none.
        net: "mlp", or "conv" with convolutions before the hidden layers (`nets.ConvEncoder`).
        width: channels of the first convolution.
        activation: makes the activation module.
        likelihood: "bernoulli" (x in [0, 1]), "gaussian" (real x) or "discretised" (logistic on `levels` grey levels).
        scale: standard deviation (gaussian) or scale (logistic) of p(x | z); None learns one number.
        levels: grey levels of the discretised likelihood, 256 or 17.
        beta: weight of the KL in `loss`; a VAE has 1, a beta-VAE usually more.
        num_importance: k of the bound that `loss` maximises; 1 is the ELBO, more an IWAE.
        num_classes: number of classes of a conditional VAE p(x | y); 0 for none. Methods then want labels.
        generator: source of the initial weights.
    References:
        D. Kingma, M. Welling (2014), arXiv:1312.6114; I. Higgins et al. (2017), ICLR, beta-VAE, eq. 4;
        K. Sohn, H. Lee, X. Yan (2015), NIPS, eq. 4 (conditional; here with the prior N(0, I) for every y).
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        latent_dim: int,
        *,
        hidden: Sequence[int] = (200, 200),
        net: str = "mlp",
        width: int = 32,
        activation: Callable[[], nn.Module] = nn.SiLU,
        likelihood: str = "bernoulli",
        scale: Number | None = None,
        levels: int = 256,
        beta: Number = 1.0,
        num_importance: int = 1,
        num_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        shape = (event_shape,) if isinstance(event_shape, int) else tuple(event_shape)
        self.event_shape = tuple(checks.count(size, "event_shape") for size in shape)
        self.latent_dim = k = checks.count(latent_dim, "latent_dim")
        self.num_classes = checks.count(num_classes, "num_classes", at_least=0)
        self.beta = checks.number(beta, "beta", at_least=0)
        self.num_importance = checks.count(num_importance, "num_importance")
        if self.num_importance > 1 and self.beta != 1:
            raise ValueError(f"beta must be 1 with num_importance > 1, got {self.beta:g}: that bound has no KL")
        self.likelihood = likelihoods.by_name(likelihood, levels=levels, scale=scale)
        self.net = checks.one_of(net, "net", ("mlp", "conv"))
        inputs = k + self.num_classes
        if self.net == "conv":
            options = {"width": width, "activation": activation, "gain": nets.SIGNAL, "generator": generator}
            self.decoder = nets.ConvDecoder(inputs, self.event_shape, hidden=tuple(reversed(hidden)), **options)
            channels, *sides = self.event_shape
            self.encoder = nets.ConvEncoder((channels + self.num_classes, *sides), 2 * k, hidden=hidden, **options)
        else:
            sizes = math.prod(self.event_shape)
            self.encoder = nets.MLP([sizes + self.num_classes, *hidden, 2 * k], activation, generator=generator)
            self.decoder = nets.MLP([inputs, *reversed(hidden), sizes], activation, generator=generator)

    def encode(
        self, x: Float[Tensor, "b ..."], labels: Int[Tensor, " b"] | None = None
    ) -> tuple[Float[Tensor, "b latent"], Float[Tensor, "b latent"]]:
        """Mean and log-variance of q(z | x), each (b, latent_dim)."""
        self._check(x, labels)
        return self._encode(x, labels)

    def decode(self, z: Float[Tensor, "b latent"], labels: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b ..."]:
        """Parameters of p(x | z), (b, *event_shape): logits for the bernoulli likelihood, means for the others."""
        checks.tensor(z, "z", ndim=2)
        if z.shape[1] != self.latent_dim:
            raise ValueError(f"z must have shape (b, {self.latent_dim}), got {tuple(z.shape)}")
        self._check_labels(labels, len(z))
        return self._decode(z, labels).reshape(-1, *self.event_shape)

    def log_prob_given(
        self, x: Float[Tensor, "b ..."], z: Float[Tensor, "b latent"], labels: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, " b"]:
        """log p(x | z), one z for each x, in nats (b,)."""
        self._check(x, labels)
        return self.likelihood.log_prob(self.decode(z, labels).flatten(1), x.flatten(1))

    def elbo(
        self,
        x: Float[Tensor, "b ..."],
        num_samples: int = 1,
        *,
        labels: Int[Tensor, " b"] | None = None,
        eps: Float[Tensor, "s b latent"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """Evidence lower bound, in nats (b,): mean of log p(x | z) over draws from q, minus the exact KL to N(0, I).

        Args:
            x: (b, *event_shape).
            num_samples: draws per x.
            labels: (b,) of a conditional VAE.
            eps: the noise itself (num_samples, b, latent_dim), instead of drawing it; its length then counts.
            generator: source of the noise.
        Returns:
            (b,), differentiable.
        Raises:
            ValueError: wrong shape or range of x, no samples, or labels missing or out of range.
        References:
            D. Kingma, M. Welling (2014), arXiv:1312.6114, eq. 7.
        """
        self._check(x, labels)
        reconstruction, kl = self._terms(x, labels, num_samples, eps, generator)
        return reconstruction - kl

    def iwae(
        self,
        x: Float[Tensor, "b ..."],
        k: int,
        *,
        labels: Int[Tensor, " b"] | None = None,
        eps: Float[Tensor, "k b latent"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """Importance-weighted bound, in nats (b,): log 1/k Σ p(x, z_i) / q(z_i | x), z_i drawn from q.

        In expectation it rises with k towards log p(x). All k draws are held at once, for the gradient;
        `log_likelihood` takes thousands. Arguments as in `elbo`.

        References:
            Y. Burda, R. Grosse, R. Salakhutdinov (2016), arXiv:1509.00519, eq. 8.
        """
        self._check(x, labels)
        mu, logvar = self._encode(x, labels)
        log_w = self._log_weights(x, mu, logvar, labels, self._noise(k, "k", mu, eps, generator))
        return log_w.logsumexp(0) - math.log(len(log_w))

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Float[Tensor, "b ..."],
        num_samples: int = 5000,
        *,
        labels: Int[Tensor, " b"] | None = None,
        chunk: int = 4096,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """Estimate of log p(x), in nats (b,): `iwae` with many draws, in bounded memory and without gradient.

        Too low in expectation, by less the more draws there are. The noise is drawn image by image, so that neither
        `chunk` nor what follows in the batch changes the result.

        Args:
            x: (b, *event_shape).
            num_samples: draws per x.
            labels: (b,) of a conditional VAE.
            chunk: how many draws, of one or several x, are decoded at once.
            generator: source of the noise.
        """
        self._check(x, labels)
        num_samples, chunk = checks.count(num_samples, "num_samples"), checks.count(chunk, "chunk")
        at_once = max(1, chunk // num_samples)
        # Filled in place: small results kept between large buffers would keep the memory of those from further use.
        out = x.new_zeros(len(x))
        for start in range(0, len(x), at_once):
            some = x[start : start + at_once]
            y = None if labels is None else labels[start : start + at_once]
            mu, logvar = self._encode(some, y)
            eps = torch.stack([gaussian.normal(num_samples, mu, generator) for _ in some], dim=1)
            parts = [self._log_weights(some, mu, logvar, y, part) for part in eps.split(chunk)]
            out[start : start + at_once] = torch.cat(parts).logsumexp(0) - math.log(num_samples)
        return out

    def loss(
        self,
        x: Float[Tensor, "b ..."],
        labels: Int[Tensor, " b"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """What training minimises, in nats per x: −E log p(x | z) + beta · KL, or −iwae where num_importance > 1."""
        # Looking at the values makes a GPU wait; there `train` looks at the loss from time to time.
        self._check(x, labels, values=x.device.type == "cpu")
        if self.num_importance > 1:
            mu, logvar = self._encode(x, labels)
            eps = self._noise(self.num_importance, "k", mu, None, generator)
            log_w = self._log_weights(x, mu, logvar, labels, eps)
            return (math.log(len(log_w)) - log_w.logsumexp(0)).mean()
        reconstruction, kl = self._terms(x, labels, 1, None, generator)
        return (self.beta * kl - reconstruction).mean()

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        labels: Int[Tensor, " n"] | None = None,
        mean: bool = False,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n ..."]:
        """Draw (n, *event_shape): z from N(0, I), then x from p(x | z); with `mean` its mean, as pictures show it."""
        n = checks.count(n, "n")
        self._check_labels(labels, n)
        z = gaussian.normal(n, self._like(), generator)
        parameters = self._decode(z, labels)
        x = self.likelihood.mean(parameters) if mean else self.likelihood.draw(parameters, generator)
        return x.reshape(n, *self.event_shape)

    @torch.no_grad()
    def reconstruct(self, x: Float[Tensor, "b ..."], labels: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b ..."]:
        """The mean of p(x | z) at the centre z = mu of q(z | x): (b, *event_shape)."""
        mu, _ = self.encode(x, labels)
        return self.likelihood.mean(self._decode(mu, labels)).reshape(x.shape)

    def _like(self) -> Tensor:
        """An empty tensor (0, latent_dim) of the model's dtype and device."""
        parameter = next(self.parameters())
        return parameter.new_zeros(0, self.latent_dim)

    def _encode(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.net == "mlp":
            x = x.flatten(1)
        if labels is not None:
            y = F.one_hot(labels, self.num_classes).to(x)
            y = y if self.net == "mlp" else y[:, :, None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, y], dim=1)
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, likelihoods.limited(logvar, -LOGVAR_LIMIT, LOGVAR_LIMIT)

    def _decode(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Parameters (b, n), flat."""
        if labels is not None:
            z = torch.cat([z, F.one_hot(labels, self.num_classes).to(z)], dim=1)
        return self.decoder(z).flatten(1)

    def _decode_samples(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Parameters (s, b, n) of draws z (s, b, latent_dim)."""
        y = None if labels is None else labels.repeat(len(z))
        return self._decode(z.flatten(0, 1), y).unflatten(0, z.shape[:2])

    def _terms(self, x, labels, num_samples, eps, generator) -> tuple[Tensor, Tensor]:
        """The two terms of the ELBO, each (b,)."""
        mu, logvar = self._encode(x, labels)
        z = reparameterize(mu, logvar, self._noise(num_samples, "num_samples", mu, eps, generator))
        reconstruction = self.likelihood.log_prob(self._decode_samples(z, labels), x.flatten(1)).mean(0)
        return reconstruction, gaussian_kl(mu, logvar)

    def _log_weights(self, x: Tensor, mu: Tensor, logvar: Tensor, labels: Tensor | None, eps: Tensor) -> Tensor:
        """log p(x, z) − log q(z | x) (s, b) at z = mu + exp(logvar / 2) eps; the constants of p(z) and q cancel."""
        z = reparameterize(mu, logvar, eps)
        log_x_given_z = self.likelihood.log_prob(self._decode_samples(z, labels), x.flatten(1))
        return log_x_given_z + 0.5 * (eps.square() - z.square() + logvar).sum(-1)

    def _noise(self, num: int, name: str, mu: Tensor, eps: Tensor | None, generator) -> Tensor:
        if eps is None:
            num = checks.count(num, name)
            return gaussian.normal(num * len(mu), mu, generator).unflatten(0, (num, len(mu)))
        checks.tensor(eps, "eps", ndim=3)
        if not len(eps) or eps.shape[1:] != mu.shape:
            raise ValueError(f"eps must have shape (samples, {len(mu)}, {self.latent_dim}), got {tuple(eps.shape)}")
        return eps

    def _check(self, x: Tensor, labels: Tensor | None, *, values: bool = True) -> None:
        checks.tensor(x, "x")
        if x.shape[1:] != self.event_shape or not x.ndim:
            wanted = ", ".join(map(str, self.event_shape))
            raise ValueError(f"x must have shape (b, {wanted}), got {tuple(x.shape)}")
        self._check_labels(labels, len(x), values=values)
        if values and len(x):
            self.likelihood.check(x)

    def _check_labels(self, labels: Tensor | None, n: int, *, values: bool = True) -> None:
        if not self.num_classes:
            if labels is not None:
                raise ValueError("labels are for a conditional VAE; build it with num_classes=, or leave them out")
            return
        wanted = f"labels must be {n} whole numbers from 0 to {self.num_classes - 1}, one per x"
        if labels is None:
            raise ValueError(f"{wanted}, got none")
        checks.tensor(labels, "labels", floating=False)
        if labels.shape != (n,) or labels.dtype != torch.long:
            raise ValueError(f"{wanted}, got {labels.dtype} of shape {tuple(labels.shape)}")
        if values and n and not (0 <= int(labels.min()) and int(labels.max()) < self.num_classes):
            raise ValueError(f"{wanted}, got {int(labels.min())} to {int(labels.max())}")
