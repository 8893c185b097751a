/* The alarm list, its journal, and a sound and title for who asked for them. */
(function () {
  "use strict";
  const cp = window.cellpulse;
  let alarms = [], events = [], fitted = false;

  function words(alarm) { return cp.language === "zh" ? alarm.message_zh : alarm.message; }

  function paint() { cp.grid("alarm-grid", (api) => { fill(api); if (!fitted) { fitted = true; fit(); } }); }

  /* The columns that a phone's single one speaks for. */
  const WIDE = ["severity", "reading", "state", "since_ms", "asset", "count", "todo"];
  function fit() {
    if (!document.getElementById("alarm-grid")) return;
    cp.grid("alarm-grid", (api) => {
      api.setColumnsVisible(WIDE, !cp.narrow.matches);
      api.setGridOption("domLayout", cp.narrow.matches ? "autoHeight" : "normal");
      api.refreshCells({ force: true, columns: ["text"] });
    });
  }
  cp.narrow.addEventListener("change", fit);

  function fill(api) {
    api.setGridOption("rowData", alarms.map((alarm) => ({
      ...alarm, key: alarm.asset + "/" + alarm.code + "/" + alarm.source, text: words(alarm),
      todo: cp.language === "zh" ? alarm.action_zh : alarm.action,
    })));
  }

  /* What made the transition and where it led; who did it, and what they had to say. */
  const LEADS = ["raise", "clear", "unshelve", "unsuppress", "in_service"]; // the others' words name the state
  function happened(event) {
    const led = LEADS.includes(event.cause) ? " → " + cp.text("state_" + event.alarm.state) : "";
    return cp.text("cause_" + event.cause) + led + (event.user ? " · " + cp.text("user_caused", { user: event.user }) : "") +
      (event.comment ? " · “" + event.comment + "”" : "");
  }

  function paintJournal() {
    const children = events.slice(0, 200).map((event) => cp.el("Div", { className: "cp-entry" }, [
      cp.el("Span", { className: "cp-muted" }, cp.time(event.alarm.timestamp_ms)),
      cp.el("Span", { className: "cp-badge cp-sev-" + event.alarm.severity }, cp.text("severity_" + event.alarm.severity)),
      cp.el("Span", null, words(event.alarm)),
      cp.el("Span", { className: "cp-muted" }, happened(event)),
    ]));
    cp.put("journal", { children: children.length ? children : cp.text("no_events") });
  }

  /* Newest first; an event may come from the store and over the wire. */
  function merge(list) {
    const known = new Map(events.concat(list).map((event) => [event.event_id, event]));
    events = [...known.values()].sort((a, b) => b.alarm.timestamp_ms - a.alarm.timestamp_ms).slice(0, 200);
    paintJournal();
  }

  cp.handlers.alarms = {
    enter() { alarms = []; events = []; fitted = false; },
    frame(frame) {
      if (frame.alarms) { alarms = frame.alarms; paint(); }
      merge(frame.events.slice().reverse());
    },
    events(list) { merge(list || []); },
    search(words) {
      cp.grid("alarm-grid", (api) => api.setGridOption("quickFilterText", words));
    },
    redraw() { paint(); paintJournal(); },
  };

  /* On request: a tone and a flashing title when the number of unacknowledged alarms grows. */
  /** @type {number | null} */
  let before = null;
  let title = document.title, flashing = 0;
  function tone() {
    try {
      const audio = new AudioContext();
      const gain = audio.createGain();
      gain.gain.value = 0.15;
      gain.connect(audio.destination);
      [0, 0.25].forEach((at, n) => {
        const oscillator = audio.createOscillator();
        oscillator.frequency.value = n ? 660 : 880;
        oscillator.connect(gain);
        oscillator.start(audio.currentTime + at);
        oscillator.stop(audio.currentTime + at + 0.18);
      });
    } catch { /* the browser forbids sound until the user has clicked */ }
  }
  setInterval(() => {
    if (!cp.head) return;
    const count = cp.head.unack || 0;
    if (before !== null && count > before && cp.soundOn) { tone(); flashing = 20; }
    before = count;
    if (!count) flashing = 0;
    if (flashing > 0) {
      flashing -= 1;
      document.title = flashing % 2 ? "⚑ " + count + " " + cp.text("alarms") : title;
    } else if (document.title !== title && document.title.startsWith("⚑")) document.title = title;
  }, 1000);
})();
