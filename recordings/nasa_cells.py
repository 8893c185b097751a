"""What the publisher's notes say of each NASA PCoE cell, and what is known to be wrong in it.

Source: the README files inside the publisher's archive (Saha and Goebel, "Battery Data Set", NASA
Prognostics Data Repository, NASA Ames Research Center, 2007), and our own look at the data.
"""

from __future__ import annotations

from dataclasses import dataclass

from recordings.messages import Message

CITATION = (
    'B. Saha and K. Goebel (2007). "Battery Data Set", NASA Prognostics Data Repository, '
    "NASA Ames Research Center, Moffett Field, CA."
)
CELL_TYPE = "nasa-18650"
NOMINAL_CAPACITY_AH = 2.0
CHARGE_VOLTAGE_V = 4.2

CHARGE_PROTOCOL = "CC 1.5 A to 4.2 V, then CV until 20 mA"


@dataclass(frozen=True, slots=True)
class NasaCell:
    """One cell: the voltage at which its discharges end, the protocol, the ambient, the faults."""

    discharge_voltage_v: float
    discharge: str
    ambient: str
    problems: tuple[Message, ...] = ()


_INTEGRAL = Message("problem.nasa_integral")
_FALSE_START = Message("problem.nasa_false_start")
_SQUARE = Message("problem.nasa_square_wave")
_HOT = Message("problem.nasa_hot")
_IDLE = Message("problem.nasa_idle")
_LOW = Message("problem.nasa_low")
_IMPOSSIBLE = Message("problem.nasa_impossible")
_EIS_AMBIENT = Message("problem.nasa_impedance_ambient")


def _group(
    cutoffs: dict[str, float],
    discharge: str,
    ambient: str,
    problems: tuple[Message, ...] = (),
    own: dict[str, tuple[Message, ...]] | None = None,
) -> dict[str, NasaCell]:
    return {
        name: NasaCell(
            cutoff,
            discharge,
            ambient,
            (_INTEGRAL, _FALSE_START, *problems, *(own or {}).get(name, ())),
        )
        for name, cutoff in cutoffs.items()
    }


CELLS: dict[str, NasaCell] = {
    **_group(
        {"B0005": 2.7, "B0006": 2.5, "B0007": 2.2, "B0018": 2.5},
        "CC 2 A",
        "24 C",
        own={
            "B0005": (Message("problem.nasa_spike", spike_v=8.39),),
            "B0006": (Message("problem.nasa_spike", spike_v=8.08),),
            "B0007": (Message("problem.nasa_spike", spike_v=8.33),),
        },
    ),
    **_group(
        {"B0025": 2.0, "B0026": 2.2, "B0027": 2.5, "B0028": 2.7},
        "4 A square wave, 0.05 Hz, half duty",
        "24 C",
        (_SQUARE,),
        {"B0028": (Message("problem.nasa_at_2_a"),)},
    ),
    **_group({"B0029": 2.0, "B0030": 2.2, "B0031": 2.5, "B0032": 2.7}, "CC 4 A", "43 C", (_HOT,)),
    **_group(
        {"B0033": 2.0, "B0034": 2.2, "B0036": 2.7},
        "CC 4 A (B0036: 2 A)",
        "24 C",
        own={
            "B0033": (_HOT, _IDLE, Message("problem.nasa_dip")),
            "B0034": (_HOT, _IDLE),
        },
    ),
    **_group(
        {"B0038": 2.2, "B0039": 2.5, "B0040": 2.7},
        "CC 1, 2 and 4 A",
        "24 and 44 C",
        own={"B0039": (_HOT,)},
    ),
    **_group(
        {"B0041": 2.0, "B0042": 2.2, "B0043": 2.5, "B0044": 2.7},
        "CC 4 A and 1 A",
        "4 C (22 C at first)",
        (_LOW, _EIS_AMBIENT),
    ),
    **_group(
        {"B0045": 2.0, "B0046": 2.2, "B0047": 2.5, "B0048": 2.7}, "CC 1 A", "4 C", (_EIS_AMBIENT,)
    ),
    **_group(
        {"B0049": 2.0, "B0050": 2.2, "B0051": 2.5, "B0052": 2.7},
        "CC 2 A",
        "4 C",
        (_EIS_AMBIENT,),
        {
            "B0049": (_IMPOSSIBLE,),
            "B0050": (_IMPOSSIBLE, Message("problem.nasa_open_circuit")),
            "B0051": (_IMPOSSIBLE,),
            "B0052": (Message("problem.nasa_dead"),),
        },
    ),
    **_group(
        {"B0053": 2.0, "B0054": 2.2, "B0055": 2.5, "B0056": 2.7}, "CC 2 A", "4 C", (_EIS_AMBIENT,)
    ),
}

UNKNOWN = NasaCell(2.7, "unknown", "unknown", (Message("problem.nasa_unknown"),))
