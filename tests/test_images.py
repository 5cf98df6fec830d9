"""Digits and photographs, against scikit-learn's own arrays."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_image

import course_lib
from course_lib.datasets import images


def test_digits_are_scikit_learns_scaled_to_one():
    """Catches a wrong scale (255 instead of 16), a lost axis, labels out of step with images."""
    got, file = images.digits("all"), load_digits()
    assert got.images.shape == (1797, 1, 8, 8) and got.images.dtype == torch.float32
    np.testing.assert_array_equal(got.images[:, 0].numpy() * 16, file.images)
    np.testing.assert_array_equal(got.labels.numpy(), file.target)


def test_digit_splits_share_nothing_and_are_balanced():
    """Catches a leak of test images into training, and a stride that keeps whole classes out of a split."""
    train, test, everything = (images.digits(split) for split in ("train", "test", "all"))
    assert (len(train.images), len(test.images)) == (1442, 355)
    rows = torch.cat([train.images, test.images]).flatten(1)
    assert torch.equal(rows.unique(dim=0), everything.images.flatten(1).unique(dim=0))
    assert len(rows) == len(everything.images)
    share = test.labels.bincount(minlength=10) / everything.labels.bincount(minlength=10)
    assert (share - 0.2).abs().max() < 0.01


def test_digits_cannot_be_spoilt_by_a_caller():
    """Catches a cached tensor handed out twice: one lecture's in-place edit would reach the next."""
    images.digits("all").images.zero_()
    assert images.digits("all").images.sum() > 0


def test_unknown_split_names_the_nearest():
    """Catches a silent fall-through to some split."""
    with pytest.raises(ValueError, match=r"split must be one of .* did you mean 'train'"):
        images.digits("trian")


def test_photographs_are_channels_first_in_unit_range():
    """Catches channels left last and bytes left unscaled."""
    photos = images.photographs()
    for photo, name in zip(photos, ("china.jpg", "flower.jpg"), strict=True):
        assert photo.shape == (3, 427, 640) and photo.max() <= 1
        np.testing.assert_allclose(photo[2].numpy() * 255, load_sample_image(name)[:, :, 2], atol=1e-4)


def test_every_patch_is_a_window_of_a_photograph():
    """Catches rows and columns exchanged, and windows glued from two photographs."""
    size = 5
    grey = [torch.einsum("chw,c->hw", photo, torch.tensor(images.LUMA)) for photo in images.photographs()]
    windows = torch.cat([g.unfold(0, size, 1).unfold(1, size, 1).reshape(-1, size * size) for g in grey])
    got = images.patches(size, 20, generator=course_lib.rng(3)).reshape(20, -1)
    # One patch at a time: all windows against all patches at once would need 2 GB.
    assert all((windows - patch).abs().amax(1).min() < 1e-6 for patch in got)


def test_patches_reach_every_border_and_both_photographs():
    """Catches an off-by-one that never draws the last row or column: with size = height only one top is left."""
    grey = torch.stack([torch.einsum("chw,c->hw", p, torch.tensor(images.LUMA)) for p in images.photographs()])
    got = images.patches(427, 40, generator=course_lib.rng(0))
    assert got.shape == (40, 1, 427, 427)
    first_pixels = set(got[:, 0, 0, 0].tolist())
    assert first_pixels & set(grey[0, 0].tolist()) and first_pixels & set(grey[1, 0].tolist())
    with pytest.raises(ValueError, match="size must be at most 427, got 428"):
        images.patches(428, 1)


def test_patches_repeat_with_the_seed_and_touch_no_global_state():
    """Catches a draw that bypasses the generator."""
    state = torch.get_rng_state()
    a, b = (images.patches(8, 10, generator=course_lib.rng(1)) for _ in range(2))
    assert torch.equal(a, b) and torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(a, images.patches(8, 10, generator=course_lib.rng(2)))


@pytest.mark.parametrize(("size", "n"), [(0, 1), (8, 0), (2.5, 1), (8, -3)])
def test_bad_patch_sizes_are_named(size, n, no_shape_check):
    """Catches an error from deep inside torch instead of one that names the argument."""
    with pytest.raises(ValueError, match=r"(size|n) must"):
        images.patches(size, n)
