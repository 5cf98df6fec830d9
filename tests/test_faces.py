"""The faces world: the renderer, its factors and its captions."""

import itertools
import statistics
import time

import pytest
import torch

from course_lib import rng
from course_lib.datasets import captions, face_drawing, faces
from course_lib.datasets.faces import FACTORS, RANGES
from course_lib.datasets.images import LUMA

SEEN_IN = {  # rows and columns of a 32x32 picture, outside which the factor must change nothing
    "smile": (slice(20, 26), slice(6, 26)),
    "glasses": (slice(12, 20), slice(4, 28)),
    "hair": (slice(12, 32), slice(2, 30)),
}


def corners():
    """All 128 combinations of the ends of the ranges, and the middle."""
    ends = torch.cartesian_prod(*(torch.tensor(r) for r in RANGES.values()))
    return torch.cat([ends, ends.mean(0, keepdim=True)])


@pytest.mark.parametrize("size", [16, 17, 32, 128])
@pytest.mark.parametrize("colour", [True, False])
def test_every_extreme_is_a_picture(size, colour):
    """Catches NaN from a shape of zero width, paint outside [0, 1], and sizes that are no power of two."""
    images = faces.render(corners(), size=size, colour=colour)
    assert images.shape == (129, 3 if colour else 1, size, size) and images.dtype == torch.float32
    assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1
    assert images.flatten(1).std(1).min() > 0.05


def test_grey_is_the_luma_of_colour():
    """Catches a shortcut to grey that paints other weights of the colours."""
    factors = faces.sample_factors(20, generator=rng(0))
    luma = torch.einsum("nchw,c->nhw", faces.render(factors), torch.tensor(LUMA))
    torch.testing.assert_close(faces.render(factors, colour=False)[:, 0], luma)


@pytest.mark.parametrize("size", [16, 32, 128])
def test_windows_cut_no_shape_off(size, monkeypatch):
    """Catches a window that ends before the shape in it does, at some pose: the far eye lost its edge."""
    factors = torch.cat([corners()[::3], faces.sample_factors(10, generator=rng(3))])
    cut = faces.render(factors, size=size)
    window = face_drawing.Canvas.window
    monkeypatch.setattr(face_drawing.Canvas, "window", lambda canvas, *box: window(canvas, -1, 1, -1, 1))
    assert torch.equal(cut, faces.render(factors, size=size))


def test_small_pictures_are_large_ones_averaged():
    """Catches missing anti-aliasing, strokes that keep their width in pixels, and a grid shifted by half a pixel."""
    factors = faces.sample_factors(50, generator=rng(0))
    averaged = torch.nn.functional.avg_pool2d(faces.render(factors, size=128), 4)
    small = faces.render(factors, size=32)
    assert (small - averaged).abs().mean() < 0.01  # a shift by half a pixel makes it 0.05
    assert (small - averaged).mean((0, 2, 3)).abs().max() < 2e-3


@pytest.mark.parametrize("size", [16, 32, 128])
def test_a_stroke_covers_its_own_area(size):
    """Catches hair lines that fill whole pixels: wrinkles would be bars at 16 pixels."""
    canvas = face_drawing.Canvas(1, size, torch.eye(3))
    for width in (0.01, 0.03, 0.2):
        places = torch.linspace(-0.5, 0.5, 101)[:, None]
        area = canvas.cover(canvas.columns - places, width).sum(1) * canvas.pixel
        torch.testing.assert_close(area.mean(), torch.tensor(width), rtol=0.02, atol=0)


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("colour", [True, False])
def test_every_factor_is_seen_at_32_pixels(name, colour):
    """Catches a factor that draws nothing, or nothing that a small grey picture shows."""
    low, high = RANGES[name]
    values = torch.linspace(low, high, 9)
    others = faces.sample_factors(30, generator=rng(1))
    for before, after in itertools.pairwise(values):
        pair = [others.clone(), others.clone()]
        pair[0][:, FACTORS.index(name)], pair[1][:, FACTORS.index(name)] = before, after
        change = faces.render(pair[1], colour=colour) - faces.render(pair[0], colour=colour)
        assert change.abs().flatten(1).amax(1).min() > 0.02, f"{before:g} to {after:g}"


