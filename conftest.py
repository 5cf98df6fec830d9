"""How a test run is organised: the order, quiet for timings, and what the run shows at its end."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCKS = "COURSE_TEST_LOCKS"  # the folder of this run's locks, given by the controller to its workers
# A pytest that a test starts is part of that test: it must not wait for locks which that test holds.
LOCKING = fcntl is not None and "PYTEST_XDIST_WORKER" in os.environ and "PYTEST_CURRENT_TEST" not in os.environ


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.course_locks = os.environ[LOCKS] = tempfile.mkdtemp(prefix="course-tests-")


def pytest_unconfigure(config):
    if hasattr(config, "course_locks"):
        shutil.rmtree(config.course_locks, ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Run the files that hold slow tests first, so that none is left for the end; skip `gpu` tests without CUDA."""
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in slow)
    on_gpu = [item for item in items if "gpu" in item.keywords]
    if on_gpu:
        import torch

        if not torch.cuda.is_available():
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, there is none here"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Let nothing run beside a test marked `alone` or `browser`: it measures time.

    All tests hold a shared lock while they run, and such a test an exclusive one. The turnstile is passed first, so
    that a stream of short tests cannot keep the waiting one out.
    """
    if not LOCKING:
        return (yield)
    folder = Path(os.environ[LOCKS])
    alone = item.get_closest_marker("alone") or item.get_closest_marker("browser")
    with open(folder / "turnstile", "w") as turnstile, open(folder / "lock", "w") as lock:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        return (yield)


def pytest_terminal_summary(terminalreporter):
    """Show what tests measured: each `record_property("show", text)`, of tests that passed as well."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for text in (str(value) for name, value in report.user_properties if name == "show"):
                terminalreporter.section(report.nodeid, sep="-")
                terminalreporter.write_line(text.rstrip())
