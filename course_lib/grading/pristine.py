"""Judging with the tools as they were: a notebook may have patched `torch.allclose` or set another default dtype.

The judge runs in the student's own process when it is called from a notebook. Namespaces are remembered when this
module is imported; `pristine()` puts them, and the global switches of torch, back for as long as a verdict takes.
"""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import json
import math
import operator
import struct
from collections.abc import Iterator

import torch

_SPACES = (builtins, math, operator, json, struct, torch, torch.Tensor, torch.linalg, torch.special, torch.autograd,
           torch.nn.functional, torch.distributions)  # fmt: skip
# A module's own bookkeeping is left alone, and so is "_", which an interactive session assigns to.
_KEPT = [(space, {k: v for k, v in vars(space).items() if not k.startswith("__") and k != "_"}) for space in _SPACES]
_KEPT[0][1]["__import__"] = builtins.__import__
_TENSOR, _BASE = frozenset(vars(torch.Tensor)), torch.Tensor.__base__
_ABSENT = object()
_delete, _set = delattr, setattr
_inside = contextvars.ContextVar("inside", default=False)


@contextlib.contextmanager
def pristine() -> Iterator[None]:
    """Inside the block builtins, math, torch and its switches are as they were; after it all patches are back.

    What the block itself patches is undone when it ends. Inside another such block it does nothing.
    """
    if _inside.get():
        yield
        return
    token = _inside.set(True)
    try:
        with _put_back():
            yield
    finally:
        _inside.reset(token)


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    patched = {}
    for number, (space, kept) in enumerate(_KEPT):
        now = vars(space)
        for name, value in kept.items():
            found = now.get(name, _ABSENT)
            if found is not value:
                patched[number, name] = found
                _set(space, name, value)
    # A method such as Tensor.all is inherited: a patch is a new name that hides it.
    hiding = {name: value for name, value in vars(torch.Tensor).items() if name not in _TENSOR and hasattr(_BASE, name)}
    for name in hiding:
        _delete(torch.Tensor, name)
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    # Setting it imports the whole compiler, seconds of it: it is left alone where it is off, as it nearly always is.
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    state = torch.random.get_rng_state()
    try:
        torch.set_default_dtype(torch.float32)
        if deterministic:
            torch.use_deterministic_algorithms(False)
        torch.set_num_threads(1)  # the tensors of a task are small: more threads only wait for each other
        elsewhere = torch.empty(0).device.type != "cpu"
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.device("cpu") if elsewhere else contextlib.nullcontext(),
        ):
            yield
    finally:
        for number, (space, kept) in enumerate(_KEPT):
            now = vars(space)
            for name, value in kept.items():
                value = patched.get((number, name), value)
                if value is _ABSENT:
                    _delete(space, name)
                elif now.get(name, _ABSENT) is not value:
                    _set(space, name, value)
        for name in [n for n in vars(torch.Tensor) if n not in _TENSOR and hasattr(_BASE, n)]:
            _delete(torch.Tensor, name)
        for name, value in hiding.items():
            _set(torch.Tensor, name, value)
        torch.random.set_rng_state(state)
        torch.set_num_threads(threads)
        if deterministic:
            torch.use_deterministic_algorithms(True, warn_only=warn_only)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
