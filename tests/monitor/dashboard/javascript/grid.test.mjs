/* The tables: number filters, order, and what stands in a cell. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EN, NOW, ZH, open, wordsOf } from "./page.mjs";

const { functions, components, client } = open();
const passes = (value, filterText) => functions.cpNumberMatches({ value, filterText });

test("a number filter compares", () => {
  for (const [words, below, at, above] of [
    [">45", false, false, true], [">=45", false, true, true], ["≥ 45", false, true, true], ["<45", true, false, false],
    ["<= 45", true, true, false], ["≤45", true, true, false], ["=45", false, true, false], ["40..45", true, true, false],
    ["45~50", false, true, true],
  ]) {
    assert.deepEqual([passes(44.9, words), passes(45, words), passes(45.1, words)], [below, at, above], words);
  }
});

test("a number filter knows negative numbers, with either minus", () => {
  assert.equal(passes(-5, "<-4"), true);
  assert.equal(passes(-5, "<−4"), true);
  assert.equal(passes(-5, "-6..-4"), true);
  assert.equal(passes(-3, "-6..-4"), false);
});

test("first digits find a number, and what is not finished holds nothing back", () => {
  assert.equal(passes(45.1, "45"), true);
  assert.equal(passes(45.1, "5"), false);
  for (const words of ["", " ", ">", "<=", "> -", null, undefined]) assert.equal(passes(45, words), true, String(words));
});

test("a filter compares what is shown: percent and milliohm", () => {
  assert.equal(functions.cpShown(0.5, "%"), 50);
  assert.equal(functions.cpShown(0.25, "mΩ"), 250);
  assert.equal(functions.cpShown(3.7, "V"), 3.7);
  assert.equal(functions.cpShown(null, "%"), null);
  assert.equal(functions.cpShown(0, "V"), 0);
});

test("names are ordered by their numbers, risks by their gravity", () => {
  assert.deepEqual(["b10", "b9", "a1"].sort(functions.cpCompareNames), ["a1", "b9", "b10"]);
  assert.deepEqual(["danger", "ok", "unknown", "warning", "watch"].sort(functions.cpCompareRisk), ["unknown", "ok", "watch", "warning", "danger"]);
});

test("a cell's words are those of the row", () => {
  const live = { id: "a", risk: "warning", at: NOW, limit: 3000, stale: true };
  assert.equal(functions.cpRiskWords(live), EN.risk_warning);
  assert.equal(wordsOf(components.CpLamp({ data: live })), "▲" + EN.risk_warning);
  assert.equal(wordsOf(components.CpSoh({ data: { soh: 0.9, lo: 0.85, hi: 0.95 } })), "90.0 % 85.0–95.0 %");
  assert.equal(wordsOf(components.CpAlarmCount({ data: { alarms: 0 } })), "0");
  assert.match(components.CpAlarmCount({ data: { alarms: 2, sev: 4 } }).props.className, /cp-sev-4/);
  const asset = components.CpAssetLink({ data: { id: "a/b" } });
  assert.equal(asset.props.href, "/asset/a%2Fb");
  assert.equal(wordsOf(asset), "a/b");
});

test("an alarm's reading is in the record's own unit, with its limit", () => {
  const reading = (data) => wordsOf(components.CpReading({ data }));
  assert.equal(reading({ value: 61.234, limit: 60, unit: "°C" }), "61.23 °C" + EN.limit + " 60.00 °C");
  assert.equal(reading({ value: 400, limit: null, unit: "V" }), "400 V");
  assert.equal(reading({ value: 120, limit: 3, unit: "cycle" }), "120 cycle");
  assert.equal(reading({ value: 0.3, limit: 1, unit: "1" }), "0.30" + EN.limit + " 1.00");
  assert.equal(reading({ value: 1, unit: "" }), "–");
  assert.equal(reading({ value: null, unit: "V" }), "–");
});

test("an alarm of several assets has no link, and a narrow screen one card", () => {
  const data = {
    asset: "_group", source: "pack", places: ["a", "b"], severity: 4, state: "unacknowledged", text: "hot", todo: "look", since_ms: NOW, count: 2,
    value: 70, limit: 60, unit: "°C",
  };
  assert.match(wordsOf(components.CpAlarmSource({ data })), new RegExp(EN.several_assets));
  assert.equal(components.CpAlarmText({ data }), "hot");
  const phone = open({ media: ["(max-width: 760px)"] });
  const words = wordsOf(phone.components.CpAlarmText({ data }));
  for (const part of ["hot", "look", "70.00 °C", EN.severity_4]) assert.ok(words.includes(part), part);
});

test("a cycle's card says what is known, in both languages", () => {
  const data = { kind: "charge", number: 3, start_ms: NOW, capacity_ah: 1.8567, energy_wh: null, duration_h: 1.5, complete: false };
  assert.match(wordsOf(components.CpCycle({ data })), /3 .*1\.857 Ah · 1\.50 h/);
  client.switchLanguage("zh");
  const words = wordsOf(components.CpCycle({ data }));
  client.switchLanguage("en");
  assert.ok(words.includes(ZH.kind_charge) && words.includes(ZH.incomplete), words);
});
