"""What keeps grading quick to start and cheap to fork: no compiler imported, memory in large pages."""

import hashlib
import os
import subprocess
import sys

import pytest

from course_lib.grading import pages


def test_a_verdict_imports_no_compiler():
    """Catches a call that makes torch import its compiler or a computer algebra system: seconds at every start."""
    source = """
import sys
from course_lib.grading import TASKS, judge, probe
task = TASKS["gaussian_log_prob"]
cases, request = judge.request(task, 0)
assert any(case.grad for case in cases)
assert judge.judge(task, cases, probe.observe(task.reference, request, guard=False)).passed
print(sorted({"torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_gathering_memory_changes_none_of_it():
    """Catches advice given to the wrong pages: a process whose memory is lost, or which never gets large pages."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            data = [os.urandom(4096) for _ in range(4000)]
            before = hashlib.sha256(b"".join(data)).digest()
            found = pages.gather()
            huge = 0
            if found:
                with open("/proc/self/smaps_rollup") as file:
                    huge = next(int(line.split()[1]) for line in file if line.startswith("AnonHugePages"))
            same = hashlib.sha256(b"".join(data)).digest() == before
            status = 0 if same and huge >= 1024 * found else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
