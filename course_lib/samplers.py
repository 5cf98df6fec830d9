"""Markov chains that leave a density unchanged, and annealed importance sampling built on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from course_lib import checks, gaussian
from course_lib._typing import Bool, Float, Number, Tensor
from course_lib.models import vae

LogDensity = Callable[[Tensor], Tensor]  # (n, d) -> (n,), need not be normalised


def hmc_step(
    log_density: LogDensity,
    z: Float[Tensor, "n d"],
    step: Float[Tensor, "n 1"] | Number,
    *,
    leapfrog: int = 10,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "n d"], Bool[Tensor, " n"]]:
    """One step of Hamiltonian Monte Carlo for n chains at once, each accepted or rejected by itself.

    Momentum v ~ N(0, I); `leapfrog` rounds of v += step/2 ∇, z += step v, v += step/2 ∇; then accepted with
    probability min(1, exp(H(z, v) − H(z', v'))), H = −log p + v²/2. The density stays invariant for any step size.

    Args:
        log_density: log p up to a constant, (n, d) -> (n,), differentiable.
        z: states (n, d).
        step: step size, one number or one per chain (n, 1).
        leapfrog: rounds; 1 is Langevin with a Metropolis correction.
        generator: source of all randomness.
    Returns:
        the new states (n, d), and whether each chain moved (n,).
    References:
        R. Neal (2011), Handbook of Markov Chain Monte Carlo, chapter 5 (arXiv:1206.1901), figure 2.
    """
    leapfrog = checks.count(leapfrog, "leapfrog")
    value, slope = _value_and_slope(log_density, z)
    v = gaussian.normal(len(z), z, generator)
    start = value - 0.5 * v.square().sum(1)
    new, v = z, v + 0.5 * step * slope
    for i in range(leapfrog):
        new = new + step * v
        new_value, slope = _value_and_slope(log_density, new)
        v = v + (step if i < leapfrog - 1 else 0.5 * step) * slope
    gain = new_value - 0.5 * v.square().sum(1) - start
    device = generator.device if generator is not None else z.device
    u = torch.rand(len(z), generator=generator, dtype=z.dtype, device=device).to(z)
    moved = u.log() < gain  # a NaN, from a step far too long, is not less: rejected
    return torch.where(moved[:, None], new, z), moved


class Annealed(NamedTuple):
    """What `annealed_importance_sampling` returns.

    log_weights: (n,); the mean of their exponentials is an unbiased estimate of the ratio of normalisers.
    z: the last states (n, d).
    acceptance: (steps − 1,) share of chains that moved at each temperature.
    """

    log_weights: Tensor
    z: Tensor
    acceptance: Tensor


def annealed_importance_sampling(
    log_start: LogDensity,
    log_target: LogDensity,
    z: Float[Tensor, "n d"],
    betas: Float[Tensor, " t"],
    *,
    steps: list | Number,
    leapfrog: int = 10,
    generator: torch.Generator | None = None,
    adapt: bool = False,
) -> Annealed:
    """Weights of chains that drift from a density that can be sampled to one that cannot.

    The path is p_b ∝ start^(1−b) target^b. log w = Σ_t (b_t − b_{t−1}) (log target − log start)(z_{t−1}), where z_t
    comes from z_{t−1} by an HMC step that leaves p_{b_t} invariant. E w = Z_target / Z_start for any number of steps.

    Args:
        log_start, log_target: log densities up to constants, (n, d) -> (n,).
        z: exact samples of the start (n, d).
        betas: (t,), rising from 0 to 1.
        steps: step size, a number or one (n, 1) tensor for each temperature between.
        leapfrog: rounds in an HMC step.
        generator: source of all randomness.
        adapt: change the sizes in the list `steps` along the way, towards two moves in three. The weights of such a
            run are not exact; a second run with the sizes it left behind has exact ones.
    Raises:
        ValueError: betas that do not rise from 0 to 1.
    References:
        R. Neal (2001), Annealed importance sampling, Statistics and Computing 11 (physics/9803008), eq. 3 to 11.
    """
    checks.tensor(betas, "betas", ndim=1)
    if len(betas) < 2 or float(betas[0]) != 0 or float(betas[-1]) != 1 or not bool((betas.diff() > 0).all()):
        raise ValueError("betas must rise from 0 to 1, for instance torch.linspace(0, 1, 500)")
    log_weights, acceptance = z.new_zeros(len(z)), []
    for t in range(1, len(betas)):
        before, b = float(betas[t - 1]), float(betas[t])
        with torch.no_grad():
            log_weights = log_weights + (b - before) * (log_target(z) - log_start(z))
        if t == len(betas) - 1:
            break  # the last weight is taken; moving on would change nothing

        def between(z, b=b):
            return (1 - b) * log_start(z) + b * log_target(z)

        step = steps[t - 1] if isinstance(steps, list) else steps
        z, moved = hmc_step(between, z, step, leapfrog=leapfrog, generator=generator)
        acceptance.append(moved.float().mean())
        if adapt and t < len(steps):
            # Two moves up balance one refusal down.
            steps[t] = steps[t - 1] * torch.where(moved, 1.05, 1.05**-2)[:, None].to(z)
    return Annealed(log_weights, z, torch.stack(acceptance) if acceptance else log_weights.new_zeros(0))


def ais_log_likelihood(
    model: vae.VAE,
    x: Float[Tensor, "b ..."],
    *,
    labels: Tensor | None = None,
    num_chains: int = 16,
    num_steps: int = 500,
    leapfrog: int = 10,
    step: Number = 0.1,
    start: str = "prior",
    generator: torch.Generator | None = None,
) -> Float[Tensor, " b"]:
    """Estimate of log p(x) of a decoder by annealed importance sampling, in nats (b,).

    Chains run from the prior (or the encoder) to p(z | x), so a poor encoder costs nothing: that is what it has over
    importance sampling. By Jensen's inequality too low in expectation, by less the more chains and steps.

    A pilot run of one chain per x finds step sizes; the run that counts keeps them, hence its weights are exact.

    Args:
        model: anything with `latent_dim`, `log_prob_given(x, z, labels)` and, for start="encoder", `encode`.
        x: (b, *event_shape).
        labels: (b,) of a conditional VAE.
        num_chains: per x.
        num_steps: temperatures, on a sigmoid grid, dense at both ends.
        leapfrog: rounds in an HMC step.
        step: step size the pilot starts from.
        start: "prior" or "encoder", where the chains begin.
        generator: source of all randomness.
    References:
        Y. Wu, Y. Burda, R. Salakhutdinov, R. Grosse (2017), arXiv:1611.04273, section 3 and appendix (the grid).
    """
    checks.one_of(start, "start", ("prior", "encoder"))
    num_chains, num_steps = checks.count(num_chains, "num_chains"), checks.count(num_steps, "num_steps")
    checks.number(step, "step", above=0)
    with torch.no_grad():
        mu, logvar = model.encode(x, labels)  # in any case: it checks x and labels
    if start == "prior":
        mu, logvar = torch.zeros_like(mu), torch.zeros_like(logvar)
    grid = torch.linspace(-4, 4, num_steps + 1, dtype=torch.float64).sigmoid()
    betas = (grid - grid[0]) / (grid[-1] - grid[0])
    betas[-1] = 1.0  # rounding

    def run(chains: int, steps: list, adapt: bool) -> Annealed:
        x_, labels_ = x.repeat_interleave(chains, 0), None if labels is None else labels.repeat_interleave(chains)
        mean, spread = mu.repeat_interleave(chains, 0), (0.5 * logvar).exp().repeat_interleave(chains, 0)

        def log_start(z):
            return _standard((z - mean) / spread) - spread.log().sum(1)

        def log_target(z):
            return model.log_prob_given(x_, z, labels_) + _standard(z)

        z = mean + spread * gaussian.normal(len(x_), mu, generator)
        return annealed_importance_sampling(
            log_start, log_target, z, betas, steps=steps, leapfrog=leapfrog, generator=generator, adapt=adapt
        )

    steps = [mu.new_full((len(x), 1), float(step))] + [None] * (num_steps - 2)
    run(1, steps, adapt=True)
    log_weights = run(num_chains, [s.repeat_interleave(num_chains, 0) for s in steps], adapt=False).log_weights
    return log_weights.reshape(len(x), num_chains).logsumexp(1) - math.log(num_chains)


def _standard(z: Tensor) -> Tensor:
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)


def _value_and_slope(log_density: LogDensity, z: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        value = log_density(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope
