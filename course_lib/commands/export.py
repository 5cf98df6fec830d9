"""`course export gradescope|nbgrader EXERCISE --out PATH`: an exercise, ready for another grader."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from course_lib.commands import DONE, FAILED, UsageError, suggest

_KINDS = ("gradescope", "nbgrader")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="gradescope|nbgrader", help="the grader to export for")
    parser.add_argument("exercise", metavar="EXERCISE", help="such as ex01 or ex01_density_estimation")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH",
                        help="gradescope: a .zip file, or a folder for autograder.zip; nbgrader: a folder")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.kind not in _KINDS:
        raise UsageError(f"there is no export to {args.kind!r}{suggest(args.kind, _KINDS)} ({' or '.join(_KINDS)})")
    from course_lib.grading import export

    try:
        exercise = export.find_exercise(args.exercise)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if args.kind == "nbgrader" and args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out must be a folder, {args.out} is a file")
    try:
        written = getattr(export, args.kind)(exercise, args.out)
    except (OSError, ValueError) as error:
        print(f"course: {exercise} could not be exported to {args.out}: {error}", file=sys.stderr)
        return FAILED
    print(f"{exercise} for {args.kind}: {written}")
    return DONE
