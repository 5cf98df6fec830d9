"""The organisation of a test run (conftest.py): timings are taken alone, and what tests measured is shown."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPAN = """
import time, pathlib, pytest
def span(name):
    start = time.time(); time.sleep(0.3)
    pathlib.Path(__file__).with_name(name).write_text(f"{start} {time.time()}")
"""


@pytest.mark.skipif(os.name != "posix", reason="file locks are POSIX here")
def test_alone_means_alone(tmp_path):
    """Catches timings taken while another worker runs tests, and a lock that a stream of short tests starves."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    alone: x\n    browser: x\n    gpu: x\n    slow: x\n")
    show = "record_property('show', 'took so long')"
    marked = f"@pytest.mark.alone\ndef test_alone(record_property):\n    span('alone')\n    {show}\n"
    (tmp_path / "test_a.py").write_text(SPAN + marked)
    (tmp_path / "test_b.py").write_text(SPAN + "".join(f"def test_{i}(): span('b{i}')\n" for i in range(6)))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "took so long" in done.stdout
    spans = {file.name: tuple(map(float, file.read_text().split())) for file in tmp_path.iterdir() if not file.suffix}
    start, end = spans.pop("alone")
    assert len(spans) == 6
    beside = [name for name, (first, last) in spans.items() if first < end and last > start]
    assert beside == []
    assert any(first > end for first, _ in spans.values())  # it did not simply wait for all the others
