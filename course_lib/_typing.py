"""Shapes in annotations: jaxtyping where it is installed, plain tensors where it is not.

Colab has no jaxtyping and the course adds no package there, so an annotation such as `Float[Tensor, "n d"]` must
still mean something: without jaxtyping it is simply `Tensor`. The tests install jaxtyping and enforce every shape.
"""

from __future__ import annotations

from torch import Tensor

try:
    from jaxtyping import Bool, Float, Int, Num, UInt8
except ImportError:

    class _Shaped:
        def __class_getitem__(cls, item):
            return item[0]

    Bool = Float = Int = Num = UInt8 = _Shaped

# What a function takes where it says "a number": a 0-dim tensor is welcome too.
Number = float | int | Tensor

__all__ = ["Bool", "Float", "Int", "Num", "Number", "Tensor", "UInt8"]
