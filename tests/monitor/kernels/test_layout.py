"""State that was written under other names, or in another order, is taken over field by field."""

from __future__ import annotations

import zlib

import msgspec
import numpy as np
import pytest

from monitor.engine import Engine
from monitor.inputs import ConfigIn
from monitor.kernels.cell import AMBIENT_UNKNOWN_C, CELL, MEMORY_FROM, empty_cells
from monitor.kernels.columns import BINS, CHANNELS, MARKS, RESULTS, SLOTS, TERMS
from monitor.kernels.layout import (
    VERSION_8,
    VERSION_8_CELLS,
    Field,
    fields,
    memory,
    of_record,
    packed_dtype,
    read_layout,
    records_of,
    take_over_inplace,
    written_layout,
)
from tests.engine_world import T0, cycling, make_config


def test_a_cells_memory_has_no_holes() -> None:
    """Its bytes are the written layout's fields in a row."""
    layout = read_layout(written_layout())["cells"]
    cells = empty_cells(3)
    cells["balance"]["covariance"] = np.arange(64.0).reshape(8, 8)
    packed = np.frombuffer(memory(cells).tobytes(), packed_dtype(layout))
    assert packed.itemsize == CELL.itemsize - MEMORY_FROM
    for name, _, _ in layout:
        np.testing.assert_array_equal(packed[name], of_record(cells, name), err_msg=name)
    written = {name for name, _, _ in layout}
    every = {name for name, _, _ in fields(CELL)}
    assert {name.split(".")[0] for name in every - written} == {"config"}


def test_every_field_that_version_8_had_is_there_still() -> None:
    """A field that is taken away on purpose is taken off here."""
    today = {name: shape for name, _, shape in fields(CELL)}
    for layout in VERSION_8_CELLS.values():
        for name, _, shape in layout:
            assert name.startswith("unused_") or today[name] == shape, name
    assert packed_dtype(VERSION_8_CELLS["scalars"]).itemsize == 8 * 207
    value = np.zeros((2, RESULTS))
    assert VERSION_8["value"] == list(fields(records_of("value", value).dtype))
    assert (BINS, SLOTS, CHANNELS, TERMS, len(MARKS)) == (160, 16, 4, 8, 16)


def test_fields_move_go_and_come() -> None:
    """Another order and type is no matter; what is unknown is left, what is missing stays new."""
    layout: list[Field] = [
        ("balance.fast", "<f4", ()), ("gone", "<i8", (2,)), ("histogram", "<f4", (2, BINS)),
        ("soc", "<f8", ()), ("window", "<f4", (3, 3)),
    ]  # fmt: skip
    written = np.zeros(2, packed_dtype(layout))
    written["balance.fast"], written["soc"] = [0.5, 0.25], [0.9, 0.8]
    written["histogram"], written["window"] = 0.125, 7.0
    cells = empty_cells(2)
    take_over_inplace(cells, written.tobytes(), layout)
    assert cells["soc"].tolist() == [0.9, 0.8]
    assert cells["balance"]["fast"].tolist() == [0.5, 0.25]
    assert (cells["histogram"] == 0.125).all()
    assert (cells["window"] == 0.0).all()  # of another shape: it begins anew
    assert (cells["balance"]["ambient_used_c"] == AMBIENT_UNKNOWN_C).all()
    with pytest.raises(ValueError, match="1 records of state, expected 2"):
        take_over_inplace(cells, written[:1].tobytes(), layout)


def test_an_assets_state_of_another_layout_goes_on() -> None:
    """As a later version, which has moved its fields, would find what this one wrote."""
    first, second = Engine(None, None), Engine(None, None)
    first.process([ConfigIn("a", make_config(2), T0), *cycling("a", 300, 2)])
    data = msgspec.msgpack.decode(first.asset_state("a"))
    layouts = read_layout(data["layout"])
    for name, layout in layouts.items():
        found = np.frombuffer(data["arrays"][name], packed_dtype(layout))
        turned = layout[::-1]
        moved = np.empty(len(found), packed_dtype(turned))
        for field, _, _ in layout:
            moved[field] = found[field]
        layouts[name], data["arrays"][name] = turned, moved.tobytes()
    data["layout"] = zlib.compress(msgspec.json.encode(layouts))
    second.put_asset_state(msgspec.msgpack.encode(data))
    assert second.asset_state("a") == first.asset_state("a")


def test_a_layout_that_is_none_is_refused() -> None:
    for broken in (b"", b"x", zlib.compress(b"[]"), zlib.compress(b'{"cells": [1]}')):
        with pytest.raises(ValueError, match="layout of the state"):
            read_layout(broken)
