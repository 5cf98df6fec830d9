"""Fetch one file over HTTP: several mirrors, resume, a check before the file gets its name, and never a long wait.

What is left behind at any moment is either the whole, checked file, or a `.part` that the next call continues.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, BinaryIO

CONTACT_SECONDS = 2.5  # until a mirror answers; two mirrors, so an offline machine knows after five
STALL_SECONDS = 10.0  # without a byte, once it has answered
REMEMBER_SECONDS = 60.0  # a host that did not answer is not asked again so soon
ATTEMPTS = 3  # per mirror, each going on where the last stopped
CHUNK = 1 << 16

_silent: dict[str, float] = {}  # host -> when it last failed to answer


class Unavailable(Exception):
    """The file cannot be had; the message says why and what to do."""


class Corrupt(Exception):
    """The bytes are not those published."""


class _Broken(Exception):
    """A transfer ended before its time; the part on disk can be continued."""


def fetch(urls: list[str], path: Path, read: Callable[[Path], Any]) -> Any:
    """Bring the first of `urls` that works to `path` and return `read(path)`.

    Args:
        urls: the same contents at several mirrors, in order of preference.
        path: where the file goes; its folder is made if need be.
        read: reads and checks a downloaded file; raises Corrupt if it is not the right one.

    Raises:
        Unavailable: if no mirror answers, all give wrong bytes, or the folder cannot be written.
    """
    reasons = []
    for url in urls:
        host = urllib.parse.urlsplit(url).netloc
        try:
            with _part(path, url) as part:
                result = _from_mirror(url, part, read)
            _publish(Path(part.name), path)
            return result
        except (_Broken, Corrupt, urllib.error.URLError) as error:
            reasons.append(f"{host}: {getattr(error, 'reason', None) or error}")
        except OSError as error:
            raise Unavailable(_disk(error, path)) from error
    raise Unavailable(
        f"{path.name} did not arrive ({'; '.join(reasons)}); go online and call again, "
        f"or put the file into {path.parent}"
    )


def _from_mirror(url: str, part: BinaryIO, read: Callable[[Path], Any]) -> Any:
    for attempt in range(ATTEMPTS):
        resumed = part.seek(0, os.SEEK_END) > 0
        try:
            _transfer(url, part, quiet=attempt > 0)
            part.flush()
            os.fsync(part.fileno())
            return read(Path(part.name))
        except _Broken:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        except Corrupt:
            part.truncate(0)
            # A resumed file may be two versions glued together; fetched afresh it may be right.
            if resumed and attempt < ATTEMPTS - 1:
                continue
            raise
    raise AssertionError("unreachable")


def _transfer(url: str, part: BinaryIO, *, quiet: bool) -> None:
    """Append to `part` what it still lacks of `url`; raises _Broken if the connection ends too early."""
    have = part.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = _answer(request)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing lies beyond what we have: it is complete, or wrong
            return
        raise urllib.error.URLError(f"HTTP {error.code} {error.reason}") from error
    with response:
        if have and not (
            response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        ):
            have = 0  # the server sends it all again
            part.seek(0)
            part.truncate(0)
        length = response.headers.get("Content-Length")
        if not quiet:
            size = f" ({(have + int(length)) / 1e6:.2f} MB)" if length else ""
            how = f", from {have / 1e6:.2f} MB on" if have else ""
            print(f"Downloading {url}{size}{how}", flush=True)
        received = 0
        while True:
            try:
                chunk = response.read(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Broken(f"the connection broke after {(have + received) / 1e6:.1f} MB ({error})") from error
            if not chunk:
                break
            received += len(chunk)
            part.write(chunk)
    if length is not None and received < int(length):
        raise _Broken(f"the transfer ended after {received:,} of {int(length):,} bytes")


def _answer(request: urllib.request.Request) -> http.client.HTTPResponse:
    """The opened response, or a URLError after CONTACT_SECONDS at most.

    A timeout for sockets does not bound the look-up of a name, so the request waits in a thread of its own.
    """
    host = urllib.parse.urlsplit(request.full_url).netloc
    if time.monotonic() - _silent.get(host, -REMEMBER_SECONDS) < REMEMBER_SECONDS:
        raise urllib.error.URLError("did not answer a moment ago")
    answers: Queue = Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=STALL_SECONDS))
        except Exception as error:
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=CONTACT_SECONDS)
    except Empty:
        answer = urllib.error.URLError(f"no answer within {CONTACT_SECONDS:g} s")
    if isinstance(answer, urllib.error.HTTPError):
        raise answer
    if isinstance(answer, Exception):
        _silent[host] = time.monotonic()
        raise answer if isinstance(answer, urllib.error.URLError) else urllib.error.URLError(str(answer))
    return answer


@contextlib.contextmanager
def _part(path: Path, url: str) -> Iterator[BinaryIO]:
    """The open .part of this file from this mirror, ours alone.

    Each mirror has its own, because mirrors may wrap the same contents in different gzip bytes. If another process is
    at it (a class starting together on one disk), we work in a private file, which does not survive.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{path.name}.{zlib.crc32(url.encode()):08x}.part"
    shared = path.with_name(name)
    file = shared.open("ab+")
    private = None
    if not _lock(file):
        file.close()
        private = path.with_name(f"{name}.{os.getpid()}")
        file = private.open("wb+")
    try:
        with file:
            yield file
    except BaseException:
        if private is not None or not shared.stat().st_size:
            (private or shared).unlink(missing_ok=True)
        raise


def _publish(part: Path, path: Path) -> None:
    """Give the checked file its name, and clear away what other mirrors left."""
    try:
        os.replace(part, path)
    except FileNotFoundError:  # another process had the same file open and was faster
        if not path.is_file():
            raise
    for leftover in path.parent.glob(f"{path.name}.*.part"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def _lock(file: BinaryIO) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: home folders are private there
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network disks know no locks; then there is nothing to wait for.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _disk(error: OSError, path: Path) -> str:
    remedy = "or let COURSE_CACHE name another folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        folder = next(p for p in (path.parent, *path.parents) if p.exists())
        free = shutil.disk_usage(folder).free / 1e6
        return f"the disk of {path.parent} is full ({free:.0f} MB free); free some space, {remedy}"
    return f"{path.parent} cannot be written ({error.strerror or error}); make it writable, {remedy}"
