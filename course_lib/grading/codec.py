"""Values as bytes and back, without pickle: what crosses between a student's process and the judge.

A message is `magic | length of header | header (JSON) | raw tensor bytes`. Reading one runs no code: the header is a
tree of tagged lists and a tensor is a dtype, a shape and a span of raw bytes. The sender may be hostile, so every
length is checked before it is believed and whatever is malformed gives one `CodecError`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

import torch

MAGIC = b"CGv1"
MAX_BYTES = 64 * 2**20
MAX_DEPTH = 12
MAX_NODES = 50_000
MAX_TEXT = 20_000
_HEAD = struct.Struct("<4sI")
_NAMES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128"
DTYPES = {name: getattr(torch, name) for name in _NAMES.split()}
_NAME_OF = {dtype: name for name, dtype in DTYPES.items()}
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, RuntimeError)


class CodecError(ValueError):
    """Bytes that are no message of ours, or a value that cannot become one."""


@dataclass(frozen=True)
class Fixture:
    """A callable argument (a net, a critic, logits_fn): the name of a builder in `fixtures` and its parameters."""

    name: str
    params: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Seeded:
    """A `torch.Generator` argument, sent as its seed and made anew for every call."""

    seed: int


@dataclass(frozen=True)
class Opaque:
    """What stands for a value that cannot be sent: `text` says what it was, as in "a str" or "a sparse tensor"."""

    text: str


class _TooMuch(Exception):
    pass


def encode(value, *, lenient: bool = False, max_bytes: int = MAX_BYTES, max_nodes: int = MAX_NODES) -> bytes:
    """Bytes of a tree of tensors, numbers, text, None, tuples, lists, dicts with text keys, fixtures and seeds.

    Args:
        value: what to send.
        lenient: replace what cannot be sent by `Opaque` (for what an answer returned) instead of raising.
        max_bytes: the most raw tensor bytes in one message.
        max_nodes: the most values in one message, the containers counted.

    Raises:
        CodecError: a value cannot be sent, and `lenient` is False.
    """
    writer = _Writer(lenient, max_bytes, max_nodes)
    try:
        tree = writer.node(value, 0)
    except _TooMuch:
        if not lenient:
            raise CodecError("a value nested or long beyond measure") from None
        tree, writer.blobs = ["o", "a value nested or long beyond measure"], []
    header = json.dumps(tree, separators=(",", ":")).encode()
    return b"".join([_HEAD.pack(MAGIC, len(header)), header, *writer.blobs])


class _Writer:
    def __init__(self, lenient: bool, max_bytes: int, max_nodes: int):
        self.lenient, self.room, self.nodes = lenient, max_bytes, max_nodes
        self.offset, self.blobs = 0, []

    def node(self, value, depth: int) -> list:
        self.nodes -= 1
        if depth > MAX_DEPTH or self.nodes < 0:
            raise _TooMuch
        try:
            return self._node(value, depth)
        except _TooMuch:
            raise
        except CodecError as error:
            if not self.lenient:
                raise
            return ["o", str(error)[:300]]
        except Exception:  # a hostile object may raise from any attribute
            if not self.lenient:
                raise
            return ["o", "an object that cannot be read"]

    def _node(self, value, depth: int) -> list:
        kind = type(value)
        if value is None:
            return ["n"]
        if kind is bool:
            return ["b", int(value)]
        if issubclass(kind, torch.Tensor):
            return self._tensor(value)
        if issubclass(kind, int):
            value = int.__int__(value)  # the number itself, whatever a subclass says
            if value.bit_length() > 1024:
                raise CodecError("an int of more than 300 digits")
            return ["i", hex(value)]
        if issubclass(kind, float):
            return ["f", struct.pack("<d", float.__float__(value)).hex()]
        if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):
            return ["b", int(bool(value))]
        if kind.__module__ == "numpy" and hasattr(kind, "dtype") and getattr(value, "ndim", None) == 0:
            return self._node(value.item(), depth)  # a NumPy number
        if kind is str:
            if len(value) > MAX_TEXT:
                raise CodecError(f"a str of {len(value)} characters")
            return ["s", value.encode("utf-8", "replace").decode()]
        if kind is list or issubclass(kind, tuple):
            items = list(value) if kind is list else list(tuple.__iter__(value))
            return ["l" if kind is list else "u", [self.node(item, depth + 1) for item in items]]
        if kind is dict:
            if not all(type(key) is str for key in value):
                raise CodecError("a dict whose keys are not text")
            return ["d", [[key, self.node(item, depth + 1)] for key, item in value.items()]]
        if kind is Fixture:
            return ["F", value.name, self.node(value.params, depth + 1)]
        if kind is Seeded:
            return ["S", int(value.seed)]
        if kind is Opaque:
            return ["o", value.text]
        raise CodecError(_describe(kind))

    def _tensor(self, value: torch.Tensor) -> list:
        with torch._C.DisableTorchFunctionSubclass():
            if type(value) is not torch.Tensor:
                value = value.as_subclass(torch.Tensor)
            if value.layout is not torch.strided or value.is_quantized:
                raise CodecError(f"a tensor of layout {value.layout}")
            if value.device.type != "cpu":
                raise CodecError(f"a tensor on device {value.device}")
            if value.dtype not in _NAME_OF:
                raise CodecError(f"a tensor of dtype {value.dtype}")
            # Before it is copied: an expanded tensor costs nothing until then.
            size = value.numel() * value.element_size()
            if size > self.room:
                raise CodecError(f"a tensor of shape {tuple(value.shape)}, far larger than the answer")
            plain = value.detach().resolve_conj().resolve_neg()
            if plain.dtype is torch.bfloat16:  # NumPy has none
                plain = plain.view(torch.int16)
            blob = plain.numpy().tobytes()
        start, self.offset, self.room = self.offset, self.offset + size, self.room - size
        self.blobs.append(blob)
        return ["t", _NAME_OF[value.dtype], list(value.shape), start]


def _describe(kind: type) -> str:
    name = kind.__name__
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {module}{name}"


def decode(data: bytes | bytearray | memoryview, *, max_bytes: int = 2 * MAX_BYTES):
    """The value in a message; text, numbers and tensors are new objects that share nothing with `data`.

    Raises:
        CodecError: the bytes are no message of ours, are cut short, or claim more than they hold.
    """
    if not isinstance(data, bytes | bytearray | memoryview) or not _HEAD.size <= len(data) <= max_bytes:
        raise CodecError(f"not a message: {len(data) if hasattr(data, '__len__') else 'no'} bytes")
    magic, length = _HEAD.unpack_from(data)
    if magic != MAGIC or _HEAD.size + length > len(data):
        raise CodecError("not a message: its first bytes are wrong, or it was cut short")
    try:
        tree = json.loads(bytes(data[_HEAD.size : _HEAD.size + length]).decode())
        reader = _Reader(memoryview(data)[_HEAD.size + length :])
        value = reader.value(tree, 0)
    except CodecError:
        raise
    except (*_MALFORMED, MemoryError, struct.error) as error:
        raise CodecError(f"a malformed message ({type(error).__name__})") from None
    if reader.used != len(reader.blobs):
        raise CodecError(f"a message with {len(reader.blobs) - reader.used} bytes that belong to nothing")
    return value


class _Reader:
    def __init__(self, blobs: memoryview):
        self.blobs, self.used, self.nodes = blobs, 0, 0

    def value(self, node: list, depth: int):
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > 2 * MAX_NODES or type(node) is not list or not node:
            raise CodecError("a malformed message (its tree)")
        tag, *rest = node
        if tag == "n":
            return None
        if tag == "b":
            return bool(rest[0])
        if tag == "i":
            return int(_text(rest[0], 400), 16)
        if tag == "f":
            return struct.unpack("<d", bytes.fromhex(_text(rest[0], 16)))[0]
        if tag == "s":
            return _text(rest[0], MAX_TEXT)
        if tag == "o":
            return Opaque(_text(rest[0], 1000))
        if tag == "S":
            return Seeded(int(rest[0]))
        if tag == "t":
            return self._tensor(*rest)
        if tag in ("l", "u"):
            items = [self.value(item, depth + 1) for item in rest[0]]
            return items if tag == "l" else tuple(items)
        if tag == "d":
            return {_text(key, 200): self.value(item, depth + 1) for key, item in rest[0]}
        if tag == "F":
            return Fixture(_text(rest[0], 200), self.value(rest[1], depth + 1))
        raise CodecError("a malformed message (an unknown tag)")

    def _tensor(self, name: str, shape: list, start: int) -> torch.Tensor:
        dtype = DTYPES[name]
        if len(shape) > 16 or any(type(size) is not int or not 0 <= size < 2**40 for size in shape):
            raise CodecError("a malformed message (a shape)")
        size = dtype.itemsize
        for length in shape:
            size *= length
        if start != self.used or start + size > len(self.blobs):  # spans follow one another: nothing is read twice
            raise CodecError("a malformed message (a tensor reaches outside it)")
        self.used = start + size
        if size == 0:
            return torch.empty(shape, dtype=dtype)
        raw = bytearray(self.blobs[start : start + size])
        if dtype is torch.bool:  # a byte other than 0 and 1 in a bool tensor is undefined behaviour
            return torch.frombuffer(raw, dtype=torch.uint8).ne(0).reshape(shape)
        return torch.frombuffer(raw, dtype=dtype).reshape(shape)


def _text(value, longest: int) -> str:
    if type(value) is not str or len(value) > longest:
        raise CodecError("a malformed message (a text)")
    return value
