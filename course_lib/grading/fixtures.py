"""Builders of callable arguments: what a task sends instead of a net, a critic or a decoder.

`codec.Fixture(name, params)` names one of these; it is built anew for every call, on both sides, from plain tensors
and numbers, so that no callable ever crosses between processes.
"""

from __future__ import annotations

from collections.abc import Callable

#: name -> function(**params) -> the callable argument. Exercise sets that need callables add theirs here.
BUILDERS: dict[str, Callable[..., Callable]] = {}


def build(name: str, params: dict) -> Callable:
    """The callable argument `name` with these parameters.

    Raises:
        ValueError: no builder has that name.
    """
    if name not in BUILDERS:
        raise ValueError(
            f"fixture must be one of {', '.join(BUILDERS) or 'those in BUILDERS (none yet)'}, got {name!r}"
        )
    return BUILDERS[name](**params)
