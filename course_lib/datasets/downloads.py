"""MNIST and Fashion-MNIST: fetched once, checked whenever read, replaced by the digits where there is no network.

The files are the original idx files, in gzip. What is checked is the sha256 of the *unpacked* bytes, because mirrors
wrap the same bytes differently. `fetch.py` does the network part. `$COURSE_MIRROR` names a mirror to ask first, such as
a folder of the department's web server with `mnist/` and `fashion_mnist/` in it.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import torch

from course_lib import checks, paths
from course_lib.datasets import fetch, images
from course_lib.datasets.images import Images


class Idx(NamedTuple):
    """One idx file: its name without .gz, the number of its unpacked bytes, and their sha256."""

    name: str
    size: int
    sha256: str


class Source(NamedTuple):
    """A data set: what it is called, where it is published, and its files (images, labels) by split."""

    title: str
    mirrors: tuple[str, ...]
    files: dict[str, tuple[Idx, Idx]]


def _files(train_images: str, train_labels: str, test_images: str, test_labels: str) -> dict[str, tuple[Idx, Idx]]:
    return {
        "train": (
            Idx("train-images-idx3-ubyte", 16 + 60000 * 28 * 28, train_images),
            Idx("train-labels-idx1-ubyte", 8 + 60000, train_labels),
        ),
        "test": (
            Idx("t10k-images-idx3-ubyte", 16 + 10000 * 28 * 28, test_images),
            Idx("t10k-labels-idx1-ubyte", 8 + 10000, test_labels),
        ),
    }


SOURCES = {
    "mnist": Source(
        "MNIST",
        ("https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"),
        _files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": Source(
        "Fashion-MNIST",
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
        _files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def mnist(split: str = "train", *, root: str | Path | None = None, fallback: bool = True) -> Images:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28 pixels.

    Downloaded at the first call (11 MB) into the course's cache and read from there afterwards. If the files cannot
    be had, the bundled 8x8 digits come instead, and one printed sentence says so and why.

    Args:
        split: "train" or "test".
        root: folder to use instead of the cache. Files that are there already are taken as they are, packed or not,
            also in torchvision's layout `root/MNIST/raw`.
        fallback: False raises instead of giving the digits.

    Returns:
        images (n, 1, 28, 28) float32 in [0, 1] and labels (n,) long; (n, 1, 8, 8) after a fall-back.

    Raises:
        ValueError: if `split` is neither name; with `fallback=False` also if the files cannot be had, and why.

    References:
        Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), Gradient-Based Learning Applied to Document Recognition.
    """
    return _load("mnist", split, root, fallback)


def fashion_mnist(split: str = "train", *, root: str | Path | None = None, fallback: bool = True) -> Images:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes in ten classes, 28x28 pixels.

    Same arguments, fall-back and errors as `mnist`; the download is 31 MB.

    References:
        H. Xiao, K. Rasul, R. Vollgraf (2017), arXiv:1708.07747.
    """
    return _load("fashion_mnist", split, root, fallback)


def available(name: str, *, root: str | Path | None = None) -> bool:
    """Whether all files of data set `name` are on this machine (by name and place; their contents are not read)."""
    source = SOURCES[checks.one_of(name, "name", SOURCES)]
    return all(_find(source, idx, _folder(name, root)) for pair in source.files.values() for idx in pair)


def _folder(name: str, root: str | Path | None) -> Path:
    return paths.cache_dir() / name if root is None else Path(root).expanduser()


def _load(name: str, split: str, root: str | Path | None, fallback: bool) -> Images:
    checks.one_of(split, "split", ("train", "test"))
    source, folder = SOURCES[name], _folder(name, root)
    try:
        pixels, labels = (_array(source, name, idx, folder) for idx in source.files[split])
    except fetch.Unavailable as error:
        if not fallback:
            raise ValueError(f"{source.title} cannot be had: {error}") from error
        print(f"{source.title} cannot be had, so the bundled 8x8 digits stand in for it: {error}.")
        return images.digits(split)
    return Images(pixels[:, None].float().div_(255), labels.long())


def _find(source: Source, idx: Idx, folder: Path) -> list[Path]:
    """Files that may hold `idx`: packed first (that is what we write), then raw, then torchvision's layout."""
    places = (folder, folder / source.title.replace("-", "") / "raw")
    return [p for place in places for p in (place / f"{idx.name}.gz", place / idx.name) if p.is_file()]


def _array(source: Source, name: str, idx: Idx, folder: Path) -> torch.Tensor:
    """The array of one idx file, from disk if a good copy is there, else from the network."""
    for path in _find(source, idx, folder):
        try:
            return parse_idx(_unpack(path, idx))
        except (OSError, fetch.Corrupt) as error:
            print(f"{path} is not the published file ({error}); looking for another copy.")
    bases = source.mirrors
    if os.environ.get("COURSE_MIRROR"):
        bases = (f"{os.environ['COURSE_MIRROR'].rstrip('/')}/{name}", *bases)
    urls = [f"{base}/{idx.name}.gz" for base in bases]
    return fetch.fetch(urls, folder / f"{idx.name}.gz", lambda path: parse_idx(_unpack(path, idx)))


def _unpack(path: Path, idx: Idx) -> bytearray:
    """The unpacked bytes of `path`, packed or not, if they are those published."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        # One byte more than expected shows what is too long, and a hostile archive cannot fill the memory.
        with gzip.open(path) if packed else path.open("rb") as file:
            data = bytearray(file.read(idx.size + 1))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise fetch.Corrupt(f"broken gzip: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != idx.sha256:
        raise fetch.Corrupt(f"sha256 of the unpacked bytes {digest[:12]}…, expected {idx.sha256[:12]}…")
    return data


def parse_idx(data: bytes | bytearray) -> torch.Tensor:
    """The uint8 array in the bytes of an idx file.

    The format: two zero bytes, the type (8 = unsigned byte), the number of dimensions, each dimension as a big-endian
    32-bit number, then the values with the last dimension running fastest.

    Raises:
        ValueError: if the bytes do not have this form.

    References:
        Y. LeCun, C. Cortes, C. Burges, The MNIST database: "The IDX file format".
    """
    if len(data) < 4 or bytes(data[:3]) != b"\0\0\x08":
        raise ValueError(f"data must start with 00 00 08 (idx, unsigned bytes), got {bytes(data[:4]).hex(' ')}")
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if len(data) != start + math.prod(shape):
        raise ValueError(f"data must have {start} + {math.prod(shape)} bytes for shape {shape}, got {len(data)}")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).reshape(shape)
