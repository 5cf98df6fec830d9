"""The set-up agrees with itself: shapes are enforced in tests, and every list of packages says the same."""

import re
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from course_lib import checks
from course_lib._typing import Float, Tensor

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


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


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def test_every_requirement_has_a_pin_within_its_range():
    """Catches a new dependency without a tested version, and a bound that the tested version breaks."""
    for requirement in requirements():
        if requirement.name != PROJECT["name"]:
            assert canonicalize_name(requirement.name) in pins(), f"{requirement.name} has no pin in constraints.txt"
            assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), str(requirement)


def test_pins_are_exact_and_name_nothing_local():
    """Catches a path, a host, a local build tag or an editable install that pip freeze wrote down."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for line in lines:
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line


def test_what_is_installed_here_is_the_tested_set():
    """Catches pins that were never tested: the suite runs on other versions than constraints.txt says."""
    from importlib.metadata import PackageNotFoundError, version

    other = {}
    for name, pin in pins().items():
        try:
            if version(name).split("+")[0] != pin:
                other[name] = version(name)
        except PackageNotFoundError:
            continue  # an extra that this environment does without
    assert not other, f"installed in other versions than constraints.txt says: {other}"


# Colab, August 2026. The course is installed there with --no-deps, but a bound these break would still be a lie.
COLAB = {"torch": "2.11.0", "numpy": "2.1.3", "matplotlib": "3.10.0", "scikit-learn": "1.6.1", "ipywidgets": "7.7.1"}


def test_ranges_accept_what_colab_has():
    """Catches a lower bound that would make pip replace Colab's own packages."""
    runtime = {requirement.name: requirement for requirement in map(Requirement, PROJECT["dependencies"])}
    for name, version in COLAB.items():
        assert runtime[name].specifier.contains(version), f"{runtime[name]} refuses Colab's {version}"


def test_conda_installs_the_same():
    """Catches an environment.yml that drifts from what `make lab` installs: other extra, no pins, other Python."""
    import yaml

    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    [inner] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert inner == ["-c constraints.txt", "-e .[lab]"]
    assert "pip" in plain
    [python] = [entry.removeprefix("python=") for entry in plain if entry.startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python + ".0")
    assert ".ci/environment lab" in (ROOT / "Makefile").read_text()
    assert '-c constraints.txt -e ".[$extra]"' in (ROOT / ".ci/environment").read_text()
