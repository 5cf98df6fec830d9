"""Values survive the way through bytes exactly, and hostile bytes give one clear error."""

import math
import random
import struct

import pytest
import torch

from course_lib.grading import codec
from course_lib.grading.codec import CodecError, Fixture, Opaque, Seeded, decode, encode


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and encode(a) == encode(b)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("name", codec.DTYPES)
def test_every_dtype_survives_bit_for_bit(name):
    """Catches a dtype that is cast on the way, a lost last entry, and NaN or -0.0 that change their bits."""
    values = torch.tensor([0.0, -0.0, 1.0, 3.0, 100.0])
    x = values.to(codec.DTYPES[name])
    y = decode(encode(x))
    assert same(x, y) and x.reshape(-1).view(torch.uint8).tolist() == y.reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -7, 2**70, 0.1, -0.0, math.inf, math.nan, "é\n", [], (), [1, (2.0, None)], torch.zeros(0, 3),
     torch.tensor(2.0), torch.arange(12.0).view(3, 4).t(), torch.zeros(1).expand(5),
     (torch.ones(2), [torch.zeros(3, 1)])],
    ids=repr,
)  # fmt: skip
def test_values_survive(value):
    """Catches containers that change kind, non-contiguous tensors read in memory order, and blobs out of order."""
    assert same(value, decode(encode(value)))


def test_fixtures_and_seeds_survive():
    """Catches a callable argument that loses its parameters."""
    found = decode(encode([Fixture("net", {"w": torch.ones(2), "k": 3}), Seeded(5)]))
    assert found[0].name == "net" and found[0].params["k"] == 3 and same(found[0].params["w"], torch.ones(2))
    assert found[1] == Seeded(5)


class Hostile:
    def __getattr__(self, name):
        raise RuntimeError("no")

    def __eq__(self, other):
        return True


class Loud(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError("intercepted")


class Liar(float):
    def __float__(self):
        return 42.0


def test_what_an_answer_returns_is_sent_as_what_it_is():
    """Catches pickling, calls into hostile objects, and expanded tensors that are copied before they are measured."""
    loop = []
    loop.append(loop)
    sent = [
        Hostile(),
        Loud([1.0, 2.0]),
        Liar(1.5),
        torch.zeros(1).expand(10**13),
        torch.eye(2).to_sparse(),
        object,
        loop,
    ]
    got = [decode(encode(value, lenient=True)) for value in sent]
    assert isinstance(got[0], Opaque)
    assert type(got[1]) is torch.Tensor and got[1].tolist() == [1.0, 2.0]
    assert got[2] == 1.5
    assert all(isinstance(value, Opaque) for value in got[3:])
    with pytest.raises(CodecError):
        encode(Hostile())


def _message(header: bytes, blob: bytes = b"") -> bytes:
    return struct.pack("<4sI", codec.MAGIC, len(header)) + header + blob


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"CGv1",
        b"\x80\x04K\x01.",
        struct.pack("<4sI", codec.MAGIC, 2**31),
        _message(b"{"),
        _message(b"\xff"),
        _message(b"[" * 100_000),
        _message(b"[]"),
        _message(b'["?"]'),
        _message(b'["t","float32",[4],0]'),
        _message(b'["t","float32",[-4],0]', b"1234"),
        _message(b'["t","float32",[1099511627776,1099511627776],0]', b"1234"),
        _message(b'["t","float32",[1],4]', b"12345678"),
        _message(b'["t","float32",[1],0]', b"12345678"),
        _message(b'["t","object",[1],0]', b"1234"),
        _message(b'["t","float32","1",0]', b"1234"),
        _message(b'["i","zz"]'),
        _message(b'["f","00"]'),
        _message(b'["l",3]'),
        _message(b'["d",[["a"]]]'),
        _message(b'["F",1,["n"]]'),
    ],
)
def test_hostile_bytes_give_one_error(data):
    """Catches lengths that are believed, spans outside the message, unknown tags and deep nesting."""
    with pytest.raises(CodecError):
        decode(data)


def test_random_damage_never_gives_another_exception():
    """Catches a path of the decoder without a guard: 2,000 messages with flipped, cut and doubled bytes."""
    good = encode([torch.randn(2, 3), {"a": (1, 2.0, None, "x")}, Fixture("f", {"k": [True]}), Seeded(1)])
    chance = random.Random(0)
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = data[: chance.randint(0, len(data))] if chance.random() < 0.3 else data
        try:
            decode(bytes(data))
        except CodecError:
            pass


def test_decoded_bool_holds_only_zero_and_one():
    """Catches a forged bool tensor whose bytes are 2, which makes later comparisons undefined."""
    assert decode(_message(b'["t","bool",[2],0]', b"\x02\x00")).tolist() == [True, False]
