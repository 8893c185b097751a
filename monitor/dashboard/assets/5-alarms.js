/* The alarm list, its journal, and a sound and title for who asked for them. */
(function () {
  "use strict";
  const cp = window.cellpulse;
  let alarms = [], events = [];

  function words(alarm) { return cp.language === "zh" ? alarm.message_zh : alarm.message; }

  function paint() { cp.whenThere("alarm-grid", fill); }

  function fill() {
    window.dash_clientside.set_props("alarm-grid", {
      rowData: alarms.map((alarm) => ({
        ...alarm, key: alarm.asset + "/" + alarm.code + "/" + alarm.source, text: words(alarm),
        todo: cp.language === "zh" ? alarm.action_zh : alarm.action,
      })),
    });
  }

  function paintJournal() {
    const children = events.slice(0, 200).map((event) => cp.el("Div", { className: "cp-entry" }, [
      cp.el("Span", { className: "cp-muted" }, cp.time(event.alarm.timestamp_ms)),
      cp.el("Span", { className: "cp-badge cp-sev-" + event.alarm.severity }, cp.text("severity_" + event.alarm.severity)),
      cp.el("Span", null, event.alarm.asset + " · " + event.alarm.source + " · " + words(event.alarm)),
      cp.el("Span", { className: "cp-muted" }, cp.text("state_" + event.previous) + " → " + cp.text("state_" + event.alarm.state) +
        (event.user ? " · " + cp.text("user_caused", { user: event.user }) : "") + (event.comment ? " · “" + event.comment + "”" : "")),
    ]));
    cp.put("journal", { children: children.length ? children : cp.text("no_events") });
  }

  cp.handlers.alarms = {
    enter() { alarms = []; events = []; },
    frame(frame) {
      if (frame.full) events = [];
      if (frame.alarms) { alarms = frame.alarms; paint(); }
      if (frame.events.length || frame.full) {
        events = frame.events.slice().reverse().concat(events).slice(0, 200);
        paintJournal();
      }
    },
    redraw() { paint(); paintJournal(); },
  };

  /* On request: a tone and a flashing title when the number of unacknowledged alarms grows. */
  let before = null, title = document.title, flashing = 0;
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
    } catch (error) { /* the browser forbids sound until the user has clicked */ }
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
