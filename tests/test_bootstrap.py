"""What stands before Python packages: the scripts behind `make lab` and `make test`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="sh scripts; Windows has the commands of the README")
INNER = '#!/bin/sh\ncase "$*" in *pip*) echo "$*" >>pip.log; exit $(cat pip.status);; esac\n'
BASE = f"""#!/bin/sh
[ "$2" = venv ] || exit 0
mkdir -p .venv/bin
cat >.venv/bin/python <<'END'
{INNER}END
chmod +x .venv/bin/python
"""


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path):
    """A checkout in a folder with a space in its name, and a python that only pretends."""
    root = tmp_path / "a course"
    shutil.copytree(ROOT / ".ci", root / ".ci")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    script(tmp_path / "bin/python3", BASE)
    (root / "pip.status").write_text("0")
    return root


def environment(tree, extra="lab"):
    path = f"{tree.parent / 'bin'}:{os.environ['PATH']}"
    return subprocess.run([tree / ".ci/environment", extra], cwd="/", env=os.environ | {"PATH": path, "PYTHON": ""},
                          capture_output=True, text=True, timeout=60)  # fmt: skip


def installs(tree) -> list[str]:
    log = tree / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


def test_second_call_does_nothing_and_a_changed_pin_installs_again(tree):
    """Catches an environment that is made anew each time, or that misses a changed constraints.txt."""
    assert environment(tree).returncode == 0
    assert installs(tree) == ["-m pip install -qq --disable-pip-version-check --no-input -c constraints.txt -e .[lab]"]
    second = environment(tree)
    assert (second.returncode, second.stdout, len(installs(tree))) == (0, "", 1)
    with (tree / "constraints.txt").open("a") as file:
        file.write("more==1\n")
    assert environment(tree).returncode == 0
    assert len(installs(tree)) == 2


def test_test_packages_hold_those_of_the_lectures(tree):
    """Catches `make lab` installing again after `make test`, and `make test` doing with what `make lab` installed."""
    environment(tree, "dev")
    environment(tree, "lab")
    assert [line[-6:] for line in installs(tree)] == [".[dev]"]
    shutil.rmtree(tree / ".venv")
    environment(tree, "lab")
    environment(tree, "dev")
    assert [line[-6:] for line in installs(tree)] == [".[dev]", ".[lab]", ".[dev]"]


def test_half_made_environment_is_made_anew(tree):
    """Catches an interrupted installation that is taken for a whole one."""
    (tree / "pip.status").write_text("1")
    failed = environment(tree)
    assert failed.returncode == 1 and "could not install" in failed.stderr
    (tree / "pip.status").write_text("0")
    (tree / ".venv/leftover").write_text("")
    mended = environment(tree)
    assert mended.returncode == 0 and "half made or broken" in mended.stdout
    assert not (tree / ".venv/leftover").exists() and not (tree / ".venv/unfinished").exists()


def test_old_or_missing_python_gets_a_sentence(tree):
    """Catches a shell error instead of the sentence that says which Python is needed."""
    for name in ("python3", "python3.13", "python3.12", "python3.11", "python"):
        script(tree.parent / f"bin/{name}", "#!/bin/sh\n[ $1 = --version ] && echo Python 3.10.4 || exit 1\n")
    old = environment(tree)
    assert old.returncode == 1 and not (tree / ".venv").exists()
    assert "Python 3.11 or newer is needed, and python3 here is Python 3.10.4" in old.stderr


@pytest.mark.parametrize(
    ("said", "status", "last", "ends"),
    [
        ("..\n5 passed in 3.21s", 0, "5 passed in 3.21s", 0),
        (
            "==== 1 failed, 2 passed in 65.0s (0:01:05) ====\nmake: Error 1",
            2,
            "==== 1 failed, 2 passed in 65.0s (0:01:05) ====",
            2,
        ),
        ("5 passed in 3.21s\nstyle is wrong", 2, "5 passed in 3.21s", 2),
        ("nothing at all", 0, "the tests did not run to their end", 1),
    ],
)
def test_ci_run_ends_with_the_closing_line_and_its_status(tree, said, status, last, ends):
    """Catches a CI that is green when something failed, or whose last line is make's."""
    script(tree.parent / "bin/make", f"#!/bin/sh\nprintf '%s\\n' '{said}'\n[ \"$CI\" = true ] && exit {status}\n")
    path = f"{tree.parent / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run([tree / ".ci/run"], cwd="/", env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == last
    assert done.returncode == ends
