/* Gaps and thinning: the table of cases that the server's own test runs too, and what is the page's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CASES, open, plain } from "./page.mjs";

const { cp } = open();
const { series } = cp;
const columns = (rows) => rows[0].map((_, n) => rows.map((row) => row[n]));

for (const { name, times, next, gap } of CASES.gap) {
  test("gap: " + name, () => assert.equal(series.isGap(times, next), gap));
}

for (const { name, rows, marked } of CASES.marked) {
  test("marked: " + name, () => {
    const buffer = rows[0].map(() => []);
    series.append(buffer, columns(rows));
    assert.deepEqual(columns(buffer), marked);
  });
}

for (const { name, columns: given, points, kept } of CASES.kept) {
  test("kept: " + name, () => assert.deepEqual(plain(series.keepExtremes(given, points)), kept));
}

test("rows that are there already, or come late, are not appended again", () => {
  const buffer = [[0, 1000], [3.7, 3.8]];
  series.append(buffer, [[0, 1000, 2000, 1500], [1, 1, 3.9, 1]]);
  assert.deepEqual(buffer, [[0, 1000, 2000], [3.7, 3.8, 3.9]]);
  series.append(buffer, []);
  assert.equal(buffer[0].length, 3);
});

test("a column that a frame lacks is empty", () => {
  const buffer = [[], [], []];
  series.append(buffer, [[0], [3.7]]);
  assert.deepEqual(buffer, [[0], [3.7], [null]]);
});

test("a gap in what comes live is marked by an empty row", () => {
  const buffer = [[0, 1000, 2000, 3000], [3.7, 3.7, 3.7, 3.7]];
  series.append(buffer, [[3000 + 3600e3], [3.9]]);
  assert.deepEqual(buffer, [[0, 1000, 2000, 3000, 3001, 3603000], [3.7, 3.7, 3.7, 3.7, null, 3.9]]);
});

test("trimming drops the rows before a time, and at all of time none", () => {
  const buffer = [[0, 1000, 2000], [1, 2, 3]];
  series.trim(buffer, -Infinity);
  assert.equal(buffer[0].length, 3);
  series.trim(buffer, 1000);
  assert.deepEqual(buffer, [[1000, 2000], [2, 3]]);
  series.trim(buffer, 9999);
  assert.deepEqual(buffer, [[], []]);
});

test("a buffer is thinned above a number of rows, with its peaks and its gap", () => {
  const many = 4001;
  const times = Array.from({ length: many }, (_, n) => n * 1000);
  const buffer = [times, times.map(() => 3.7), times.map((_, n) => n % 7), times.map(() => null)];
  buffer[1][1234] = 9.9;
  buffer[1][2345] = -9.9;
  buffer[1][3000] = buffer[2][3000] = null;
  const same = buffer.map((list) => list.slice(0, 4000));
  assert.equal(series.thin(same, [1, 2], 4000, 2000), false);
  assert.equal(same[0].length, 4000);
  assert.equal(series.thin(buffer, [1, 2], 4000, 2000), true);
  assert.ok(buffer[0].length <= 2000 && buffer[0].length > 600);
  assert.ok(buffer.every((list) => list.length === buffer[0].length));
  for (const n of [0, 1234, 2345, 2999, 3000, 3001, 4000]) assert.ok(buffer[0].includes(n * 1000), String(n));
  assert.equal(buffer[1][buffer[0].indexOf(3000e3)], null);
  const order = plain(buffer[0]);
  assert.deepEqual(order, [...order].sort((a, b) => a - b));
});

test("a score is drawn where there is one and broken where nothing was heard", () => {
  const trace = {
    ts: [0, 1, 2, 3], v: [3.7, 3.7, null, 3.7], i: [1, 1, null, 1], t: [25, null, null, 25], score: [0.1, null, null, 0.2],
  };
  assert.deepEqual(plain(series.scored(trace)), [0, 2, 3]);
});
