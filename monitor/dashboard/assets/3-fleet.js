/* The fleet: tiles for the eye, a table for the many. */
(function () {
  "use strict";
  const cp = window.cellpulse;
  const MAX_TILES = 96;
  const TRAIL = 90;
  const ORDER = { danger: 0, warning: 1, watch: 2, unknown: 3, ok: 4 };
  const EMPTY = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E";
  let rows = new Map();
  let trails = new Map();
  let shown = []; // names, in the order of the tiles
  let visible = new Set();
  let search = "", sort = "name", view = "tiles";
  let gridFull = false;
  let observer = null;
  let sortedAt = 0;

  function ranked() {
    const words = search.trim().toLowerCase();
    const list = [...rows.values()].filter((row) => !words || row.id.toLowerCase().includes(words));
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
    const value = (part, label) => el("Div", { className: "cp-tile-value" }, [
      el("Div", { className: "cp-label" }, label),
      el("Div", { id: id(part), className: "cp-tile-number" }, "–"),
    ]);
    const part = (key, label) => el("Div", { className: "cp-tile-part" }, [
      el("Div", { className: "cp-label" }, label),
      el("Strong", { id: id(key) }, "–"),
      el("Div", { id: id(key + "-sub"), className: "cp-muted" }, ""),
    ]);
    return cp.link(cp.assetPath(row.id), { className: "cp-tile", id: id("box") }, [
      el("Div", { className: "cp-tile-top" }, [
        el("Span", { className: "cp-tile-name", title: row.id }, row.id),
        el("Span", { id: id("alarms"), className: "cp-badge cp-hidden" }, ""),
        el("Span", { id: id("lamp"), className: "cp-lamp" }, ""),
      ]),
      el("Div", { className: "cp-tile-values" }, [
        value("v", cp.text("voltage")), value("i", cp.text("current")), value("t", cp.text("temperature")),
      ]),
      { type: "Img", namespace: "dash_html_components", props: { id: id("trail"), className: "cp-trail", alt: "", src: EMPTY } },
      el("Div", { className: "cp-tile-parts" }, [
        part("soh", cp.text("soh")), part("soc", cp.text("soc_short")), part("score", cp.text("score")),
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
    cp.put(id("v"), { children: cp.number(row.v, row.v >= 100 ? 1 : row.v >= 10 ? 2 : 3, "V") });
    cp.put(id("i"), { children: cp.number(row.i, 2, "A") });
    cp.put(id("t"), { children: cp.number(row.t, 1, "°C") });
    cp.put(id("soh"), { children: soh.main });
    cp.put(id("soh-sub"), { children: soh.sub });
    cp.put(id("soc"), { children: cp.number(row.soc, 0, "%") });
    cp.put(id("score"), { children: cp.number(row.score, 2) });
    cp.put(id("phase"), { children: (row.cells > 1 ? cp.text("cells", { n: row.cells }) + " · " : "") + cp.phase(row.phase) });
    cp.put(id("fresh"), { children: fresh.words, className: "cp-fresh cp-fresh-" + fresh.kind });
    cp.put(id("lamp"), { children: risk.sign + " " + risk.words, className: "cp-lamp cp-lamp-" + risk.kind });
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
    const points = trail.map((value, n) =>
      (n * 240 / (TRAIL - 1)).toFixed(1) + "," + (17 - (value - middle) / span * 26).toFixed(1)).join(" ");
    const svg = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 240 34' preserveAspectRatio='none'>" +
      "<polyline fill='none' stroke='" + cp.css("--cp-v") + "' stroke-width='1.6' vector-effect='non-scaling-stroke' points='" + points + "'/></svg>";
    cp.put("tile-" + index + "-trail", { src: "data:image/svg+xml," + encodeURIComponent(svg) });
  }

  function layTiles() {
    const list = ranked();
    const next = list.slice(0, MAX_TILES).map((row) => row.id);
    cp.put("tiles-more", { children: list.length > MAX_TILES ? cp.text("more_tiles", { n: list.length - MAX_TILES }) : "" });
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
    paintTrail(index, row);
  }

  function paintAll() { for (const index of visible) paintOne(index); }

  function fillGrid() {
    cp.whenThere("fleet-grid", () => {
      gridFull = true;
      window.dash_clientside.set_props("fleet-grid", { rowData: [...rows.values()] });
    });
  }

  function paint(added, updated) {
    cp.put("fleet-empty", { children: cp.text("no_assets") });
    cp.show("fleet-empty", rows.size === 0);
    cp.show("tiles", view === "tiles");
    cp.show("tiles-more", view === "tiles");
    cp.show("fleet-table", view === "table" && rows.size > 0);
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
    if (added.length || !shown.length || (sort !== "name" && now - sortedAt > 3000)) {
      sortedAt = now;
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
      const added = [], updated = [];
      for (const row of frame.rows) {
        (rows.has(row.id) ? updated : added).push(row);
        rows.set(row.id, row);
        if (row.v !== null && row.v !== undefined && rows.size <= 400) {
          const trail = trails.get(row.id) || [];
          if (!trail.length || trail.at !== row.ts) {
            trail.push(row.cells > 1 ? row.v / row.cells : row.v);
            trail.at = row.ts;
            if (trail.length > TRAIL) trail.shift();
            trails.set(row.id, trail);
          }
        }
      }
      if (rows.size > MAX_TILES && frame.full && !cp.chosenView) { cp.chosenView = true; cp.put("fleet-view", { value: "table" }); view = "table"; }
      paint(added, updated);
    },
    second() {
      if (view === "tiles") paintAll();
      else if (cp.isLost() && gridFull) window.dash_clientside.set_props("fleet-grid", { rowTransaction: { update: [...rows.values()], async: false } });
    },
    redraw() { cp.forget("tile-"); paintAll(); },
    controls(nextSearch, nextSort, nextView) {
      search = nextSearch; sort = nextSort; view = nextView;
      if (document.getElementById("fleet-grid")) {
        window.dash_clientside.set_props("fleet-grid", { dashGridOptions: { quickFilterText: search } });
      }
      shown = [];
      paint([], []);
      if (view === "tiles") layTiles();
    },
  };
})();
