"""Alarm rules from a file: what it changes, and how it refuses."""

from __future__ import annotations

import pytest

from monitor.alarms.rules import DEFAULT_RULES
from monitor.alarms.rules_file import parse_rules
from monitor.contract import AssetConfig, Limits
from monitor.errors import ConfigurationError
from monitor.kernels.columns import Feature

CONFIG = AssetConfig(v=1, nominal_capacity_ah=2.0, limits=Limits(temperature_max_c=55.0))


def test_an_empty_file_changes_nothing() -> None:
    assert parse_rules("", DEFAULT_RULES) == DEFAULT_RULES


def test_levels_deadband_and_delays_of_a_built_in_rule() -> None:
    rules = parse_rules(
        """
        [over_temperature]
        deadband = 4
        on_delay_s = 1.5
        [[over_temperature.levels]]
        severity = 5
        limit = "temperature_max_c"
        [[over_temperature.levels]]
        severity = 3
        limit = "temperature_max_c - 10"
        [[over_temperature.levels]]
        severity = 2
        limit = 40
        """,
        DEFAULT_RULES,
    )
    found = [rule for rule in rules if rule.code == "over_temperature"]
    assert [(rule.severity, rule.limit(CONFIG)) for rule in found] == [
        (2, 40.0), (3, 45.0), (5, 55.0),
    ]  # fmt: skip
    built_in = next(rule for rule in DEFAULT_RULES if rule.code == "over_temperature")
    for rule in found:
        assert rule.deadband == 4.0
        assert rule.on_delay_ms == 1_500
        assert rule.off_delay_ms == built_in.off_delay_ms
        assert rule.says_zh == built_in.says_zh


def test_a_rule_can_be_left_out_and_another_added() -> None:
    rules = parse_rules(
        """
        [under_voltage]
        enabled = false
        [slow_heating]
        quantity = "dt_dt_c_per_s"
        when = "above"
        scope = "sensor"
        unit = "°C/s"
        says = "temperature rises steadily"
        action = "Stop the current."
        [[slow_heating.levels]]
        severity = 4
        limit = 0.02
        """,
        DEFAULT_RULES,
    )
    codes = {rule.code for rule in rules}
    assert "under_voltage" not in codes
    rule = next(rule for rule in rules if rule.code == "slow_heating")
    assert rule.quantity == Feature.DT_DT_C_PER_S
    assert (rule.above, rule.scope, rule.severity, rule.limit(CONFIG)) == (True, "sensor", 4, 0.02)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[over_voltage", "rules file"),
        ("x = 1", "x"),
        ("[over_voltage]\nlimt = 3", "over_voltage.limt"),
        ("[over_voltage]\nquantity = 'soc'", "built-in"),
        ("[over_voltage]\ndeadband = -1", "over_voltage.deadband = -1"),
        ("[over_voltage]\non_delay_s = 'soon'", "over_voltage.on_delay_s"),
        ("[over_voltage]\nlevels = []", "over_voltage.levels"),
        ("[over_voltage]\nlevels = [{severity = 9, limit = 1}]", "severity = 9"),
        ("[over_voltage]\nlevels = [{severity = 2, limit = 'volts'}]", "'volts'"),
        ("[over_voltage]\nlevels = [{severity = 2}]", "severity and limit"),
        (
            "[over_voltage]\nlevels = [{severity = 2, limit = 1}, {severity = 2, limit = 2}]",
            "one severity",
        ),
        ("[mine]\nlevels = [{severity = 2, limit = 1}]", "mine.quantity"),
        (
            "[mine]\nquantity='x'\nwhen='above'\nunit='V'\nsays='s'\naction='a'",
            "mine.quantity = 'x'",
        ),
        (
            "[mine]\nquantity='soc'\nwhen='near'\nunit='V'\nsays='s'\naction='a'",
            "mine.when = 'near'",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(text, DEFAULT_RULES)
    assert words in str(caught.value)
