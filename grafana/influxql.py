"""InfluxQL as a query of Grafana's Foundation SDK, which has none of its own.

Raw InfluxQL is what InfluxDB 1.x, 2.x (through its database mapping) and 3 Core all answer.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

SOURCE = DataSourceRef(type_val="influxdb", uid="${source}")
Form = Literal["time_series", "table"]


class InfluxQL(Dataquery):
    """One target of a panel, in the form that Grafana 11's InfluxDB data source reads."""

    def __init__(self, query: str, ref_id: str, form: Form, alias: str | None) -> None:
        self.query = query
        self.ref_id = ref_id
        self.form = form
        self.alias = alias

    def to_json(self) -> dict[str, Any]:
        """The target as it stands in a dashboard's JSON."""
        target: dict[str, Any] = {
            "refId": self.ref_id,
            "datasource": SOURCE,
            "rawQuery": True,
            "query": self.query,
            "resultFormat": self.form,
        }
        if self.alias is not None:
            target["alias"] = self.alias
        return target


class Query(Builder[InfluxQL]):
    """Builds an `InfluxQL`: `Query('SELECT ...').alias('$tag_asset')`."""

    def __init__(self, query: str, form: Form = "time_series") -> None:
        self._query = query
        self._form: Form = form
        self._alias: str | None = None
        self._ref_id = "A"

    def alias(self, alias: str) -> Self:
        """How a series is called; `$tag_asset` and `$col` stand for its tag and column."""
        self._alias = alias
        return self

    def ref(self, ref_id: str) -> Self:
        """The target's letter within its panel."""
        self._ref_id = ref_id
        return self

    def build(self) -> InfluxQL:
        """The finished target."""
        return InfluxQL(self._query, self._ref_id, self._form, self._alias)
