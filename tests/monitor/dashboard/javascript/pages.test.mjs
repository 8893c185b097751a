/* What the pages make of the frames that come: the asset's traces, the fleet's list, the alarms. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EN, NOW, SENT, open, plain, wordsOf } from "./page.mjs";

const LOOK = { look: "asset", asset: "a", cell: 0 };
const row = (more) => ({ id: "a", at: NOW, limit: 3000, stale: false, v: 3.7, i: 1, t: 25, ...more });
const frame = (more) => ({ k: "asset", asset: "a", cell: 0, run: 0, s: [], e: [], c: [], row: row(), ...more });
const samples = (from, count) => {
  const t = Array.from({ length: count }, (_, n) => NOW + (from + n) * 1000);
  return [t, t.map(() => 3.7), t.map(() => 1), t.map(() => 25), t.map(() => null)];
};

function asset(has = []) {
  const page = open({ has: ["a-v", "a-t", "a-t-sub", "a-note", "a-fresh", ...has] });
  page.client.look(LOOK);
  page.hear(frame({ full: true, s: samples(-60, 60), config: { nominal_capacity_ah: 2, limits: {} } }));
  page.wait(1);
  return page;
}
const drawn = (page) => plain(page.set.traces.figure.data[0]);

test("an asset's numbers and traces are drawn from its frames", () => {
  const page = asset();
  assert.equal(page.set["a-v"].children, "3.700 V");
  assert.equal(page.set["a-fresh"].children, EN.fresh);
  assert.equal(drawn(page).x.length, 60);
});

test("what a config leaves out of its limits is the contract's", () => {
  const page = asset();
  assert.equal(wordsOf(page.set["a-t-sub"].children), EN.limit + " 60 °C");
  page.hear(frame({ config: { nominal_capacity_ah: 2, limits: { temperature_max_c: 45 } } }));
  assert.equal(wordsOf(page.set["a-t-sub"].children), EN.limit + " 45 °C");
});

test("a range keeps its span alone, and an unknown one keeps all", () => {
  const page = asset();
  const trace = (count) => {
    const [ts, v, i, t, amb] = samples(-count, count);
    const none = ts.map(() => null);
    return { ts, v, i, t, amb, score: none, heat: none, soc: none, soh: none, lo: none, hi: none, r: none };
  };
  page.client.history({ asset: "a", cell: 0, range: "10s", trace: trace(300), cycles: [] });
  assert.equal(drawn(page).x.length, 11);
  page.client.history({ asset: "a", cell: 0, range: "no such", trace: trace(300), cycles: [] });
  assert.equal(drawn(page).x.length, 300);
  page.client.history({ asset: "b", cell: 0, range: "10s", trace: trace(20), cycles: [] }); // of another asset
  assert.equal(drawn(page).x.length, 300);
});

test("a store's trace is followed by what is live, broken where nothing was heard between", () => {
  const page = asset();
  const [ts, v, i, t, amb] = samples(-7200, 60);
  const none = ts.map(() => null);
  page.client.history({ asset: "a", cell: 0, range: "all", trace: { ts, v, i, t, amb, score: none, heat: none, soc: none, soh: none, lo: none, hi: none, r: none }, cycles: [] });
  const { y } = drawn(page);
  assert.equal(y.length, 121);
  assert.equal(y[60], null);
});

test("a paused page draws nothing until it goes on", () => {
  const page = asset();
  assert.equal(page.client.pause(1), EN.resume);
  page.hear(frame({ s: samples(0, 5) }));
  page.wait(1);
  assert.equal(drawn(page).x.length, 60);
  assert.equal(page.client.pause(2), EN.pause);
  assert.equal(drawn(page).x.length, 65);
});

test("what was drawn of an earlier run is dropped", () => {
  const page = asset();
  page.hear(frame({ run: 1, s: samples(-5000, 3) }));
  page.wait(1);
  assert.equal(drawn(page).x.length, 3);
});

test("a missing asset is named, and a frame of another page is passed over", () => {
  const page = asset();
  page.hear(frame({ missing: true }));
  assert.equal(page.set["a-note"].children, EN.missing_asset.replace("{name}", "a"));
  page.hear({ ...frame({ row: row({ v: 9 }) }), asset: "b" });
  page.wait(1);
  assert.equal(page.set["a-v"].children, "3.700 V");
});

test("a table of the fleet shows the assets that a count has chosen", () => {
  const page = open({ has: ["fleet-empty"] });
  page.client.look({ look: "fleet" });
  page.client.fleetControls("", "name", "table");
  page.hear({ k: "fleet", full: true, rows: [row(), row({ id: "b", stale: true }), row({ id: "c", alarms: 1, unack: 0 })] });
  const passing = () => ["a", "b", "c"].filter((name) => page.functions.cpPasses(
    { a: row(), b: row({ id: "b", stale: true }), c: row({ id: "c", alarms: 1, unack: 0 }) }[name]));
  const press = (key) => {
    const button = new page.window.Element("count-box-" + key);
    button.closest = (selector) => (selector === "button.cp-count" ? button : null);
    page.fire("click", { target: button });
  };
  assert.deepEqual([page.functions.cpOnlySome(), passing()], [false, ["a", "b", "c"]]);
  press("stale");
  assert.deepEqual([page.functions.cpOnlySome(), passing()], [true, ["b"]]);
  press("alarms");
  assert.deepEqual(passing(), ["c"]);
  press("unack");
  assert.deepEqual(passing(), []);
  press("unack"); // again: all
  assert.deepEqual(passing(), ["a", "b", "c"]);
});

test("the journal has each event once, the newest first, in the reader's language", () => {
  const page = open({ has: ["journal"] });
  const event = (event_id, timestamp_ms, more) => ({
    event_id, cause: "raise", alarm: { timestamp_ms, severity: 3, state: "unacknowledged", message: "hot " + event_id, message_zh: "过热 " + event_id }, ...more,
  });
  page.client.look({ look: "alarms" });
  page.client.events([event("1", NOW), event("2", NOW + 1)]);
  page.hear({ k: "alarms", alarms: [], events: [event("2", NOW + 1), event("3", NOW + 2, { cause: "acknowledge", user: "eve", comment: "seen" })] });
  const entries = () => page.set.journal.children.map(wordsOf);
  assert.equal(entries().length, 3);
  ["hot 3", "hot 2", "hot 1"].forEach((words, n) => assert.ok(entries()[n].includes(words), entries()[n]));
  assert.ok(entries()[0].includes(EN.cause_acknowledge + " · " + EN.user_caused.replace("{user}", "eve") + " · “seen”"));
  assert.ok(entries()[1].includes(EN.cause_raise + " → " + EN.state_unacknowledged));
  page.client.switchLanguage("zh");
  page.cp.handlers.alarms.redraw();
  assert.ok(entries()[2].includes("过热 1"));
});

test("a file that is too large is refused before it is sent", () => {
  const page = open({ has: ["drop", "analysis-state"] });
  const drop = page.elements.get("drop");
  const heard = {};
  Object.assign(drop, { addEventListener: (name, then) => { heard[name] = then; }, parentElement: { appendChild() {} } });
  page.window.document.createElement = () => ({});
  page.client.look({ look: "none", page: "analyse" });
  const file = { name: "big.csv", size: SENT.settings.upload_bytes + 1 };
  heard.drop({ preventDefault() {}, dataTransfer: { files: [file] } });
  assert.equal(page.set["analysis-state"].children, EN.refused.replace("{name}", "big.csv") + " " + EN.upload_too_large);
});
