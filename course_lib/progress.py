"""How a long loop and the person who runs it talk: a line of progress one way, the stop button the other."""

from __future__ import annotations

import signal
import sys
import threading
import time


class Progress:
    """Says how far a loop has come.

    In a notebook one line changes in place; on a terminal too; elsewhere (a log file, a pipe) a line is printed at
    every fifth of the way. `enabled=False` is silent.
    """

    REFRESH_SECONDS = 0.2

    def __init__(self, total: int, *, start: int = 0, enabled: bool = True) -> None:
        self.total, self.start, self.enabled = total, start, enabled
        self.began = self._shown_at = time.monotonic()
        self._next_fifth = start * 5 // total + 1
        self._handle = _notebook_line() if enabled else None
        self._terminal = enabled and self._handle is None and sys.stdout.isatty()

    def update(self, step: int, note: str) -> None:
        """Show that `step` steps are done; `note` is the figure of the moment, such as the loss."""
        if not self.enabled:
            return
        now = time.monotonic()
        text = f"step {step}/{self.total} · {note}{self._pace(step, now)}"
        if self._handle is not None or self._terminal:
            if now - self._shown_at >= self.REFRESH_SECONDS:
                self._shown_at = now
                self._rewrite(text)
        elif step * 5 >= self._next_fifth * self.total and step < self.total:
            self._next_fifth = step * 5 // self.total + 1
            print(text, flush=True)

    def close(self, text: str) -> None:
        """The last line, which stays."""
        if not self.enabled:
            return
        if self._handle is not None or self._terminal:
            self._rewrite(text)
            if self._terminal:
                print(flush=True)
        else:
            print(text, flush=True)

    @property
    def seconds(self) -> float:
        """Time since the loop began."""
        return time.monotonic() - self.began

    def _pace(self, step: int, now: float) -> str:
        seconds, done = now - self.began, step - self.start
        if seconds <= 0 or done <= 0:
            return ""
        return f" · {done / seconds:.0f} steps/s · {(self.total - step) * seconds / done:.0f} s left"

    def _rewrite(self, text: str) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": text}, raw=True)
        else:
            print(f"\r\033[K{text}", end="", flush=True)


def _notebook_line():
    """A display handle in a Jupyter or Colab kernel, else None. IPython is never imported for this."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)


class StopButton:
    """Turns the first interrupt (Jupyter's stop button, Ctrl-C) into the flag `pressed`, to be read between steps.

    So no step is cut in half. A second interrupt raises KeyboardInterrupt at once. Outside the main thread, where
    Python delivers no signals, and where interrupts are ignored, it does nothing.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._before = None

    def __enter__(self) -> StopButton:
        if threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _press(self, *_) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
