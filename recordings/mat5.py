"""A streaming reader of MATLAB level 5 files, as far as battery recordings use them.

`scipy.io.loadmat` inflates and decodes a whole file, which for a long cell takes seconds and
hundreds of megabytes. Here the elements of a struct array come one after another out of the
compressed stream, and a field is decoded only when it is asked for.

Format: "MAT-File Format", The MathWorks, level 5. Read: numeric arrays (real and complex, either
byte order, values stored in a smaller type), character arrays, struct arrays. Anything else (cell
arrays, sparse matrices, objects) is stepped over and decoded as None.

Whatever a head claims has a bound before it is read: dimensions, a name, the fields of a struct,
the bytes of one element.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from recordings.errors import UnplacedError
from recordings.messages import Message

_HEADER_BYTES = 128
_CHUNK_BYTES = 1 << 16
_MAX_FIELD_BYTES = 1 << 27  # all fields of one operation; real ones are below 1 MB
_MAX_DIMENSIONS = 32
_MAX_NAME_BYTES = 64  # MATLAB's own bound is 63 and the zero behind them
_MAX_FIELDS = 1_000
_MAX_ELEMENTS = 1_000_000  # of a struct array
_MAX_TEXT_BYTES = 1 << 16
_MATRIX, _COMPRESSED = 14, 15
_NUMBER = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_STRUCT_CLASS, _CHAR_CLASS, _NUMBER_CLASSES = 2, 4, range(6, 16)


class Mat5Error(UnplacedError):
    """The bytes are not a level 5 MAT file, or are cut short or damaged."""


@dataclass(frozen=True, slots=True)
class Raw:
    """The undecoded body of one matrix element."""

    data: bytes
    order: str

    def value(self) -> NDArray[np.float64] | NDArray[np.complex128] | str | dict[str, Raw] | None:
        """Numbers as a flat array, text as str, a struct as its fields (of its first element)."""
        source = _Bytes(self.data)
        if not self.data:
            return np.empty(0)
        head = _read_matrix_head(source, self.order)
        if head.kind == _STRUCT_CLASS:
            if head.count == 0:
                return {}
            return _read_fields(source, head, self.order)
        if head.kind == _CHAR_CLASS:
            kind, body = _read_element(source, self.order, _MAX_TEXT_BYTES)
            if kind not in _TEXT:
                raise Mat5Error(Message("mat.text_type", found=kind))
            codec = _TEXT[kind]
            if codec in ("utf-16", "utf-32"):
                codec += "-le" if self.order == "<" else "-be"
            return body.decode(codec, errors="replace")
        if head.kind in _NUMBER_CLASSES:
            real = _read_numbers(source, self.order, head.count)
            if head.is_complex:
                return real + 1j * _read_numbers(source, self.order, head.count)
            return real
        return None

    def numbers(self) -> NDArray[np.float64]:
        """The element as a flat array of real numbers; raises Mat5Error if it is something else."""
        value = self.value()
        if not isinstance(value, np.ndarray):
            raise Mat5Error(Message("mat.numbers_expected"))
        if np.iscomplexobj(value):
            raise Mat5Error(Message("mat.real_expected"))
        return value.astype(np.float64, copy=False)

    def text(self) -> str:
        """The element as text; raises Mat5Error if it is something else."""
        value = self.value()
        if not isinstance(value, str):
            raise Mat5Error(Message("mat.text_expected"))
        return value

    def fields(self) -> dict[str, Raw]:
        """The element as a struct's fields; raises Mat5Error if it is something else."""
        value = self.value()
        if not isinstance(value, dict):
            raise Mat5Error(Message("mat.struct_expected"))
        return value


@dataclass(frozen=True, slots=True)
class _MatrixHead:
    kind: int
    is_complex: bool
    dims: tuple[int, ...]
    name: str
    field_names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        total = 1
        for size in self.dims:
            total *= size
        return total


