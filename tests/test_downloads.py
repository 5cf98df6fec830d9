"""Downloads against a server on this machine that misbehaves on demand."""

import gzip
import hashlib
import os
import subprocess
import sys
import time

import pytest
import torch

from course_lib.datasets import downloads, fetch, images
from course_lib.datasets.downloads import Idx, Source
from tests.mirror import Mirror

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")


def idx_bytes(array: torch.Tensor) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.numpy().tobytes()


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Two mirrors of a tiny data set that stands for MNIST, short time limits, an empty cache."""
    pixels = torch.randint(256, (70, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(70, dtype=torch.uint8) % 10
    raw = {NAMES[0]: idx_bytes(pixels), NAMES[1]: idx_bytes(labels)}
    idx = tuple(Idx(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in raw.items())
    # The same contents in different gzip bytes, as real mirrors have them.
    first, second = (Mirror({f"{n}.gz": gzip.compress(d, level) for n, d in raw.items()}) for level in (9, 1))
    source = Source("MNIST", (first.url, second.url), {"train": idx})
    monkeypatch.setitem(downloads.SOURCES, "mnist", source)
    monkeypatch.setattr(fetch, "CONTACT_SECONDS", 0.5)
    monkeypatch.setattr(fetch, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(fetch, "CHUNK", 1024)
    monkeypatch.setattr(fetch, "_silent", {})
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COURSE_MIRROR", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class World:
        pass

    world = World()
    world.images, world.labels, world.raw, world.first, world.second = pixels, labels, raw, first, second
    world.cache = tmp_path / "cache" / "mnist"
    yield world
    first.shutdown(), second.shutdown()
    first.server_close(), second.server_close()


def left(world):
    return sorted(p.name for p in world.cache.iterdir()) if world.cache.is_dir() else []


def assert_right(world, got):
    assert torch.equal(got.images, world.images[:, None] / 255) and torch.equal(got.labels, world.labels.long())
    assert left(world) == [f"{name}.gz" for name in NAMES]


def test_first_call_downloads_second_reads_the_cache(world):
    """Catches pixels out of order, a wrong scale, labels of another type, and a download at every call."""
    got = downloads.mnist("train")
    assert got.images.dtype == torch.float32 and got.labels.dtype == torch.long
    assert_right(world, got)
    assert downloads.available("mnist")
    world.first.seen.clear()
    assert_right(world, downloads.mnist("train"))
    assert not world.first.seen and not world.second.seen


def test_cut_transfer_goes_on_where_it_stopped(world):
    """Catches a truncated file taken as whole, and a retry that starts again from zero."""
    world.first.faults = [("cut", 5000), ("cut", 7000)]
    assert_right(world, downloads.mnist())
    assert [r for n, r in world.first.seen if n.startswith(NAMES[0])] == [None, "bytes=5000-", "bytes=12000-"]
    assert not world.second.seen


def test_server_without_ranges_is_started_over(world):
    """Catches a second copy appended to the first when the server ignores Range and sends everything."""
    world.first.ranges = False
    world.first.faults = [("cut", 5000)]
    assert_right(world, downloads.mnist())


def test_mirrors_do_not_share_a_part(world):
    """Catches the head of one mirror's gzip continued with the tail of another's."""
    world.first.faults = [("cut", 5000)] * fetch.ATTEMPTS
    assert_right(world, downloads.mnist())
    assert world.second.seen[0] == (f"{NAMES[0]}.gz", None)


@pytest.mark.parametrize("status", [404, 403, 503])
def test_refusing_mirror_is_passed_over(world, status):
    """Catches one dead link (the usual fate of data sets) ending the lecture."""
    world.first.faults = [("status", status)] * 2
    assert_right(world, downloads.mnist())


@pytest.mark.parametrize("where", [20, 30000])
def test_corrupt_mirror_is_passed_over(world, where):
    """Catches contents accepted unchecked: a flipped byte in the gzip stream, early or late."""
    world.first.faults = [("corrupt", where)]
    assert_right(world, downloads.mnist())
    assert [n for n, _ in world.second.seen] == [f"{NAMES[0]}.gz"]


def test_right_gzip_of_wrong_contents_is_refused(world, capsys):
    """Catches a check of the archive only: this one is a flawless gzip of other images."""
    other = idx_bytes(torch.zeros(70, 28, 28, dtype=torch.uint8))
    for mirror in (world.first, world.second):
        mirror.files[f"{NAMES[0]}.gz"] = gzip.compress(other)
    assert downloads.mnist().images.shape[-1] == 8
    assert "sha256" in capsys.readouterr().out and left(world) == []


def test_endless_archive_does_not_fill_the_memory(world):
    """Catches unpacking without a bound: 100 MB of zeros in 0.4 MB of gzip."""
    import tracemalloc

    for mirror in (world.first, world.second):
        mirror.files[f"{NAMES[0]}.gz"] = gzip.compress(bytes(100_000_000), 1)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="cannot be had"):
            downloads.mnist(fallback=False)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_stale_part_of_an_older_version_is_thrown_away(world):
    """Catches a .part that can never become right and blocks every later call."""
    downloads.mnist(fallback=False)
    part = part_path(world)
    (world.cache / f"{NAMES[0]}.gz").unlink()
    part.write_bytes(b"x" * 3000)
    assert_right(world, downloads.mnist())
    part.write_bytes(b"x" * 10**6)  # longer than the file: the server answers 416
    (world.cache / f"{NAMES[0]}.gz").unlink()
    assert_right(world, downloads.mnist())


def part_path(world):
    with fetch._part(world.cache / f"{NAMES[0]}.gz", f"{world.first.url}/{NAMES[0]}.gz") as file:
        return world.cache / os.path.basename(file.name)


def test_slow_server_is_left_after_the_time_limit(world):
    """Catches a wait without end for a server that accepts and says nothing."""
    world.first.faults = [("slow", 8)]
    started = time.monotonic()
    assert_right(world, downloads.mnist())
    assert time.monotonic() - started < 6


def test_stalling_server_is_continued_elsewhere(world):
    """Catches a transfer that hangs for ever in the middle."""
    world.first.faults = [("stall", 4000)] * fetch.ATTEMPTS
    assert_right(world, downloads.mnist())


def test_offline_takes_a_moment_and_says_one_sentence(world, capsys, monkeypatch):
    """Catches long waits and tracebacks without a network: here the look-up of a name does not come back."""

    asked = []

    def hang(request, **_):
        asked.append(request.full_url)
        time.sleep(8)

    monkeypatch.setattr(fetch.urllib.request, "urlopen", hang)
    images.digits()  # the first import of scikit-learn is no part of the wait
    for _ in range(2):
        started = time.monotonic()
        got = downloads.mnist()
        assert time.monotonic() - started < 6
        assert got.images.shape == (1442, 1, 8, 8) and got.labels.dtype == torch.long
        said = capsys.readouterr().out
        assert said.count("\n") == 1 and "digits stand in" in said and str(world.cache) in said
    assert len(asked) == 2  # each mirror once: the second call remembers
    assert left(world) == []


def test_without_fallback_the_reasons_are_raised(world):
    """Catches a fall-back that cannot be refused, for measurements that need the real data."""
    world.first.faults = [("status", 404)]
    world.second.faults = [("status", 503)]
    with pytest.raises(ValueError, match=r"MNIST cannot be had.*HTTP 404.*HTTP 503.*call again"):
        downloads.mnist(fallback=False)


def test_stop_button_leaves_a_part_that_the_next_call_continues(world, monkeypatch):
    """Catches an interrupt swallowed by the mirror loop, and half a file under the final name."""
    monkeypatch.setattr(fetch, "STALL_SECONDS", 20.0)
    world.first.faults = [("interrupt", 6000)]
    with pytest.raises(KeyboardInterrupt):
        downloads.mnist()
    (part,) = left(world)
    assert part.endswith(".part") and (world.cache / part).stat().st_size >= 5000
    world.first.seen.clear()
    assert_right(world, downloads.mnist())
    assert world.first.seen[0][1].startswith("bytes=")


def test_two_processes_at_once_do_not_mix_their_bytes(world):
    """Catches a class that starts together on one shared cache: here another process holds the part."""
    fcntl = pytest.importorskip("fcntl")
    world.cache.mkdir(parents=True)
    part = part_path_unlocked(world)
    with part.open("wb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        theirs.write(b"their bytes")
        theirs.flush()
        got = downloads.mnist()
    assert torch.equal(got.images, world.images[:, None] / 255)
    assert world.first.seen[0][1] is None and not [n for n in left(world) if n.endswith(str(os.getpid()))]


def part_path_unlocked(world):
    path = part_path(world)
    path.unlink(missing_ok=True)
    return path


def test_damaged_cache_is_fetched_again(world, capsys):
    """Catches trust in a file because of its name: bit rot, or a laptop that slept while writing."""
    downloads.mnist()
    file = world.cache / f"{NAMES[0]}.gz"
    file.write_bytes(file.read_bytes()[:-100])
    assert_right(world, downloads.mnist())
    assert "is not the published file" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["raw", "packed", "torchvision"])
def test_files_already_there_are_used_as_they_are(world, tmp_path, layout):
    """Catches a download of what the user has, packed or not, also from torchvision."""
    root = tmp_path / "mine"
    folder = root / "MNIST" / "raw" if layout == "torchvision" else root
    folder.mkdir(parents=True)
    for name, data in world.raw.items():
        packed = layout == "packed"
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data, 5) if packed else data)
    got = downloads.mnist(root=root)
    assert torch.equal(got.images, world.images[:, None] / 255) and not world.first.seen
    assert downloads.available("mnist", root=root)


def test_own_mirror_is_asked_first(world, monkeypatch):
    """Catches COURSE_MIRROR ignored: a department without a way out serves the files itself."""
    monkeypatch.setenv("COURSE_MIRROR", world.second.url + "/pub/")
    assert_right(world, downloads.mnist())
    assert not world.first.seen


def test_unwritable_cache_is_named(world, monkeypatch, tmp_path, capsys):
    """Catches a traceback, or a search for mirrors, when the cache cannot be written."""
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file"))
    assert downloads.mnist().images.shape[-1] == 8
    said = capsys.readouterr().out
    assert "cannot be written" in said and "COURSE_CACHE" in said and str(tmp_path / "file") in said


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # no file may grow beyond: write() fails as on a full disk
from course_lib.datasets import downloads
from course_lib.datasets.downloads import Idx, Source
downloads.SOURCES["mnist"] = Source("MNIST", ({url!r},), {{"train": (Idx({name!r}, {size}, "0"),) * 2}})
print(downloads.mnist().images.shape)
"""


