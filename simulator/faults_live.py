"""A fault put into a replay while it runs: from the frame that is next on, as `--fault` would have.

The recording is injected anew with the fault's onset at the replay's present instant, and the
replay goes on from there. What was played before is computed again, because the twin follows the
cell from its beginning; for a long recording that takes seconds, during which the replay stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from monitor.refusals import refusal
from recordings.types import Recording
from simulator.faults_inject import InjectedRecording, inject
from simulator.faults_scenario import FRAME_KINDS, FaultError, FaultSpec, Onset, parse_fault
from simulator.replay import ReplayOptions, Timed, merged, recorded_ms
from simulator.twin import CellParameters


def inject_now(
    recordings: Sequence[Recording],
    asset: str | None,
    text: str,
    offset_ms: int,
    options: ReplayOptions,
    parameters: CellParameters,
) -> list[Recording]:
    """The recordings with one fault more, which begins `offset_ms` after the replay's start.

    `text` is `kind:key=value,...`; the asset may stand in it or be given, and `at` is left out.
    Raises FaultError where it asks for what is not possible.
    """
    named = text if asset is None or "asset=" in text else _with(text, f"asset={asset}")
    if "at=" in named:
        raise FaultError(refusal("fault_begins_now", fault=repr(text)))
    spec = parse_fault(named)
    for position, recording in enumerate(recordings):
        if recording.info.asset == spec.asset:
            changed = list(recordings)
            changed[position] = _injected(recording, spec, offset_ms, options, parameters)
            return changed
    listed = ", ".join(recording.info.asset for recording in recordings)
    raise FaultError(refusal("fault_asset", fault=spec.kind, asset=spec.asset, known=listed))


def resumed(
    recordings: Sequence[Recording], options: ReplayOptions, held: Timed
) -> Iterator[Timed]:
    """The messages from where `held` was due on; what was due at that instant may come again."""
    return (timed for timed in merged(recordings, options) if timed.offset_ms >= held.offset_ms)


def _injected(
    recording: Recording,
    spec: FaultSpec,
    offset_ms: int,
    options: ReplayOptions,
    parameters: CellParameters,
) -> Recording:
    original, before = recording, ()  # type: tuple[Recording, tuple[FaultSpec, ...]]
    if isinstance(recording, InjectedRecording):
        original, before = recording.original, recording.faults
    if spec.kind in FRAME_KINDS:
        begins_s = offset_ms / 1000.0  # of the replay
    else:
        begins_s = recorded_ms(original, options, offset_ms) / 1000.0
    fault = replace(spec, onset=Onset(time_s=begins_s))
    return inject([original], [*before, fault], parameters)[0]


def _with(text: str, pair: str) -> str:
    kind, _, rest = text.partition(":")
    return f"{kind}:{rest},{pair}" if rest else f"{kind}:{pair}"
