"""Every named bug of the bank is noticed by the suite, and the runner that says so can itself say no."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants import runner

AREAS = runner.bank(runner.ROOT)
BANK = [mutant for mutants in AREAS.values() for mutant in mutants]


def test_bank_is_large_and_its_names_are_unique():
    """Catches a bank that lost its entries, and two mutants that could be mistaken for each other."""
    assert len(BANK) >= 25
    assert [name for name, count in Counter(mutant.name for mutant in BANK).items() if count > 1] == []


@pytest.mark.parametrize("mutant", BANK, ids=lambda mutant: mutant.name)
def test_mutant_applies(mutant):
    """Catches a mutant whose source has changed under it, or whose tests are gone: it would test nothing."""
    assert runner.fault(mutant, runner.ROOT) == ""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the runner forks, and this system cannot")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("area", AREAS)
def test_every_mutant_is_killed(area, record_property):
    """Catches tests that cannot fail: each bug of the bank must break at least one of the tests it names."""
    jobs = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
    command = [sys.executable, "-m", "tests.mutants.runner", "--area", area, "--jobs", jobs]
    done = subprocess.run(command, cwd=runner.ROOT, capture_output=True, text=True, check=False)
    record_property("show", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the runner forks, and this system cannot")
def test_runner_refuses_what_is_not_killed(tmp_path):
    """Catches a runner that calls everything killed: survivors, broken code, stale text, tests that fail anyway."""
    bank = tmp_path / "tests/mutants"
    bank.mkdir(parents=True)
    shutil.copy(Path(runner.__file__).with_name("mutant.py"), bank)
    (tmp_path / "thing.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\npythonpath = ["."]\naddopts = "--import-mode=importlib"\n'
    )
    (tmp_path / "tests/test_thing.py").write_text(
        "from thing import double\n\n\ndef test_double():\n    assert double(3) == 6\n"
    )
    (tmp_path / "tests/test_weak.py").write_text("from thing import double\n\n\ndef test_runs():\n    double(3)\n")
    (tmp_path / "tests/test_bad.py").write_text("def test_bad():\n    assert False\n")
    (bank / "things.py").write_text(
        "from tests.mutants.mutant import Mutant\n"
        "def m(name, old, new, test): return Mutant(name, 'thing.py', old, new, (f'tests/test_{test}.py',))\n"
        "MUTANTS = [m('good', '2 * x', '3 * x', 'thing'), m('survivor', '2 * x', '3 * x', 'weak'),\n"
        "           m('stale', '5 * x', '3 * x', 'thing'), m('broken', 'def', 'fed', 'thing'),\n"
        "           m('always', '2 * x', '3 * x', 'bad')]\n"
    )
    done = subprocess.run(
        [sys.executable, runner.__file__, "--root", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "killed by tests/test_thing.py::test_double" in last["good"], done.stdout + done.stderr
    assert "SURVIVES" in last["survivor"]
    assert "occurs 0 times" in last["stale"]
    assert "cannot even be collected" in last["broken"]
    assert "fails without the mutant as well" in last["always"]
    assert "1 of 5 mutants killed" in done.stdout
    assert (tmp_path / "thing.py").read_text() == "def double(x):\n    return 2 * x\n"
