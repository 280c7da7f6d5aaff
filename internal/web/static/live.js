// Keeps a run's page current. The page is whole without it.
"use strict";

const main = document.querySelector("main[data-live]");
if (main && window.EventSource) {
  let shown = main.dataset.version;
  const events = new EventSource(main.dataset.live);

  const look = async (version) => {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    shown = version;
    // Another plan, or another decision to take, is another page.
    const decide = page.querySelector("#decide");
    if (!decide || decide.textContent !== document.querySelector("#decide").textContent) {
      if (!document.querySelector("#decide input:focus")) location.reload();
      return;
    }
    for (const part of document.querySelectorAll("[data-part]")) {
      const other = fresh.querySelector("#" + part.id);
      if (!other || part.id === "decide" || part.innerHTML === other.innerHTML) continue;
      const log = part.querySelector("pre.log");
      const atEnd = !log || log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      const top = log ? log.scrollTop : 0;
      const open = [...part.querySelectorAll("details[open]")].map((d) => d.querySelector("summary").textContent);
      for (const d of other.querySelectorAll("details")) d.open ||= open.includes(d.querySelector("summary").textContent);
      part.replaceChildren(...other.childNodes);
      const now = part.querySelector("pre.log");
      if (now) now.scrollTop = atEnd ? now.scrollHeight : top;
    }
  };

  events.addEventListener("version", (e) => {
    if (e.data !== shown) look(e.data);
  });
  events.addEventListener("end", () => events.close());
}
