"""The same job the obvious way: `json.loads`, River, a dict a cell, one model run a sample.

At one fixed sampling, and less than the engine: no duplicates, gaps, faulty values or life cycle.
"""

import json
from collections import deque
from math import exp, isnan, nan
from typing import Any

import numpy as np
from influxdb_client.client.write.point import Point
from river.stats import EWMean, EWVar

from benchmarks.baseline_heat import HeatBalance
from benchmarks.baseline_soh import HalfCycle
from monitor.alarms.rules import DEFAULT_RULES
from monitor.contract import AssetConfig

REST, CC_CHARGE, CV_CHARGE, DISCHARGE, DIRECTION = 1, 2, 3, 4, (0, 0, 1, 1, -1)  # of each phase
QUANTITY = {rule.code: rule.quantity.name.lower() for rule in DEFAULT_RULES}


class Baseline:
    """Messages in, line protocol out, a line a cell; `soh` and `thermal` are ONNX sessions."""

    def __init__(self, soh: Any, thermal: Any, prior: Any, dt_s: float) -> None:
        self.soh, self.thermal, self.prior, self.dt = soh, thermal, prior, dt_s
        self.cells: dict[str, list[dict[str, Any]]] = {}
        self.changes: list[tuple[str, str, int, bool, int]] = []  # asset, code, cell, active, time
        self.cycles: list[tuple[float, float, int, int]] = []  # Ah, Wh, start and end in ms

    def configure(self, asset: str, config: AssetConfig, sensors: int, table: int) -> None:
        """Take an asset in."""
        fade, self.cells[asset] = 1 - exp(-self.dt / 60), []
        for k in range(config.cells):
            s: dict[str, Any] = {"limits": config.limits, "ah": config.nominal_capacity_ah}
            s |= {"sensor": k * sensors // config.cells, "last": None, "dir": 0}
            s["half"] = HalfCycle(s["ah"], config.limits.charge_voltage_v, table)
            s |= dict.fromkeys(("in_ah", "out_ah", "in_wh", "out_wh"), 0.0)
            s |= dict.fromkeys(("soc", "r", "q", "v_rest"), nan) | {"alarms": []}
            s["soh"] = dict.fromkeys(("soh", "soh_low", "soh_high"), nan) | {"soh_state": 1}
            s["mean"], s["var"] = {n: EWMean(fade) for n in "vic"}, {n: EWVar(fade) for n in "vic"}
            s["from0"] = {n: EWMean(fade) for n in ("dv", "dc", "excess")}
            s["heat"] = HeatBalance(self.prior.balance_mean, self.prior.balance_spread)
            for smooth in s["from0"].values():
                smooth.update(0.0)
            watched = {"pack": k == 0, "sensor": k * sensors % config.cells < sensors, "cell": True}
            for rule in DEFAULT_RULES:
                limit = rule.limit(config)
                if watched[rule.scope] and limit is not None:
                    s["alarms"].append({"rule": rule, "limit": limit, "on": False, "since": None})
            self.cells[asset].append(s)

    def frame(self, asset: str, payload: bytes) -> list[str]:
        """One frame's payload in, its result rows as text out."""
        frame = json.loads(payload)
        t, i, ambient = frame["timestamp_ms"], frame["current_a"], frame["ambient_c"]
        volts, celsius = frame["voltage_v"], frame["temperature_c"]
        lines = []
        for k, (s, v) in enumerate(zip(self.cells[asset], volts, strict=True)):
            out = s["out"] = self.sample(s, t, v, i, celsius[s["sensor"]], ambient)
            self.check_limits(asset, k, s["alarms"], t, out)
            point: Any = Point("cell")  # type: ignore[no-untyped-call]  # its package has no types
            point.tag("asset", asset).tag("cell", f"c{k + 1:03d}").time(t, "ms")
            for name, value in out.items():
                point.field(name, value)
            lines.append(str(point.to_line_protocol()))
        return lines

    def sample(self, s: Any, t: int, v: float, i: float, c: float, ambient: float) -> Any:
        """One cell's sample through River's statistics."""
        for name, x in (("v", v), ("i", i), ("c", c)):
            s["mean"][name].update(x)
            s["var"][name].update(x)
        s["heat"].sample(t, v, i / s["ah"], c, ambient)
        if s["last"] is None:  # a cell's first sample only starts it
            s |= {"last": (t, v, i, c, REST), "slots": deque(maxlen=16), "slot_start": t}
            return {}
        ah, dt, ew, (t0, v0, i0, c0, before) = s["ah"], self.dt, s["from0"], s["last"]
        charging = CV_CHARGE if v >= s["limits"].charge_voltage_v - 0.01 else CC_CHARGE
        phase = REST if abs(i) < 0.01 * ah else DISCHARGE if i < 0 else charging
        direction, mean_i, step = DIRECTION[phase], (i + i0) / 2, i - i0
        if direction and direction != s["dir"]:
            if s["q"] >= 0.01 * ah:
                self.cycles.append((s["q"], s["w"], s["start"], s["end"]))
            s |= {"dir": direction, "start": t0, "q": 0.0, "w": 0.0}
            s["half"].begin(direction, v, s["v_rest"])
        dq, dw = mean_i * dt / 3600, (v * i + v0 * i0) / 2 * dt / 3600
        s["in_ah" if dq > 0 else "out_ah"] += abs(dq)
        s["in_wh" if dw > 0 else "out_wh"] += abs(dw)
        full = phase == CV_CHARGE and i < ah / 20
        empty = phase == DISCHARGE and v <= s["limits"].discharge_voltage_v
        s["soc"] = 1.0 if full else 0.0 if empty else min(max(s["soc"] + dq / ah, 0.0), 1.0)
        if abs(step) >= ah / 4 and 0 < (r := (v - v0) / step) < 5:
            s["r"] = r if isnan(s["r"]) else s["r"] + 0.3 * (r - s["r"])
        if dq * s["dir"] > 0:
            s["q"], s["w"] = s["q"] + dq * s["dir"], s["w"] + dw * s["dir"]
        s["v_rest"] = s["v_rest"] if direction else v
        if s["dir"]:
            cc = direction == DIRECTION[before] == s["dir"] and before != CV_CHARGE
            s["half"].move(v0, v, mean_i, dt, cc)
        if direction:
            s["end"] = t
            s["half"].see(v, i, (t - s["start"]) / 1000)
        s["half"].anchor(full, empty)
        stored = self.prior.heat_capacity_j_per_k_ah * ah * (c - c0) / dt
        cooled = self.prior.cooling_w_per_k_ah * ah * ((c + c0) / 2 - ambient)
        ew["excess"].update(stored + cooled - self.prior.resistance_ohm_ah / ah * mean_i**2)
        ew["dv"].update((v - v0) / dt)
        ew["dc"].update((c - c0) / dt)
        slot = (s["heat"].fast, s["heat"].slow, i / ah, c - ambient)
        steps = (t - s["slot_start"]) // 30_000
        s["slots"].extend([slot] * (steps if s["slots"] else 16))
        s["slots"][-1], s["slot_start"] = slot, s["slot_start"] + steps * 30_000
        s["last"] = (t, v, i, c, phase)
        if direction and (x := s["half"].row()):
            self.ask_soh(s, x)
        row = np.array(s["slots"], np.float32).reshape(1, -1)
        score = float(self.thermal.run(None, {"x": row})[0][0]) if s["heat"].known else nan
        return {"voltage_v": v, "current_a": i, "temperature_c": c, "ambient_c": ambient,
                "soc": s["soc"], "resistance_ohm": s["r"], "thermal_score": score, "phase": phase,
                "c_rate": i / ah, "excess_heat_w": ew["excess"].get(),
                "dt_dt_c_per_s": ew["dc"].get()} | s["soh"]  # fmt: skip

    def ask_soh(self, s: Any, x: list[float]) -> None:
        """The SOH model, once for this sample."""
        row = np.array([x], np.float32)
        soh, low, high, state = (float(y[0]) for y in self.soh.run(None, {"x": row}))
        if state == 0:
            s["soh"] = {"soh": soh, "soh_low": low, "soh_high": high, "soh_state": 0}
        elif state == 2 or s["soh"]["soh_state"] != 0:
            s["soh"] = {"soh": nan, "soh_low": nan, "soh_high": nan, "soh_state": int(state)}

    def check_limits(self, asset: str, k: int, alarms: Any, t: int, out: dict[str, float]) -> None:
        """Every rule of a cell against its limit."""
        for alarm in alarms:
            rule, on = alarm["rule"], alarm["on"]
            over = (out.get(QUANTITY[rule.code], nan) - alarm["limit"]) * (1 if rule.above else -1)
            if (over <= -rule.deadband) if on else over > 0:
                alarm["since"] = t if alarm["since"] is None else alarm["since"]
                if t - alarm["since"] >= (rule.off_delay_ms if on else rule.on_delay_ms):
                    alarm["on"], alarm["since"] = not on, None
                    self.changes.append((asset, rule.code, k, not on, t))
            elif not isnan(over):  # a value that is not there holds the condition
                alarm["since"] = None
