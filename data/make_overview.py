"""Draw data/overview.png, the picture at the top of the README: four densities against a truth that is known.

Run it from anywhere: `python data/make_overview.py`. The figures in the titles are computed here.
"""

import math
from pathlib import Path

import matplotlib.pyplot as plt

from course_lib import datasets, metrics, plots, rng
from course_lib.models.densities import KDE, Gaussian, Histogram
from course_lib.models.mixture import GMM


def main() -> None:
    plots.use_style()
    truth = datasets.TwoMoons(noise=0.1)
    x = truth.sample(500, generator=rng(0))
    models = {
        "histogram": Histogram(bins=16).fit(x, bounds=truth.bounds),
        "Gaussian": Gaussian().fit(x),
        "kernel density": KDE(bandwidth=0.1).fit(x),
        "mixture of 8": GMM(8).fit(x, generator=rng(0)),
    }
    fig, axes = plt.subplots(1, 5, figsize=(14, 3.0), sharex=True, sharey=True)
    plots.scatter(axes[0], x, role="data")
    axes[0].set(
        title="500 points\nfrom two moons",
        xlabel="$x_1$",
        ylabel="$x_2$",
        xlim=truth.bounds[0],
        ylim=truth.bounds[1],
        aspect="equal",
    )
    for ax, (name, model) in zip(axes[1:], models.items(), strict=True):
        plots.density(ax, model.log_prob, truth.bounds)
        gap, _ = metrics.kl_to_exact(truth, model, 5000, generator=rng(1))
        # A histogram gives some fresh point an empty bin, hence no density at all: the first surprise of lecture 01.
        distance = f"{gap:.2f} nats off the truth" if math.isfinite(gap) else "∞ nats off the truth"
        ax.set(title=f"{name}\n{distance}", xlabel="$x_1$", ylabel="")
    fig.savefig(Path(__file__).with_name("overview.png"), dpi=80, facecolor="white", metadata={"Software": None})


if __name__ == "__main__":
    main()
