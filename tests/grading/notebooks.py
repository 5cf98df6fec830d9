"""Small notebooks for the tests of grading: as students hand them in, and as they should not."""

import json
import textwrap
from pathlib import Path

RIGHT = {
    "log_ball_to_cube_ratio": """
        import math

        def log_ball_to_cube_ratio(d):
            return 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1) - d * math.log(2)
    """,
    "histogram_log_density": """
        import torch

        def histogram_log_density(x_train, edges, x):
            k = len(edges) - 1
            def bins(values):
                index = torch.searchsorted(edges, values.contiguous(), right=True) - 1
                return torch.where(values == edges[-1], k - 1, index)
            inside = (x_train >= edges[0]) & (x_train <= edges[-1])
            counts = torch.bincount(bins(x_train[inside]), minlength=k).to(x.dtype)
            table = torch.log(counts / (len(x_train) * edges.diff()))
            ok = (x >= edges[0]) & (x <= edges[-1])
            return torch.where(ok, table[bins(x).clamp(0, k - 1)], -torch.inf)
    """,
    "outlier_mask": """
        import torch

        def outlier_mask(log_p_train, log_p, alpha):
            return log_p < torch.quantile(log_p_train, float(alpha))
    """,
    "leave_one_out_log_likelihood": """
        import math, torch

        def leave_one_out_log_likelihood(x_train, bandwidth):
            n, d = x_train.shape
            u = (x_train[:, None] - x_train[None]) / bandwidth
            e = -0.5 * (u * u).sum(-1) - 0.5 * d * math.log(2 * math.pi) - d * math.log(float(bandwidth))
            e = e.masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
            return (torch.logsumexp(e, 1) - math.log(n - 1)).mean()
    """,
}


def cell(source: str, grade_id: str | None = None, kind: str = "code") -> dict:
    result = {"cell_type": kind, "metadata": {}, "source": textwrap.dedent(source).strip("\n"), "id": "c"}
    if kind == "code":
        result |= {"outputs": [], "execution_count": None}
    if grade_id:
        result["metadata"]["nbgrader"] = {
            "grade_id": grade_id, "solution": True, "grade": False, "locked": False, "schema_version": 3,
        }  # fmt: skip
    return result


def notebook(*cells: dict | str, **top) -> str:
    cells = [cell(c) if isinstance(c, str) else c for c in cells]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | top)


def right(**instead: str) -> str:
    """A notebook with right answers to four of the five tasks of ex01, some of them replaced."""
    answers = {**RIGHT, **instead}
    return notebook(*(cell(source, grade_id=name) for name, source in answers.items()))


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path
