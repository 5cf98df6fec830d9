"""`course train` as its user meets it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course_lib import zoo

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def command(tmp_path):
    """Run `course train ...` with a cache of its own and no network."""

    def environment(**more):
        off = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
        return os.environ | off | {"PYTHONPATH": str(ROOT), "COURSE_CACHE": str(tmp_path / "cache")} | more

    def run(*args, stop=None, root=ROOT):
        words = [sys.executable, "-m", "course_lib.cli", "train", *args]
        if stop is None:
            return subprocess.run(words, cwd=root, env=environment(PYTHONPATH=str(root)), capture_output=True,
                                  text=True, timeout=240)  # fmt: skip
        process = subprocess.Popen(words, cwd=root, env=environment(), stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.STDOUT)  # fmt: skip
        for line in process.stdout:
            if re.match(stop, line):
                break
        process.send_signal(signal.SIGINT)
        output = process.stdout.read()
        return subprocess.CompletedProcess(words, process.wait(timeout=60), output)

    return run


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["vae_digit"], "did you mean 'vae_digits'"),
        (["vae_digits", "--data", "digit"], "did you mean 'digits'"),
        (["vae_digits", "--steps", "0"], "steps must be at least 1"),
        (["vae_digits", "--steps", "many"], "invalid int value"),
        (["vae_digits", "--seed", "-4"], "seed must be at least 0"),
        (["vae_digits", "--device", "gpu0"], "--device gpu0 cannot be used here; there is cpu"),
        (["vae_digits", "--device", "meta"], "--device meta cannot be used here"),
        (["vae_digits", "--step", "3"], "did you mean '--steps'"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_suggestion(command, args, words):
    """Catches a traceback, and a training that starts all the same."""
    done = command(*args)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_list_names_every_recipe(command):
    """Catches a model that nobody can find."""
    done = command()
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(zoo.RECIPES)


def test_mnist_without_a_network_says_so(command):
    """Catches the 8x8 digits trained under MNIST's name, and a traceback."""
    done = command("vae_mnist", "--steps", "5")
    assert done.returncode == 1 and done.stderr.startswith("course: ") and "MNIST" in done.stderr
    assert "Traceback" not in done.stderr


def test_folder_that_cannot_be_written_is_named(command, tmp_path):
    """Catches minutes of training lost in a traceback."""
    (tmp_path / "file").write_text("")
    done = command("vae_digits", "--steps", "5", "--out", str(tmp_path / "file"))
    assert done.returncode == 1 and "cannot be written" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_keeps_a_state_and_resume_is_exact(command, tmp_path):
    """Catches a stop that loses the work, a sentence that names another command, and a resume that is not exact."""
    args = ["vae_digits", "--steps", "4000", "--seed", "2", "--device", "cpu"]
    whole = command(*args, "--out", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    half = command(*args, "--out", str(tmp_path / "parts"), stop=r"step \d+/4000")
    assert half.returncode == 1, half.stdout
    again = re.search(r"stopped after step (\d+); go on with: course train (.*)", half.stdout)
    assert 0 < int(again[1]) < 4000 and not (tmp_path / "parts").exists()
    assert again[2].split() == ["vae_digits", "--steps", "4000", "--seed", "2", "--resume"]
    rest = command(*again[2].split(), "--device", "cpu", "--out", str(tmp_path / "parts"))
    assert rest.returncode == 0, rest.stderr
    (one,), (other,) = ((tmp_path / name).glob("*.safetensors") for name in ("whole", "parts"))
    assert one.name == other.name and one.read_bytes() == other.read_bytes()


def test_reference_is_written_where_the_lectures_find_it(command, tmp_path):
    """Catches a `course train NAME` that does not mend what `zoo.load(NAME)` complains of."""
    copy = tmp_path / "copy"
    for name in ("course_lib", "data", "notebooks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    recipes = copy / "course_lib/zoo/recipes.py"
    recipes.write_text(recipes.read_text().replace('"steps": 6000', '"steps": 25').replace('"warmup": 100, ', ""))
    load = [sys.executable, "-c", "from course_lib import zoo; print(zoo.load('vae_digits').latent_dim)"]
    environment = os.environ | {"PYTHONPATH": str(copy), "COURSE_CACHE": str(tmp_path / "cache")}
    refused = subprocess.run(load, cwd=copy, env=environment, capture_output=True, text=True)
    assert "made by another recipe" in refused.stderr and "course train vae_digits" in refused.stderr
    began = time.monotonic()
    done = command("vae_digits", root=copy)
    assert done.returncode == 0, done.stderr
    mended = subprocess.run(load, cwd=copy, env=environment, capture_output=True, text=True)
    assert mended.stdout == "2\n", mended.stderr
    card = json.loads((copy / "data/models/vae_digits.json").read_text())
    assert 0 < card["runs"][0]["seconds"] < time.monotonic() - began
    assert str(tmp_path) not in json.dumps(card) and str(ROOT) not in json.dumps(card)
