"""`course run NN|all`: execute lectures headless, and say what each of them costs."""

from __future__ import annotations

import argparse
from pathlib import Path

from course_lib.commands import DONE, FAILED, UsageError, find_lecture, lectures


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("lectures", nargs="+", metavar="NN|all", help="numbers or names of lectures, or all")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the executed lectures here (default: nowhere)")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS",
                        help="how long one cell may take (default: 300)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    wanted = list(lectures().values()) if "all" in args.lectures else [find_lecture(name) for name in args.lectures]
    wanted = list(dict.fromkeys(wanted))
    if not wanted:
        raise UsageError("there is no lecture in notebooks/")
    if not 0 < args.timeout < float("inf"):
        raise UsageError(f"--timeout must be a positive number of seconds, got {args.timeout:g}")
    if args.out is not None:
        try:
            args.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out must be a folder to write to, {args.out}: {error.strerror}") from None

    from course_lib import notebook

    width = max(len(path.stem) for path in wanted)
    print(f"{'lecture':{width}}  seconds  peak MB", flush=True)
    failed = []
    for path in wanted:
        try:
            cost = notebook.execute(path, out=args.out and args.out / path.name, timeout=args.timeout)
            print(f"{path.stem:{width}}  {cost.seconds:7.1f}  {cost.peak_mb:7.0f}", flush=True)
        except (notebook.NotebookError, ValueError, OSError) as error:
            failed.append(path.stem)
            print(f"{path.stem:{width}}   failed: {error}", flush=True)
    if failed:
        print(f"{len(failed)} of {len(wanted)} failed: {', '.join(failed)}")
    return FAILED if failed else DONE
