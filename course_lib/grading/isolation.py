"""What a process can give up on Linux before it runs a stranger's code: privileges, sight, memory, time.

Called in a freshly forked child, top to bottom: `new_namespaces`, then `drop_capabilities` in the first process of the
new pid namespace, then `limit` and `filter_system_calls` in the process that runs the answer. Every function raises
OSError where the kernel refuses; the caller decides what may be missing.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

try:
    import resource
except ImportError:  # Windows
    resource = None

_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NEW_ANY = 0x7E020080
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REC, _PRIVATE = 1, 2, 4, 8, 1 << 14, 1 << 18
_SET_DUMPABLE, _SET_SECCOMP, _SET_SUBREAPER, _SET_NO_NEW_PRIVS = 4, 22, 36, 38

# System calls an exercise never needs: other processes, other namespaces, memory that no limit counts.
_CALLS = {
    "x86_64": dict(arch=0xC000003E, clone=56, clone3=435, mount_setattr=442, capset=126, deny=(
        101, 155, 165, 166, 248, 249, 250, 272, 298, 303, 304, 308, 310, 311, 312, 319, 321, 323, 425, 426, 427, 428,
        429, 430, 432, 442, 447, 29, 64, 68, 240, 434, 438)),
    "aarch64": dict(arch=0xC00000B7, clone=220, clone3=435, mount_setattr=442, capset=91, deny=(
        117, 41, 40, 39, 217, 218, 219, 97, 241, 264, 265, 268, 270, 271, 272, 279, 280, 282, 425, 426, 427, 428,
        429, 430, 432, 442, 447, 194, 190, 186, 180, 434, 438)),
}  # fmt: skip

linux = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if linux else None


def _call(function, *args) -> int:
    result = function(*args)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, value: int) -> None:
    _call(_libc.prctl, option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def guard_self() -> None:
    """Let no other process read or trace this one, and become the parent of orphaned descendants."""
    if linux:
        _prctl(_SET_DUMPABLE, 0)
        _prctl(_SET_SUBREAPER, 1)


def drop_user(uid: int) -> None:
    """Become the unprivileged user `uid`, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def new_namespaces(*, hide: list[str], network: bool, read_only: bool, scratch: int) -> None:
    """Enter new user, mount, ipc and (for the next child) pid namespaces, with empty scratch folders.

    Args:
        hide: folders to cover with an empty one.
        network: take a network namespace too (where the process still has a network).
        read_only: make every mount read-only (where nothing outside has).
        scratch: bytes that $TMPDIR may hold; it becomes the working folder.
    """
    uid, gid = os.getuid(), os.getgid()
    _prctl(_SET_DUMPABLE, 1)  # only then does the kernel let a process write its own maps
    _call(_libc.unshare, _NEWUSER | _NEWNS | _NEWPID | _NEWIPC | (_NEWNET if network else 0))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _prctl(_SET_DUMPABLE, 0)
    _mount("none", "/", None, _REC | _PRIVATE)
    if read_only:
        number = ctypes.c_long(_CALLS[platform.machine()]["mount_setattr"])
        attributes = struct.pack("<QQQQ", _RDONLY, 0, 0, 0)
        _call(_libc.syscall, number, -100, b"/", 0x8000, attributes, ctypes.c_size_t(len(attributes)))
    for folder in hide:
        _mount("tmpfs", folder, "tmpfs", _RDONLY | _NOSUID | _NODEV, "size=4k,mode=555")
    _mount("tmpfs", "/proc", "tmpfs", _RDONLY | _NOSUID | _NODEV, "size=4k,mode=555")
    if os.path.isdir("/dev/shm"):
        _mount("tmpfs", "/dev/shm", "tmpfs", _NOSUID | _NODEV, f"size={scratch},nr_inodes=2000,mode=700")
    _mount("tmpfs", os.environ["TMPDIR"], "tmpfs", _NOSUID | _NODEV, f"size={scratch},nr_inodes=2000,mode=700")
    os.chdir(os.environ["TMPDIR"])


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    _call(
        _libc.mount,
        source.encode(),
        os.fsencode(target),
        kind and kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )


def drop_capabilities() -> None:
    """Give up every capability, and every way to gain one."""
    _prctl(_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("<Ii", 0x20080522, 0)
    number = ctypes.c_long(_CALLS[platform.machine()]["capset"])
    _call(_libc.syscall, number, header, bytes(24))


def limit(*, memory: int | None, seconds: float, file_size: int, processes: int | None) -> None:
    """Set this process's limits: bytes of memory beyond what it has, processor seconds, file size, processes."""

    def lower(kind: int, value: int) -> None:
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))

    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_FSIZE, file_size)
    lower(resource.RLIMIT_NOFILE, 256)
    lower(resource.RLIMIT_CPU, int(seconds) + 1)
    if processes is not None:
        lower(resource.RLIMIT_NPROC, processes)
    if memory is not None:
        lower(resource.RLIMIT_AS, memory)


def filter_system_calls() -> None:
    """Refuse, with EPERM, the system calls in `_CALLS` and clones into new namespaces; inherited by every child."""
    calls = _CALLS[platform.machine()]

    def op(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("<HBBI", code, yes, no, k)

    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    kill, refuse, unknown, allow = 0x80000000, 0x00050001, 0x00050026, 0x7FFF0000
    program = [op(load, 4), op(equal, calls["arch"], 1, 0), op(answer, kill), op(load, 0)]
    if calls["arch"] == 0xC000003E:  # the x32 numbers are another table with the same calls
        program += [op(0x35, 0x40000000, 0, 1), op(answer, refuse)]
    program += [op(equal, calls["clone3"], 0, 1), op(answer, unknown)]
    for number in calls["deny"]:
        program += [op(equal, number, 0, 1), op(answer, refuse)]
    program += [op(equal, calls["clone"], 0, 3), op(load, 16), op(any_bit, _NEW_ANY, 0, 1), op(answer, refuse)]
    program += [op(answer, allow)]
    code = ctypes.create_string_buffer(b"".join(program))
    filters = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    _prctl(_SET_NO_NEW_PRIVS, 1)
    _call(_libc.prctl, _SET_SECCOMP, ctypes.c_ulong(2), filters)
