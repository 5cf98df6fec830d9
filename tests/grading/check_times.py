"""Prints, as JSON, what one check costs: `python -m tests.grading.check_times`, in seconds after import.

A process of its own, because the shape checks of the test suite would be measured with it. Processor seconds include
the forked child: on a machine with nothing else to do they are what a student waits.
"""

import json
import resource
import statistics
import time

from course_lib.grading import TASKS, grade
from tests.grading.toy import disguised


def processor() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def main() -> None:
    cpu, wall, wrong = [], [], []
    for task in TASKS.values():
        for function in (task.reference, *(mistake.answer for mistake in task.mistakes[:3])):
            answer = disguised(function)
            grade(task, answer, seed=0)
            start, since = processor(), time.perf_counter()
            result = grade(task, answer, seed=1)
            cpu.append(processor() - start)
            wall.append(time.perf_counter() - since)
            if result.passed != (function is task.reference):
                wrong.append(f"{task.name}: {result.message}")
    found = {"processor": statistics.median(cpu), "worst": max(cpu), "wall": statistics.median(wall)}
    print(json.dumps({**found, "wrong_verdicts": wrong}))


if __name__ == "__main__":
    main()
