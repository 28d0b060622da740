"""Numbers in and out of a script: tensors written down as text, and what it prints."""

import base64
import zlib

import numpy as np
import torch
from torch import Tensor


def tensor_of(text: str, kind: str, *shape: int) -> Tensor:
    """A tensor that was written down: its bytes, compressed, in base64."""
    data = bytearray(zlib.decompress(base64.b64decode(text)))
    return torch.from_numpy(np.frombuffer(data, kind)).reshape(shape)


def rounded(value):
    """Tensors and arrays as lists, and every number to six significant digits."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value
