"""KDE and GMM hold their own against scikit-learn: some of the races of benchmarks/densities.py."""

import runpy
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.alone
def test_as_fast_as_scikit_learn(record_property):
    """Catches a change that makes KDE or GMM slower than scikit-learn, or less exact, or a worse fit."""
    benchmark = runpy.run_path(str(Path(__file__).resolve().parents[1] / "benchmarks/densities.py"))
    lines, failures = benchmark["race"](repeats=3, bandwidths=(0.1,), restarts=(1,))
    record_property("show", "\n".join(lines))
    assert not failures, "\n".join([*lines, *failures])
