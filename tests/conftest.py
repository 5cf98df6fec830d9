"""What all tests share: one thread, offscreen matplotlib, and a way to our own errors behind the shape checks."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("COURSE_CHECK_CONTROLS", "1")  # notebooks under test draw both ends of each live control

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
