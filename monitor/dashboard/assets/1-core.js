/* The live connection and what every page shares: words, numbers, times, the banner.
   One WebSocket; a frame is painted in the browser's own time and then confirmed, so that a slow
   browser is skipped ahead by the server. When it is lost, plain requests ask about twice a second,
   without limit, whether the server is there: a WebSocket that fails again and again is held back
   by the browser itself, for up to 5 s. */
(function () {
  "use strict";
  /* What the page's frame always holds. */
  const there = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const told = (id) => JSON.parse(there(id).textContent || "");
  const TEXTS = told("cp-texts");
  const SILENCE_MS = 3500; // the server beats every second
  const AWAKE_MS = 1500; // silence that is waited for where this page or its machine has slept
  const ASK_WITHIN_MS = 1500;
  const LATE_MS = 1500; // how much later than the server the page itself calls a row stale
  const store = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* private mode */ } },
  };
  /** @type {Record<string, Handler>} */
  const handlers = {};
  /** @type {WebSocket | null} */
  let socket = null;
  let heardAt = performance.now();
  let secondAt = performance.now();
  let patienceMs = SILENCE_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let retry;
  /** @type {AbortController | null} */
  let asking = null;
  /** @type {number | null} */
  let lostSince = null;
  let offsetMs = 0;
  let look = { look: "none" };
  /** @type {Head | null} */
  let head = null;
  let painted = {};
  const waits = new Map();

  /** @type {Core} */
  const cp = {
    language: "en",
    utc: false,
    started: false,
    soundOn: store.get("cp-sound") === "1",
    head: null,
    handlers,
    frames: 0,
    settings: told("cp-settings"),
    narrow: window.matchMedia("(max-width: 760px)"),

    /** @type {Core["known"]} */
    known: (value) => value !== null && value !== undefined,

    text(key, values) {
      const words = TEXTS[cp.language][key];
      if (words === undefined) return key;
      return values ? words.replace(/\{(\w+)\}/g, (_, name) => String(values[name])) : words;
    },

    number(value, digits, unit) {
      if (!cp.known(value) || Number.isNaN(value)) return "–";
      let shown = Number(value);
      if (unit === "%") shown *= 100;
      if (unit === "mΩ") shown *= 1000;
      let words = shown.toFixed(digits);
      if (Number(words) === 0) words = words.replace("-", "");
      words = words.replace("-", "−");
      return unit && unit !== "1" ? words + " " + unit : words;
    },

    soh(row) {
      const words = row.st && row.st !== "ok" ? cp.text("soh_" + row.st) : null;
      if (!cp.known(row.soh)) {
        return { main: "–", sub: words || cp.text("soh_none") };
      }
      const between = cp.known(row.lo) ? cp.number(row.lo, 1, "%").replace(" %", "") + "–" + cp.number(row.hi, 1, "%") : "";
      return { main: cp.number(row.soh, 1, "%"), sub: words ? words + (between ? " · " + between : "") : between };
    },

    phase(value) {
      if (!value) return "–";
      const key = "phase_" + value.toLowerCase().replace(/[ -]/g, "_");
      return TEXTS[cp.language][key] || value;
    },

    time(ms, withDate) {
      if (!cp.known(ms)) return "–";
      /** @type {Intl.DateTimeFormatOptions} */
      const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
      if (withDate !== false) Object.assign(options, { year: "numeric", month: "2-digit", day: "2-digit" });
      if (cp.utc) options.timeZone = "UTC";
      return new Intl.DateTimeFormat(cp.language === "zh" ? "zh-CN" : "sv-SE", options).format(ms);
    },

    /* Event time for Plotly, as text: what it is given as text it shows as it stands, while a
       number it would turn into the browser's local time by itself. */
    axisTime(ms) {
      const at = new Date(cp.utc ? ms : ms - new Date(ms).getTimezoneOffset() * 60000);
      return at.toISOString().slice(0, 23).replace("T", " ");
    },

    age(ms) {
      const seconds = Math.max(0, Math.round(ms / 1000));
      if (seconds < 120) return cp.text("seconds", { n: seconds });
      if (seconds < 7200) return cp.text("minutes", { n: Math.round(seconds / 60) });
      if (seconds < 172800) return cp.text("hours", { n: Math.round(seconds / 3600) });
      return cp.text("days", { n: Math.round(seconds / 86400) });
    },

    now() { return Date.now() + offsetMs; },

    isLost() { return lostSince !== null || (head !== null && !head.feed); },

    /* The server says with every row whether it is stale, and after how long it will be. The page
       adds what the server cannot tell it: that the way to it is broken, or that it stands still. */
    isStale(row) {
      const { at } = row;
      if (row.off || row.stale !== false || cp.isLost() || !cp.known(at)) return true;
      return cp.now() - at > row.limit + LATE_MS;
    },

    fresh(row) {
      if (!cp.isStale(row)) return { kind: "live", words: cp.text("fresh") };
      if (!cp.known(row.at)) return { kind: "stale", words: cp.text("never") };
      const age = cp.age(cp.now() - row.at);
      return { kind: "stale", words: cp.text(row.off ? "offline" : "stale", { age }) };
    },

    /* What was normal when an asset fell silent is unknown now; a warning stands. */
    risk(row) {
      const kind = row.risk || "unknown";
      return cp.lamp(kind === "ok" && cp.isStale(row) ? "unknown" : kind);
    },

    lamp(kind) {
      const sign = { ok: "●", watch: "◐", warning: "▲", danger: "■", unknown: "○" }[kind];
      return { kind, sign, words: cp.text("risk_" + kind) };
    },

    css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); },

    /* Sets a component's properties where it is on the page and they have changed. */
    put(id, props) {
      const key = JSON.stringify(props);
      if (painted[id] === key || !document.getElementById(id)) return;
      painted[id] = key;
      window.dash_clientside.set_props(id, props);
    },

    forget(prefix) {
      for (const id of Object.keys(painted)) if (id.startsWith(prefix)) delete painted[id];
    },

    /* Tables and graphs come when their code is loaded: calls `then` as soon as `id` is there,
       unless the page has been left. Only the newest wish for an id is kept. */
    whenThere(id, then) {
      const waiting = waits.has(id);
      waits.set(id, then);
      if (waiting) return;
      const page = look;
      const check = () => {
        if (look !== page) { waits.delete(id); return; }
        if (!document.getElementById(id)) { setTimeout(check, 50); return; }
        const wish = waits.get(id);
        waits.delete(id);
        wish();
      };
      check();
    },

    show(id, yes) {
      const element = document.getElementById(id);
      if (element) element.classList.toggle("cp-hidden", !yes);
    },

    say(words) { if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(words)); },

    el(type, props, children) {
      return { type, namespace: "dash_html_components", props: { ...props, children } };
    },

    link(href, props, children) {
      return { type: "Link", namespace: "dash_core_components", props: { href, ...props, children } };
    },

    /* The nearest element with that selector around what an event came from. */
    around(event, selector) { return event.target instanceof Element ? event.target.closest(selector) : null; },

    assetPath(asset, cell) {
      return "/asset/" + encodeURIComponent(asset) + (cell ? "/" + (cell + 1) : "");
    },
  };
  window.cellpulse = /** @type {Cellpulse} */ (cp); // the other scripts add to it

  /* A page that looks at nothing live has a name of its own. */
  function handler() { return handlers[look.page || look.look]; }

  function connect() {
    const scheme = location.protocol === "https:" ? "wss://" : "ws://";
    const mine = (socket = new WebSocket(scheme + location.host + "/live"));
    heardAt = performance.now();
    mine.onopen = () => { if (mine === socket) cp.say(look); };
    mine.onmessage = (message) => {
      if (mine !== socket) return;
      heardAt = performance.now();
      patienceMs = SILENCE_MS;
      const frame = JSON.parse(message.data);
      const paint = () => {
        if (mine !== socket) return;
        try { apply(frame); } finally { cp.say({ got: 1 }); }
      };
      if (document.hidden) setTimeout(paint, 0); else requestAnimationFrame(paint);
    };
    mine.onclose = () => closed(mine);
  }

  function closed(mine) {
    if (mine !== socket) return;
    socket = null;
    if (lostSince === null) lostSince = cp.now();
    everySecond();
    // Many pages that lose the same server do not all come back in one instant.
    retry = setTimeout(ask, Math.random() * 500);
  }

  /* Is the server there? Then connect. A session that has ended looks like a lost connection; the
     page then asks who it is. */
  function ask() {
    clearTimeout(retry);
    if (socket || asking) return;
    const mine = (asking = new AbortController());
    const wait = setTimeout(() => mine.abort(), ASK_WITHIN_MS);
    fetch("/session", { signal: mine.signal, cache: "no-store" }).then(
      (answer) => {
        if (answer.status === 401) { location.reload(); return false; }
        return answer.status < 500;
      },
      () => false,
    ).then((there) => {
      clearTimeout(wait);
      if (mine !== asking) return;
      asking = null;
      if (there && !socket) connect();
      else retry = setTimeout(ask, 250 + Math.random() * 500);
    });
  }

  /* Shown again, awake again or on a network again: nothing that has waited so long is trusted. */
  function wake() {
    heardAt = performance.now();
    patienceMs = AWAKE_MS;
    everySecond();
    if (socket) {
      cp.say(look); // answered at once by a server that is there
      setTimeout(everySecond, AWAKE_MS + 20);
      return;
    }
    if (asking) asking.abort();
    asking = null;
    ask();
  }

  function apply(frame) {
    offsetMs = frame.now - Date.now();
    lostSince = null;
    head = frame.head;
    cp.frames += 1;
    cp.head = head;
    paintHead();
    const here = frame.k === look.look && (frame.k !== "asset" || (frame.asset === look.asset && frame.cell === look.cell));
    if (here) handlers[frame.k]?.frame?.(frame);
    banner();
  }

  function paintHead() {
    if (!head || head.assets === undefined) return;
    const count = head.unack || head.alarms;
    cp.put("nav-alarms", {
      children: count ? String(count) : "",
      className: "cp-nav-count" + (head.unack ? " cp-sev-" + head.worst : ""),
    });
    for (const key of ["assets", "stale", "alarms", "unack"]) cp.put("count-" + key, { children: String(head[key]) });
    for (const key of ["stale", "alarms", "unack"]) {
      cp.put("count-box-" + key, { className: "cp-count" + (head[key] ? " cp-count-on cp-count-" + key : "") });
    }
  }

  function banner() {
    const element = there("banner");
    let words = "";
    let kind = "";
    if (lostSince !== null) {
      words = cp.text("lost_server") + " (" + cp.text("since", { time: cp.time(lostSince, false) }) + ")";
      kind = "lost";
    } else if (head && head.feed === false) {
      words = cp.text("lost_feed") + " (" + cp.text("since", { time: cp.time(head.feed_since, false) }) + ")";
      kind = "lost";
    } else if (head && head.monitor === false) {
      words = cp.text("lost_monitor");
      kind = "warn";
    }
    if (element.textContent !== words) element.textContent = words;
    element.className = "cp-banner" + (words ? " cp-banner-" + kind : " cp-hidden");
    document.body.classList.toggle("cp-lost", kind === "lost");
  }

  function everySecond() {
    // After a stall or a sleep of this very page, what has come meanwhile still waits to be read.
    const now = performance.now();
    const slept = now - secondAt > 2500;
    secondAt = now;
    if (slept) { wake(); return; }
    if (socket && now - heardAt > patienceMs) {
      const dead = socket;
      if (lostSince === null) lostSince = cp.now() - patienceMs;
      closed(dead);
      dead.close();
    }
    if (!socket && lostSince === null) lostSince = cp.now();
    banner();
    cp.put("clock", { children: cp.time(cp.now(), false) + (cp.utc ? " UTC" : "") });
    handler()?.second?.();
  }

  function setLanguage(wanted, stored) {
    const next = wanted.toLowerCase().startsWith("zh") ? "zh" : "en";
    cp.language = next;
    document.documentElement.lang = next === "zh" ? "zh-CN" : "en";
    painted = {};
    banner();
    return next === stored ? window.dash_clientside.no_update : next;
  }

  /* Called by Dash's clientside callbacks. */
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.cellpulse = {
    chooseLanguage(_stamp, stored) {
      const asked = cp.started ? null : new URLSearchParams(location.search).get("lang");
      cp.started = true;
      return setLanguage(asked || stored || navigator.language || "en", stored);
    },
    switchLanguage(chosen, stored) { return setLanguage(chosen || stored, stored); },
    look(data) {
      if (!data) return null;
      const before = handler();
      look = data;
      painted = {};
      before?.leave?.();
      handler()?.enter?.(look);
      cp.say(look);
      paintHead();
      banner();
      return null;
    },
    zone(value) {
      cp.utc = value === "utc";
      everySecond();
      redraw();
      return null;
    },
    fleetControls(search, sort, view) {
      handlers.fleet.controls(search || "", sort || "name", view);
      return null;
    },
    pause(clicks) { return handlers.asset.pause(clicks || 0); },
    history(data) { handlers.asset.history(data); return null; },
    ica(data) { handlers.asset.ica(data); return null; },
    outlook(data) { handlers.asset.outlook(data); return null; },
    events(data) { handlers.alarms.events(data); return null; },
    analysisChosen(value) { handlers.analyse.choose(value); return null; },
    alarmSearch(value) { handlers.alarms.search(value || ""); return null; },
    packOf(value) { handlers.asset.packOf(value); return null; },
    sound(checked) {
      store.set("cp-sound", checked ? "1" : "");
      cp.soundOn = Boolean(checked);
      return null;
    },
  };

  function redraw() { handler()?.redraw?.(); }
  new MutationObserver(redraw).observe(document.documentElement, {
    attributes: true, attributeFilter: ["data-mantine-color-scheme"],
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) wake(); });
  document.addEventListener("resume", wake);
  window.addEventListener("pageshow", (event) => { if (event.persisted) wake(); });
  window.addEventListener("online", wake);
  setInterval(everySecond, 1000);
  window.addEventListener("load", connect);
})();
