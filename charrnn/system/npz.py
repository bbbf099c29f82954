"""Read a `.npz` file that may be damaged or hostile: sizes before contents, and no pickles."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import KeysView
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_MAX_HEADER = 1 << 14  # bytes; NumPy refuses to interpret headers of more than 10,000
_MAX_RATIO = 1032  # deflate expands a byte to at most this many, so a small file cannot claim a large array


class PickledError(ValueError):
    """An array of pickled objects, which could run code."""


class Header(NamedTuple):
    """The shape and type of an array that has not been read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Npz:
    """The arrays of an open `.npz` file, by name.

    A size is accepted only if the header of the array, the archive's directory and the length of the file agree on it.
    A damaged file can make each method raise almost any exception, PickledError and MemoryError among them.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._archive = zipfile.ZipFile(file)
        self._headers: dict[str, Header] = {}
        self._members = {member.filename.removesuffix(".npy"): member for member in self._archive.infolist()}
        if sum(member.compress_size for member in self._archive.infolist()) > os.fstat(file.fileno()).st_size:
            raise ValueError("its arrays are longer than the file")

    @property
    def names(self) -> KeysView[str]:
        """Return the names of the arrays, in the order of the file."""
        return self._members.keys()

    def header(self, name: str) -> Header:
        """Return the shape and type of an array; reads no more than its header."""
        if name not in self._headers:
            self._headers[name] = self._read_header(name, self._members[name])
        return self._headers[name]

    def _read_header(self, name: str, member: zipfile.ZipInfo) -> Header:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed in a way that NumPy never uses")
        with self._archive.open(member) as file:
            head = io.BytesIO(file.read(_MAX_HEADER))
        if np.lib.format.read_magic(head) != (1, 0):
            raise ValueError(f"{name} has a header that NumPy does not write for such arrays")
        shape, _, dtype = np.lib.format.read_array_header_1_0(head)
        if dtype.hasobject:
            raise PickledError(name)
        size = head.tell() + math.prod(shape) * dtype.itemsize
        if member.file_size != size or size > _MAX_RATIO * member.compress_size:
            raise ValueError(f"{name} is not as long as its header says")
        return Header(shape, dtype)

    def read(self, name: str) -> Any:
        """Return an array, its checksum compared; it takes the memory that `header` promises, and no more."""
        self.header(name)
        with self._archive.open(self._members[name]) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
