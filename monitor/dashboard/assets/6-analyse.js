/* A file of the user's: sent as a stream with its progress, then shown like an asset. */
(function () {
  "use strict";
  const cp = window.cellpulse;
  const MAX_BYTES = 256 * 1024 * 1024;
  let results = [], chosen = 0, request = null;

  function say(words, kind) {
    cp.put("analysis-state", { children: words, className: "cp-analysis-state" + (kind ? " cp-analysis-" + kind : "") });
  }

  function bar(share) {
    cp.show("analysis-bar", share !== null);
    if (share !== null) cp.put("analysis-bar-value", { value: Math.round(100 * share) });
  }

  function send(file) {
    if (request) request.abort();
    results = [];
    cp.show("analysis-result", false);
    if (file.size > MAX_BYTES) { bar(null); say(cp.text("upload_too_large"), "bad"); return; }
    const mine = (request = new XMLHttpRequest());
    let read = 0;
    const nominal = document.getElementById("analysis-nominal");
    mine.open("POST", "/analyse/upload?name=" + encodeURIComponent(file.name) +
      "&nominal=" + encodeURIComponent(nominal ? nominal.value : ""));
    mine.upload.onprogress = (event) => {
      bar(event.loaded / file.size / 4);
      say(cp.text("uploading", { name: file.name }));
    };
    mine.onprogress = () => {
      if (mine.status !== 200) return;
      const lines = mine.responseText.slice(read).split("\n");
      for (const line of lines.slice(0, -1)) {
        read += line.length + 1;
        hear(JSON.parse(line), file.name);
      }
    };
    mine.onload = () => {
      mine.onprogress();
      request = null;
      if (mine.status === 200) return;
      bar(null);
      let reason = "failed";
      try { reason = JSON.parse(mine.responseText).error; } catch (error) { /* not ours */ }
      say(cp.text("upload_" + reason), "bad");
    };
    mine.onerror = () => { bar(null); say(cp.text("upload_failed"), "bad"); request = null; };
    mine.send(file);
    say(cp.text("uploading", { name: file.name }));
    bar(0);
  }

  function hear(line, name) {
    if ("progress" in line) {
      bar(0.25 + 0.75 * line.progress);
      say(cp.text("analysing", { name }));
    } else if ("error" in line) {
      bar(null);
      say(line.error, "bad");
    } else {
      bar(null);
      say("");
      results = line.result;
      chosen = 0;
      show();
    }
  }

  const known = (value) => value !== null && value !== undefined;

  function show() {
    const found = results[chosen];
    cp.show("analysis-result", !!found);
    if (!found) return;
    const withSoh = found.cycles.filter((c) => known(c.soh));
    const newest = withSoh[withSoh.length - 1];
    const soh = newest
      ? cp.soh({ soh: newest.soh, lo: newest.soh_low, hi: newest.soh_high, st: newest.soh_state })
      : cp.soh({ st: found.cycles.length ? found.cycles[found.cycles.length - 1].soh_state : "not_enough_seen" });
    const truth = found.truths.length ? found.truths[found.truths.length - 1][1] : null;
    const risk = cp.risk({ risk: found.risk, at: cp.now(), stale: false, limit: 1e12 });
    cp.put("analysis-name", { children: found.asset + " · " + found.dataset });
    cp.put("analysis-lamp", { children: risk.sign + " " + risk.words, className: "cp-lamp cp-lamp-big cp-lamp-" + risk.kind });
    cp.show("n-report-box", !!found.report);
    cp.put("n-report", { href: found.report ? "/report/file/" + found.report + "?lang=" + cp.language : "#" });
    cp.put("n-soh", { children: soh.main });
    cp.put("n-soh-sub", { children: [soh.sub, cp.el("Br", null), known(truth) ? cp.text("truth") + " " + cp.number(truth, 1, "%") : ""] });
    cp.put("n-cycles", { children: String(found.cycles.length) });
    cp.put("n-samples", { children: found.samples.toLocaleString("en").replace(/,/g, " ") });
    cp.put("n-nominal", { children: cp.number(found.nominal_capacity_ah, 2, "Ah") });
    cp.put("n-span", { children: cp.age(found.end_ms - found.start_ms) });
    cp.put("n-span-sub", { children: cp.time(found.start_ms) });
    const tallest = Math.max(0, ...found.segments.map((s) => s.peak_score));
    cp.put("n-heat", { children: String(found.segments.length) });
    cp.put("n-heat-sub", { children: found.segments.length ? cp.text("score") + " ≤ " + cp.number(tallest, 2) : "" });
    cp.put("analysis-problems", {
      children: found.problems.map((problem) => cp.el("Li", null, problem)),
    });
    cp.show("analysis-problems-box", found.problems.length > 0);
    cp.put("analysis-segments", {
      children: found.segments.slice(0, 50).map((s) => cp.el("Li", null,
        cp.time(s.start_ms) + " → " + cp.time(s.end_ms) + " · " + cp.text("score") + " " + cp.number(s.peak_score, 2) +
        (known(s.peak_temperature_c) ? " · " + cp.number(s.peak_temperature_c, 1, "°C") : ""))),
      className: found.segments.length ? "" : "cp-hidden",
    });
    const key = found.asset + chosen;
    const t = found.trace;
    const scored = t.ts.map((_, n) => n).filter((n) => known(t.score[n]));
    const draw = (id, figure) => window.dash_clientside.set_props(id, { figure });
    draw("n-soh-graph", cp.figures.soh(found.cycles, found.nominal_capacity_ah, null, found.truths, found.outlook, found.outlook && found.outlook.end_of_life, key));
    cp.put("n-advice", { children: (cp.language === "zh" ? found.advice_zh : found.advice) || "" });
    cp.put("n-soh-outlook", { children: cp.figures.outlookWords(found.outlook) });
    draw("n-ica-graph", cp.figures.ica(found.curves, key));
    draw("n-traces", cp.figures.traces(
      [t.ts, t.v, t.i, t.t, t.ts.map(() => null)], [scored.map((n) => t.ts[n]), scored.map((n) => t.score[n])], key, found.segments));
    cp.cycleGrid("n-cycle-grid", found.cycles);
    cp.show("analysis-which-box", results.length > 1);
    window.dash_clientside.set_props("analysis-which", {
      data: results.map((one, n) => ({ value: String(n), label: one.asset })),
      value: String(chosen),
    });
  }

  /* The drop area is a button to the keyboard and to a screen reader. */
  function bind() {
    const area = document.getElementById("drop");
    if (!area || area.dataset.bound) return;
    area.dataset.bound = "1";
    const input = document.createElement("input");
    input.type = "file";
    input.hidden = true;
    input.id = "drop-input";
    area.parentElement.appendChild(input);
    input.onchange = () => { if (input.files.length) send(input.files[0]); input.value = ""; };
    area.addEventListener("click", () => input.click());
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); input.click(); }
    });
    for (const name of ["dragover", "dragleave", "drop"]) {
      area.addEventListener(name, (event) => {
        event.preventDefault();
        area.classList.toggle("cp-drop-over", name === "dragover");
        if (name === "drop" && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
      });
    }
  }

  cp.handlers.analyse = {
    enter() { cp.whenThere("drop", bind); show(); },
    leave() { if (request) { request.abort(); request = null; } },
    redraw() { show(); },
    choose(value) {
      const next = Number(value); // showing sets the value too, so the same one changes nothing
      if (!value || next === chosen || !results[next]) return;
      chosen = next;
      show();
    },
  };
})();
