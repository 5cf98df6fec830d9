"""Checkpoints: exact resume, and files that are damaged, foreign, or hostile."""

import io

import pytest
import torch
from torch import nn

import course_lib
from course_lib import checkpoint
from tests.small_training import Regression, points, quiet, same, stop_at

OPTIONS = {"steps": 60, "batch_size": 32, "lr": 1e-2, "warmup": 5, "schedule": "cosine", "clip": 1.0, "ema": 0.95}


@pytest.mark.parametrize("call", [1, 7, 37, 60])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, call):
    """Catches what a checkpoint may forget: order of data, generator, dropout's state, moments, average, schedule."""
    file = tmp_path / "run.pt"
    torch.manual_seed(11)
    whole = Regression(dropout=0.2)
    expected = quiet(whole, points(), generator=course_lib.rng(2), **OPTIONS)

    torch.manual_seed(11)
    first = stop_at(Regression(dropout=0.2), call)
    half = quiet(first, points(), generator=course_lib.rng(2), checkpoint=file, **OPTIONS)
    assert half.steps == call and half.interrupted == (call < 60)
    torch.manual_seed(99)  # another day, another state
    second = Regression(dropout=0.2)
    got = quiet(second, points(), generator=course_lib.rng(7), checkpoint=file, resume=True, **OPTIONS)
    assert same(second, whole) and same(got.averaged, expected.averaged)
    assert torch.equal(got.losses, expected.losses) and not got.interrupted


def test_training_can_be_made_longer_and_a_finished_one_returns_at_once(tmp_path):
    """Catches a constant-rate run that cannot be extended, and one that trains again although all is done."""
    file = tmp_path / "run.pt"
    whole, parts = Regression(), Regression()
    quiet(whole, points(), steps=40)
    quiet(parts, points(), steps=25, checkpoint=file)
    quiet(parts, points(), steps=40, checkpoint=file, resume=True)
    assert same(whole, parts)
    again = Regression()
    history = quiet(again, points(), steps=40, checkpoint=file, resume=True)
    assert again.calls == 0 and history.steps == 40 and same(again, whole)


def test_time_spent_is_that_of_all_sittings(tmp_path):
    """Catches a clock that starts anew with each sitting."""
    file = tmp_path / "run.pt"
    first = quiet(Regression(), points(), steps=200, checkpoint=file)
    second = quiet(Regression(), points(), steps=201, checkpoint=file, resume=True)
    assert second.processor_seconds > 0.5 * first.processor_seconds > 0
    assert second.seconds > 0.5 * first.seconds > 0


def test_resume_without_a_file_starts_from_the_beginning(tmp_path):
    """Catches a first run that needs another command than the second."""
    a, b = Regression(), Regression()
    quiet(a, points(), steps=10)
    quiet(b, points(), steps=10, checkpoint=tmp_path / "new" / "run.pt", resume=True)
    assert same(a, b) and (tmp_path / "new" / "run.pt").is_file()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": 0.5}, "lr was 0.01, now 0.5"),
        ({"steps": 70}, "steps was 60, now 70"),
        ({"ema": None}, "ema was 0.95, now None"),
        ({"data": points(90)}, r"data was \[\[100, 2\]\], now \[\[90, 2\]\]"),
    ],
)
def test_checkpoint_of_another_training_is_refused(tmp_path, changed, message):
    """Catches a resume that mixes two trainings and calls the result exact."""
    file = tmp_path / "run.pt"
    quiet(Regression(), points(), checkpoint=file, **OPTIONS)
    options = {"data": points(), **OPTIONS, **changed}
    with pytest.raises(ValueError, match=message):
        quiet(Regression(), options.pop("data"), checkpoint=file, resume=True, **options)


def test_checkpoint_of_another_model_changes_nothing(tmp_path):
    """Catches load_state_dict's habit to copy what fits before it complains."""

    class Wider(Regression):
        def __init__(self):
            super().__init__()
            self.more = nn.Parameter(torch.zeros(1))

    file = tmp_path / "run.pt"
    quiet(Regression(), points(), checkpoint=file, **OPTIONS)
    model, untouched = Wider(), Wider()
    with pytest.raises(ValueError, match="belongs to another model: more"):
        quiet(model, points(), checkpoint=file, resume=True, **OPTIONS)
    assert same(model, untouched)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "foreign"])
def test_damaged_checkpoint_is_named(tmp_path, damage):
    """Catches unreadable tracebacks, and a flipped bit taken for a weight (torch.load itself does not notice)."""
    file = tmp_path / "run.pt"
    quiet(Regression(), points(), steps=10, checkpoint=file)
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        weight = checkpoint.load(file)["model"]["net.0.0.weight"]
        data[data.index(weight.numpy().tobytes()) + 2] ^= 64
    elif damage == "foreign":
        buffer = io.BytesIO()
        torch.save({"weights": torch.zeros(3)}, buffer)
        data = buffer.getvalue()
    else:
        data = {"truncated": data[: len(data) // 2], "empty": b"", "text": b"not a checkpoint"}[damage]
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"run\.pt is .* train without resume=True"):
        quiet(Regression(), points(), steps=10, checkpoint=file, resume=True)


def test_checkpoint_runs_no_code_of_the_file(tmp_path):
    """Catches pickle.load on a file from the internet."""

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"format": 1, "x": Evil()}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "run.pt")
    assert not (tmp_path / "owned").exists()


def test_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    """Catches a write in place: the disk fills up half-way and both states are lost."""
    file = tmp_path / "run.pt"
    checkpoint.save(file, {"step": 1})
    save = torch.save

    def full(state, handle):
        save(state, handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ValueError, match=r"run\.pt cannot be written .*No space left.* free some space"):
        checkpoint.save(file, {"step": 2})
    assert checkpoint.load(file)["step"] == 1 and [p.name for p in tmp_path.iterdir()] == ["run.pt"]
