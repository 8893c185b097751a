/* The fleet: tiles for the eye, a table for the many. */
(function () {
  "use strict";
  const cp = window.cellpulse;
  const MAX_TILES = 96, MAX_DENSE = 400;
  const ROOMY = 24; // assets, above which the page chooses small tiles by itself
  const TRAIL = 90;
  const ORDER = { danger: 0, warning: 1, watch: 2, unknown: 3, ok: 4 };
  const EMPTY = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E";
  let rows = new Map();
  let trails = new Map();
  let shown = []; // names, in the order of the tiles
  let visible = new Set();
  let search = "", sort = "name", view = "tiles", chosen = false, only = null;
  let gridFull = false;
  let observer = null;
  let sortedAt = 0, owed = false; // owed: assets have come that have no tile yet
  let put = []; // views that the page has chosen and has not yet been told back

  /* What the counts above the list choose, when one of them is pressed. */
  const ONLY = {
    stale: (row) => cp.fresh(row).kind === "stale",
    alarms: (row) => row.alarms > 0,
    unack: (row) => row.unack > 0,
  };
  const passes = (row) => !only || ONLY[only](row);
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  functions.cpOnlySome = () => only !== null;
  functions.cpPasses = (row) => passes(row);

  const most = () => (view === "dense" ? MAX_DENSE : MAX_TILES);

  function ranked() {
    const words = search.trim().toLowerCase();
    const list = [...rows.values()].filter((row) => passes(row) && (!words || row.id.toLowerCase().includes(words)));
    const byName = (a, b) => a.id.localeCompare(b.id, undefined, { numeric: true });
    const missing = (value, otherwise) => (value === null || value === undefined ? otherwise : value);
    const orders = {
      name: byName,
      risk: (a, b) => ORDER[a.risk || "unknown"] - ORDER[b.risk || "unknown"] || (b.sev || 0) - (a.sev || 0) || byName(a, b),
      soh: (a, b) => missing(a.soh, 9) - missing(b.soh, 9) || byName(a, b),
      temperature: (a, b) => missing(b.t, -999) - missing(a.t, -999) || byName(a, b),
    };
    return list.sort(orders[sort] || byName);
  }

  function tile(index, row) {
    const id = (part) => "tile-" + index + "-" + part;
    const { el } = cp;
    const value = (part, label) => el("Div", { className: "cp-tile-value cp-tile-" + part }, [
      el("Div", { className: "cp-label" }, label),
      el("Div", { id: id(part), className: "cp-tile-number" }, "–"),
    ]);
    const part = (key, label) => el("Div", { className: "cp-tile-part cp-tile-" + key }, [
      el("Div", { className: "cp-label" }, label),
      el("Strong", { id: id(key) }, "–"),
      el("Div", { id: id(key + "-sub"), className: "cp-muted" }, " "),
    ]);
    return cp.link(cp.assetPath(row.id), { className: "cp-tile", id: id("box") }, [
      el("Div", { className: "cp-tile-top" }, [
        el("Span", { className: "cp-tile-name", title: row.id }, row.id),
        el("Span", { id: id("alarms"), className: "cp-badge cp-hidden" }, ""),
        el("Span", { id: id("lamp"), className: "cp-lamp", title: cp.text("risk") }, [
          el("Span", { id: id("sign"), className: "cp-sign" }, ""), el("Span", { id: id("words"), className: "cp-lamp-words" }, ""),
        ]),
      ]),
      el("Div", { className: "cp-tile-values" }, [
        value("v", cp.text("voltage")), value("i", cp.text("current")), value("t", cp.text("temperature")),
      ]),
      { type: "Img", namespace: "dash_html_components", props: { id: id("trail"), className: "cp-trail", alt: "", title: cp.text("trail"), src: EMPTY } },
      el("Div", { className: "cp-tile-parts" }, [
        part("soh", cp.text(view === "dense" ? "soh_short" : "soh")), part("soc", cp.text("soc_short")), part("score", cp.text("score")),
      ]),
      el("Div", { className: "cp-tile-foot" }, [
        el("Span", { id: id("phase") }, ""), el("Span", { id: id("fresh"), className: "cp-fresh" }, ""),
      ]),
    ]);
  }

  function paintTile(index, row) {
    const id = (part) => "tile-" + index + "-" + part;
    const fresh = cp.fresh(row);
    const risk = cp.risk(row);
    const soh = cp.soh(row);
    const dense = view === "dense";
    if (!dense) {
      cp.write(id("v"), cp.number(row.v, row.v >= 100 ? 1 : row.v >= 10 ? 2 : 3, "V"));
      cp.write(id("i"), cp.number(row.i, 2, "A"));
      cp.write(id("score"), cp.number(row.score, 2));
    }
    cp.write(id("t"), cp.number(row.t, 1, "°C"));
    cp.write(id("soh"), soh.main);
    cp.write(id("soh-sub"), soh.sub);
    cp.put(id("soh-sub"), { title: soh.sub });
    cp.write(id("soc"), cp.number(row.soc, 0, "%"));
    cp.put(id("phase"), { children: (row.cells > 1 ? cp.text("cells", { n: row.cells }) + " · " : "") + cp.phase(row.phase) });
    cp.put(id("fresh"), { children: fresh.words, className: "cp-fresh cp-fresh-" + fresh.kind });
    cp.put(id("sign"), { children: risk.sign });
    cp.put(id("words"), { children: risk.words });
    cp.put(id("lamp"), { className: "cp-lamp cp-lamp-" + risk.kind });
    cp.put(id("alarms"), {
      children: row.alarms ? "⚑ " + row.alarms : "",
      className: row.alarms ? "cp-badge cp-sev-" + row.sev : "cp-hidden",
      title: cp.text("alarms"),
    });
    cp.put(id("box"), { className: "cp-tile cp-tile-" + risk.kind + (fresh.kind === "stale" ? " cp-tile-stale" : "") });
  }

  function paintTrail(index, row) {
    const trail = trails.get(row.id);
    if (!trail || trail.length < 2) return;
    const low = Math.min(...trail), high = Math.max(...trail);
    const span = Math.max(high - low, 0.02);
    const middle = (low + high) / 2;
    const first = TRAIL - trail.length; // the newest is at the right edge
    const points = trail.map((value, n) =>
      ((first + n) * 240 / (TRAIL - 1)).toFixed(1) + "," + (17 - (value - middle) / span * 26).toFixed(1)).join(" ");
    const svg = "<svg xmlns='http://www.w3.org/2000/svg' width='240' height='34' viewBox='0 0 240 34' preserveAspectRatio='none'>" +
      "<polyline fill='none' stroke='" + cp.css("--cp-v") + "' stroke-width='1.6' vector-effect='non-scaling-stroke' points='" + points + "'/></svg>";
    cp.put("tile-" + index + "-trail", { src: "data:image/svg+xml," + encodeURIComponent(svg) });
  }

  function layTiles() {
    const list = ranked();
    const next = list.slice(0, most()).map((row) => row.id);
    cp.put("tiles-more", { children: list.length > most() ? cp.text("more_tiles", { n: list.length - most() }) : "" });
    cp.put("tiles", { className: "cp-tiles" + (view === "dense" ? " cp-tiles-dense" : "") });
    if (next.join("\n") === shown.join("\n") && document.getElementById("tile-0-box")) return;
    shown = next;
    visible = new Set(shown.map((name, index) => index));
    cp.forget("tile-");
    window.dash_clientside.set_props("tiles", { children: shown.map((name, index) => tile(index, rows.get(name))) });
    setTimeout(() => {
      if (observer) observer.disconnect();
      observer = new IntersectionObserver((entries) => {
        for (const entry of entries) {
          const index = Number(entry.target.id.split("-")[1]);
          if (entry.isIntersecting) { visible.add(index); paintOne(index); } else visible.delete(index);
        }
      }, { rootMargin: "120px" });
      shown.forEach((name, index) => {
        const box = document.getElementById("tile-" + index + "-box");
        if (box) observer.observe(box);
      });
      paintAll();
    }, 0);
  }

  function paintOne(index) {
    const row = rows.get(shown[index]);
    if (!row) return;
    paintTile(index, row);
    if (view !== "dense") paintTrail(index, row);
  }

  function paintAll() { for (const index of visible) paintOne(index); }

  function fillGrid() {
    cp.whenThere("fleet-grid", () => {
      gridFull = true;
      window.dash_clientside.set_props("fleet-grid", { rowData: [...rows.values()] });
    });
  }

  function paint(added, updated) {
    const none = rows.size === 0, tiles = view !== "table";
    const noMatch = !none && tiles && !shown.length && (search.trim() || only);
    cp.put("fleet-empty", { children: cp.text(none ? "no_assets" : "no_match") });
    cp.show("fleet-empty", none || noMatch);
    cp.show("tiles", tiles);
    cp.show("tiles-more", tiles);
    cp.show("fleet-sort-box", tiles); // the table is sorted by its headings
    cp.show("fleet-table", !tiles && !none);
    for (const key of Object.keys(ONLY)) cp.put("count-box-" + key, { "aria-pressed": String(only === key) });
    cp.put("count-box-assets", { "aria-pressed": String(only === null) });
    if (view === "table") {
      const transaction = { async: false };
      if (added.length) transaction.add = added;
      if (updated.length) transaction.update = updated;
      if (!gridFull) fillGrid();
      else if (added.length || updated.length) {
        window.dash_clientside.set_props("fleet-grid", { rowTransaction: transaction });
      }
      return;
    }
    const now = performance.now();
    owed = owed || added.length > 0;
    // Laying many tiles costs a second or more: while a fleet is coming in, not with every frame.
    const wait = rows.size > ROOMY ? 2500 : 300;
    if (!shown.length || (owed && now - sortedAt > wait) || ((sort !== "name" || only) && now - sortedAt > 3000)) {
      sortedAt = now;
      owed = false;
      layTiles();
    }
    const place = new Map(shown.map((name, index) => [name, index]));
    for (const row of updated.concat(added)) {
      const index = place.get(row.id);
      if (index !== undefined && visible.has(index)) paintTile(index, row);
    }
  }

  cp.handlers.fleet = {
    enter() { shown = []; gridFull = false; rows = new Map(); },
    leave() { if (observer) observer.disconnect(); },
    frame(frame) {
      if (frame.full) { rows = new Map(); gridFull = false; }
      for (const [name, trail] of Object.entries(frame.trails || {})) trails.set(name, trail);
      const added = [], updated = [];
      for (const row of frame.rows) {
        (rows.has(row.id) ? updated : added).push(row);
        rows.set(row.id, row);
        if (row.v !== null && row.v !== undefined && rows.size <= 400) {
          const trail = trails.get(row.id) || [];
          if (!(frame.trails && row.id in frame.trails) && (!trail.length || trail.at !== row.ts)) {
            trail.push(row.cells > 1 ? row.v / row.cells : row.v);
            trail.at = row.ts;
            if (trail.length > TRAIL) trail.shift();
            trails.set(row.id, trail);
          }
        }
      }
      if (!chosen && (frame.full || added.length)) {
        const fit = rows.size > MAX_DENSE ? "table" : rows.size > ROOMY ? "dense" : "tiles";
        if (fit !== view || frame.full) { put.push(fit); cp.put("fleet-view", { value: fit }); }
        if (fit !== view) { view = fit; shown = []; }
      }
      paint(added, updated);
    },
    second() {
      if (view !== "table") { if (owed) paint([], []); paintAll(); }
      else if (cp.isLost() && gridFull) window.dash_clientside.set_props("fleet-grid", { rowTransaction: { update: [...rows.values()], async: false } });
    },
    redraw() { cp.forget("tile-"); paintAll(); },
    controls(nextSearch, nextSort, nextView) {
      const own = put.indexOf(nextView);
      if (own >= 0) put = put.slice(own + 1);
      else if (nextView && nextView !== view) { chosen = true; view = nextView; }
      search = nextSearch; sort = nextSort;
      if (document.getElementById("fleet-grid")) {
        window.dash_clientside.set_props("fleet-grid", { dashGridOptions: { quickFilterText: search } });
      }
      again();
    },
  };

  /* The list from the beginning, after another choice. */
  function again() {
    shown = [];
    paint([], []);
    const grid = window.dash_ag_grid && document.getElementById("fleet-grid") && window.dash_ag_grid.getApi("fleet-grid");
    if (grid) grid.onFilterChanged();
  }

  document.addEventListener("click", (event) => {
    const box = event.target.closest && event.target.closest("button.cp-count");
    if (!box) return;
    const key = box.id.replace("count-box-", "");
    only = key in ONLY && only !== key ? key : null;
    again();
  });
})();
