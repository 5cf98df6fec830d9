"""The set-up agrees with itself: shapes are enforced in tests, and every list of packages says the same."""

import pytest
import torch

from course_lib import checks
from course_lib._typing import Float, Tensor


def test_annotations_are_enforced_while_tests_run():
    """Catches a suite run without the import hook: every shape in course_lib would then go unchecked."""
    import jaxtyping

    assert not jaxtyping.config.jaxtyping_disable
    with pytest.raises(jaxtyping.TypeCheckError):
        checks.data(torch.zeros(3, 2), name=5)  # `name: str`, and the function itself would accept a number


def test_shapes_are_enforced_and_the_fixture_lifts_them(tmp_path, monkeypatch, no_shape_check):
    """Catches a no_shape_check that does nothing, or that leaves the checks off for good."""
    import jaxtyping

    assert isinstance(checks.data(torch.zeros(3, 2), name=5), Tensor)
    jaxtyping.config.update("jaxtyping_disable", False)
    with pytest.raises(jaxtyping.TypeCheckError):
        checks.data(torch.zeros(3, 2), name=5)


def test_shaped_annotations_are_not_plain_tensors():
    """Catches the fallback of course_lib._typing being used although jaxtyping is installed."""
    assert not isinstance(torch.zeros(3), Float[Tensor, "n d"])
    assert isinstance(torch.zeros(3, 2), Float[Tensor, "n d"])
