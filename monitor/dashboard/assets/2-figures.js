/* The figures that several pages draw, from plain columns, in the page's colours and words. */
(function () {
  "use strict";
  const cp = window.cellpulse;
  const LEAST_V = 0.05, LEAST_C = 2;
  const times = (list) => list.map((ms) => cp.axisTime(ms));

  /* Where nothing can hover, Plotly's buttons are always there and need room of their own. */
  const top = () => (window.matchMedia("(hover: none)").matches ? 34 : 10);

  function axis(domain, title, more) {
    return {
      domain, title: { text: title, font: { size: 12 }, standoff: 6 }, zeroline: false,
      gridcolor: cp.css("--cp-line"), tickfont: { size: 11 }, nticks: 5, fixedrange: false, ...more,
    };
  }

  /* Numbers alone, the same in every language; after the newline what is said once. */
  const DATES = [
    { dtickrange: [null, 1000], value: "%H:%M:%S.%L\n%Y-%m-%d" },
    { dtickrange: [1000, 60e3], value: "%H:%M:%S\n%Y-%m-%d" },
    { dtickrange: [60e3, 864e5], value: "%H:%M\n%Y-%m-%d" },
    { dtickrange: [864e5, "M1"], value: "%m-%d\n%Y" },
    { dtickrange: ["M1", "M12"], value: "%Y-%m" },
    { dtickrange: ["M12", null], value: "%Y" },
  ];
  const timeAxis = (more) => ({
    type: "date", gridcolor: cp.css("--cp-line"), tickfont: { size: 11 }, tickformatstops: DATES, hoverformat: "%Y-%m-%d %H:%M:%S", ...more,
  });

  function baseLayout(more) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: cp.css("--cp-text"), family: "inherit", size: 12 },
      margin: { l: 62, r: 14, t: top(), b: 34 }, showlegend: false, hovermode: "x unified",
      hoverlabel: { bgcolor: cp.css("--cp-surface"), bordercolor: cp.css("--cp-line"), font: { color: cp.css("--cp-text") } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: cp.css("--cp-muted"), activecolor: cp.css("--cp-text") },
      ...more,
    };
  }

  /* Words in the middle of a graph that has nothing to show, and no axes that would say otherwise. */
  const nothing = (words) => ({
    xaxis: { visible: false }, yaxis: { visible: false },
    annotations: [{ xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false, text: words, font: { color: cp.css("--cp-muted"), size: 13 } }],
  });

  /* An axis spans at least this much, so that a sensor's last digit does not look like an event. */
  function room(values, least) {
    const known = values.filter((value) => cp.known(value));
    if (!known.length) return {};
    let low = Infinity, high = -Infinity;
    for (const value of known) { if (value < low) low = value; if (value > high) high = value; }
    const middle = (low + high) / 2;
    return { include: [Math.min(low, middle - least / 2), Math.max(high, middle + least / 2)] };
  }

  function line(name, x, y, colour, yaxis, more) {
    return { type: "scatter", mode: "lines", name, x: x.slice(), y: y.slice(), yaxis, line: { color: colour, width: 1.7, ...(more || {}) }, connectgaps: false };
  }

  const level = (y, yref, colour) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, yref, y0: y, y1: y, line: { color: colour, width: 1, dash: "dash" },
  });

  /* The rows to draw of a column: those with a value, and one without wherever it has none for over
     a minute and what a screen can show, or where nothing was heard. */
  function bridged(S, n) {
    const t = S[0], least = Math.max(60e3, (t[t.length - 1] - t[0]) / 200);
    const kept = [];
    let gap = -1, silent = false;
    for (let k = 0; k < t.length; k++) {
      if (!cp.known(S[n][k])) {
        if (gap < 0) gap = k;
        silent = silent || cp.series.isEmpty(S.slice(1, 4), k);
        continue;
      }
      if (gap > 0 && (silent || t[k] - t[gap - 1] > least)) kept.push(gap);
      kept.push(k);
      gap = -1; silent = false;
    }
    return kept;
  }

  /* S: event time, V, A, °C, ambient °C. E: event time, thermal score. Rows without a value break
     the lines. `hot`: stretches to mark. With `bridge` a column goes on where only it has no value
     for a moment: a voltmeter and a thermometer that take turns. */
  function traces(S, E, revision, hot, bridge) {
    const x = times(S[0]), xe = times(E[0]);
    const drawn = (name, n, colour, axisName, more) => {
      const kept = bridge ? bridged(S, n) : null;
      return line(name, kept ? kept.map((k) => x[k]) : x, kept ? kept.map((k) => S[n][k]) : S[n], colour, axisName, more);
    };
    const shapes = [level(1, "y4", cp.css("--cp-danger"))].concat((hot || []).map((segment) => ({
      type: "rect", yref: "paper", y0: 0, y1: 1, x0: cp.axisTime(segment.start_ms), x1: cp.axisTime(segment.end_ms),
      fillcolor: cp.css("--cp-danger"), opacity: 0.16, line: { width: 0 },
    })));
    const layout = baseLayout({
      uirevision: revision,
      hoversubplots: "axis", shapes,
      xaxis: timeAxis({ anchor: "y4" }),
      yaxis: axis([0.77, 1], "V", { autorangeoptions: room(S[1], LEAST_V) }),
      yaxis2: axis([0.52, 0.74], "A", { autorangeoptions: { include: [-0.1, 0.1] } }),
      yaxis3: axis([0.27, 0.49], "°C", { autorangeoptions: room(S[3], LEAST_C) }), yaxis4: axis([0, 0.24], cp.text("score"), { rangemode: "tozero" }),
    });
    return {
      data: [
        drawn(cp.text("voltage") + " V", 1, cp.css("--cp-v"), "y"),
        drawn(cp.text("current") + " A", 2, cp.css("--cp-i"), "y2"),
        drawn(cp.text("temperature") + " °C", 3, cp.css("--cp-t"), "y3"),
        drawn(cp.text("ambient") + " °C", 4, cp.css("--cp-muted"), "y3", { dash: "dot", width: 1.2 }),
        line(cp.text("score"), xe, E[1], cp.css("--cp-s"), "y4"),
      ],
      layout,
    };
  }

  /* A first point alone would be shown in a window of milliseconds. */
  function wide(data) {
    const all = data.flatMap((trace) => trace.x).map((text) => Date.parse(text.replace(" ", "T") + "Z"));
    if (!all.length) return {};
    const low = all.reduce((a, b) => Math.min(a, b)), high = all.reduce((a, b) => Math.max(a, b));
    const text = (ms) => new Date(ms).toISOString().slice(0, 23).replace("T", " ");
    return high - low < 3600e3 ? { range: [text(low - 3600e3), text(high + 3600e3)] } : {};
  }

  /* `now` is the newest estimate of the cell or null, `truths` the recording's own SOH, `outlook`
     the forecast or null, `eol` the end of life as a fraction or null. */
  function soh(cycles, nominal, now, truths, outlook, eol, revision) {
    const list = cycles.slice().sort((a, b) => a.end_ms - b.end_ms);
    const known = list.filter((c) => cp.known(c.soh));
    const full = nominal ? list.filter((c) => c.kind === "discharge" && c.complete) : [];
    const percent = (value) => (cp.known(value) ? 100 * value : null);
    const x = times(known.map((c) => c.end_ms));
    const colour = cp.css("--cp-soh");
    const few = known.length < 4; // a band between so few points is hardly there
    const bars = {
      type: "data", symmetric: false, color: colour, thickness: 1.4,
      array: known.map((c) => percent(c.soh_high - c.soh)), arrayminus: known.map((c) => percent(c.soh - c.soh_low)),
    };
    /** @type {any[]} */
    const data = [
      { type: "scatter", mode: "lines", x, y: known.map((c) => percent(c.soh_high)), line: { width: 0 }, hoverinfo: "skip", showlegend: false },
      { type: "scatter", mode: "lines", x, y: known.map((c) => percent(c.soh_low)), line: { width: 0 }, fill: "tonexty", fillcolor: cp.css("--cp-band"), name: cp.text("interval"), hoverinfo: "skip" },
      { type: "scatter", mode: "lines+markers", x, y: known.map((c) => percent(c.soh)), line: { color: colour, width: 1.8 }, marker: { size: few ? 7 : 4 }, name: cp.text("soh") + " %", error_y: few ? bars : undefined },
      { type: "scatter", mode: "markers", x: times(full.map((c) => c.end_ms)), y: full.map((c) => percent(c.capacity_ah / nominal)), marker: { size: 6, symbol: "circle-open", color: cp.css("--cp-muted") }, name: cp.text("full_discharges") + " %" },
    ];
    if (now && cp.known(now.soh)) {
      data.push({
        type: "scatter", mode: "markers", x: times([now.ts]), y: [percent(now.soh)], name: cp.text("live"),
        marker: { size: 9, color: colour, symbol: "diamond" },
        error_y: now.lo === null ? undefined : { type: "data", symmetric: false, array: [percent(now.hi - now.soh)], arrayminus: [percent(now.soh - now.lo)], color: colour, thickness: 1.4 },
      });
    }
    if (truths.length) {
      data.push({ type: "scatter", mode: "markers", x: times(truths.map((t) => t[0])), y: truths.map((t) => percent(t[1])), name: cp.text("truth"), marker: { size: 7, symbol: "x-thin-open", color: cp.css("--cp-text") } });
    }
    if (!data.some((trace) => trace.x.length)) return { data: [], layout: baseLayout(nothing(cp.text("soh_nothing"))) };
    const shapes = [], annotations = [];
    const told = outlook && outlook.state === "ok" ? outlook : null;
    if (told) {
      const later = times(told.step.map((k) => told.last_ms + k * told.cycle_ms));
      const cycle = told.step.map((k) => told.seen + k);
      const line = cp.css("--cp-forecast");
      data.push(
        { type: "scatter", mode: "lines", x: later, y: told.high.map(percent), line: { width: 0 }, hoverinfo: "skip", showlegend: false },
        { type: "scatter", mode: "lines", x: later, y: told.low.map(percent), line: { width: 0 }, fill: "tonexty", fillcolor: cp.css("--cp-forecast-band"), name: cp.text("forecast_band"), hoverinfo: "skip" },
        { type: "scatter", mode: "lines", x: later, y: told.soh.map(percent), customdata: cycle, line: { color: line, width: 2, dash: "dot" }, name: cp.text("forecast") + " %", hovertemplate: "%{y:.1f} % · " + cp.text("cycles") + " %{customdata}<extra></extra>" },
      );
    }
    if (outlook && outlook.knee_ms) {
      const at = times([outlook.knee_ms])[0];
      shapes.push({ type: "line", yref: "paper", y0: 0, y1: 1, x0: at, x1: at, line: { color: cp.css("--cp-muted"), width: 1.4, dash: "dashdot" } });
      annotations.push({ x: at, yref: "paper", y: 1, xanchor: "left", yanchor: "top", showarrow: false, text: cp.text("knee"), font: { size: 11, color: cp.css("--cp-muted") } });
    }
    const ends = known.map((c) => c.soh).concat(now && now.soh ? [now.soh] : [], told ? told.low : []);
    if (eol && ends.length && Math.min(...ends) < eol + 0.08) {
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: 100 * eol, y1: 100 * eol, line: { color: cp.css("--cp-danger"), width: 1, dash: "dash" } });
      annotations.push({ xref: "paper", x: 1, xanchor: "right", y: 100 * eol, yanchor: "bottom", showarrow: false, text: cp.text("end_of_life", { n: +(100 * eol).toFixed(1) }), font: { size: 11, color: cp.css("--cp-muted") } });
    }
    return {
      data,
      layout: baseLayout({
          uirevision: revision, showlegend: true, hovermode: "closest", shapes, annotations,
          legend: { orientation: "h", y: -0.16, x: 0, font: { size: 11 } }, margin: { l: 52, r: 14, t: top(), b: 60 },
          xaxis: timeAxis(wide(data)), yaxis: axis([0, 1], "%"),
      }),
    };
  }

  /* What a forecast says, in words. */
  function outlookWords(told) {
    if (!told) return "";
    const words = [];
    if (told.knee_cycle) words.push(cp.text("knee_at", { n: told.knee_cycle }));
    if (told.state === "few") words.push(cp.text("forecast_few", { needs: told.needs, seen: told.seen }));
    if (told.state === "family") words.push(cp.text("forecast_family"));
    if (told.state !== "ok") return words.join(" ");
    const n = told.ahead, at = told.step.indexOf(n);
    const percent = (value) => (100 * value).toFixed(1);
    words.push(cp.text("forecast_ten", { n, soh: percent(told.soh[at]), low: percent(told.low[at]), high: percent(told.high[at]) }));
    if (told.end_of_life) {
      const eol = +(100 * told.end_of_life).toFixed(1);
      const count = (value) => (value === null ? cp.text("forecast_over", { n: told.farthest }) : String(value));
      if (told.remaining === null) words.push(cp.text("forecast_none", { eol, n: told.farthest }));
      else if (told.remaining === 0) words.push(cp.text("forecast_past", { eol }));
      else words.push(cp.text("forecast_end", { eol, n: told.remaining, low: count(told.remaining_low), high: count(told.remaining_high) }));
    }
    return words.join(" ");
  }

  function ica(curves, revision) {
    if (!curves.length) return { data: [], layout: baseLayout(nothing(cp.text("ica_none"))) };
    const colours = { first: cp.css("--cp-muted"), newest: cp.css("--cp-v"), running: cp.css("--cp-i") };
    return {
        data: curves.map((curve, n) => ({
          type: "scatter", mode: "lines", x: curve.v, y: curve.q, name: cp.text({ first: "ica_first", newest: "ica_now", running: "ica_running" }[curve.age]) + " · " + cp.text("ica_number", { n: curve.number }),
          line: { color: colours[curve.age], width: curve.age === "first" ? 1.2 : 2.2, dash: curve.age === "first" ? ["solid", "dash", "dot"][n % 3] : "solid" },
        })),
        layout: baseLayout({
          uirevision: revision, showlegend: true,
          legend: { orientation: "h", y: -0.2, x: 0, font: { size: 11 } }, margin: { l: 52, r: 14, t: top(), b: 70 },
          xaxis: { title: { text: cp.text("voltage_axis"), font: { size: 12 }, standoff: 4 }, gridcolor: cp.css("--cp-line") },
          yaxis: axis([0, 1], "dQ/dV Ah/V", { rangemode: "tozero" }),
        }),
    };
  }

  cp.figures = { times, traces, room, LEAST_V, LEAST_C, soh, outlookWords, ica };
})();