@pytest.mark.parametrize("name", SEEN_IN)
def test_a_factor_changes_only_its_part_of_the_face(name):
    """Catches factors that move each other's pixels: an edit could not be told from its side effects."""
    factors = faces.sample_factors(50, generator=rng(2))
    low, high = factors.clone(), factors.clone()
    low[:, FACTORS.index(name)], high[:, FACTORS.index(name)] = RANGES[name]
    change = (faces.render(high) - faces.render(low)).abs()
    assert change.max() > 0.1
    change[:, :, *SEEN_IN[name]] = 0
    assert change.max() < 1e-6


def test_a_turn_to_the_right_moves_eyes_and_mouth_to_the_right():
    """Catches a turn with the wrong sign: captions would say left for right."""
    images = faces.render(faces.make_factors(pose=torch.tensor([-1.0, 0.0, 1.0])), size=64)
    # The whites of the eyes are the brightest spots of this face.
    bright = (images.amin(1)[:, 24:40] - 0.8).clamp(min=0)
    centre = (bright.sum(1) * torch.arange(64)).sum(1) / bright.sum((1, 2))
    assert centre[0] < 27 and 30 < centre[1] < 33 and centre[2] > 36


def test_a_mirrored_background_and_body_make_a_straight_face_symmetric():
    """Catches a shape placed off the axis; only the fringe, highlights and parting may differ."""
    image = faces.render(faces.make_factors(), size=64)[0]
    lower = image[:, 44:]  # mouth, chin, neck, hair, shoulders
    torch.testing.assert_close(lower, lower.flip(2), atol=1e-5, rtol=0)


def test_hue_and_age_brighten_evenly_in_grey():
    """Catches palettes of which two hues have the same grey: the oracle could not tell them."""
    path = torch.linspace(0, 1, 21)
    sky = faces.render(faces.make_factors(background=path), colour=False)[:, 0, 0, 0].diff()
    hair = faces.render(faces.make_factors(age=path), colour=False)[:, 0, 5, 13].diff()
    skin = -faces.render(faces.make_factors(skin=path), colour=False)[:, 0, 24, 16].diff()
    for steps in (sky, hair, skin):
        assert steps.min() > 0.4 * steps.mean()


def test_gradients_are_those_of_the_picture():
    """Catches paint that cuts the graph, or that overwrites what the gradient needs."""
    factors = faces.sample_factors(3, generator=rng(4)).double()
    factors = (factors.clamp(0.1, 0.9)).requires_grad_()
    weights = torch.randn(3, 3, 16, 16, generator=rng(5), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: (faces.render(f, size=16) * weights).sum(), factors, atol=1e-3)


def test_blocks_and_dtypes_change_nothing():
    """Catches faces that depend on who is drawn beside them."""
    factors = faces.sample_factors(40, generator=rng(6))
    together = faces.render(factors, size=128)  # 16 to a block
    torch.testing.assert_close(together[17:18], faces.render(factors[17:18], size=128))
    torch.testing.assert_close(together.double(), faces.render(factors.double(), size=128), atol=1e-4, rtol=0)
    assert faces.render(factors.half()).dtype == torch.float16


def test_factors_are_independent_and_uniform():
    """Catches a shared draw, a range not filled, glasses in between."""
    factors = faces.sample_factors(20_000, generator=rng(7))
    correlation = torch.corrcoef(factors.T) - torch.eye(7)
    assert correlation.abs().max() < 0.03  # 4 standard errors
    for name, column in zip(FACTORS, factors.unbind(1), strict=True):
        low, high = RANGES[name]
        if name == "glasses":
            assert set(column.tolist()) == {0.0, 1.0} and abs(column.mean() - 0.5) < 0.015
        else:
            counts = ((column - low) / (high - low) * 20).long().bincount(minlength=20)
            assert len(counts) == 20 and (counts / 1000 - 1).abs().max() < 0.13


