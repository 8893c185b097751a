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
  let search = "", sort = "name", view = "tiles", chosen = false;
  /** @type {string | null} */
  let only = null; // a key of ONLY
  let gridFull = false;
  /** @type {IntersectionObserver | null} */
  let observer = null;
  let sortedAt = 0, owed = false; // owed: assets have come that have no tile yet
  let put = []; // views that the page has chosen and has not yet been told back

  /* What the counts above the list choose, when one of them is pressed. */
  const ONLY = {
    stale: (row) => cp.isStale(row),
    alarms: (row) => row.alarms > 0,
    unack: (row) => row.unack > 0,
  };
  const passes = (row) => !only || ONLY[only](row);
  /** @type {Window["dashAgGridFunctions"]} */
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  functions.cpOnlySome = () => only !== null;
  functions.cpPasses = (row) => passes(row);

  const most = () => (view === "dense" ? MAX_DENSE : MAX_TILES);

  function ranked() {
    const words = search.trim().toLowerCase();
    const list = [...rows.values()].filter((row) => passes(row) && (!words || row.id.toLowerCase().includes(words)));
    const byName = (a, b) => a.id.localeCompare(b.id, undefined, { numeric: true });
    const known = (value, otherwise) => (cp.known(value) ? value : otherwise);
    const orders = {
      name: byName,
      risk: (a, b) => ORDER[a.risk || "unknown"] - ORDER[b.risk || "unknown"] || (b.sev || 0) - (a.sev || 0) || byName(a, b),
      soh: (a, b) => known(a.soh, 9) - known(b.soh, 9) || byName(a, b),
      temperature: (a, b) => known(b.t, -999) - known(a.t, -999) || byName(a, b),
    };
    return list.sort(orders[sort] || byName);
  }

  const id = (index, part) => "tile-" + index + "-" + part;

  /* A tile is one link of Dash's; what is in it is laid directly, as text and never as markup: some
     thirty components for each of a hundred tiles took Dash many seconds to lay. */
  function tile(index, row) {
    return cp.link(cp.assetPath(row.id), { className: "cp-tile", id: id(index, "box") },
      cp.el("Div", { id: id(index, "in"), className: "cp-tile-in" }, ""));
  }

  function make(tag, props, children) {
    const element = Object.assign(document.createElement(tag), props);
    for (const child of children || []) element.append(child);
    return element;
  }

  function fillTile(index, row) {
    const box = document.getElementById(id(index, "in"));
    if (!box) return;
    const one = (part, label, tag, number) => make("div", { className: (number ? "cp-tile-value" : "cp-tile-part") + " cp-tile-" + part }, [
      make("div", { className: "cp-label", textContent: label }),
      make(tag, { id: id(index, part), className: number ? "cp-tile-number" : "", textContent: "–" }),
      ...(number ? [] : [make("div", { id: id(index, part + "-sub"), className: "cp-muted" })]),
    ]);
    const lamp = make("span", { id: id(index, "lamp"), className: "cp-lamp", title: cp.text("risk") }, [
      make("span", { id: id(index, "sign"), className: "cp-sign" }), " ",
      make("span", { id: id(index, "words"), className: "cp-lamp-words" }),
    ]);
    lamp.firstChild.setAttribute("aria-hidden", "true");
    box.replaceChildren(
      make("div", { className: "cp-tile-top" }, [
        make("span", { className: "cp-tile-name", title: row.id, textContent: row.id }),
        make("span", { id: id(index, "alarms"), className: "cp-badge cp-hidden", title: cp.text("alarms") }), lamp,
      ]),
      make("div", { className: "cp-tile-values" }, [
        one("v", cp.text("voltage"), "div", true), one("i", cp.text("current"), "div", true), one("t", cp.text("temperature"), "div", true),
      ]),
      make("img", { id: id(index, "trail"), className: "cp-trail", alt: "", title: cp.text("trail"), src: EMPTY }),
      make("div", { className: "cp-tile-parts" }, [
        one("soh", cp.text(view === "dense" ? "soh_short" : "soh"), "strong"), one("soc", cp.text("soc_short"), "strong"), one("score", cp.text("score"), "strong"),
      ]),
      make("div", { className: "cp-tile-foot" }, [
        make("span", { id: id(index, "phase") }), make("span", { id: id(index, "fresh"), className: "cp-fresh" }),
      ]),
    );
  }

  function paintTile(index, row) {
    const set = (part, words, className) => {
      const element = document.getElementById(id(index, part));
      if (!element) return;
      if (words !== null && element.textContent !== words) element.textContent = words;
      if (className !== undefined && element.className !== className) element.className = className;
    };
    const fresh = cp.fresh(row), risk = cp.risk(row), soh = cp.soh(row);
    if (view !== "dense") {
      set("v", cp.number(row.v, row.v >= 100 ? 1 : row.v >= 10 ? 2 : 3, "V"));
      set("i", cp.number(row.i, 2, "A"));
      set("score", cp.number(row.score, 2));
      set("phase", (row.cells > 1 ? cp.text("cells", { n: row.cells }) + " · " : "") + cp.phase(row.phase));
    }
    set("t", cp.number(row.t, 1, "°C"));
    set("soh", soh.main);
    set("soh-sub", soh.sub);
    set("soc", cp.number(row.soc, 0, "%"));
    set("fresh", fresh.words, "cp-fresh cp-fresh-" + fresh.kind);
    set("sign", risk.sign);
    set("words", risk.words);
    set("lamp", null, "cp-lamp cp-lamp-" + risk.kind);
    set("alarms", row.alarms ? "⚑ " + row.alarms : "", row.alarms ? "cp-badge cp-sev-" + row.sev : "cp-hidden");
    set("box", null, "cp-tile cp-tile-" + risk.kind + (fresh.kind === "stale" ? " cp-tile-stale" : ""));
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
    const image = document.getElementById(id(index, "trail"));
    if (image instanceof HTMLImageElement) image.src = "data:image/svg+xml," + encodeURIComponent(svg);
  }

  function layTiles() {
    const list = ranked();
    const next = list.slice(0, most()).map((row) => row.id);
    cp.put("tiles-more", { children: list.length > most() ? cp.text("more_tiles", { n: list.length - most() }) : "" });
    cp.put("tiles", { className: "cp-tiles" + (view === "dense" ? " cp-tiles-dense" : "") });
    if (next.join("\n") === shown.join("\n") && document.getElementById("tile-0-box")) return;
    shown = next;
    visible = new Set(shown.keys());
    cp.forget("tile-");
    window.dash_clientside.set_props("tiles", { children: shown.map((name, index) => tile(index, rows.get(name))) });
    const laid = shown;
    const fill = () => {
      if (laid !== shown || !laid.length) return; // laid anew, or left
      if (!document.getElementById(id(laid.length - 1, "in"))) { setTimeout(fill, 50); return; }
      observer?.disconnect();
      const seen = (observer = new IntersectionObserver((entries) => {
        for (const entry of entries) {
          const index = Number(entry.target.id.split("-")[1]);
          if (entry.isIntersecting) { visible.add(index); paintOne(index); } else visible.delete(index);
        }
      }, { rootMargin: "120px" }));
      laid.forEach((name, index) => {
        if (!rows.has(name)) return;
        fillTile(index, rows.get(name));
        const box = document.getElementById(id(index, "box"));
        if (box) seen.observe(box);
      });
      paintAll();
    };
    setTimeout(fill, 0);
  }

  function paintOne(index) {
    const row = rows.get(shown[index]);
    if (!row) return;
    paintTile(index, row);
    if (view !== "dense") paintTrail(index, row);
  }

  function paintAll() { for (const index of visible) paintOne(index); }

  function fillGrid() {
    cp.grid("fleet-grid", (api) => {
      gridFull = true;
      api.setGridOption("quickFilterText", search);
      api.setGridOption("rowData", [...rows.values()]);
      api.onFilterChanged();
    });
  }

  function changeGrid(transaction) { cp.grid("fleet-grid", (api) => api.applyTransaction(transaction)); }

  function paint(added, updated) {
    const none = rows.size === 0, tiles = view !== "table";
    const noMatch = !none && tiles && !shown.length && (search.trim() !== "" || only !== null);
    cp.put("fleet-empty", { children: cp.text(none ? "no_assets" : "no_match") });
    cp.show("fleet-empty", none || noMatch);
    cp.show("tiles", tiles);
    cp.show("tiles-more", tiles);
    cp.show("fleet-sort-box", tiles); // the table is sorted by its headings
    cp.show("fleet-table", !tiles && !none);
    for (const key of Object.keys(ONLY)) cp.put("count-box-" + key, { "aria-pressed": String(only === key) });
    cp.put("count-box-assets", { "aria-pressed": String(only === null) });
    if (view === "table") {
      const transaction = {};
      if (added.length) transaction.add = added;
      if (updated.length) transaction.update = updated;
      if (!gridFull) fillGrid();
      else if (added.length || updated.length) {
        changeGrid(transaction);
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
    leave() { observer?.disconnect(); },
    frame(frame) {
      if (frame.full) { rows = new Map(); gridFull = false; }
      for (const [name, trail] of Object.entries(frame.trails || {})) trails.set(name, trail);
      const added = [], updated = [];
      for (const row of frame.rows) {
        (rows.has(row.id) ? updated : added).push(row);
        rows.set(row.id, row);
        if (cp.known(row.v) && rows.size <= 400) {
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
      else if (cp.isLost() && gridFull) changeGrid({ update: [...rows.values()] });
    },
    redraw() { cp.forget("tile-"); paintAll(); },
    controls(nextSearch, nextSort, nextView) {
      const own = put.indexOf(nextView);
      if (own >= 0) put = put.slice(own + 1);
      else if (nextView && nextView !== view) { chosen = true; view = nextView; }
      search = nextSearch; sort = nextSort;
      again();
    },
  };

  /* The list from the beginning, after another choice. */
  function again() {
    shown = [];
    paint([], []);
    if (!gridFull) return;
    cp.grid("fleet-grid", (api) => {
      api.setGridOption("quickFilterText", search);
      api.onFilterChanged();
    });
  }

  document.addEventListener("click", (event) => {
    const box = cp.around(event, "button.cp-count");
    if (!box) return;
    const key = box.id.replace("count-box-", "");
    only = key in ONLY && only !== key ? key : null;
    again();
  });
})();
