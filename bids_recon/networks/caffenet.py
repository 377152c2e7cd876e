"""CaffeNet up to its last pooling, from a file of Caffe."""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bids_recon.errors import UserError
from bids_recon.networks.encoders import CAFFE, Encoder, drawn_apart, load_state

CONVOLUTIONS = {
    "conv1": (3, 96, 11, 4, 0, 1),
    "conv2": (96, 256, 5, 1, 2, 2),
    "conv3": (256, 384, 3, 1, 1, 1),
    "conv4": (384, 384, 3, 1, 1, 2),
    "conv5": (384, 256, 3, 1, 1, 2),
}
"""Channels in and out, kernel, stride, padding and groups."""

POOLED, NORMALISED = ("1", "2", "5"), ("1", "2")
"""The numbers of the layers that pooling and normalisation follow."""

LAYER_FIELDS = {2: (4, 6), 100: (1, 7)}
"""Of a network, by the field that holds its layers: the fields of name and blobs; the
first is of older files."""

SHAPE, DATA = 7, 5
"""Fields of a blob; older files have fields 1 to 4 for a shape of four."""


def caffenet(path: Path) -> Encoder:
    """CaffeNet up to ``pool5``; it takes pixels in 0 to 255 less the mean colour.

    Raises
    ------
    UserError
        If the file is damaged or holds something else.
    """
    network = drawn_apart(lambda: nn.Sequential(OrderedDict(_layers())))
    blobs = read_caffemodel(path)
    state = {}
    for name in CONVOLUTIONS:
        weight, bias = blobs.get(name, (np.empty(0), np.empty(0)))
        state[f"{name}.weight"] = torch.from_numpy(weight)
        state[f"{name}.bias"] = torch.from_numpy(bias.reshape(-1))
    # Its first kernel takes blue, green and red.
    if state["conv1.weight"].ndim == 4:
        state["conv1.weight"] = state["conv1.weight"].flip(1)
    load_state(network, state, path)
    return Encoder(network, *CAFFE)


def _layers() -> Iterator[tuple[str, nn.Module]]:
    for name, (n_in, n_out, size, stride, padding, groups) in CONVOLUTIONS.items():
        number = name.removeprefix("conv")
        yield name, nn.Conv2d(n_in, n_out, size, stride, padding, groups=groups)
        yield f"relu{number}", nn.ReLU()
        if number in POOLED:
            yield f"pool{number}", nn.MaxPool2d(3, 2, ceil_mode=True)
        if number in NORMALISED:
            yield f"norm{number}", nn.LocalResponseNorm(5, 1e-4, 0.75)


def read_caffemodel(path: Path) -> dict[str, list[np.ndarray]]:
    """Return the blobs of each layer of a file of Caffe, by the layer's name.

    Raises
    ------
    UserError
        If the file is truncated or no file of Caffe.
    """
    layers = {}
    try:
        for field, value in _fields(memoryview(path.read_bytes())):
            if field in LAYER_FIELDS and isinstance(value, memoryview):
                name_field, blob_field = LAYER_FIELDS[field]
                parts = list(_fields(value))
                name = next(bytes(v).decode() for n, v in parts if n == name_field)
                blobs = [_blob(v) for n, v in parts if n == blob_field]
                if blobs:
                    layers[name] = blobs
    except (IndexError, ValueError, TypeError, StopIteration) as error:
        raise UserError(
            f"{path}: cannot be read as a caffemodel ({type(error).__name__}). It may "
            "be truncated; fetch it again."
        ) from error
    return layers


def _blob(message: memoryview) -> np.ndarray:
    """Return the values (*shape) of a blob."""
    shape, old_shape, data = [], [], []
    for field, value in _fields(message):
        if field == SHAPE:
            for number, dims in _fields(value):
                packed = isinstance(dims, memoryview)
                if number == 1:
                    shape += list(_integers(dims)) if packed else [dims]
        elif field == DATA:
            data.append(np.frombuffer(value, "<f4"))
        elif field < DATA:
            old_shape.append(value)
    return np.concatenate(data).reshape(shape or old_shape).astype(np.float32)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield number and value of each field of a message of protocol buffers."""
    at = 0
    while at < len(message):
        key, at = _integer(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _integer(message, at)
            yield key >> 3, value
            continue
        length = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            length, at = _integer(message, at)
        if length is None or at + length > len(message):
            raise ValueError("no such field")
        yield key >> 3, message[at : at + length]
        at += length


def _integer(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number whose bytes hold seven bits each, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _integers(message: memoryview) -> Iterator[int]:
    at = 0
    while at < len(message):
        value, at = _integer(message, at)
        yield value
