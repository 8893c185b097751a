/* The page's own scripts in a window of stubs: loaded in Dash's order, with the words and settings
   that the server sends, a clock that the test moves, and a WebSocket that the test speaks through.
   CELLPULSE_PAGE names the file with words and settings; test_javascript.py writes it. */
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import vm from "node:vm";

export const ASSETS = fileURLToPath(new URL("../../../../monitor/dashboard/assets/", import.meta.url));
export const SCRIPTS = readdirSync(ASSETS).filter((name) => name.endsWith(".js")).sort();
export const SENT = JSON.parse(readFileSync(process.env.CELLPULSE_PAGE, "utf8"));
/* The words of a language; a key that is not there fails the test that names it. */
const strict = (texts) => new Proxy(texts, {
  get: (all, key) => { if (!Object.hasOwn(all, key)) throw new Error("no such text: " + String(key)); return all[key]; },
});
export const EN = strict(SENT.texts.en), ZH = strict(SENT.texts.zh);
export const CASES = JSON.parse(readFileSync(new URL("../../store/thinning_cases.json", import.meta.url), "utf8"));
export const NOW = Date.UTC(2025, 2, 4, 5, 6, 7);

const scripts = SCRIPTS.map((name) => new vm.Script(readFileSync(ASSETS + name, "utf8"), { filename: ASSETS + name }));

/* What a script of another realm has made, as one of ours: deepEqual compares prototypes too. */
export const plain = (value) => JSON.parse(JSON.stringify(value));

class Element {
  constructor(id) {
    Object.assign(this, { id, textContent: "", className: "", dataset: {}, style: {}, hidden: false });
    const classes = (this.classes = new Set());
    this.classList = { toggle: (name, on) => { if (on) classes.add(name); else classes.delete(name); } };
  }
}

/* `has`: ids of elements that are on the page. `media`: media queries that match. */
export function open({ has = [], media = [], clock = NOW } = {}) {
  const page = { clock, set: {}, sent: [], sockets: [], asked: [], elements: new Map(), listeners: {} };
  const put = (id) => { const one = new Element(id); page.elements.set(id, one); return one; };
  put("cp-texts").textContent = JSON.stringify(SENT.texts);
  put("cp-settings").textContent = JSON.stringify(SENT.settings);
  ["banner", ...has].forEach(put);
  const on = (name, then) => { (page.listeners[name] ||= []).push(then); };
  let timers = [];
  const later = (then, ms = 0) => { const timer = { then, at: page.clock + ms }; timers.push(timer); return timer; };

  class WebSocket {
    static OPEN = 1;
    constructor() { this.readyState = 1; page.sockets.push(this); }
    send(words) { page.sent.push(JSON.parse(words)); }
    close() { this.readyState = 3; }
  }

  const window = {
    Element, WebSocket, AbortController, URLSearchParams, Intl, console,
    HTMLImageElement: class {}, HTMLInputElement: class {},
    document: {
      getElementById: (id) => page.elements.get(id) || null, querySelector: () => null, addEventListener: on,
      documentElement: new Element("html"), body: new Element("body"), hidden: false, title: "Cellpulse",
    },
    location: { protocol: "http:", host: "page", search: "" }, navigator: { language: "en" },
    localStorage: { getItem: () => null, setItem() {} },
    performance: { now: () => page.clock },
    matchMedia: (query) => ({ matches: media.includes(query), addEventListener() {} }),
    getComputedStyle: () => ({ getPropertyValue: (name) => " " + name }),
    MutationObserver: class { observe() {} },
    requestAnimationFrame: (then) => then(),
    fetch: (address) => { page.asked.push(address); return new Promise(() => {}); },
    addEventListener: on, setTimeout: later, clearTimeout: (timer) => { timers = timers.filter((one) => one !== timer); },
    setInterval: (then, ms) => { const again = () => { then(); later(again, ms); }; later(again, ms); },
    dash_clientside: { no_update: "no update", set_props: (id, props) => { page.set[id] = { ...page.set[id], ...props }; } },
    React: { createElement: (type, props, ...children) => ({ type, props, children }) },
  };
  window.window = window;
  const context = vm.createContext(window);
  vm.runInContext("(clock) => { Date.now = clock; }", context)(() => page.clock);
  for (const script of scripts) script.runInContext(context);

  page.window = window;
  page.cp = window.cellpulse;
  page.functions = window.dashAgGridFunctions;
  page.components = window.dashAgGridComponentFunctions;
  page.client = window.dash_clientside.cellpulse;
  page.fire = (name, event = {}) => { for (const then of page.listeners[name] || []) then(event); };
  /* Moves the clock, with every timer that is due. */
  page.wait = (ms) => {
    const until = page.clock + ms;
    for (;;) {
      const next = timers.filter((one) => one.at <= until).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      timers = timers.filter((one) => one !== next);
      page.clock = Math.max(page.clock, next.at);
      next.then();
    }
    page.clock = until;
  };
  /* A frame from the server, whose clock goes with the page's. */
  page.hear = (frame) => {
    const head = { assets: 1, stale: 0, alarms: 0, unack: 0, worst: 0, feed: true, monitor: true, ...frame.head };
    page.sockets.at(-1).onmessage({ data: JSON.stringify({ now: page.clock, ...frame, head }) });
  };
  page.fire("load");
  return page;
}

/* All words in a tree of React's or Dash's elements, in order. */
export function wordsOf(tree) {
  if (tree === null || tree === undefined || typeof tree === "boolean") return "";
  if (Array.isArray(tree)) return tree.map(wordsOf).join("");
  if (typeof tree !== "object") return String(tree);
  return wordsOf(tree.children) + wordsOf(tree.props?.children);
}
