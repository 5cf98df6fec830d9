"""What an optimiser step is made of: a device, a batch, a learning rate, and Adam."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib import checks


def pick_device() -> torch.device:
    """The fastest device here: CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def learning_rate(step: int, *, lr: float, steps: int, warmup: int = 0, schedule: str | None = None) -> float:
    """The learning rate of step 0, 1, ..., steps - 1.

    lr · (step + 1) / warmup while step < warmup; then lr, or with "cosine"
    lr · (1 + cos(π (step − warmup) / (steps − warmup))) / 2, which would reach 0 at `step = steps`.

    Args:
        step: number of steps already done.
        lr: the largest rate.
        steps: length of the whole training.
        warmup: steps of linear warm-up.
        schedule: None (constant) or "cosine".

    References:
        I. Loshchilov, F. Hutter (2017), SGDR, arXiv:1608.03983, equation 5, one cycle down to 0.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    if schedule is None:
        return lr
    return lr * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


class Batches:
    """Random batches by slicing, without a DataLoader.

    An epoch is one `torch.randperm(n, generator=generator)`, cut into consecutive slices of `batch_size`. When fewer
    rows are left than a batch needs, they are dropped and the next epoch begins, so that every batch has the same
    size; other rows fall out in every epoch. `batch_size` is lowered to n if it is larger.

    `data` is a tensor (n, ...), a tuple of tensors of equal length, or a function `data(generator, batch_size)` that
    returns a new batch at each call. `next()` returns the tuple of arguments for `model.loss`.
    """

    def __init__(self, data, batch_size: int, *, generator: torch.Generator, device: torch.device) -> None:
        self.generator, self.device = generator, device
        self.batch_size = checks.count(batch_size, "batch_size")
        self.draw = data if callable(data) else None
        self.order = torch.empty(0, dtype=torch.long, device=device)
        if self.draw is None:
            tensors = data if isinstance(data, tuple | list) else (data,)
            if not tensors or not all(isinstance(t, Tensor) and t.ndim for t in tensors):
                raise ValueError(
                    f"data must be a tensor (n, ...), a tuple of such tensors or a function, got {type(data).__name__}"
                )
            lengths = [len(t) for t in tensors]
            if len(set(lengths)) > 1 or not lengths[0]:
                raise ValueError(f"data must hold tensors of one common length of at least 1, got lengths {lengths}")
            for t in tensors:
                if t.is_floating_point():
                    checks.finite(t, "data")
            # The whole set moves once: a copy per batch would cost more than the step of a small model.
            self.tensors = tuple(t.to(device) for t in tensors)
            self.batch_size = min(self.batch_size, lengths[0])

    def next(self) -> tuple[Tensor, ...]:
        if self.draw is not None:
            batch = self.draw(self.generator, self.batch_size)
            return tuple(t.to(self.device) for t in (batch if isinstance(batch, tuple | list) else (batch,)))
        if len(self.order) < self.batch_size:
            self.order = torch.randperm(len(self.tensors[0]), generator=self.generator).to(self.device)
        rows, self.order = self.order[: self.batch_size], self.order[self.batch_size :]
        return tuple(t[rows] for t in self.tensors)


def adam(
    parameters: list[Tensor], *, lr: float, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """Adam, or AdamW if the weights decay, as one fused kernel where this torch and device have it.

    Args:
        parameters: what to optimise.
        lr, betas, weight_decay: as in `torch.optim.Adam`.

    References:
        D. Kingma, J. Ba (2015), arXiv:1412.6980, algorithm 1; I. Loshchilov, F. Hutter (2019), arXiv:1711.05101,
        algorithm 2.
    """
    kind = torch.optim.AdamW if weight_decay else torch.optim.Adam
    options = {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay}
    try:
        return kind(parameters, fused=True, **options)
    except (RuntimeError, ValueError):
        return kind(parameters, **options)
