"""Spreads a cohort over an existing Dask cluster: the same sandbox and the same verdicts, on many machines.

Every Dask worker needs this course installed and starts sandboxes of its own, one for each of its threads. A
submission that was on a worker that died is graded again on another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from course_lib.grading import cohort, submission
from course_lib.grading.cohort import Graded, Settings
from course_lib.grading.sandbox import Sandbox
from course_lib.grading.submission import Found

PATIENCE = 60.0
"""Seconds to wait for a worker to appear when the cluster has none."""
CONNECT_SECONDS = 15


class ClusterError(RuntimeError):
    """The cluster cannot be used; the message says why and what to do."""


_graders: dict[Settings, cohort.Grader] = {}
_idle: dict[Settings, list[Sandbox]] = {}


def grade_remotely(name: str, cells: tuple[submission.Cell, ...], settings: Settings) -> tuple[Graded, str | None]:
    """Grade one submission on a Dask worker, with a sandbox that is kept for the next; and what that sandbox lacks."""
    grader = _graders.setdefault(settings, cohort.Grader(settings)) if settings not in _graders else _graders[settings]
    idle = _idle.setdefault(settings, [])
    try:
        sandbox = idle.pop()
    except IndexError:
        sandbox = cohort.new_sandbox(grader)
        sandbox.start()
    try:
        graded = grader.grade_cells(name, cells, sandbox)
    except BaseException:
        sandbox.close()
        raise
    idle.append(sandbox)
    return graded, sandbox.weaker


def close_remote(settings: Settings) -> None:
    """End the idle sandboxes of a run on a Dask worker."""
    for sandbox in _idle.pop(settings, []):
        sandbox.close()
    _graders.pop(settings, None)


def grade_on_cluster(
    found: list[Found], settings: Settings, *, address: str, notice: Callable[[str], None]
) -> Iterator[Graded]:
    """Grade on the Dask cluster whose scheduler is at `address`, and yield each submission as it is done.

    Raises:
        ClusterError: if Dask is not installed, the scheduler cannot be reached, or all its workers are gone.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError(
            "Dask is not installed here; pip install 'dask[distributed]', or grade without --dask"
        ) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({error}); start one, or grade without --dask"
        ) from None
    with client:
        try:
            yield from _spread(client, found, settings, notice)
        finally:
            try:
                client.run(close_remote, settings, on_error="ignore")
            except Exception:  # the results are in; a cluster that is going away takes its sandboxes along
                pass


def _spread(client, found: list[Found], settings: Settings, notice) -> Iterator[Graded]:
    waiting, running, told = list(reversed(found)), {}, False
    last = time.monotonic()
    while waiting or running:
        # Only a few are on their way at a time: the memory of the scheduler does not grow with the cohort.
        while waiting and len(running) < 4 * max(1, _threads(client)):
            item = waiting.pop()
            try:
                if item.problem:
                    raise submission.Unreadable(item.problem)
                cells = submission.read(item.path)
            except submission.Unreadable as error:
                yield Graded(item.name, reason=str(error))
                continue
            running[client.submit(grade_remotely, item.name, cells, settings, pure=False, retries=2)] = item
        done = [future for future in running if future.done()]
        for future in done:
            last, item = time.monotonic(), running.pop(future)
            try:
                graded, weaker = future.result()
            except Exception as error:
                graded, weaker = Graded(item.name, reason=_lost(error)), None
            if weaker and not told:
                notice(weaker)
                told = True
            yield graded
        if running and not done:
            time.sleep(0.02)
            if time.monotonic() - last > PATIENCE and not _threads(client):
                raise ClusterError(f"the cluster has had no worker for {PATIENCE:.0f} s; start workers and grade again")


def _threads(client) -> int:
    try:
        return sum(client.nthreads().values())
    except Exception as error:
        raise ClusterError(f"the connection to the Dask scheduler was lost ({error}); grade again") from None


def _lost(error: Exception) -> str:
    if type(error).__name__ == "KilledWorker":
        return "the Dask workers that had it died again and again; grade it alone to see why"
    return f"the cluster could not grade it ({type(error).__name__}: {error}); grade it without --dask"
