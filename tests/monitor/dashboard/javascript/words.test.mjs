/* Words, numbers and times, in both languages. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ASSETS, EN, NOW, SCRIPTS, SENT, ZH, open } from "./page.mjs";

const { cp, client } = open();
const zh = (check) => { client.switchLanguage("zh"); try { check(); } finally { client.switchLanguage("en"); } };

test("a text has its places filled, in both languages", () => {
  assert.equal(cp.text("cells", { n: 8 }), "8 cells");
  zh(() => assert.equal(cp.text("cells", { n: 8 }), "8 个单体"));
  assert.equal(cp.text("no_such_text"), "no_such_text");
});

test("every text that a script names is there, in both languages", () => {
  let count = 0;
  for (const name of SCRIPTS) {
    for (const [, key] of readFileSync(ASSETS + name, "utf8").matchAll(/cp\.text\("(\w+)"[,)]/g)) {
      count += 1;
      for (const language of ["en", "zh"]) assert.ok(SENT.texts[language][key], `${name}: ${key} in ${language}`);
    }
  }
  assert.ok(count > 80, String(count));
});

test("numbers have their unit, a true minus sign and no minus nought", () => {
  assert.equal(cp.number(3.7, 3, "V"), "3.700 V");
  assert.equal(cp.number(-1.5, 2, "A"), "−1.50 A");
  assert.equal(cp.number(-0.001, 2, "A"), "0.00 A");
  assert.equal(cp.number(0.951, 1, "%"), "95.1 %");
  assert.equal(cp.number(0.0123, 1, "mΩ"), "12.3 mΩ");
  assert.equal(cp.number(4, 0, "1"), "4");
  assert.equal(cp.number(4, 1), "4.0");
  for (const none of [null, undefined, NaN]) assert.equal(cp.number(none, 1, "V"), "–");
});

test("a state of health is a figure with its interval, or says why there is none", () => {
  assert.deepEqual({ ...cp.soh({ soh: 0.951, lo: 0.933, hi: 0.969, st: "ok" }) }, { main: "95.1 %", sub: "93.3–96.9 %" });
  assert.deepEqual({ ...cp.soh({ soh: 0.951, st: "ok" }) }, { main: "95.1 %", sub: "" });
  assert.deepEqual({ ...cp.soh({}) }, { main: "–", sub: EN.soh_none });
  const state = "not_enough_seen";
  assert.deepEqual({ ...cp.soh({ soh: null, st: state }) }, { main: "–", sub: EN["soh_" + state] });
  zh(() => assert.equal(cp.soh({ soh: 0.9, lo: 0.8, hi: 0.95, st: state }).sub, ZH["soh_" + state] + " · 80.0–95.0 %"));
});

test("a phase is in words, and one that has none as it is", () => {
  assert.equal(cp.phase("CC charge"), EN.phase_cc_charge);
  assert.equal(cp.phase("cc_charge"), EN.phase_cc_charge);
  zh(() => assert.equal(cp.phase("rest"), ZH.phase_rest));
  assert.equal(cp.phase("dance"), "dance");
  assert.equal(cp.phase(null), "–");
});

test("an age is told in the unit that fits", () => {
    const told = (key, n) => EN[key].replace("{n}", String(n));
  assert.equal(cp.age(-5000), told("seconds", 0));
  assert.equal(cp.age(119e3), told("seconds", 119));
  assert.equal(cp.age(120e3), told("minutes", 2));
  assert.equal(cp.age(7200e3), told("hours", 2));
  assert.equal(cp.age(172800e3), told("days", 2));
});

test("a time is that of the browser's zone or UTC, and an axis shows the same", () => {
  assert.equal(process.env.TZ, "Asia/Shanghai");
  assert.equal(cp.time(NOW), "2025-03-04 13:06:07");
  assert.equal(cp.time(NOW, false), "13:06:07");
  assert.equal(cp.axisTime(NOW + 5), "2025-03-04 13:06:07.005");
  client.zone("utc");
  assert.equal(cp.time(NOW), "2025-03-04 05:06:07");
  assert.equal(cp.axisTime(NOW), "2025-03-04 05:06:07.000");
  zh(() => assert.equal(cp.time(NOW), "2025/03/04 05:06:07"));
  client.zone("local");
  assert.equal(cp.time(null), "–");
});

test("the language is the address's, else the stored one, else the browser's", () => {
  const choose = (search, stored, browser) => {
    const page = open();
    page.window.location.search = search;
    page.window.navigator.language = browser;
    page.client.chooseLanguage(0, stored);
    return page.cp.language;
  };
  assert.equal(choose("?lang=zh", "en", "en"), "zh");
  assert.equal(choose("", "zh", "en"), "zh");
  assert.equal(choose("", null, "zh-TW"), "zh");
  assert.equal(choose("", null, "sv"), "en");
  const page = open();
  assert.equal(page.client.chooseLanguage(0, "en"), "no update");
  assert.equal(page.client.switchLanguage("zh", "en"), "zh");
});

test("an asset's address is safe, and counts cells from one", () => {
  assert.equal(cp.assetPath("a/b ü"), "/asset/a%2Fb%20%C3%BC");
  assert.equal(cp.assetPath("a", 0), "/asset/a");
  assert.equal(cp.assetPath("a", 7), "/asset/a/8");
});
