/* The figures: their columns, units and words, and where a line is broken. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EN, NOW, ZH, open, plain } from "./page.mjs";

const { cp, client } = open();
const { figures } = cp;
client.zone("utc");
const named = (figure, name) => figure.data.find((trace) => trace.name === name);
const notes = (figure) => plain(figure.layout.annotations || []).map((one) => one.text);
const cycle = (number, soh, more) => ({
  kind: "discharge", complete: true, number, end_ms: NOW + number * 86_400_000, capacity_ah: 2 * soh, soh, soh_low: soh - 0.02,
  soh_high: soh + 0.01, ...more,
});
const NONE = { state: "few", seen: 3, needs: 10, step: [], soh: [], low: [], high: [], ahead: 10, farthest: 400 };
const FORECAST = {
  ...NONE, state: "ok", seen: 4, end_of_life: 0.7, knee_cycle: null, knee_ms: null, last_ms: NOW, cycle_ms: 86_400_000, step: [1, 10],
  soh: [0.8, 0.75], low: [0.79, 0.7], high: [0.81, 0.8], remaining: 30, remaining_low: 20, remaining_high: null,
};

test("the traces have five lines on four axes, in event time", () => {
  const S = [[NOW, NOW + 1000], [3.7, 3.8], [1, 2], [25, 25], [20, null]], E = [[NOW], [0.2]];
  const figure = plain(figures.traces(S, E, "key"));
  assert.deepEqual(figure.data.map((trace) => trace.name), [
    EN.voltage + " V", EN.current + " A", EN.temperature + " °C", EN.ambient + " °C", EN.score,
  ]);
  assert.deepEqual(figure.data.map((trace) => trace.yaxis), ["y", "y2", "y3", "y3", "y4"]);
  assert.deepEqual(figure.data[0].x, ["2025-03-04 05:06:07.000", "2025-03-04 05:06:08.000"]);
  assert.deepEqual(figure.data[3].y, [20, null]);
  assert.deepEqual(figure.data[4].x, ["2025-03-04 05:06:07.000"]);
  assert.ok(figure.data.every((trace) => trace.connectgaps === false));
  assert.equal(figure.layout.uirevision, "key");
  assert.equal(figure.layout.shapes[0].y0, 1); // the alarm threshold
});

test("the drawn columns are copies: what comes live does not change them", () => {
  const S = [[NOW], [3.7], [1], [25], [null]];
  const figure = figures.traces(S, [[], []], "key");
  S[1].push(9);
  assert.equal(figure.data[0].y.length, 1);
});

test("stretches of heat are marked", () => {
  const figure = figures.traces([[], [], [], [], []], [[], []], "key", [{ start_ms: NOW, end_ms: NOW + 60_000 }]);
  assert.deepEqual([figure.layout.shapes[1].x0, figure.layout.shapes[1].x1], ["2025-03-04 05:06:07.000", "2025-03-04 05:07:07.000"]);
});

test("a column goes on over a moment without it, and is broken where nothing was heard or for long", () => {
  const draw = (V, T, step) => {
    const t = V.map((_, n) => NOW + n * step);
    return plain(figures.traces([t, V, V.map(() => null), T, V.map(() => null)], [[], []], "key", [], true).data.map((trace) => trace.y));
  };
  const [v, , c] = draw([3.7, null, 3.8, null, 3.9], [null, 25, null, 26, null], 1000); // they take turns
  assert.deepEqual([v, c], [[3.7, 3.8, 3.9], [25, 26]]);
  assert.deepEqual(draw([3.7, null, 3.8], [25, null, 26], 1000)[0], [3.7, null, 3.8]); // nothing was heard
  assert.deepEqual(draw([3.7, null, null, 3.8], [25, 25, 25, 26], 60_000)[0], [3.7, null, 3.8]); // three minutes
});

test("an axis spans at least a sensor's noise", () => {
  const near = (given, wanted) => given.forEach((value, n) => assert.ok(Math.abs(value - wanted[n]) < 1e-9, String(given)));
  assert.deepEqual(plain(figures.room([null, undefined], 0.05)), {});
  near(figures.room([3.7, null, 3.7], 0.05).include, [3.675, 3.725]);
  near(figures.room([3, 4], 0.05).include, [3, 4]);
});

test("a graph of nothing says so, in the reader's language", () => {
  assert.deepEqual(notes(figures.soh([], 2, null, [], null, 0.7, "k")), [EN.soh_nothing]);
  assert.deepEqual(notes(figures.ica([], "k")), [EN.ica_none]);
  client.switchLanguage("zh");
  assert.deepEqual(notes(figures.ica([], "k")), [ZH.ica_none]);
  client.switchLanguage("en");
});

test("the state of health is in percent and in time's order, with its interval", () => {
  const cycles = [cycle(3, 0.8), cycle(1, 0.9), cycle(2, null), cycle(4, 0.78, { kind: "charge" })];
  const figure = figures.soh(cycles, 2, null, [[NOW, 0.91]], null, 0.7, "k");
  const line = named(figure, EN.soh + " %");
  assert.deepEqual(plain(line.y), [90, 80, 78]);
  assert.deepEqual(plain(line.x).map((text) => text.slice(0, 10)), ["2025-03-05", "2025-03-07", "2025-03-08"]);
  line.error_y.array.forEach((value) => assert.ok(Math.abs(value - 1) < 1e-9));
  line.error_y.arrayminus.forEach((value) => assert.ok(Math.abs(value - 2) < 1e-9));
  assert.deepEqual(plain(named(figure, EN.full_discharges + " %").y), [90, 0, 80]);
  assert.deepEqual(plain(named(figure, EN.truth).y), [91]);
  assert.equal(named(figures.soh([1, 2, 3, 4].map((n) => cycle(n, 0.9)), 2, null, [], null, 0.7, "k"), EN.soh + " %").error_y, undefined);
});

test("the newest estimate stands beside the cycles, with an interval where it has one", () => {
  const now = (more) => named(figures.soh([], null, { soh: 0.95, lo: 0.93, hi: 0.96, ts: NOW, ...more }, [], null, 0.7, "k"), EN.live);
  assert.deepEqual(plain(now().y), [95]);
  assert.equal(now().error_y.array.length, 1);
  assert.equal(now({ lo: null }).error_y, undefined);
  assert.equal(now({ soh: null }), undefined);
});

test("the end of life is drawn where it is near, and never where there is none", () => {
  const eol = EN.end_of_life.replace("{n}", "70");
  assert.deepEqual(notes(figures.soh([cycle(1, 0.9)], 2, null, [], null, 0.7, "k")), []);
  assert.deepEqual(notes(figures.soh([cycle(1, 0.75)], 2, null, [], null, 0.7, "k")), [eol]);
  assert.deepEqual(notes(figures.soh([cycle(1, 0.9)], 2, null, [], FORECAST, 0.7, "k")), [eol]);
  assert.deepEqual(notes(figures.soh([cycle(1, 0.75)], 2, null, [], null, null, "k")), []);
});

test("a forecast goes on behind the last cycle, with its knee", () => {
  const figure = figures.soh([cycle(1, 0.9)], 2, null, [], { ...FORECAST, knee_ms: NOW, knee_cycle: 3 }, null, "k");
  const line = named(figure, EN.forecast + " %");
  assert.deepEqual(plain(line.x), ["2025-03-05 05:06:07.000", "2025-03-14 05:06:07.000"]);
  assert.deepEqual(plain(line.y), [80, 75]);
  assert.deepEqual(plain(line.customdata), [5, 14]); // the cycle's number
  assert.deepEqual(notes(figure), [EN.knee]);
  assert.equal(named(figures.soh([cycle(1, 0.9)], 2, null, [], NONE, null, "k"), EN.forecast + " %"), undefined);
});

test("a forecast is said in words, in both languages", () => {
  const fill = (words, values) => words.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
  for (const language of ["en", "zh"]) {
    const texts = { en: EN, zh: ZH }[language];
    client.switchLanguage(language);
    const ten = fill(texts.forecast_ten, { n: 10, soh: "75.0", low: "70.0", high: "80.0" });
    const end = (more) => figures.outlookWords({ ...FORECAST, ...more });
    assert.equal(end(), ten + " " + fill(texts.forecast_end, { eol: 70, n: 30, low: 20, high: fill(texts.forecast_over, { n: 400 }) }));
    assert.equal(end({ remaining: null }), ten + " " + fill(texts.forecast_none, { eol: 70, n: 400 }));
    assert.equal(end({ remaining: 0 }), ten + " " + fill(texts.forecast_past, { eol: 70 }));
    assert.equal(end({ end_of_life: null, knee_cycle: 7 }), fill(texts.knee_at, { n: 7 }) + " " + ten);
    assert.equal(figures.outlookWords(NONE), fill(texts.forecast_few, { needs: 10, seen: 3 }));
    assert.equal(figures.outlookWords({ ...NONE, state: "family" }), texts.forecast_family);
    assert.equal(figures.outlookWords(null), "");
  }
  client.switchLanguage("en");
});

test("curves of incremental capacity are told apart by age and number", () => {
  const curve = (number, age) => ({ number, age, v: [3.6, 3.7], q: [1, 2] });
  const figure = figures.ica([curve(1, "first"), curve(2, "first"), curve(40, "newest"), curve(41, "running")], "k");
  const told = (key, n) => EN[key] + " · " + EN.ica_number.replace("{n}", String(n));
  assert.deepEqual(plain(figure.data).map((trace) => trace.name), [told("ica_first", 1), told("ica_first", 2), told("ica_now", 40), told("ica_running", 41)]);
  assert.deepEqual(plain(figure.data).map((trace) => trace.line.dash), ["solid", "dash", "solid", "solid"]);
});
