"""A Dask cluster gives the results of one machine, also when a worker dies on the way."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from course_lib.grading import cluster, cohort, submission
from tests.grading.notebooks import right, write

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="the sandbox needs Linux or macOS")]


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler and two worker processes of their own, as on an existing cluster."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "distributed.cli"]
    address = tmp_path / "scheduler.json"
    code = "import sys; from distributed.cli.dask_{} import main; main(sys.argv[1:])"

    def start(kind, *args):
        return subprocess.Popen(
            [run[0], "-c", code.format(kind), *args], env=env, stderr=subprocess.DEVNULL, cwd=tmp_path
        )

    processes = [start("scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0",
                       "--scheduler-file", str(address))]  # fmt: skip
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--scheduler-file", str(address))
    processes += [start("worker", *options) for _ in range(2)]
    with distributed.Client(scheduler_file=str(address), timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        yield client.scheduler.address, client
    for process in processes:
        process.kill()
        process.wait()


def cohort_of(tmp_path, count):
    for i in range(count):
        answer = f"def log_ball_to_cube_ratio(d):\n    import time; time.sleep(0.3)\n    return -{i}.5 * d"
        write(tmp_path / "in" / f"{i}.ipynb", right(log_ball_to_cube_ratio=answer))
    write(tmp_path / "in" / "bad.ipynb", "{")
    return submission.find([tmp_path / "in"])


def test_same_results_as_local_and_a_worker_may_die(tmp_path, scheduler):
    """Catches a cluster that grades with other inputs, loses submissions, or stops when a worker is killed."""
    address, client = scheduler
    found, settings = cohort_of(tmp_path, 6), cohort.Settings(seed=7)
    local = {
        g.name: (g.reason, g.results) for g in cohort.grade_here(found, settings, jobs=2, notice=lambda text: None)
    }
    pids = client.run(os.getpid)
    assert len(set(pids.values())) == 2
    killer = threading.Timer(6.0, os.kill, (next(iter(pids.values())), signal.SIGKILL))
    killer.start()
    remote = {
        g.name: (g.reason, g.results)
        for g in cluster.grade_on_cluster(found, settings, address=address, notice=lambda text: None)
    }
    killer.join()
    assert remote == local and len(remote) == 7


def test_no_scheduler_is_a_sentence():
    """Catches a hang or a traceback when nobody listens at the address."""
    started = time.monotonic()
    with pytest.raises(cluster.ClusterError, match="no Dask scheduler"):
        list(cluster.grade_on_cluster([], cohort.Settings(seed=1), address="tcp://127.0.0.1:1", notice=print))
    assert time.monotonic() - started < 60
