"""What all tests share: one thread, an offscreen matplotlib, a way past the shape checks, and quiet for timings."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import jaxtyping
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def no_shape_check():
    """Turn the enforced jaxtyping shapes off for one test, so that bad input meets the library's own ValueError."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def pytest_collection_modifyitems(items):
    """Skip `gpu` tests, and say so, where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device, there is none here")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