class _Bytes:
    """Bytes in memory read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Mat5Error(Message("mat.past_end"))
        out = self._data[self._at : end]
        self._at = end
        return out


@dataclass(slots=True)
class _Inflated:
    """A file's bytes from its position on, inflated if `compressed`, read from the front."""

    file: BinaryIO
    compressed: bool
    _inflate: zlib._Decompress = field(default_factory=zlib.decompressobj)
    _ready: bytearray = field(default_factory=bytearray)

    def read(self, count: int) -> bytes:
        if count > _MAX_FIELD_BYTES:
            raise Mat5Error(Message("mat.claims", found=count, most=_MAX_FIELD_BYTES))
        while len(self._ready) < count:
            self._ready += self._more()
        out = bytes(self._ready[:count])
        del self._ready[:count]
        return out

    def _more(self) -> bytes:
        if not self.compressed:
            chunk = self.file.read(_CHUNK_BYTES)
            if not chunk:
                raise Mat5Error(Message("mat.file_ends"))
            return chunk
        tail = self._inflate.unconsumed_tail
        chunk = tail or self.file.read(_CHUNK_BYTES)
        if not chunk or self._inflate.eof:
            raise Mat5Error(Message("mat.data_end"))
        try:
            return self._inflate.decompress(chunk, 16 * _CHUNK_BYTES)
        except zlib.error as error:
            raise Mat5Error(Message("mat.data_damaged", reason=str(error))) from None


_Source = _Bytes | _Inflated


@dataclass(frozen=True, slots=True)
class StructArray:
    """A struct array found in a file: how many elements, and the elements as they are read."""

    variable: str
    count: int
    elements: Iterator[dict[str, Raw]]


def open_struct_array(file: BinaryIO, field_name: str) -> StructArray:
    """The struct array `variable.<field_name>` of the first variable that has that field.

    Only its head is read here; each element is read when the iterator is advanced. Raises
    Mat5Error, here or from the iterator, for anything that is not as the format says.
    """
    order = _read_file_head(file)
    while True:
        tag = file.read(8)
        if len(tag) < 8:
            raise Mat5Error(Message("mat.no_variable", field=field_name))
        kind, size = struct.unpack(order + "II", tag)
        after = file.tell() + size
        if kind not in (_MATRIX, _COMPRESSED):
            raise Mat5Error(Message("mat.element_type", found=kind))
        source = _Inflated(file, compressed=kind == _COMPRESSED)
        if kind == _COMPRESSED:
            inner, _ = _read_tag(source, order)
            if inner != _MATRIX:
                raise Mat5Error(Message("mat.compressed_type", found=inner))
        head = _read_matrix_head(source, order)
        if head.kind == _STRUCT_CLASS and field_name in head.field_names and head.count == 1:
            return _descend(source, order, head, field_name)
        file.seek(after)


def _descend(source: _Inflated, order: str, head: _MatrixHead, field_name: str) -> StructArray:
    for name in head.field_names:
        kind, size = _read_tag(source, order)
        if kind != _MATRIX:
            raise Mat5Error(Message("mat.not_a_matrix", field=name))
        if name == field_name:
            inner = _read_matrix_head(source, order)
            if inner.kind != _STRUCT_CLASS:
                raise Mat5Error(Message("mat.not_a_struct_array", field=name))
            if inner.count > _MAX_ELEMENTS:
                raise Mat5Error(
                    Message("mat.elements", field=name, found=inner.count, most=_MAX_ELEMENTS)
                )
            return StructArray(head.name, inner.count, _elements(source, order, inner))
        source.read(size)
    raise Mat5Error(Message("mat.no_field", field=field_name))


def _elements(source: _Inflated, order: str, head: _MatrixHead) -> Iterator[dict[str, Raw]]:
    for _ in range(head.count):
        yield _read_fields(source, head, order)


