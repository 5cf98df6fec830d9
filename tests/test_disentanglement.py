"""Disentanglement scores on codes whose answer is known: perfect, rotated, random, noisy, collapsed."""

import math

import pytest
import torch

from course_lib import disentanglement as dis
from course_lib import rng

N = 20_000


def factors(n: int = N, seed: int = 0) -> torch.Tensor:
    """Three independent factors with 5, 4 and 2 values."""
    generator = rng(seed)
    return torch.stack([torch.randint(v, (n,), generator=generator) for v in (5, 4, 2)], 1)


def draw(n: int, generator: torch.Generator | None) -> torch.Tensor:
    return torch.stack([torch.randint(v, (n,), generator=generator) for v in (5, 4, 2)], 1)


def rotated(f: torch.Tensor) -> torch.Tensor:
    """Every latent an equal mixture of two standardised factors, by a turn of 45 degrees; the third left alone."""
    z = (f.float() - torch.tensor([2.0, 1.5, 0.5])) / torch.tensor([2.0, 1.25, 0.25]).sqrt()
    half = math.sqrt(0.5)
    return torch.stack([half * (z[:, 0] + z[:, 1]), half * (z[:, 0] - z[:, 1]), z[:, 2]], 1)


def mig(codes: torch.Tensor, f: torch.Tensor) -> float:
    return float(dis.mutual_information_gap(*dis.mutual_information(codes, f)))


def noise(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=rng(seed))


# ---------------------------------------------------------------- mutual information


def test_a_perfect_code_knows_the_whole_entropy():
    """Catches a base other than e and a transposed table: I = H on the diagonal, 0 elsewhere, H = log of the values."""
    mi, entropy = dis.mutual_information(factors().float(), factors())
    torch.testing.assert_close(entropy, torch.tensor([5.0, 4.0, 2.0]).log(), rtol=0, atol=1e-3)
    torch.testing.assert_close(mi.diagonal(), entropy)
    # Counting overestimates by (a − 1)(b − 1) / 2n, 3e-4 here; ten times that fails one seed in 10^5.
    assert float((mi - mi.diagonal().diag()).abs().max()) < 3e-3


def test_information_of_a_noisy_channel():
    """Catches p log p / q with its parts mixed up: a bit that flips with p = 0.1 tells log 2 − H(0.1)."""
    f = factors()[:, 2:]
    flips = torch.rand(N, 1, generator=rng(1)) < 0.1
    mi, _ = dis.mutual_information((f ^ flips.long()).float(), f)
    truth = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    # The estimate's standard error is sqrt(Var(log ratio) / n) = 0.0047.
    assert float(mi) == pytest.approx(truth, abs=0.024)


def test_information_of_two_gaussians():
    """Catches bins of the wrong number or shape: −½ log(1 − ρ²) = 0.5108 for ρ = 0.8, 30 bins lose about 0.01."""
    n, rho = 200_000, 0.8
    a, b = noise((n, 1)), noise((n, 1), seed=2)
    mi, _ = dis.mutual_information(a, rho * a + math.sqrt(1 - rho**2) * b, bins=30)
    truth = -0.5 * math.log(1 - rho**2)
    assert truth - 0.02 < float(mi) < truth + 0.005


def test_only_the_order_of_a_code_matters():
    """Catches bins of equal width, which a skewed latent or one outlier spoils."""
    codes = noise((2000, 2))
    f = (codes[:, :1] > 0.3).long()
    plain, _ = dis.mutual_information(codes, f)
    skewed = (5 * codes).exp()
    skewed[0] = 1e30
    torch.testing.assert_close(dis.mutual_information(skewed, f)[0], plain, rtol=0, atol=5e-3)


def test_labels_of_any_value_count_the_same():
    """Catches integer factors that are taken for indices: values −7, 0, 10⁹ in place of 0, 1, 2."""
    f = torch.randint(3, (1000, 1), generator=rng(0))
    values = torch.tensor([-7, 0, 10**9])[f]
    codes = f + 0.3 * noise((1000, 1))
    for ours, theirs in zip(dis.mutual_information(codes, f), dis.mutual_information(codes, values), strict=True):
        torch.testing.assert_close(ours, theirs)


# ---------------------------------------------------------------- MIG


def test_mig_by_hand():
    """Catches a gap between the wrong axes, a missing entropy, and a sum for the mean."""
    mi = torch.tensor([[0.9, 0.1], [0.5, 0.2], [0.1, 0.6]])
    assert float(dis.mutual_information_gap(mi, torch.tensor([1.0, 2.0]))) == pytest.approx((0.4 / 1 + 0.4 / 2) / 2)