def test_faces_repeat_with_the_seed():
    """Catches a draw that bypasses the generator, and pictures out of step with their factors."""
    state = torch.get_rng_state()
    a, b = (faces.faces(5, size=20, colour=False, generator=rng(1)) for _ in range(2))
    assert torch.equal(a.images, b.images) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.images, faces.render(a.factors, size=20, colour=False))
    assert not torch.equal(a.factors, faces.sample_factors(5, generator=rng(2)))


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("bad", [-1.01, 1.01, float("nan")])
def test_factors_out_of_range_are_named(name, bad):
    """Catches a clamp in silence, and a check of the wrong column."""
    factors = faces.sample_factors(3, generator=rng(0))
    factors[1, FACTORS.index(name)] = bad
    message = "1 NaN" if bad != bad else rf"factor {name} must be in \[.*got -?1.01"
    with pytest.raises(ValueError, match=message):
        faces.render(factors)
    with pytest.raises(ValueError, match="NaN" if bad != bad else f"factor {name} must"):
        faces.make_factors(**{name: bad})
    with pytest.raises(ValueError, match="NaN" if bad != bad else f"factor {name} must"):
        captions.caption(factors)


@pytest.mark.parametrize("size", [15, 129, 32.5, 0, "big"])
def test_sizes_out_of_range_are_named(size, no_shape_check):
    """Catches an error from deep inside torch, or a picture of another size."""
    with pytest.raises(ValueError, match="size must be"):
        faces.render(faces.make_factors(), size=size)


def test_bad_calls_are_explained(no_shape_check):
    """Catches wrong shapes and misspelt factors let through."""
    with pytest.raises(ValueError, match="did you mean 'smile'"):
        faces.make_factors(smlie=1)
    with pytest.raises(ValueError, match=r"one length, got lengths \[2, 3\]"):
        faces.make_factors(pose=torch.zeros(2), age=torch.zeros(3))
    with pytest.raises(ValueError, match=r"factors must have shape \(n, 7\)"):
        faces.render(torch.zeros(2, 6))
    with pytest.raises(ValueError, match="factors must hold floating-point"):
        faces.render(torch.zeros(2, 7, dtype=torch.long))
    with pytest.raises(ValueError, match="factors has 0 samples"):
        faces.render(torch.zeros(0, 7))
    with pytest.raises(ValueError, match="n must be at least 1"):
        faces.faces(0)


def test_captions_assert_what_the_face_shows():
    """Catches words in the wrong order, intervals off by one, a factor left out of the sentence."""
    factors = torch.cat([corners(), faces.sample_factors(300, generator=rng(8))])
    for sentence, row in zip(captions.caption(factors), factors.tolist(), strict=True):
        said = captions.parse(sentence)
        assert list(said) == list(FACTORS)
        for (low, high), value in zip(said.values(), row, strict=True):
            assert low <= value <= high and high - low <= 1
    assert captions.caption(faces.make_factors(smile=1, age=1, glasses=1, pose=-1, hair=1)) == [
        "an old smiling face with glasses, with tan skin and long hair, turned left, on a blue background"
    ]


def test_captions_may_say_less():
    """Catches a parser that invents what was not said, or finds 'with glasses' in 'without glasses'."""
    assert captions.parse("a smiling face without glasses") == {"smile": (0.3, 1.0), "glasses": (0.0, 0.5)}
    assert captions.parse("A face, turned  RIGHT.") == {"pose": (0.3, 1.0)}
    assert captions.parse("") == {}


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("a happy face", "outside the grammar: happy"),
        ("a young old face", "both 'young' and 'old'"),
        ("a face with glasses, without glasses", "both 'with glasses' and 'without glasses'"),
        ("a face with blonde hair", "blonde, hair"),
        ("a young young face", "'young' twice"),
    ],
)
def test_words_outside_the_grammar_are_named(sentence, message):
    """Catches a caption obeyed in part: the rest would be lost in silence."""
    with pytest.raises(ValueError, match=message):
        captions.parse(sentence)


@pytest.mark.alone
def test_two_thousand_faces_a_second():
    """Catches layers painted over the whole picture again: the lectures draw faces live."""
    factors = faces.sample_factors(1000, generator=rng(0))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        faces.render(factors)
        seconds.append(time.perf_counter() - began)
    assert len(factors) / statistics.median(seconds) > 2000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_draws_the_same_faces():
    """Catches a constant left on the CPU."""
    factors = faces.sample_factors(50, generator=rng(0))
    there = faces.render(factors.cuda())
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), faces.render(factors), atol=2e-4, rtol=0)
    assert faces.faces(3, generator=rng(0, "cuda")).images.is_cuda
