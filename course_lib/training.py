"""One training loop for every model that has `loss(x)`.

What it does is this, with care taken for speed, interruption and repeatability:

    for step in range(steps):
        loss = model.loss(batches.next())
        optimizer.zero_grad(); loss.backward(); optimizer.step()
"""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import checkpoint as checkpoints
from course_lib import checks
from course_lib.progress import Progress, StopButton
from course_lib.steps import Batches, adam, learning_rate, pick_device

__all__ = ["Batches", "History", "learning_rate", "pick_device", "train"]


@dataclass
class History:
    """What a training left behind.

    losses: (steps done,) the loss of every step, on the CPU. seconds: time spent, all sittings together.
    processor_seconds: what the process spent on the CPU in that time; None if a sitting is not known of.
    interrupted: whether the stop button ended it. averaged: a copy of the model that holds the exponential moving
    average of the parameters, or None when `ema` was not asked for.
    """

    losses: Tensor
    seconds: float = 0.0
    interrupted: bool = False
    processor_seconds: float | None = None
    averaged: nn.Module | None = None

    @property
    def steps(self) -> int:
        return len(self.losses)


def train(
    model: nn.Module,
    data: Tensor | tuple | list | Callable,
    *,
    steps: int,
    batch_size: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    warmup: int = 0,
    schedule: str | None = None,
    clip: float | None = None,
    ema: float | None = None,
    generator: torch.Generator | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    log_every: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
) -> History:
    """Minimise `model.loss(batch)` with Adam, in place.

    What draws what: `generator` (a CPU generator; None stands for seed 0) shuffles the data, see `Batches`. If
    `model.loss` takes a keyword `generator`, it gets the same one, in the order of the steps: first the epoch's
    permutation, then the loss's own noise. On a GPU the loss gets a generator of that device, seeded once from
    `generator`.

    The model ends with the parameters of the last step. The average kept by `ema` is θ̄ ← d θ̄ + (1 − d) θ with
    d = min(ema, (1 + t) / (10 + t)) after step t = 1, 2, ..., so that the start is forgotten quickly; it is in
    `History.averaged`. Losses stay on the device between log points, where one copy is made and they are checked.

    The stop button ends the training after the step at work and keeps what was learnt; a second press breaks off at
    once. A loss or parameter that is not finite stops it with an error, and the model gets back the parameters of the
    last log point at which all was well.

    Args:
        model: a module with `loss(*batch) -> ()`.
        data: tensor (n, ...), tuple of tensors of equal length, or a function (generator, batch_size) -> batch.
        steps: number of optimiser steps, all sittings together.
        batch_size: rows per step.
        lr, betas, weight_decay: Adam's; a positive weight decay makes it AdamW.
        warmup, schedule: see `learning_rate`.
        clip: largest 2-norm of the whole gradient; None does not clip.
        ema: decay of the parameter average in [0, 1); None keeps none.
        generator: source of all randomness.
        device: where to train; the model moves there and stays. None means where the model is.
        progress: show how far it is.
        log_every: steps between log points; None means a fiftieth of the way, at most 200.
        checkpoint: file that keeps the state, so that a later call can go on.
        checkpoint_every: steps between checkpoints; None means a tenth of the way.
        resume: go on from `checkpoint` if it exists; on the CPU the result equals the uninterrupted one bit for bit.

    Returns:
        History with the loss of every step.

    Raises:
        ValueError: for an argument out of range, or a checkpoint that is damaged or belongs to another training.
        RuntimeError: if the loss or a parameter becomes infinite or NaN; says at which step.

    References:
        D. Kingma, J. Ba (2015), Adam, arXiv:1412.6980, algorithm 1. R. Pascanu, T. Mikolov, Y. Bengio (2013),
        arXiv:1211.5063, algorithm 1 (clipping by the norm).
    """
    settings = {
        "steps": checks.count(steps, "steps"),
        "batch_size": checks.count(batch_size, "batch_size"),
        "lr": checks.number(lr, "lr", above=0),
        "weight_decay": checks.number(weight_decay, "weight_decay", at_least=0),
        "betas": [checks.number(b, "betas", at_least=0, at_most=1 - 1e-9) for b in betas],
        "warmup": checks.count(warmup, "warmup", at_least=0, at_most=steps - 1),
        "schedule": schedule if schedule is None else checks.one_of(schedule, "schedule", ("cosine",)),
        "clip": None if clip is None else checks.number(clip, "clip", above=0),
        "ema": None if ema is None else checks.number(ema, "ema", at_least=0, at_most=1 - 1e-9),
    }
    if log_every is None:
        log_every = max(1, min(200, steps // 50))
    if checkpoint_every is None:
        checkpoint_every = max(1, steps // 10)
    checks.count(log_every, "log_every")
    checks.count(checkpoint_every, "checkpoint_every")
    if resume and checkpoint is None:
        raise ValueError("resume=True needs checkpoint=, the file to go on from")
    if not callable(getattr(model, "loss", None)):
        raise ValueError(f"model must have a method loss(x), {type(model).__name__} has none")
    run = _Run(model, data, settings, generator, device)
    if resume and Path(checkpoint).is_file():
        run.load(Path(checkpoint))

    bar = Progress(steps, start=run.step, enabled=progress)
    was_training = model.training
    model.train()
    interrupted = False
    try:
        with StopButton() as stop:
            while run.step < steps and not interrupted:
                run.advance()
                interrupted = stop.pressed and run.step < steps
                ends = interrupted or run.step == steps
                saves = checkpoint is not None and (ends or run.step % checkpoint_every == 0)
                if ends or saves or run.step % log_every == 0:
                    bar.update(run.step, f"loss {run.check():.4g}")
                if saves:
                    run.save(Path(checkpoint), bar.seconds)
    except KeyboardInterrupt:
        # A second press, or an interrupt raised by the model itself: the step at work is not counted.
        interrupted = True
        run.check()
    finally:
        model.train(was_training)
    history = run.history(bar.seconds, interrupted)
    took = f"{history.seconds:.1f} s"
    how = f"stopped at step {run.step} of {steps} after {took}, what was learnt is kept"
    how = how if interrupted else f"{steps} steps in {took}"
    tail = f" · loss {history.losses[run.last_log :].mean():.4g}" if run.step > run.last_log else ""
    bar.close(how + tail)
    return history


class _Run:
    """The state of one training: what a step changes, and so what a checkpoint keeps."""

    def __init__(self, model, data, settings: dict, generator: torch.Generator | None, device) -> None:
        self.model, self.settings = model, settings
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"model must have trainable parameters, {type(model).__name__} has none")
        self.generator = torch.Generator().manual_seed(0) if generator is None else generator
        if self.generator.device.type != "cpu":
            raise ValueError(f"generator must live on the CPU, got one on {self.generator.device}; see course_lib.rng")
        self.device = self.parameters[0].device if device is None else torch.device(device)
        model.to(self.device)
        self.batches = Batches(data, settings["batch_size"], generator=self.generator, device=self.device)
        settings["data"] = "function" if callable(data) else [list(t.shape) for t in self.batches.tensors]
        self.noise = self.generator
        if self.device.type != "cpu":
            seed = int(torch.randint(2**62, (), generator=self.generator))
            self.noise = torch.Generator(self.device).manual_seed(seed)
        takes_generator = "generator" in inspect.signature(model.loss).parameters
        self.loss_options = {"generator": self.noise} if takes_generator else {}
        self.optimizer = adam(
            self.parameters, lr=settings["lr"], betas=tuple(settings["betas"]), weight_decay=settings["weight_decay"]
        )
        wide = self.parameters[0].dtype == torch.float64
        self.losses = torch.zeros(settings["steps"], dtype=torch.float64 if wide else torch.float32, device=self.device)
        self.step = self.checked = self.last_log = 0
        self.seconds = 0.0
        # Of all sittings; an older checkpoint does not say.
        self.spent: float | None = 0.0
        self.began = time.process_time()
        self.averaged = None
        if settings["ema"] is not None:
            self.averaged = copy.deepcopy(model).requires_grad_(False)
            twins = dict(self.averaged.named_parameters())
            self.averages = [twins[name] for name, p in model.named_parameters() if p.requires_grad]
        self.good = [t.detach().clone() for t in self._tensors()]

    def _tensors(self) -> list[Tensor]:
        return [*self.model.parameters(), *self.model.buffers()]

    def advance(self) -> None:
        """One optimiser step; nothing here waits for the device."""
        s = self.settings
        rate = learning_rate(self.step, lr=s["lr"], steps=s["steps"], warmup=s["warmup"], schedule=s["schedule"])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.model.loss(*self.batches.next(), **self.loss_options)
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"model.loss must return a differentiable tensor of shape (), got {got}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if s["clip"] is not None:
            nn.utils.clip_grad_norm_(self.parameters, s["clip"])
        self.optimizer.step()
        self.losses[self.step] = loss.detach()
        self.step += 1
        if self.averaged is not None:
            decay = min(s["ema"], (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)

    @torch.no_grad()
    def check(self) -> float:
        """Look at the losses since the last look and keep the parameters if all is well; the mean of those losses."""
        new = self.losses[self.checked : self.step].cpu()
        bad = (~new.isfinite()).nonzero()
        parameters_finite = bool(torch.stack([t.isfinite().all() for t in self._tensors()]).all())
        if len(bad) or not parameters_finite:
            first = self.checked + int(bad[0]) + 1 if len(bad) else self.step
            what = f"the loss became {new[bad[0]].item()}" if len(bad) else "a parameter became infinite or NaN"
            for tensor, kept in zip(self._tensors(), self.good, strict=True):
                tensor.copy_(kept)
            raise RuntimeError(
                f"{what} in step {first} of {self.settings['steps']}; the model has its parameters of step "
                f"{self.checked} again. Try a smaller lr than {self.settings['lr']:g}, or clip=1.0, and look for "
                "log(0) or a division by 0 in the loss"
            )
        for tensor, kept in zip(self._tensors(), self.good, strict=True):
            kept.copy_(tensor)
        if len(new):
            self.last_log, self.checked = self.checked, self.step
        return self.losses[self.last_log : self.step].mean().item() if self.step else math.nan

    def history(self, seconds: float, interrupted: bool) -> History:
        if self.averaged is not None:
            for ours, theirs in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                ours.copy_(theirs)
            self.averaged.train(self.model.training)
        losses = self.losses[: self.step].cpu()
        return History(losses, self.seconds + seconds, interrupted, self.processor_seconds(), self.averaged)

    def processor_seconds(self) -> float | None:
        return None if self.spent is None else self.spent + time.process_time() - self.began

    def save(self, path: Path, seconds: float) -> None:
        state = {
            "settings": self.settings,
            "step": self.step,
            "losses": self.losses[: self.step].clone(),
            "seconds": self.seconds + seconds,
            "processor_seconds": self.processor_seconds(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "order": self.batches.order.clone(),
            "generator": self.generator.get_state(),
            "device": self.device.type,
            "noise": None if self.noise is self.generator else self.noise.get_state(),
            # Layers such as dropout know no generator: they draw from torch's own.
            "torch": torch.get_rng_state(),
        }
        checkpoints.save(path, state)

    def load(self, path: Path) -> None:
        """Continue from `path`; a state that does not fit changes nothing in the model."""
        state = checkpoints.load(path)
        now, then = self.settings, state.get("settings", {})
        # Without a schedule more steps are just more steps; a cosine would have come down at another pace.
        free = {"steps"} if now["schedule"] is None else set()
        changed = [f"{k} was {then.get(k)}, now {now[k]}" for k in now if k not in free and now[k] != then.get(k)]
        if changed or state["step"] > now["steps"]:
            changed = changed or [f"it has {state['step']} steps already, more than {now['steps']}"]
            raise ValueError(f"checkpoint {path} belongs to another training: {'; '.join(changed)}")
        # Compared beforehand: load_state_dict would copy what fits and only then complain about the rest.
        ours, theirs = ({k: tuple(t.shape) for k, t in m.items()} for m in (self.model.state_dict(), state["model"]))
        if ours != theirs:
            odd = ", ".join(sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)))
            raise ValueError(f"checkpoint {path} belongs to another model: {odd} differ(s); choose another file")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.step = self.checked = self.last_log = state["step"]
        self.losses[: self.step] = state["losses"].to(self.device)
        self.seconds = state["seconds"]
        self.spent = state.get("processor_seconds")
        self.batches.order = state["order"].to(self.device)
        self.generator.set_state(state["generator"])
        if state["noise"] is not None and state["device"] == self.device.type:
            self.noise.set_state(state["noise"])
        torch.set_rng_state(state["torch"])
        self.check()
