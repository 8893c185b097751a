/* How cells of the tables are drawn: React elements for dash-ag-grid. */
(function () {
  "use strict";
  const cp = window.cellpulse;
  const RISKS = ["unknown", "ok", "watch", "warning", "danger"];
  const h = (...args) => window.React.createElement(...args);
  /** @type {Window["dashAgGridFunctions"]} */
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  functions.cpNumber = (value, digits, unit) => cp.number(value, digits, unit);
  const SCALE = { "%": 100, "mΩ": 1000 };
  functions.cpShown = (value, unit) => (cp.known(value) ? value * (SCALE[unit] || 1) : null);
  /* Calls `use` with the table's own interface once it is there. Rows go in by this way and not as
     Dash's properties: those lay the table's columns anew, and what is just being typed into a filter
     is then lost. */
  cp.grid = (id, use) => cp.whenThere(id, () => {
    window.dash_ag_grid.getApiAsync(id).then((api) => { if (!api.isDestroyed()) use(api); }, () => { /* the page was left */ });
  });

  /* `>45`, `<=80`, `40..50`, or the first digits; what is not finished yet holds nothing back. */
  functions.cpNumberMatches = ({ value, filterText }) => {
    const words = String(filterText || "").replace(/\s/g, "").replace(/−/g, "-").replace("≤", "<=").replace("≥", ">=");
    const number = Number(value);
    const range = words.match(/^(-?[\d.]+)(?:\.\.|~)(-?[\d.]+)$/);
    if (range) return number >= Number(range[1]) && number <= Number(range[2]);
    const [, sign, rest] = words.match(/^(<=|>=|<|>|=)?(.*)$/) || ["", "", words];
    if (!sign) return String(value).startsWith(words);
    const limit = Number(rest);
    if (rest === "" || Number.isNaN(limit)) return true;
    return { "<": number < limit, "<=": number <= limit, ">": number > limit, ">=": number >= limit, "=": number === limit }[sign];
  };
  functions.cpRiskWords = (row) => cp.risk(row).words;
  functions.cpFreshWords = (row) => cp.fresh(row).words;
  functions.cpTime = (value) => cp.time(value);
  functions.cpPhase = (value) => cp.phase(value);
  functions.cpText = (key) => cp.text(key);
  functions.cpCompareNames = (a, b) => a.localeCompare(b, undefined, { numeric: true });
  functions.cpCompareRisk = (a, b) => RISKS.indexOf(a) - RISKS.indexOf(b);

  /** @type {Window["dashAgGridComponentFunctions"]} */
  const components = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const open = (href) => (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    window.history.pushState({}, "", href);
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
    window.scrollTo(0, 0);
  };
  const link = (asset, words) =>
    h("a", { href: cp.assetPath(asset), onClick: open(cp.assetPath(asset)), className: "cp-link" }, words);

  components.CpAssetLink = (props) => link(props.data.id, props.data.id);
  components.CpLamp = (props) => {
    const risk = cp.risk(props.data);
    return h("span", { className: "cp-lamp cp-lamp-" + risk.kind },
      h("span", { "aria-hidden": true, className: "cp-sign" }, risk.sign), risk.words);
  };
  components.CpSoh = (props) => {
    const soh = cp.soh(props.data);
    return h("span", null, h("strong", null, soh.main), " ", h("span", { className: "cp-muted" }, soh.sub));
  };
  components.CpAlarmCount = (props) => {
    const row = props.data;
    if (!row.alarms) return h("span", { className: "cp-muted" }, "0");
    return h("span", { className: "cp-badge cp-sev-" + row.sev }, String(row.alarms));
  };
  components.CpFresh = (props) => {
    const fresh = cp.fresh(props.data);
    return h("span", { className: "cp-fresh cp-fresh-" + fresh.kind }, fresh.words);
  };
  components.CpSeverity = (props) => {
    const severity = props.data.severity;
    return h("span", { className: "cp-badge cp-sev-" + severity },
      severity + " · " + cp.text("severity_" + severity));
  };
  components.CpAlarmSource = (props) =>
    h("span", { title: (props.data.places || []).join(" ") },
      props.data.asset.startsWith("_") ? cp.text("several_assets") : link(props.data.asset, props.data.asset), " ",
      h("span", { className: "cp-muted" }, props.data.source === "pack" ? "" : props.data.source));
  /* In the record's own unit: "1" is a plain number, "" says only whether it is so, and nothing is
     converted here. */
  const reading = (value, unit) => cp.number(value, unit === "cycle" || Math.abs(value) >= 100 ? 0 : 2, unit);
  const hasReading = (row) => cp.known(row.value) && row.unit;
  const limit = (row) => (!cp.known(row.limit) || row.unit === "cycle" ? "" :
    cp.text("limit") + " " + reading(row.limit, row.unit));
  components.CpReading = (props) => {
    const row = props.data;
    if (!hasReading(row)) return h("span", null, "–");
    return h("span", null, h("strong", null, reading(row.value, row.unit)), h("br"), h("span", { className: "cp-muted" }, limit(row)));
  };
  /* On a phone one column holds all of an alarm; on a wide screen it is the sentence alone. */
  components.CpAlarmText = (props) => {
    const row = props.data;
    if (!cp.narrow.matches) return row.text;
    const part = (className, ...children) => h("div", { className }, ...children);
    const value = hasReading(row) ? [reading(row.value, row.unit), limit(row), ""].filter((one, n) => one || n === 2).join(" · ") : "";
    return h("div", { className: "cp-alarm-card" },
      part("cp-alarm-card-top", components.CpSeverity(props), h("span", null, cp.text("state_" + row.state))),
      part("", components.CpAlarmSource(props)),
      h("strong", null, row.text),
      part("cp-muted", value + cp.text("since", { time: cp.time(row.since_ms) }) + " · " + cp.text("count") + " " + row.count),
      part("", row.todo));
  };
  components.CpCycle = (props) => {
    const row = props.data;
    const facts = [
      cp.number(row.capacity_ah, 3, "Ah"), cp.number(row.energy_wh, 2, "Wh"), cp.number(row.duration_h, 2, "h"),
      cp.number(row.temperature_max_c, 1, "°C"), cp.number(row.resistance_ohm, 1, "mΩ"),
    ].filter((words) => words !== "–");
    return h("div", { className: "cp-cycle-card" },
      h("strong", null, cp.text("kind_" + row.kind) + " " + row.number), " ", h("span", { className: "cp-muted" }, cp.time(row.start_ms)),
      h("div", null, facts.join(" · ")),
      h("div", null, cp.text("soh_short") + " ", components.CpSoh(props), row.complete ? "" : " · " + cp.text("incomplete")));
  };

  /* The table of charges and discharges: no higher than its rows; on a phone one column of cards. */
  const MOST_ROWS = 1000, HEAD = 50, ROW = 42, CARD = 106;
  cp.cycleGrid = (id, cycles) => cp.grid(id, (api) => {
    const rows = cycles.slice().sort((a, b) => b.start_ms - a.start_ms).slice(0, MOST_ROWS).map((c) => ({
      ...c, key: c.kind + c.number + "@" + c.start_ms, duration_h: c.duration_s / 3600,
      lo: c.soh_low, hi: c.soh_high, st: c.soh_state, done: cp.text(c.complete ? "yes" : "no"),
    }));
    const narrow = cp.narrow.matches;
    const box = document.getElementById(id + "-box");
    const height = rows.length ? HEAD + rows.length * (narrow ? CARD : ROW) + 4 : 120;
    if (box) box.style.height = Math.min(height, narrow ? 460 : 340) + "px";
    if (api.getColumn("card").isVisible() !== narrow) {
      const names = api.getColumns().map((one) => one.getColId());
      api.setGridOption("rowHeight", narrow ? CARD : ROW);
      api.setColumnsVisible(names.filter((name) => name !== "card"), !narrow);
      api.setColumnsVisible(["card"], narrow);
    }
    api.setGridOption("rowData", rows);
  });

  components.CpAlarmState = (props) => cp.text("state_" + props.data.state);
})();