def _read_file_head(file: BinaryIO) -> str:
    head = file.read(_HEADER_BYTES)
    if len(head) < _HEADER_BYTES:
        raise Mat5Error(Message("mat.too_short"))
    mark = head[126:128]
    if mark == b"IM":
        order = "<"
    elif mark == b"MI":
        order = ">"
    else:
        raise Mat5Error(Message("mat.no_mark"))
    (version,) = struct.unpack(order + "H", head[124:126])
    if version != 0x0100:
        raise Mat5Error(Message("mat.version", found=version))
    return order


def _read_tag(source: _Source, order: str) -> tuple[int, int]:
    kind, size = struct.unpack(order + "II", source.read(8))
    return kind, size


def _read_element(source: _Source, order: str, most: int = _MAX_FIELD_BYTES) -> tuple[int, bytes]:
    """One data element of at most `most` bytes: its type and body; the padding is consumed."""
    tag = source.read(8)
    (first,) = struct.unpack(order + "I", tag[:4])
    if first >> 16:  # the small form: up to 4 bytes inside the tag
        size = first >> 16
        if size > 4:
            raise Mat5Error(Message("mat.small_element"))
        return first & 0xFFFF, tag[4 : 4 + size]
    (size,) = struct.unpack(order + "I", tag[4:])
    if size > most:
        raise Mat5Error(Message("mat.element", found=size, most=most))
    body = source.read(size)
    source.read(-size % 8)
    return first, body


def _read_matrix_head(source: _Source, order: str) -> _MatrixHead:
    kind, flags = _read_element(source, order)
    if kind != 6 or len(flags) != 8:
        raise Mat5Error(Message("mat.flags_expected"))
    (bits,) = struct.unpack(order + "I", flags[:4])
    kind, dims = _read_element(source, order, 4 * _MAX_DIMENSIONS)
    if kind != 5 or len(dims) % 4 or len(dims) < 8:
        raise Mat5Error(Message("mat.dimensions_expected"))
    sizes = struct.unpack(order + f"{len(dims) // 4}i", dims)
    if min(sizes) < 0:
        raise Mat5Error(Message("mat.negative_dimension"))
    kind, name = _read_element(source, order, _MAX_NAME_BYTES)
    if kind not in _TEXT:
        raise Mat5Error(Message("mat.name_expected"))
    head = _MatrixHead(bits & 0xFF, bool(bits & 0x800), sizes, name.decode("latin-1"))
    if head.kind != _STRUCT_CLASS:
        return head
    kind, width_bytes = _read_element(source, order)
    if kind != 5 or len(width_bytes) != 4:
        raise Mat5Error(Message("mat.name_length_expected"))
    (width,) = struct.unpack(order + "i", width_bytes)
    if not 0 < width <= _MAX_NAME_BYTES:
        raise Mat5Error(Message("mat.name_length", found=width, most=_MAX_NAME_BYTES))
    _, names = _read_element(source, order, width * _MAX_FIELDS)
    if len(names) % width:
        raise Mat5Error(Message("mat.names_misfit"))
    field_names = tuple(
        names[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(names), width)
    )
    return _MatrixHead(head.kind, head.is_complex, head.dims, head.name, field_names)


def _read_fields(source: _Source, head: _MatrixHead, order: str) -> dict[str, Raw]:
    fields = {}
    left = _MAX_FIELD_BYTES
    for name in head.field_names:
        kind, size = _read_tag(source, order)
        if kind != _MATRIX:
            raise Mat5Error(Message("mat.not_a_matrix_but", field=name, found=kind))
        left -= size
        if left < 0:
            raise Mat5Error(Message("mat.fields", most=_MAX_FIELD_BYTES))
        fields[name] = Raw(source.read(size), order)
    return fields


def _read_numbers(source: _Source, order: str, count: int) -> NDArray[np.float64]:
    kind, body = _read_element(source, order)
    if kind not in _NUMBER:
        raise Mat5Error(Message("mat.number_type", found=kind))
    dtype = np.dtype(order + _NUMBER[kind])
    if len(body) != count * dtype.itemsize:
        raise Mat5Error(Message("mat.numbers", expected=count, found=len(body)))
    return np.frombuffer(body, dtype).astype(np.float64)
