/* What is stale, when a lamp may say that all is well, and when the connection is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EN, NOW, open } from "./page.mjs";

const FLEET = { k: "fleet", rows: [] };
const row = (more) => ({ id: "a", at: NOW, limit: 3000, stale: false, risk: "ok", ...more });

function connected() {
  const page = open();
  page.client.look({ look: "none" });
  page.hear(FLEET);
  return page;
}

test("a row is live while the server says so and its limit is not long past", () => {
  const { cp, ...page } = connected();
  assert.deepEqual({ ...cp.fresh(row()) }, { kind: "live", words: EN.fresh });
  assert.equal(cp.isStale(row({ at: NOW - 4400 })), false);
  assert.equal(cp.isStale(row({ at: NOW - 4600 })), true);
  assert.equal(cp.isStale(row({ at: NOW - 4600, limit: 60_000 })), false);
  assert.equal(page.clock, NOW);
});

test("what the server calls stale is stale, with its age", () => {
  const { cp } = connected();
  const age = cp.age(10_000);
  for (const stale of [true, undefined]) { // true is its default, and left out
    assert.deepEqual({ ...cp.fresh(row({ at: NOW - 10_000, stale })) }, { kind: "stale", words: EN.stale.replace("{age}", age) });
  }
  assert.deepEqual({ ...cp.fresh(row({ at: NOW - 10_000, off: true })) }, { kind: "stale", words: EN.offline.replace("{age}", age) });
  assert.deepEqual({ ...cp.fresh(row({ at: null })) }, { kind: "stale", words: EN.never });
  assert.deepEqual({ ...cp.fresh(row({ at: undefined, off: true })) }, { kind: "stale", words: EN.never });
});

test("nothing is live while the server has lost its broker", () => {
  const page = connected();
  page.hear({ ...FLEET, head: { feed: false, feed_since: NOW } });
  assert.equal(page.cp.isStale(row()), true);
  assert.ok(page.elements.get("banner").textContent.startsWith(EN.lost_feed));
  page.hear(FLEET);
  assert.equal(page.cp.isStale(row()), false);
  assert.equal(page.elements.get("banner").textContent, "");
});

test("what was normal is unknown once it is stale; a warning stands", () => {
  const { cp } = connected();
  const lamp = (more) => cp.risk(row(more)).kind;
  assert.equal(lamp({}), "ok");
  assert.equal(lamp({ stale: true }), "unknown");
  assert.equal(lamp({ stale: true, risk: "watch" }), "watch");
  assert.equal(lamp({ stale: true, risk: "danger" }), "danger");
  assert.equal(lamp({ risk: undefined }), "unknown");
  for (const kind of ["ok", "watch", "warning", "danger", "unknown"]) {
    assert.equal(cp.lamp(kind).words, EN["risk_" + kind]);
    assert.equal(cp.lamp(kind).sign.length, 1);
  }
});

test("a server that falls silent is lost within seconds, said loudly, and asked for again", () => {
  const page = connected();
  page.wait(3000);
  assert.equal(page.cp.isLost(), false);
  page.wait(2000);
  assert.equal(page.cp.isLost(), true);
  assert.ok(page.elements.get("banner").textContent.startsWith(EN.lost_server));
  assert.equal(page.cp.isStale(row({ at: page.clock })), true);
  assert.equal(page.sockets.at(-1).readyState, 3);
  page.wait(1000);
  assert.deepEqual(page.asked, ["/session"]);
});

test("a server that closes is lost at once", () => {
  const page = connected();
  page.sockets.at(-1).onclose();
  assert.equal(page.cp.isLost(), true);
});

test("a page that has slept waits a moment for what has come meanwhile", () => {
  const page = connected();
  page.clock += 60_000; // no timer ran
  page.wait(1000);
  assert.equal(page.cp.isLost(), false);
  page.wait(500);
  page.hear(FLEET);
  page.wait(2000);
  assert.equal(page.cp.isLost(), false);
});

test("ages go by the server's clock", () => {
  const page = connected();
  page.hear({ ...FLEET, now: NOW + 3_600_000 });
  assert.equal(page.cp.now(), NOW + 3_600_000);
  assert.equal(page.cp.isStale(row({ at: NOW + 3_600_000 })), false);
  assert.equal(page.cp.isStale(row({ at: NOW })), true);
});

test("a frame is confirmed even where painting it fails", () => {
  const page = connected();
  page.cp.handlers.broken = { frame() { throw new Error("painting"); } };
  page.client.look({ look: "broken" });
  page.sent.length = 0;
  assert.throws(() => page.hear({ k: "broken" }), /painting/);
  assert.deepEqual(page.sent, [{ got: 1 }]);
});

test("the counts above every page are the head's", () => {
  const page = open({ has: ["nav-alarms", "count-stale", "count-box-unack"] });
  page.hear({ ...FLEET, head: { assets: 9, stale: 4, alarms: 3, unack: 2, worst: 5 } });
  assert.equal(page.set["count-stale"].children, "4");
  assert.equal(page.set["nav-alarms"].children, "2");
  assert.match(page.set["nav-alarms"].className, /cp-sev-5/);
  assert.match(page.set["count-box-unack"].className, /cp-count-on/);
});
