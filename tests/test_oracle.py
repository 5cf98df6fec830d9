"""The oracle that reads factors from faces: its loss, its idea of a valid face, and the weights that are shipped."""

import math
import shutil

import pytest
import torch

from course_lib import paths, rng, zoo
from course_lib.datasets import faces
from course_lib.datasets.faces import FACTORS, RANGES
from course_lib.models import face_oracle
from course_lib.models.face_oracle import FaceOracle
from course_lib.zoo import oracle as measures

GLASSES = FACTORS.index("glasses")
WEIGHTS = paths.data_dir() / "models" / "face_oracle.safetensors"


class Knowing(FaceOracle):
    """An oracle that is told what it should read."""

    def __init__(self, out):
        super().__init__(generator=rng(0))
        self.out = torch.nn.Parameter(out)

    def forward(self, images):
        return 1 * self.out


def knowing(factors):
    unit = face_oracle._to_unit(factors)
    unit[:, GLASSES] = 40 * (unit[:, GLASSES] - 0.5)
    return Knowing(unit)


@pytest.fixture(scope="module")
def shipped():
    return zoo.load("face_oracle")


@pytest.fixture(scope="module")
def held_out():
    """Faces of a seed that neither the training nor the card has used."""
    return faces.faces(1000, generator=rng(20_240_517))


def r_squared(read, truth):
    return 1 - (read - truth).square().mean(0) / truth.var(0, correction=0)


def check_reading(read, factors, at_least=0.95):
    r2 = r_squared(read, factors)
    accuracy = (read[:, GLASSES].round() == factors[:, GLASSES]).float().mean()
    low = {name: float(v) for name, v in zip(FACTORS, r2, strict=True) if name != "glasses" and v < at_least}
    assert not low and accuracy >= 0.98, (low, float(accuracy))


@pytest.mark.parametrize("view", ["colour", "grey", "blurred", "blurred_grey"])
def test_shipped_oracle_reads_faces_it_has_not_seen(view, shipped, held_out):
    """Catches weights of an older renderer, columns in another order, a view left out of the training."""
    blurred = "blurred" in view  # a blur takes much of the mouth away: its smile is read less well
    check_reading(shipped.read(measures.views(held_out.images)[view]), held_out.factors, 0.92 if blurred else 0.95)


@pytest.mark.parametrize("size", [48, 64, 128])
@pytest.mark.parametrize("colour", [True, False])
def test_shipped_oracle_reads_other_sizes(size, colour, shipped, held_out):
    """Catches a resize that shifts by half a pixel or takes every fourth pixel instead of a mean."""
    factors = held_out.factors[:300]
    check_reading(shipped.read(faces.render(factors, size=size, colour=colour)), factors)


def test_faces_are_valid_and_other_pictures_are_not(shipped, held_out):
    """Catches a threshold that lets everything pass, or that rejects faces for being blurred."""
    passes = {name: float(shipped.valid(x).float().mean()) for name, x in measures.views(held_out.images[:300]).items()}
    assert min(passes.values()) > 0.98, passes
    other = measures.spoilt(held_out.images[:300], rng(0))
    fails = {name: float(shipped.valid(x).float().mean()) for name, x in other.items()}
    for name in ("upside_down", "one_colour", "shuffled_pixels", "noise", "digits", "mean_face"):
        assert fails[name] == 0, name
    assert max(fails.values()) < 0.2, fails


@pytest.mark.slow
def test_card_says_what_is_true(shipped):
    """Catches a card of other weights, and figures that were written by hand."""
    card = zoo.card("face_oracle")
    x, factors = zoo.data.images("faces", zoo.recipe("face_oracle").all_data_options, "test")
    found = measures.figures(shipped, x[:2000], factors[:2000], rng(card["declaration"]["seed"]))
    assert card["figures"] == {key: pytest.approx(value, abs=2e-3) for key, value in found.items()}
    assert min(value for key, value in found.items() if key.endswith("_r2") and "blur" not in key) >= 0.95
    assert min(value for key, value in found.items() if key.endswith("_accuracy")) >= 0.98
    assert WEIGHTS.stat().st_size <= 2**20


