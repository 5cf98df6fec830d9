"""KDE and GMM against scikit-learn, in the same run, on the same data: `python benchmarks/densities.py`.

Prints times (medians of interleaved runs, one thread), ratios and the quality of the answers; exits 1 if the course's
version is slower, its KDE differs from the definition by more than 1e-6 relative, or its mixture has a worse held-out
likelihood. scikit-learn's KDE is raced with its default relative tolerance (1e-8), and timed once with none (exact).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import statistics
import sys
import time
import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from course_lib import datasets, rng
from course_lib.models.densities import GMM, kde_log_prob


def seconds(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def brute_force(x_train, x, bandwidth):
    """The definition of a KDE, pair by pair: what both answers are measured against."""
    n, d = x_train.shape
    parts = [(-0.5 * ((block[:, None] - x_train) / bandwidth).square().sum(-1)).logsumexp(1) for block in x.split(50)]
    return torch.cat(parts) - math.log(n) - d * math.log(bandwidth) - 0.5 * d * math.log(2 * math.pi)


def scikit_learn_kde(x_train, x, bandwidth, rtol):
    return torch.from_numpy(KernelDensity(bandwidth=bandwidth, rtol=rtol).fit(x_train.numpy()).score_samples(x.numpy()))


def race_kde(name, bandwidth, n, repeats):
    density = datasets.density(name)
    x_train, x = (density.sample(n, generator=rng(seed)).double() for seed in (0, 1))
    ours, theirs = [], []
    for _ in range(repeats):
        time_ours, log_p = seconds(lambda: kde_log_prob(x_train, x, bandwidth))
        ours.append(time_ours)
        theirs.append(seconds(lambda: scikit_learn_kde(x_train, x, bandwidth, rtol=1e-8))[0])
    full, peer = seconds(lambda: scikit_learn_kde(x_train, x, bandwidth, rtol=0))
    exact = brute_force(x_train, x, bandwidth)
    error, peer_error = (float(((value - exact) / exact).abs().max()) for value in (log_p, peer))
    median, default = statistics.median(ours), statistics.median(theirs)
    line = (
        f"KDE  {name:10} h={bandwidth:<5g} {n} x {n}: {median:.3f} s; scikit-learn {default:.3f} s "
        f"(x{default / median:.1f}), exact {full:.3f} s (x{full / median:.1f}); "
        f"relative error {error:.0e}, scikit-learn's {peer_error:.0e}"
    )
    failures = []
    if median > default:
        failures.append(f"KDE on {name}, h={bandwidth:g}: slower than scikit-learn ({median:.3f} s, {default:.3f} s)")
    if error > 1e-6:
        failures.append(f"KDE on {name}, h={bandwidth:g}: differs from the definition by {error:.1e} relative")
    return line, failures


def race_gmm(label, density, n, restarts, repeats):
    test = density.sample(n, generator=rng(99)).double()
    ours, theirs, gains = [], [], []
    for repeat in range(repeats):
        x = density.sample(n, generator=rng(repeat)).double()
        spent, model = seconds(lambda x=x, s=repeat: GMM(8).fit(x, generator=rng(s), restarts=restarts))
        ours.append(spent)
        peer = GaussianMixture(8, n_init=restarts, random_state=repeat)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs.append(seconds(lambda x=x, peer=peer: peer.fit(x.numpy()))[0])
        gains.append(float(model.log_prob(test).mean()) - float(peer.score(test.numpy())))
    median, peer_median, gain = statistics.median(ours), statistics.median(theirs), statistics.fmean(gains)
    line = (
        f"GMM  {label:10} K=8 {n} points, {restarts} restart(s): {median:.3f} s; scikit-learn {peer_median:.3f} s "
        f"(x{peer_median / median:.1f}); held-out log-likelihood {gain:+.5f} nats per point above scikit-learn's"
    )
    failures = []
    if median > peer_median:
        failures.append(f"GMM on {label}: slower than scikit-learn ({median:.3f} s, {peer_median:.3f} s)")
    if gain < 0:
        failures.append(f"GMM on {label}: held-out likelihood {-gain:.2g} nats per point below scikit-learn's")
    return line, failures


def race(repeats=5, bandwidths=(0.02, 0.1, 0.5), restarts=(1, 5)):
    """The races: the lines to print, and what was lost (nothing, if all is well)."""
    torch.set_num_threads(1)
    ring = datasets.RingOfGaussians(std=0.7)  # neighbours overlap: the answer is not obvious from k-means
    results = [race_kde("two_moons", h, 10_000, repeats) for h in bandwidths]
    results.append(race_kde("pinwheel", 0.05, 10_000, repeats))
    for starts in restarts:
        results.append(race_gmm("ring", ring, 50_000, starts, repeats))
        results.append(race_gmm("pinwheel", datasets.Pinwheel(), 50_000, starts, repeats))
    lines, failures = zip(*results, strict=True)
    return list(lines), [failure for each in failures for failure in each]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    lines, failures = race(parser.parse_args().repeats)
    print("\n".join([*lines, *(f"LOST: {failure}" for failure in failures)]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
