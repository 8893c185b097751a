"""From what a user names to a report: an asset of a store, a recording, or a saved report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.content import make_report
from analysis.report.material import Material, from_recording, from_store
from analysis.report.record import Advice, Report, from_json
from monitor.errors import CellpulseError, ConfigurationError, StoreError
from monitor.models.folder import has_model, load_card, load_model

if TYPE_CHECKING:
    from recordings.types import Recording

CARDS = ("soh", "thermal", "forecast", "charging")  # those that are installed


def make(
    battery: str,
    *,
    models: Path,
    store: Path | None = None,
    default_store: Path | None = None,
    asset: str | None = None,
    folders: list[Path] | None = None,
) -> Report:
    """The report on `battery`: a file or folder, else an asset of a store, else a recording's id.

    With `store` given only that store is asked; `default_store` is where it is there. `asset`
    chooses among several in a file. Raises CellpulseError or RecordingError in one sentence.
    """
    if store is not None:
        return of_material(from_store(store, battery), models)
    path = Path(battery)
    if path.is_file() and path.suffix.lower() == ".json":
        return saved(path)
    if path.exists():
        return of_material(_from_file(path, asset, models), models)
    if default_store is not None and default_store.is_file():
        try:
            return of_material(from_store(default_store, battery), models)
        except (ConfigurationError, StoreError) as error:
            told: CellpulseError = error
    else:
        told = ConfigurationError("there is no store here; name one with --store")
    return of_material(_from_id(battery, folders, models, told), models)


def of_material(material: Material, models: Path) -> Report:
    """The report on gathered material, with the cards and the forecast of a models folder."""
    from monitor.models.forecast import ForecastModel

    cards = [load_card(name, models) for name in CARDS if (models / f"{name}.json").is_file()]
    forecast = None
    if has_model("forecast", models):
        forecast = load_model(ForecastModel, "forecast", models)
    return make_report(material, cards, forecast, _advice(material, models))


def _advice(material: Material, models: Path) -> Advice | None:
    """Charging advice as it stands at the end, where the policy is installed; 0 A where it has
    none, with the reason."""
    from analysis.advice import advice_of

    found = advice_of(material.newest.state(material.config), models)
    if found is None:
        return None
    return Advice(
        policy=found.style,
        current_a=found.current_a or 0.0,
        duration_s=None if found.minutes is None else 60.0 * found.minutes,
        wear=found.loss,
        reason=found.why,
        reason_zh=found.why_zh,
    )


def saved(path: Path) -> Report:
    """A report that was saved as JSON; raises ConfigurationError for another file."""
    import msgspec

    try:
        return from_json(path.read_bytes())
    except (msgspec.DecodeError, OSError) as error:
        raise ConfigurationError(
            f"{path}: not a battery health report of this version ({error})"
        ) from error


def _from_file(path: Path, asset: str | None, models: Path) -> Material:
    from recordings.open import open_recording

    rejected: list[str] = []

    def reject(error: Any) -> None:
        rejected.append(str(error).replace(f"{path.parent}/", ""))

    found = open_recording(path, on_bad=reject) or open_recording(path)
    recording = _chosen(found, path.name, asset)
    return from_recording(recording, path, models, rejected)


def _from_id(
    battery: str, folders: list[Path] | None, models: Path, told: CellpulseError
) -> Material:
    from recordings.lookup import find
    from recordings.types import RecordingError

    try:
        recording = _chosen(find(battery, folders), battery, None)
    except RecordingError as error:
        raise RecordingError(f"{error}; {told}") from error
    return from_recording(recording, Path(recording.info.source), models)


def _chosen(found: list[Recording], name: str, asset: str | None) -> Recording:
    names = [one.info.asset for one in found]
    if asset is None and len(found) == 1:
        return found[0]
    if asset in names:
        return found[names.index(asset)]
    held = ", ".join(names[:12])
    if asset is None:
        raise ConfigurationError(f"{name} holds {len(names)} batteries: {held}; choose by --asset")
    raise ConfigurationError(f"--asset {asset}: {name} has no such battery; it holds {held}")