def test_full_disk_is_named_and_leaves_only_a_part(world):
    """Catches a full disk taken for a network fault, and a truncated file under the final name."""
    code = FULL.format(url=world.first.url, name=NAMES[0], size=len(world.raw[NAMES[0]]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "is full" in done.stdout and "COURSE_CACHE" in done.stdout and "[1442, 1, 8, 8]" in done.stdout
    assert all(name.endswith(".part") for name in left(world))


def test_unknown_names_are_refused(world, no_shape_check):
    """Catches a typing error that ends in a download or the wrong split."""
    with pytest.raises(ValueError, match="split must be one of train, test"):
        downloads.mnist("valid")
    with pytest.raises(ValueError, match="did you mean 'fashion_mnist'"):
        downloads.available("fashion-mnist")


def test_idx_parser_on_hand_made_bytes():
    """Catches little-endian sizes, a header of the wrong length, transposed axes: 2 x 3 bytes written by hand."""
    data = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 20, 21, 22])
    assert downloads.parse_idx(data).tolist() == [[10, 11, 12], [20, 21, 22]]
    with pytest.raises(ValueError, match="12 \\+ 6 bytes"):
        downloads.parse_idx(data[:-1])
    with pytest.raises(ValueError, match="00 00 08"):
        downloads.parse_idx(b"\x00\x00\x0d" + data[3:])
    with pytest.raises(ValueError, match="data must"):
        downloads.parse_idx(b"")
