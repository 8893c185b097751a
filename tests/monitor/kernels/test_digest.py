"""Results and state of fixed recordings, bit for bit: what a change of form must not change.

`digest.json` holds a sha256 of every kind of result, event, estimate and of the whole state, with
no model and with two that stand for the real ones by additions alone. The last bits of exp and log
hang on the mathematical library and on the processor, so the file also says what these gave where
it was written. Where they give the same, all hashes must be equal; on any other machine a hash says
nothing, and results are held against the stored numbers instead. Made recordings run everywhere,
the real cells where the data are.

A hash is written anew (`python -m tests.digest_world`) only where results are meant to change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.digest_world import GOLDEN, MODELS, arithmetic, digest, recordings

STORED: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
MADE = ("made NASA", "made CALCE", "twin pack")
REAL = ("NASA", "NASA, square wave", "CALCE")


def check(name: str, data: Path | None, folder: Path) -> None:
    inputs = recordings(data, folder)[name]()
    for which, models in MODELS.items():
        found = digest(inputs, models).as_object()
        stored = STORED["recordings"][name][which]
        numbers, expected = (np.array(one["numbers"].split(), float) for one in (found, stored))
        np.testing.assert_allclose(numbers, expected, rtol=1e-4, atol=1e-6, err_msg=which)
        if arithmetic() == STORED["arithmetic"]:
            assert found["sha256"] == stored["sha256"], which


@pytest.mark.parametrize("name", MADE)
def test_made_recordings_give_what_they_gave(name: str, tmp_path: Path) -> None:
    check(name, None, tmp_path)


@pytest.mark.parametrize("name", REAL)
def test_real_cells_give_what_they_gave(name: str, shared_data: Path, tmp_path: Path) -> None:
    check(name, shared_data, tmp_path)


def test_one_bit_is_noticed() -> None:
    made = digest([], MODELS["no models"])
    other = digest([], MODELS["no models"])
    made.add("rows", np.array([1.0, np.nan]))
    other.add("rows", np.array([np.nextafter(1.0, 2.0), np.nan]))
    assert made.as_object()["sha256"] != other.as_object()["sha256"]