def test_cut_and_foreign_weights_are_refused(tmp_path):
    """Catches weights believed because their file opens."""
    target = tmp_path / WEIGHTS.name
    target.write_bytes(WEIGHTS.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated or no safetensors"):
        zoo.load("face_oracle", folder=tmp_path)
    target.write_bytes(b"PK\x03\x04 a zip file, say")
    with pytest.raises(ValueError, match="truncated or no safetensors"):
        zoo.load("face_oracle", folder=tmp_path)
    shutil.copy(paths.data_dir() / "models" / "vae_digits.safetensors", target)
    with pytest.raises(ValueError, match=r"another recipe.*course train face_oracle"):
        zoo.load("face_oracle", folder=tmp_path)


def test_loss_has_the_units_it_claims():
    """Catches factors weighed by their ranges, sums for means, glasses in both parts: guessing the middle costs
    1 for each of the six continuous factors and log 2 for glasses."""
    sample = faces.faces(4000, size=32, generator=rng(1))
    middle = Knowing(torch.full((4000, 7), 0.5).index_fill(1, torch.tensor([GLASSES]), 0.0))
    loss = middle.loss(sample.images, sample.factors, generator=rng(2))
    assert loss.item() == pytest.approx(6 + math.log(2), abs=0.15)
    assert knowing(sample.factors).loss(sample.images, sample.factors, generator=rng(2)) < 1e-6


def test_training_sees_grey_blurred_coarse_and_noisy_faces():
    """Catches disturbances that reach the caller's images, or miss their rows, or ignore the generator."""
    images = faces.faces(12, generator=rng(3)).images
    before = images.clone()
    seen = face_oracle._disturb(images, rng(4))
    assert torch.equal(images, before)
    assert torch.equal(seen, face_oracle._disturb(images, rng(4)))
    calm = face_oracle.blur(face_oracle.blur(seen))  # evens out the noise
    colourful = (calm.amax(1) - calm.amin(1)).flatten(1).mean(1)
    assert colourful[::2].max() < 0.03 < 0.1 < colourful[1::2].min()
    off = (seen - images).flatten(1).std(1)
    assert (off > 1e-3).all()


def test_a_face_read_rightly_has_no_error_sharp_or_blurred():
    """Catches a face held against its own sharpness, and colours compared in grey."""
    sample = faces.faces(20, generator=rng(5))
    oracle = knowing(sample.factors)
    for view in measures.views(sample.images).values():
        assert oracle.error(view).max() < 1e-4
    coloured = sample.images.roll(1, 1)  # red for blue: not how any of them is painted
    assert oracle.error(coloured).min() > 0.05


def test_one_bad_part_is_not_averaged_away():
    """Catches an error over the whole picture, in which a missing mouth is lost."""
    sample = faces.faces(50, generator=rng(6))
    oracle = knowing(sample.factors)
    bad = sample.images.clone()
    bad[:, :, 0:8, 0:8] = 1 - bad[:, :, 0:8, 0:8]
    whole = (face_oracle.blur(bad) - face_oracle.blur(sample.images)).square().mean((1, 2, 3)).sqrt()
    assert (oracle.error(bad) > 2.5 * whole).all()


def test_blur_is_binomial():
    """Catches a kernel that does not sum to one, darkens the border or is applied along one side only."""
    spot = torch.zeros(1, 3, 9, 9)
    spot[:, 1, 4, 4] = 256
    rows = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
    expected = torch.zeros(9, 9)
    expected[2:7, 2:7] = torch.outer(rows, rows)
    blurred = face_oracle.blur(spot)
    torch.testing.assert_close(blurred[0, 1], expected)
    assert blurred[0, [0, 2]].abs().max() == 0
    torch.testing.assert_close(face_oracle.blur(torch.ones(1, 1, 6, 6)), torch.ones(1, 1, 6, 6))


def test_readings_stay_in_range_whatever_is_shown():
    """Catches readings that the renderer would refuse: an edit of a sample would end in an error."""
    oracle = FaceOracle(generator=rng(0))
    wild = 50 * torch.randn(64, 3, 32, 32, generator=rng(1))
    read = oracle.read(wild)
    low, high = torch.tensor(list(RANGES.values())).unbind(1)
    assert (read >= low).all() and (read <= high).all() and read.std(0).max() > 0.1
    assert oracle.error(wild).isfinite().all() and not read.requires_grad


def test_grey_stands_in_all_channels():
    """Catches a grey picture shown in red only."""
    oracle, grey = FaceOracle(generator=rng(0)), torch.rand(3, 1, 32, 32, generator=rng(1))
    torch.testing.assert_close(oracle.read(grey), oracle.read(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("shape", [(0, 3, 32, 32), (2, 2, 32, 32), (2, 3, 0, 32), (3, 32, 32)])
def test_what_is_no_picture_is_refused(shape, no_shape_check):
    """Catches an error from deep inside torch."""
    oracle = FaceOracle(generator=rng(0))
    for ask in (oracle.read, oracle.error, oracle.valid):
        with pytest.raises(ValueError, match="images must have"):
            ask(torch.zeros(shape))


def test_nan_and_bad_settings_are_refused(no_shape_check):
    """Catches NaN read as some face, a threshold of 0, training pictures of another size."""
    oracle = FaceOracle(generator=rng(0))
    images = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ValueError, match="threshold must be greater than 0"):
        oracle.valid(images, 0)
    images[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="images has 1 NaN"):
        oracle.read(images)
    with pytest.raises(ValueError, match=r"shape must be \(3, 32, 32\), got \(1, 8, 8\)"):
        FaceOracle((1, 8, 8))
