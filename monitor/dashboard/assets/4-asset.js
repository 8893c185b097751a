/* One asset: its numbers, its live traces, its life. */
(function () {
  "use strict";
  const cp = window.cellpulse;
  const SPANS = { ...cp.settings.spans_ms, all: Infinity };
  const MOST = 4000, THINNED = 2000, PACK_MS = 90;
  /* S: event time, V, A, °C, ambient °C. E: event time, score, heat, soc, soh, low, high, ohm. */
  let S, E, run, simulator, refusedZh, truths, curves, cycles, outlook, config, truth, range, paused, drawn, asset, cell, packOf = "v", pack, lastRow, cellNow;

  function reset(look) {
    asset = look.asset; cell = look.cell;
    S = [[], [], [], [], []];
    E = [[], [], [], [], [], [], [], []];
    cycles = new Map();
    truths = [];
    curves = []; outlook = null;
    config = null; truth = null; simulator = null; run = undefined; pack = null; lastRow = null; cellNow = null;
    range = "10m"; paused = false; drawn = false;
  }
  reset({ asset: "", cell: 0 });

  const { last, append } = cp.series;
  function trim(newest) { for (const buffer of [S, E]) cp.series.trim(buffer, newest - SPANS[range]); }

  /* The asset's limits; what its config leaves out is the contract's. */
  const limits = () => ({ ...cp.settings.limits, ...(config && config.limits) });

  const times = (list) => cp.figures.times(list);
  const draw = (id, figure) => window.dash_clientside.set_props(id, { figure });
  const key = () => asset + "|" + cell;

  function drawTraces() {
    drawn = true;
    draw("traces", cp.figures.traces(S, E, key() + "|" + range));
  }

  /* Adds what Plotly has not drawn yet, whatever it has drawn so far. The graph's own `extendData`
     is applied twice by dcc.Graph 4.4 when a second one comes before it has cleared the first. */
  function extendTraces() {
    /** @type {any} */
    const graph = document.querySelector("#traces .js-plotly-plot");
    if (!window.Plotly || !graph || !graph.data || graph.data.length !== 5) return;
    const missing = (buffer, trace) => {
      const until = graph.data[trace].x.at(-1) || "";
      let from = buffer[0].length;
      while (from > 0 && cp.axisTime(buffer[0][from - 1]) > until) from -= 1;
      return from;
    };
    const s = missing(S, 0), e = missing(E, 4);
    if (s === S[0].length && e === E[0].length) return;
    const begin = performance.now();
    const x = times(S[0].slice(s));
    const many = S[0].length;
    const counts = [many, many, many, many, E[0].length];
    const { room, LEAST_V, LEAST_C } = cp.figures;
    graph.layout.yaxis.autorangeoptions = room(S[1], LEAST_V);
    graph.layout.yaxis3.autorangeoptions = room(S[3], LEAST_C);
    window.Plotly.extendTraces(
      graph,
      { x: [x, x, x, x, times(E[0].slice(e))], y: [S[1].slice(s), S[2].slice(s), S[3].slice(s), S[4].slice(s), E[1].slice(e)] },
      [0, 1, 2, 3, 4],
      { x: counts, y: counts },
    );
    // Drawing may take a quarter of a slow machine's time, no more: the numbers come first.
    const took = performance.now() - begin;
    nextTraceAt = begin + Math.min(1500, 4 * took);
  }

  function drawSoh() {
    const nominal = config && config.nominal_capacity_ah;
    draw("soh-graph", cp.figures.soh([...cycles.values()], nominal, cellNow, truths, outlook, limits().soh_end_of_life, key()));
    cp.put("soh-outlook", { children: cp.figures.outlookWords(outlook) });
  }

  function drawIca() { draw("ica-graph", cp.figures.ica(curves, key())); }

  function drawCycles() { cp.cycleGrid("cycle-grid", [...cycles.values()]); }

  function addCycles(list) {
    for (const cycle of list) cycles.set(cycle.kind + cycle.number + "@" + cycle.start_ms, cycle);
    if (!list.length) return;
    drawCycles();
    drawSoh();
    const charges = [...cycles.values()].filter((c) => c.kind === "charge" && c.complete).length;
    if (charges !== chargesAsked && document.getElementById("ica-graph")) {
      chargesAsked = charges;
      window.dash_clientside.set_props("ica-ask", { data: charges });
      icaAskedAt = performance.now();
    }
    askOutlook();
  }

  /* The running charge's curve grows: asked for again while the cell is charged. */
  function followCharge() {
    const charging = cellNow && (cellNow.phase === "cc_charge" || cellNow.phase === "cv_charge");
    if (!charging || performance.now() - icaAskedAt < 5000 || !document.getElementById("ica-graph")) return;
    icaAskedAt = performance.now();
    window.dash_clientside.set_props("ica-ask", { data: chargesAsked + "@" + Math.round(icaAskedAt) });
  }

  /* A forecast at most every few seconds, however fast a replay runs. */
  let outlookAsked = 0, outlookAt = 0, outlookLater = 0;
  function askOutlook() {
    const full = [...cycles.values()].filter((c) => c.kind === "discharge" && c.complete).length;
    if (!config || !full || full === outlookAsked || outlookLater || !document.getElementById("soh-graph")) return;
    const wait = outlookAt + 3000 - performance.now();
    if (wait > 0) { outlookLater = setTimeout(() => { outlookLater = 0; askOutlook(); }, wait); return; }
    outlookAsked = full; outlookAt = performance.now();
    window.dash_clientside.set_props("outlook-ask", { data: asset + "|" + cell + "|" + full });
  }

  function paintNumbers() {
    if (!lastRow) return;
    const row = lastRow;
    const many = row.cells > 1;
    const now = cellNow || {};
    const v = many ? last(S[1]) : row.v;
    const put = (key, children, sub) => {
      cp.put("a-" + key, { children });
      cp.put("a-" + key + "-sub", { children: sub || "" });
    };
    const finite = (value) => (Number.isFinite(value) ? value : null);
    const shownCell = many ? cp.text("cell") + "\u00a0" + (cell + 1) + " · " + cp.text("pack_short") + " " + cp.number(row.v, 1, "V") : "";
    put("v", cp.number(finite(v), 3, "V"), shownCell);
    put("i", cp.number(row.i, 2, "A"));
    const ambient = last(S[4]);
    put("t", cp.number(finite(last(S[3])), 1, "°C"), [
      Number.isFinite(ambient) ? cp.text("ambient") + " " + cp.number(ambient, 1, "°C") : "", cp.el("Br", null),
      cp.text("limit") + " " + cp.number(limits().temperature_max_c, 0, "°C"),
    ]);
    put("score", cp.number(now.score, 2), cp.known(now.heat) ? cp.text("heat") + " " + cp.number(now.heat, 2, "W") : cp.text("score_hint"));
    const yet = (value) => (cp.known(value) ? "" : cp.text("not_yet"));
    put("soc", cp.number(now.soc, 1, "%"), yet(now.soc));
    const soh = cp.soh(now);
    const truthWords = truth && cp.known(truth.soh) ?
      cp.el("Span", { className: "cp-nowrap" }, cp.text("truth_short") + " " + cp.number(truth.soh, 1, "%")) : "";
    put("soh", soh.main, [soh.sub, cp.el("Br", null), truthWords]);
    put("r", cp.number(now.r, 1, "mΩ"), yet(now.r));
    put("phase", cp.phase(now.phase || row.phase), (now.quality || []).join(", "));
    paintStatus();
  }

  function paintStatus() {
    if (!lastRow) return;
    const fresh = cp.fresh(lastRow), risk = cp.risk(lastRow);
    cp.put("a-fresh", { children: fresh.words, className: "cp-fresh cp-fresh-" + fresh.kind });
    cp.put("a-lamp", { children: risk.sign + " " + risk.words, className: "cp-lamp cp-lamp-big cp-lamp-" + risk.kind });
    cp.put("a-advice", { children: (cp.language === "zh" ? lastRow.advice_zh : lastRow.advice) || "" });
    const why = cp.language === "zh" ? lastRow.why_zh : lastRow.why;
    cp.put("a-why", { children: why || (risk.kind === "ok" ? cp.text("why_none") : ""), className: "cp-why" + (why ? "" : " cp-why-none") });
    cp.put("a-figures", { className: "cp-figures" + (fresh.kind === "stale" ? " cp-old" : "") });
  }

  function paintAlarms(list) {
    const children = list.map((alarm) => cp.el("Div", { className: "cp-alarm" }, [
      cp.el("Span", { className: "cp-badge cp-sev-" + alarm.severity }, alarm.severity + " · " + cp.text("severity_" + alarm.severity)),
      cp.el("Div", null, [
        cp.el("Strong", null, cp.language === "zh" ? alarm.message_zh : alarm.message),
        cp.el("Div", { className: "cp-muted" }, (cp.language === "zh" ? alarm.action_zh : alarm.action)),
        cp.el("Div", { className: "cp-muted" }, alarm.source + " · " + cp.text("state_" + alarm.state) + " · " + cp.text("since", { time: cp.time(alarm.since_ms) })),
      ]),
    ]));
    cp.put("a-alarms", { children: children.length ? children : cp.text("no_alarms") });
  }

  /* A fault as the simulator names it (`isc`, `bias:channel=voltage,...`) in words. */
  function faultWords(fault) {
    const key = "fault_" + fault.split(/[:(\s]/)[0];
    return cp.text(key) === key ? fault : cp.text(key);
  }

  function paintConfig() {
    if (!config) return;
    const facts = [[cp.text("nominal"), cp.number(config.nominal_capacity_ah, 2, "Ah")]];
    if (config.chemistry) facts.push([cp.text("chemistry"), config.chemistry]);
    if (config.cells > 1) facts.push([cp.text("pack"), cp.text("cells", { n: config.cells })]);
    const from = config.provenance || {};
    if (from.source) facts.push([cp.text("source"), from.source]);
    cp.put("a-config", {
      children: facts.map(([name, value]) => cp.el("Div", { className: "cp-fact" }, [
        cp.el("Span", { className: "cp-label" }, name), cp.el("Span", null, value),
      ])),
    });
    cp.show("replay", !!(from.replay && config.gateway));
    const notes = [];
    if (from.replay) notes.push(cp.text("replay") + (from.speed && !simulator ? " (× " + from.speed + ")" : ""));
    if (from.synthetic) notes.push(cp.text("synthetic"));
    if (truth && truth.fault_active && truth.fault) notes.push(cp.text("injected", { fault: faultWords(truth.fault) }));
    cp.put("a-note", { children: notes.join(" · "), className: notes.length ? "cp-note" : "cp-note cp-hidden" });
  }

  /* What the simulator that this asset comes from says of itself. */
  function paintReplay() {
    const many = !!simulator && simulator.recordings.length > 1;
    cp.show("replay-choose", many);
    if (many) cp.put("replay-choice", { data: simulator.recordings });
    if (many && !replayChosen) { replayChosen = asset; cp.put("replay-choice", { value: asset }); }
    if (!simulator) { cp.put("replay-state", { children: "" }); return; }
    if (!speedShown && cp.settings.speeds.includes(simulator.speed)) { speedShown = true; cp.put("replay-speed", { value: String(simulator.speed) }); }
    const on = simulator.playing.includes(asset);
    const words = [cp.text(!on ? "replay_state_not" : simulator.paused ? "replay_state_paused" : "replay_state_playing")];
    if (on) words.push(simulator.speed ? "× " + simulator.speed : cp.text("replay_fastest"));
    if (on && truth && truth.cycle) words.push(cp.text("replay_at_cycle", { n: truth.cycle }));
    if (simulator.refused) words.push(cp.text("replay_refused", { reason: cp.language === "zh" ? refusedZh : simulator.refused }));
    cp.put("replay-state", { children: words.join(" · ") });
  }

  /* Colours from low to high that the colour-blind can order: dark blue to yellow (cividis). */
  function shade(part) {
    const stops = [[0, 34, 78], [66, 78, 108], [124, 123, 120], [188, 175, 111], [254, 232, 56]];
    const place = Math.max(0, Math.min(1, part)) * (stops.length - 1);
    const n = Math.min(stops.length - 2, Math.floor(place));
    const rgb = stops[n].map((value, c) => Math.round(value + (stops[n + 1][c] - value) * (place - n)));
    const linear = rgb.map((value) => (value / 255 <= 0.04045 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    // Of black and white the one that stands out more, which is then at least 4.58 to 1 (WCAG AA).
    return { background: "rgb(" + rgb.join(",") + ")", color: light > 0.179 ? "#000000" : "#ffffff" };
  }

  /* The whole map is of one instant. Its elements come from Dash once; their texts and colours are
     set directly, since a property for each of some hundred cells would hold every frame up. */
  function paintPack() {
    const many = pack && pack.v.length > 1;
    cp.show("a-pack", !!many);
    if (!many) return;
    if (packLaid !== pack.v.length || !document.getElementById("pack-0")) {
      if (packAsked === pack.v.length && performance.now() - packAt < 2000) return; // on its way
      packLaid = packAsked = pack.v.length;
      packAt = performance.now();
      cp.put("pack-map", {
        children: pack.v.map((_, n) =>
          cp.link(cp.assetPath(asset, n), { id: "pack-" + n, className: "cp-cell" + (n === cell ? " cp-cell-here" : "") }, [
            cp.el("Span", { className: "cp-cell-n" }, String(n + 1)),
            cp.el("Span", { id: "pack-value-" + n }, "–"),
          ])),
      });
      setTimeout(paintPack, 100);
      return;
    }
    packAt = performance.now();
    const values = pack[packOf] || [];
    const known = values.filter((value) => cp.known(value));
    const low = Math.min(...known), high = Math.max(...known);
    const format = { v: [3, "V"], t: [1, "°C"], soc: [0, "%"], soh: [1, "%"], score: [2, ""] }[packOf];
    for (let n = 0; n < pack.v.length; n++) {
      const box = document.getElementById("pack-" + n), text = document.getElementById("pack-value-" + n);
      if (!box || !text) return;
      const value = values[n];
      const none = !cp.known(value);
      const words = cp.number(value, ...format);
      const colours = none ? { background: "", color: "" } : shade(Math.round(20 * (high > low ? (value - low) / (high - low) : 0.5)) / 20);
      if (text.textContent !== words) text.textContent = words;
      if (box.dataset.shade !== colours.background) {
        box.dataset.shade = colours.background;
        box.style.background = colours.background;
        box.style.color = colours.color;
      }
    }
    cp.put("pack-scale", {
      children: known.length ? cp.text("pack_scale", { low: cp.number(low, ...format), high: cp.number(high, ...format) }) : "",
    });
  }

  let icaAskedAt = 0, replayChosen = "", speedShown = false;
  let drawingLater = false, packLaid = 0, packAsked = 0, packAt = 0, sohAt = 0, sohShown = "", chargesAsked = 0, nextTraceAt = 0;
  function drawLater() {
    drawingLater = false;
    if (!lastRow) return;
    const now = performance.now();
    if (pack && now - packAt > PACK_MS) paintPack();
    const soh = JSON.stringify([cellNow && [cellNow.soh, cellNow.lo, cellNow.hi], truth && truth.soh]);
    followCharge();
    if (now - sohAt > 5000 && soh !== sohShown) { sohAt = now; sohShown = soh; drawSoh(); }
    if (paused) return;
    const newest = Math.max(last(S[0]), last(E[0]));
    trim(newest);
    if (cp.series.thin(S, [1, 2, 3], MOST, THINNED) || cp.series.thin(E, [1], MOST, THINNED) || !drawn) drawTraces();
    else if (now >= nextTraceAt) extendTraces();
  }

  cp.handlers.asset = {
    enter(look) { reset(look); replayChosen = ""; speedShown = false; chargesAsked = 0; outlookAsked = 0; sohShown = ""; packLaid = 0; nextTraceAt = 0; },
    leave() { lastRow = null; pack = null; },
    frame(frame) {
      if (frame.missing) {
        cp.put("a-note", { children: cp.text("missing_asset", { name: asset }), className: "cp-note" });
        return;
      }
      if (frame.config) { config = frame.config; paintConfig(); askOutlook(); if (drawn && !paused) drawTraces(); }
      if ("simulator" in frame) { simulator = frame.simulator; refusedZh = frame.refused_zh; paintReplay(); }
      if (frame.truth) {
        const told = truth && truth.fault_active && truth.fault;
        const cycle = truth && truth.cycle;
        truth = frame.truth;
        if (cycle !== truth.cycle) paintReplay();
        if (told !== (truth.fault_active && truth.fault)) paintConfig();
      }
      if (frame.truths && frame.truths.length) truths = (frame.full ? [] : truths).concat(frame.truths);
      if (frame.now_cell) cellNow = frame.now_cell;
      lastRow = frame.row;
      // A replay that went back, or a device that began anew: what was drawn is of another time.
      if (run !== undefined && frame.run !== run) {
        S = S.map(() => []); E = E.map(() => []); cycles = new Map(); curves = []; outlook = null; chargesAsked = 0;
        drawn = false; drawIca(); drawCycles();
      }
      run = frame.run;
      append(S, frame.s);
      append(E, frame.e);
      addCycles(frame.c);
      if (frame.alarms) paintAlarms(frame.alarms);
      paintNumbers();
      if (frame.pack) pack = frame.pack;
      // The numbers are painted first; the drawings follow once they are on the screen.
      if (!drawingLater) { drawingLater = true; setTimeout(drawLater, 0); }
    },
    second() { paintStatus(); },
    redraw() { if (drawn) drawTraces(); drawSoh(); drawIca(); },
    outlook(data) {
      if (!data || data.asset !== asset || data.cell !== cell) return;
      outlook = data; drawSoh();
    },
    ica(data) { curves = data || []; drawIca(); },
    history(data) {
      if (!data || data.asset !== asset || data.cell !== cell) return;
      range = data.range in SPANS ? data.range : "all";
      if (data.trace) {
        const h = data.trace;
        const liveS = S, liveE = E;
        S = [h.ts, h.v, h.i, h.t, h.amb];
        const scored = cp.series.scored(h);
        E = [h.ts, h.score, h.heat, h.soc, h.soh, h.lo, h.hi, h.r].map((list) => scored.map((n) => list[n]));
        append(S, liveS); append(E, liveE);
        const newest = Math.max(last(S[0]), last(E[0]));
        trim(newest);
        addCycles(data.cycles);
      }
      cp.put("trace-note", { children: data.none ? cp.text("no_history") : data.error || "" });
      if (!paused) drawTraces();
      drawSoh();
    },
    pause(clicks) {
      const next = clicks % 2 === 1;
      if (paused && !next) { paused = false; drawTraces(); }
      paused = next;
      cp.put("trace-note", { children: paused ? cp.text("paused") : "" });
      return cp.text(paused ? "resume" : "pause");
    },
    packOf(value) { packOf = value || "v"; paintPack(); },
  };
})();
