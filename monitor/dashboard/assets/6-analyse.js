/* A file of the user's: sent as a stream with its progress, then shown like an asset. */
(function () {
  "use strict";
  const cp = window.cellpulse;
  const SHOWN = 50; // segments in the list; the traces mark all of them
  /** @type {XMLHttpRequest | null} */
  let request = null;
  let sent = "", finished = false; // the request's file, and whether its answer has come
  /** @type {{ words: () => string, kind?: string } | null} */
  let told = null; // what is said of the work
  /** @type {number | null} */
  let share = null; // of the work that is done
  let results = [], chosen = 0;

  function say(words, kind) {
    cp.put("analysis-state", { children: words, className: "cp-analysis-state" + (kind ? " cp-analysis-" + kind : "") });
  }

  function bar(now) {
    share = now;
    cp.show("analysis-bar", share !== null);
    if (share !== null) cp.put("analysis-bar-value", { value: Math.round(100 * share) });
  }

  /* Words that are said again when the language is switched. */
  function tell(words, kind) { told = { words, kind }; say(words(), kind); }
  const zh = () => cp.language === "zh";
  const sentence = (words) => (words ? words[0].toUpperCase() + words.slice(1) : "");

  /* The reader begins with the file's name, which has just been said. */
  function plain(words, name) {
    const rest = words.slice(name.length).replace(/^(: |：)/, "");
    return words.startsWith(name) && rest.length < words.length - name.length ? sentence(rest) : words;
  }

  function send(file) {
    stop();
    results = [];
    cp.show("analysis-result", false);
    const name = file.name;
    const refuse = (key) => { bar(null); tell(() => cp.text("refused", { name }) + " " + cp.text(key), "bad"); };
    if (file.size > cp.settings.upload_bytes) { refuse("upload_too_large"); return; }
    const mine = (request = new XMLHttpRequest());
    sent = name;
    finished = false;
    let read = 0;
    const nominal = document.getElementById("analysis-nominal");
    mine.open("POST", "/analyse/upload?name=" + encodeURIComponent(file.name) +
      "&nominal=" + encodeURIComponent(nominal instanceof HTMLInputElement ? nominal.value : ""));
    mine.upload.onprogress = (event) => {
      bar(event.loaded / file.size / 4);
      tell(() => cp.text("uploading", { name }));
    };
    mine.upload.onload = () => tell(() => cp.text("analysing", { name }));
    const listen = () => {
      if (mine.status !== 200) return;
      const lines = mine.responseText.slice(read).split("\n");
      for (const line of lines.slice(0, -1)) {
        read += line.length + 1;
        if (request === mine) hear(JSON.parse(line), name);
      }
    };
    mine.onprogress = listen;
    mine.onload = () => {
      listen();
      if (request === mine) request = null;
      if (mine.status === 200 && finished) return;
      let reason = "failed";
      try { reason = JSON.parse(mine.responseText).error; } catch { /* not ours */ }
      refuse("upload_" + reason);
    };
    mine.onerror = () => { if (request === mine) request = null; refuse("upload_failed"); };
    mine.send(file);
    tell(() => cp.text("uploading", { name }));
    bar(0);
  }

  /* The server notices that nobody listens any more, and ends the work. */
  function stop() {
    const running = request;
    request = null;
    if (running) running.abort();
    return !!running;
  }

  function cancel() {
    const name = sent;
    if (!stop()) return;
    bar(null);
    tell(() => cp.text("cancelled", { name }));
  }

  function hear(line, name) {
    if ("progress" in line) {
      bar(0.25 + 0.75 * line.progress);
      tell(() => cp.text("analysing", { name }));
    } else if ("error" in line) {
      finished = true;
      bar(null);
      tell(() => cp.text("refused", { name }) + " " + plain(zh() ? line.error_zh : line.error, name), "bad");
    } else {
      finished = true;
      bar(null);
      tell(() => "");
      results = line.result;
      chosen = 0;
      show();
    }
  }

  function show() {
    const found = results[chosen];
    cp.show("analysis-result", !!found);
    if (!found) return;
    const withSoh = found.cycles.filter((c) => cp.known(c.soh));
    const newest = withSoh[withSoh.length - 1];
    const soh = newest
      ? cp.soh({ soh: newest.soh, lo: newest.soh_low, hi: newest.soh_high, st: newest.soh_state })
      : cp.soh({ st: found.cycles.length ? found.cycles[found.cycles.length - 1].soh_state : "not_enough_seen" });
    const truth = found.truths.length ? found.truths[found.truths.length - 1][1] : null;
    const why = zh() ? found.why_zh : found.why;
    cp.put("analysis-why", { children: sentence(why), className: "cp-why" + (why ? "" : " cp-hidden") });
    const risk = cp.lamp(found.risk);
    cp.put("analysis-name", { children: found.asset + " · " + found.dataset });
    cp.put("analysis-lamp", { children: risk.sign + " " + risk.words, className: "cp-lamp cp-lamp-big cp-lamp-" + risk.kind });
    cp.show("n-report-box", !!found.report);
    cp.put("n-report", { href: found.report ? "/report/file/" + found.report + "?lang=" + cp.language : "#" });
    cp.put("n-soh", { children: soh.main });
    cp.put("n-soh-sub", { children: [soh.sub, cp.el("Br", null), cp.known(truth) ? cp.text("truth") + " " + cp.number(truth, 1, "%") : ""] });
    cp.put("n-cycles", { children: String(found.cycles.length) });
    cp.put("n-samples", { children: found.samples.toLocaleString("en").replace(/,/g, " ") });
    cp.put("n-nominal", { children: cp.number(found.nominal_capacity_ah, 2, "Ah") });
    cp.put("n-span", { children: cp.age(found.end_ms - found.start_ms) });
    cp.put("n-span-sub", { children: cp.time(found.start_ms) });
    const tallest = Math.max(0, ...found.segments.map((s) => s.peak_score || 0));
    cp.put("n-heat", { children: String(found.segments.length) });
    cp.put("n-heat-sub", { children: tallest ? cp.text("peak_score") + " " + cp.number(tallest, 2) : "" });
    cp.put("analysis-problems", {
      children: (zh() ? found.problems_zh : found.problems).map((problem) => cp.el("Li", null, sentence(problem))),
    });
    cp.show("analysis-problems-box", found.problems.length > 0);
    listSegments(found.segments, why);
    const key = found.asset + chosen;
    const t = found.trace;
    const scored = cp.series.scored(t);
    const draw = (id, figure) => window.dash_clientside.set_props(id, { figure });
    draw("n-soh-graph", cp.figures.soh(found.cycles, found.nominal_capacity_ah, null, found.truths, found.outlook, found.outlook && found.outlook.end_of_life, key));
    const put = (id, words) => { cp.show(id + "-box", !!words); cp.put(id, { children: sentence(words || "") }); };
    put("n-advice", zh() ? found.advice_zh : found.advice);
    put("n-soh-outlook", cp.figures.outlookWords(found.outlook));
    draw("n-ica-graph", cp.figures.ica(found.curves, key));
    draw("n-traces", cp.figures.traces(
      [t.ts, t.v, t.i, t.t, t.ts.map(() => null)], [scored.map((n) => t.ts[n]), scored.map((n) => t.score[n])], key, found.segments, true));
    cp.cycleGrid("n-cycle-grid", found.cycles);
    cp.show("analysis-which-box", results.length > 1);
    window.dash_clientside.set_props("analysis-which", {
      data: results.map((one, n) => ({ value: String(n), label: one.asset })),
      value: String(chosen),
    });
  }

  function listSegments(segments, why) {
    const order = ["watch", "warning", "danger"];
    const gravest = segments.map((s, n) => [s, n]).sort(([a], [b]) =>
      order.indexOf(b.risk) - order.indexOf(a.risk) || (b.peak_score || 0) - (a.peak_score || 0));
    const shown = gravest.slice(0, SHOWN).sort(([a], [b]) => a.start_ms - b.start_ms);
    const rows = shown.map(([s, n]) => {
      const span = cp.time(s.start_ms) + " → " + cp.time(s.end_ms);
      const risk = cp.lamp(s.risk);
      const facts = [zh() ? s.why_zh : s.why];
      if (cp.known(s.peak_score)) facts.push(cp.text("score") + " " + cp.number(s.peak_score, 2));
      if (cp.known(s.peak_temperature_c)) facts.push(cp.number(s.peak_temperature_c, 1, "°C"));
      return cp.el("Li", null, cp.el("Button", {
        id: "segment-" + n, className: "cp-segment", "aria-label": cp.text("segment_zoom", { time: span }),
      }, [
        cp.el("Span", { className: "cp-lamp cp-lamp-" + risk.kind }, risk.sign + " " + risk.words),
        cp.el("Span", null, span),
        cp.el("Span", { className: "cp-muted" }, facts.filter(Boolean).join(" · ")),
      ]));
    });
    if (segments.length > SHOWN) rows.push(cp.el("Li", { className: "cp-muted" }, cp.text("segments_more", { n: segments.length - SHOWN })));
    cp.put("analysis-segments", { children: rows.length || why ? rows : cp.el("Li", { className: "cp-muted" }, cp.text("segments_none")) });
    cp.show("analysis-whole", segments.length > 0);
  }

  /* The traces show a stretch with as much again around it, a minute at least; null: all of it. */
  function look(segment) {
    const graph = document.querySelector("#n-traces .js-plotly-plot");
    if (!graph || !window.Plotly) return;
    if (!segment) { window.Plotly.relayout(graph, { "xaxis.autorange": true }); return; }
    const pad = Math.max(60e3, (segment.end_ms - segment.start_ms) / 2);
    const range = [segment.start_ms - pad, segment.end_ms + pad].map((ms) => cp.axisTime(ms));
    window.Plotly.relayout(graph, { "xaxis.range": range, "xaxis.autorange": false });
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    graph.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
  }

  document.addEventListener("click", (event) => {
    const at = cp.around(event, "#analysis-cancel, #analysis-whole, .cp-segment");
    if (!at) return;
    if (at.id === "analysis-cancel") cancel();
    else if (at.id === "analysis-whole") look(null);
    else if (results[chosen]) look(results[chosen].segments[Number(at.id.split("-")[1])]);
  });

  /* The drop area is a button to the keyboard and to a screen reader. */
  function bind() {
    const area = document.getElementById("drop");
    if (!area || area.dataset.bound) return;
    area.dataset.bound = "1";
    const input = document.createElement("input");
    input.type = "file";
    input.hidden = true;
    input.id = "drop-input";
    area.parentElement?.appendChild(input);
    const take = (files) => { if (files?.length) send(files[0]); };
    input.onchange = () => { take(input.files); input.value = ""; };
    area.addEventListener("click", () => input.click());
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); input.click(); }
    });
    for (const name of /** @type {const} */ (["dragover", "dragleave", "drop"])) {
      area.addEventListener(name, (event) => {
        event.preventDefault();
        area.classList.toggle("cp-drop-over", name === "dragover");
        if (name === "drop") take(event.dataTransfer?.files);
      });
    }
  }

  cp.handlers.analyse = {
    enter() { cp.whenThere("drop", bind); if (told) tell(told.words, told.kind); bar(request ? share : null); show(); },
    // A switched language puts the same page in place anew, and the work goes on.
    leave() { setTimeout(() => { if (!document.getElementById("drop") && !stop()) told = null; }, 500); },
    redraw() { if (told) say(told.words(), told.kind); show(); },
    choose(value) {
      const next = Number(value); // showing sets the value too, so the same one changes nothing
      if (!value || next === chosen || !results[next]) return;
      chosen = next;
      show();
    },
  };
})();
