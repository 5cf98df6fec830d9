"""Progress in a log and in a notebook, and the stop button at the worst moments."""

import signal
import subprocess
import sys
import threading

import pytest

from course_lib import checkpoint, progress, training
from tests.small_training import Regression, points, quiet, same, stop_at


def test_log_is_a_few_lines_and_silence_is_silent(capsys):
    """Catches a line per step in a log file, a missing last line, and output in spite of progress=False."""
    training.train(Regression(), points(), steps=1000)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" · ")[0] for line in lines[:-1]] == [f"step {k}/1000" for k in (200, 400, 600, 800)]
    assert lines[-1].startswith("1000 steps in") and "loss" in lines[-1] and "\r" not in "".join(lines)
    quiet(Regression(), points(), steps=20)
    assert capsys.readouterr().out == ""


def test_notebook_shows_one_line_that_changes(monkeypatch):
    """Catches a growing output in a saved notebook: one display, updated in place, the last text being the summary."""
    shown = []

    class Handle:
        def update(self, data, raw):
            assert raw
            shown[-1] = data["text/plain"]

    def line():
        shown.append("")
        return Handle()

    monkeypatch.setattr(progress, "_notebook_line", line)
    training.train(Regression(), points(), steps=100)
    assert len(shown) == 1 and shown[0].startswith("100 steps in")


def test_interrupted_training_says_so(capsys):
    """Catches a stop that looks like a success."""
    training.train(stop_at(Regression(), 3), points(), steps=50)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("stopped at step 3 of 50 after") and "what was learnt is kept" in last


@pytest.mark.parametrize("place", ["loss", "data"])
def test_interrupt_raised_inside_keeps_what_was_learnt(place):
    """Catches an interrupt that loses the training, when it comes as an exception out of the model or the data."""

    def data(generator, n):
        if place == "data" and model.calls == 4:
            raise KeyboardInterrupt
        return points(n)

    model, expected = Regression(), Regression()
    quiet(expected, data, steps=4, batch_size=100)
    plain = model.loss

    def loss(x, *, generator=None):
        if place == "loss" and model.calls == 4:
            raise KeyboardInterrupt
        return plain(x, generator=generator)

    model.loss = loss
    history = quiet(model, data, steps=30, batch_size=100)
    assert history.interrupted and history.steps == len(history.losses) == 4
    assert same(model, expected)


def test_second_press_breaks_off_at_once_and_the_handler_is_put_back():
    """Catches a stop button that only works between steps when a step hangs, and a handler left behind."""
    before = signal.getsignal(signal.SIGINT)
    model = Regression()
    plain = model.loss

    def loss(x, *, generator=None):
        if model.calls == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return plain(x, generator=generator)

    model.loss = loss
    assert quiet(model, points(), steps=30).steps == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_outside_the_main_thread():
    """Catches signal.signal called where Python forbids it: widgets and servers train in threads."""
    got = []
    thread = threading.Thread(target=lambda: got.append(quiet(Regression(), points(), steps=3).steps))
    thread.start()
    thread.join()
    assert got == [3]


def test_stop_button_of_a_real_process_keeps_a_checkpoint(tmp_path):
    """Catches what only a real SIGINT shows: the process must end well, with a checkpoint at the step it names."""
    code = (
        "import torch, time; from torch import nn; from course_lib import training\n"
        "class M(nn.Linear):\n"
        "    def loss(self, x):\n"
        "        print('step', flush=True); time.sleep(0.05); return self(x).square().mean()\n"
        f"h = training.train(M(2, 1), torch.ones(9, 2), steps=1000, progress=False,"
        f" checkpoint={str(tmp_path / 'c.pt')!r})\n"
        "print('kept', h.steps, h.interrupted)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    kept = int(out.split("kept ")[1].split()[0])
    assert out.rstrip().endswith("True") and kept < 1000 and checkpoint.load(tmp_path / "c.pt")["step"] == kept