def test_mig_of_known_codes():
    """Catches a score that cannot tell: perfect 1, in any order and scale; random 0; rotated between; doubled 0."""
    f = factors()
    perfect = f.float() * torch.tensor([-1.0, 10.0, 0.1])
    assert mig(perfect, f) == pytest.approx(1, abs=5e-3)
    assert mig(torch.cat([noise((N, 2)), perfect[:, [2, 0, 1]]], 1), f) == pytest.approx(1, abs=5e-3)
    assert mig(noise((N, 4)), f) < 5e-3
    assert mig(torch.cat([perfect, perfect], 1), f) == pytest.approx(0, abs=1e-6)
    turned = mig(rotated(f), f)
    # Factors 0 and 1 split evenly between two latents; the third is a perfect one: not far from (0 + 0 + 1) / 3.
    assert 1 / 3 - 0.05 < turned < 1 / 3 + 0.1


# ---------------------------------------------------------------- FactorVAE score


def test_factor_vae_score_of_known_codes():
    """Catches a vote for the most varying latent, a missing scale, and a table judged on its own votes.

    A perfect code scores 1 at any scale per latent. One that does not depend on the factors is at chance, 1/3: 400
    votes are known to 0.024, the bound is 5 times that above chance.
    """
    for scale in ([1.0, 1.0, 1.0], [100.0, 10.0, 50.0]):
        score = dis.factor_vae_score(lambda f, s=scale: f.float() * torch.tensor(s), draw, generator=rng(0))
        assert score == 1
    generator = rng(1)
    noisy = dis.factor_vae_score(
        lambda f: (f + 0.3 * torch.randn(f.shape, generator=generator)) * torch.tensor([100.0, 10, 50]),
        draw,
        generator=rng(0),
    )
    assert noisy > 0.95
    chance = dis.factor_vae_score(
        lambda f: torch.randn(len(f), 20, generator=generator), draw, votes=800, generator=rng(0)
    )
    assert abs(chance - 1 / 3) < 0.12
    # Factor 2 has its own latent, 0 and 1 share two: a vote for either is a coin toss.
    turned = dis.factor_vae_score(rotated, draw, generator=rng(0))
    assert 0.55 < turned < 0.85


def test_collapsed_latents_do_not_vote():
    """Catches a dead latent, whose variance is always the least and which would win every vote, and 0 / 0."""

    def represent(f):
        return torch.cat([f.float(), torch.zeros(len(f), 2), 1e-4 * f[:, :1].float()], 1)

    assert dis.factor_vae_score(represent, draw, generator=rng(0)) == 1
    assert dis.factor_vae_score(lambda f: torch.ones(len(f), 4), draw, generator=rng(0)) == pytest.approx(1 / 3)


def test_factor_vae_score_repeats_with_the_seed():
    """Catches draws from the global state."""
    state = torch.get_rng_state()
    scores = [dis.factor_vae_score(rotated, draw, votes=60, generator=rng(seed)) for seed in (0, 0, 1, 2, 3)]
    assert scores[0] == scores[1] and len(set(scores)) > 1
    assert torch.equal(state, torch.get_rng_state())


def test_active_units_are_those_that_vary_over_the_data():
    """Catches a mean square for the variance: a constant of 3 is not in use."""
    mu = torch.stack([noise((500,)), torch.full((500,), 3.0), 0.05 * noise((500,), 2), 0.3 * noise((500,), 3)], 1)
    assert dis.active_units(mu) == 2
    assert dis.active_units(mu, threshold=0.0) == 3


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: dis.mutual_information(noise((5, 2)), factors(4)), "factors must have one row per code"),
        (lambda: dis.mutual_information(noise((1, 2)), factors(1)), "codes has 1 samples, at least 2"),
        (lambda: dis.mutual_information(noise((5, 2)) / 0, factors(5)), "codes has 10 NaN or infinite"),
        (lambda: dis.mutual_information(noise((5, 2)), noise((5, 2)) / 0), "factors has 10 NaN or infinite"),
        (lambda: dis.mutual_information(noise((5, 2)), factors(5), bins=1), "bins must be at least 2"),
        (lambda: dis.mutual_information_gap(torch.ones(1, 2), torch.ones(2)), "at least 2 latents, got 1"),
        (lambda: dis.mutual_information_gap(torch.ones(3, 2), torch.ones(3)), "factor_entropy must have 2 entries"),
        (
            lambda: dis.mutual_information_gap(torch.ones(3, 2), torch.tensor([1.0, 0])),
            "factor 1 has 0: it never varies",
        ),
        (lambda: dis.factor_vae_score(torch.Tensor.float, lambda n, g: factors(n)[:, :1]), "at least 2 factors, got 1"),
        (lambda: dis.factor_vae_score(torch.Tensor.float, draw, votes=1), "votes must be at least 2"),
        (lambda: dis.factor_vae_score(lambda f: f.float()[:3], draw), "represent must return one code per row"),
        (lambda: dis.factor_vae_score(lambda f: f / 0, draw), r"represent\(factors\) has"),
        (lambda: dis.active_units(noise((1, 2))), "mu has 1 samples"),
    ],
)
def test_bad_input(call, says, no_shape_check):
    """Catches an argument that is accepted in silence, or refused without its name and the remedy."""
    with pytest.raises(ValueError, match=says):
        call()
