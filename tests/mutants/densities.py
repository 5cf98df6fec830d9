"""Bugs in the Gaussians, the exact densities, the density models and the metrics."""

from tests.mutants.mutant import Mutant

GAUSSIAN = "course_lib/gaussian.py"
TOY = "course_lib/datasets/toy.py"
MIXTURES = "course_lib/datasets/mixtures.py"
DENSITIES = "course_lib/models/densities.py"
MIXTURE = "course_lib/models/mixture.py"
METRICS = "course_lib/metrics.py"
IN_GAUSSIAN = ("tests/test_gaussian.py",)
IN_TOY = ("tests/test_toy.py",)
IN_DENSITIES = ("tests/test_densities.py",)
IN_METRICS = ("tests/test_metrics.py",)

MUTANTS = [
    Mutant("Gaussian adds its log determinant", GAUSSIAN,
           "-0.5 * mahalanobis - half_log_det", "-0.5 * mahalanobis + half_log_det", IN_GAUSSIAN),
    Mutant("mixture reduced over points", GAUSSIAN,
           "covs).logsumexp(dim=1)", "covs).logsumexp(dim=0)", IN_GAUSSIAN),
    Mutant("Gaussian sampler uses the transposed factor", GAUSSIAN,
           "generator) @ factor.mT", "generator) @ factor", IN_GAUSSIAN),
    Mutant("mixture sampler ignores the weights", GAUSSIAN,
           "torch.multinomial(weights.detach()", "torch.multinomial(torch.ones_like(weights)", IN_GAUSSIAN),
    Mutant("noise ignores the seed", GAUSSIAN,
           "like.shape[-1], generator=generator,", "like.shape[-1],", IN_GAUSSIAN),
    Mutant("singular covariance passes", GAUSSIAN,
           "if bool(singular.any()):", "if bool((failed > 0).any()):", IN_GAUSSIAN),
    Mutant("moons cover one side of the arc twice", TOY,
           "((-1, near), (1, away))", "((1, near), (1, away))", IN_TOY),
    Mutant("quadrature cuts the tail of the arc", TOY,
           "2 * 40 / kappa", "2 * 2 / kappa", IN_TOY),
    Mutant("moons entropy on a shifted sign", TOY,
           "return -float((log_p.exp()", "return float((log_p.exp()", IN_TOY),
    Mutant("circles use the unscaled tail", TOY,
           "-0.5 * ((r - radius) / self.noise).square()", "-1.0 * ((r - radius) / self.noise).square()", IN_TOY),
    Mutant("lower moon never drawn", TOY,
           "is_upper = _uniform(n, generator) < 0.5", "is_upper = _uniform(n, generator) < 1.5", IN_TOY),
    Mutant("pinwheel's blades with deviations for variances", TOY,
           "dtype=torch.float64).square())", "dtype=torch.float64))", IN_TOY),
    Mutant("checkerboard of the other colour", TOY,
           "((column + row) % 2 == 0)", "((column + row) % 2 == 1)", IN_TOY),
    Mutant("pinwheel turned the wrong way", TOY,
           "self._turn(x, -self.twist)", "self._turn(x, self.twist)", IN_TOY),
    Mutant("grid off centre by half a step", MIXTURES,
           "(side - 1) / 2)", "side / 2)", IN_TOY),
    Mutant("KDE forgets the bandwidth in its normaliser", DENSITIES,
           " - d * math.log(bandwidth)", "", IN_DENSITIES),
    Mutant("leave one out divides by n", DENSITIES,
           "n, d = len(centres) - leave_one_out,", "n, d = len(centres),", IN_DENSITIES),
    Mutant("leave one out trusts the nearest box alone", DENSITIES,
           "min(1 + leave_one_out, len(farthest))", "min(1, len(farthest))", IN_DENSITIES),
    Mutant("KDE passes over boxes too soon", DENSITIES,
           "math.log(torch.finfo(x.dtype).eps) + 3", "math.log(1e-3) - 9", IN_DENSITIES),
    Mutant("KDE without its largest term taken out", DENSITIES,
           "exponents.detach().amax(1, keepdim=True).clamp_min(torch.finfo(x.dtype).min)",
           "torch.zeros_like(exponents[:, :1])", IN_DENSITIES),
    Mutant("KDE answers in the order of its boxes", DENSITIES,
           "torch.cat(out)[torch.cat(order).argsort()]", "torch.cat(out)", IN_DENSITIES),
    Mutant("KDE sampler with the bandwidth squared", DENSITIES,
           "self.bandwidth * gaussian.normal", "self.bandwidth**2 * gaussian.normal", ("tests/test_registry.py",)),
    Mutant("histogram's last bin loses its upper edge", DENSITIES,
           "(x <= upper)", "(x < upper)", IN_DENSITIES),
    Mutant("Gaussian covariance with n - 1", DENSITIES,
           "centred.mT @ centred / len(x)", "centred.mT @ centred / (len(x) - 1)", IN_DENSITIES),
    Mutant("responsibilities normalised over points", MIXTURE,
           "covs).softmax(dim=1)", "covs).softmax(dim=0)", IN_DENSITIES),
    Mutant("fused pass keeps the shift in the covariance", MIXTURE,
           " - shift[:, :, None] * shift[:, None, :]", "", IN_DENSITIES),
    Mutant("ridge for the floor", MIXTURE,
           "variances.clamp_min(floor).to(means)", "(variances + 100 * floor).to(means)", IN_DENSITIES),
    Mutant("history forgets the units of the data", MIXTURE,
           " - float(scale.log().sum())", "", IN_DENSITIES),
    Mutant("k-means starts from uniform seeds", MIXTURE,
           "ends = nearest.cumsum(0)", "ends = torch.ones_like(nearest).cumsum(0)", IN_DENSITIES),
    Mutant("KL in the other direction", METRICS,
           "return log_p - log_q", "return log_q - log_p", IN_METRICS),
    Mutant("standard error without the root", METRICS,
           "/ math.sqrt(n)", "/ n", IN_METRICS),
    Mutant("AUC ranks off by one", METRICS,
           "positives * (positives + 1) / 2", "positives * (positives - 1) / 2", IN_METRICS),
    Mutant("ties count as wins", METRICS,
           "count.cumsum(0).double() - (count.double() - 1) / 2", "count.cumsum(0).double()", IN_METRICS),
]  # fmt: skip
