/* A health report: fetched in the background, so that the page stays and can say how it goes. */
(function () {
  "use strict";
  const cp = window.cellpulse;

  async function download(link) {
    const state = link.parentElement.querySelector(".cp-report-state");
    if (link.getAttribute("aria-busy") === "true") return;
    link.setAttribute("aria-busy", "true");
    state.textContent = cp.text("report_making");
    try {
      const answer = await fetch(link.href);
      if (!answer.ok) throw new Error((await answer.text()).slice(0, 600));
      const named = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") || "");
      const url = URL.createObjectURL(await answer.blob());
      const save = document.createElement("a");
      save.href = url;
      save.download = named ? decodeURIComponent(named[1]) : "battery_health_report.pdf";
      save.click();
      setTimeout(() => URL.revokeObjectURL(url), 60000);
      state.textContent = "";
    } catch (error) {
      state.textContent = error instanceof Error && !(error instanceof TypeError) ? error.message : cp.text("report_failed");
    } finally {
      link.removeAttribute("aria-busy");
    }
  }

  document.addEventListener("click", (event) => {
    const link = cp.around(event, "a.cp-report");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    download(link);
  });
})();
