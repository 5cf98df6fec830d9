"""`course build [--check]`: exercises/ from solutions/, or only compare them."""

from __future__ import annotations

import argparse

from course_lib import paths
from course_lib.commands import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="only compare, change nothing; status 1 if they differ")


def run(args: argparse.Namespace) -> int:
    root = paths.repo_dir()
    if root is None or not (root / "solutions").is_dir():
        raise UsageError("the solutions are not here: run this in a checkout of the course that has solutions/")

    from course_lib.grading import build

    return build.run(check=args.check, root=root)
