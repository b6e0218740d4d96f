// Keeps a screen as it is now. All that it shows was made by the server; what people typed or chose stays.
"use strict";
const live = document.getElementById("live");
const connection = document.getElementById("connection");

// Only what is in a filter's text is shown.
const filter = () => {
  const text = document.querySelector("[data-filter]")?.value.trim().toLowerCase();
  if (text === undefined) return;
  for (const row of live.querySelectorAll("tbody tr")) row.hidden = !row.textContent.toLowerCase().includes(text);
};
document.querySelector("[data-filter]")?.addEventListener("input", filter);

// Point at one on the map: what is linked to it stands out.
const point = (event) => {
  const map = live.querySelector(".map");
  const one = event.target.closest?.("[data-name]");
  if (!map) return;
  map.classList.toggle("pointing", Boolean(one));
  const links = new Set(one ? [one.dataset.name, ...one.dataset.links.split("\n")] : []);
  for (const other of map.querySelectorAll("[data-name]")) other.classList.toggle("linked", links.has(other.dataset.name));
};
for (const name of ["mouseover", "focusin"]) live.addEventListener(name, point);
live.addEventListener("mouseleave", point);

const events = new EventSource(`/console/live?of=${encodeURIComponent(location.pathname + location.search)}`);
events.onopen = () => { connection.textContent = "They are renewed every second."; };
events.onerror = () => { connection.textContent = "The compositor does not answer: these are the last figures."; };
events.onmessage = ({ data }) => {
  const focused = live.contains(document.activeElement) ? document.activeElement : null;
  const key = focused && [focused.tagName, focused.getAttribute("href") ?? focused.getAttribute("aria-label")];
  const scrolled = [...live.querySelectorAll(".wide")].map((one) => one.scrollLeft);
  const fresh = new DOMParser().parseFromString(JSON.parse(data), "text/html");
  live.replaceChildren(...fresh.body.childNodes);
  live.querySelectorAll(".wide").forEach((one, at) => { one.scrollLeft = scrolled[at] ?? 0; });
  if (key) [...live.querySelectorAll(key[0])].find((one) => (one.getAttribute("href") ?? one.getAttribute("aria-label")) === key[1])?.focus({ preventScroll: true });
  filter();
};

const post = async (path, order) => {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(order) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail ?? response.statusText);
  return answer;
};
const purge = document.querySelector("[data-purge]");
let counted = null;
const counts = () => { counted = null; purge.querySelector("button").textContent = "Count first"; };
purge?.addEventListener("input", counts);
purge?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [output, button] = [purge.querySelector("output"), purge.querySelector("button")];
  const order = { keys: purge.elements.keys.value.trim().split(/\s+/), soft: purge.elements.soft.checked };
  try {
    if (counted === null) {
      const query = new URLSearchParams(order.keys.map((key) => ["key", key]));
      counted = (await (await fetch(`/api/cache/count?${query}`)).json()).count;
      output.textContent = `It would meet ${counted} answers.`;
      button.textContent = counted ? `Purge ${counted} answers` : "Count first";
      if (!counted) counted = null;
    } else {
      output.textContent = `${(await post("/api/purge", order)).purged} answers were purged.`;
      counts();
    }
  } catch (error) { output.textContent = error.message; counts(); }
});
const debug = document.querySelector("[data-debug]");
debug?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const output = debug.querySelector("output");
  try {
    const { path } = await post("/api/debug-token", { minutes: Number(debug.elements.minutes.value) });
    const code = document.createElement("code");
    code.textContent = path;
    output.replaceChildren("Open on the public side: ", code);
  } catch (error) { output.textContent = error.message; }
});

const chart = document.getElementById("chart");
if (chart) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = () => ({ stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 } });
  const milliseconds = (of, value) => value === null || value === undefined ? "–" : `${value} ms`;
  const plot = new uPlot({
    width: chart.clientWidth, height: 220,
    scales: { x: { time: true }, ms: {}, rate: {} },
    axes: [axis(), { ...axis(), scale: "ms", label: "ms", size: 60 }, { ...axis(), scale: "rate", side: 1, label: "a second", size: 60, grid: { show: false } }],
    series: [{}, { label: "p50", scale: "ms", stroke: colour("--good"), width: 2, value: milliseconds },
      { label: "p95", scale: "ms", stroke: colour("--link"), width: 2, value: milliseconds }, { label: "p99", scale: "ms", stroke: colour("--warn"), width: 2, value: milliseconds },
      { label: "requests/s", scale: "rate", stroke: colour("--quiet"), dash: [6, 4], width: 2 }, { label: "degraded/s", scale: "rate", stroke: colour("--bad"), width: 2 }],
  }, [[], [], [], [], [], []], chart);
  const renew = async () => {
    const history = await (await fetch(chart.dataset.of)).json();
    const now = Date.now() / 1000;
    plot.setData([history.seconds_ago.map((ago) => now - ago), history.p50_ms, history.p95_ms, history.p99_ms, history.per_second, history.degraded_per_second]);
  };
  renew();
  setInterval(renew, 5000);
  addEventListener("resize", () => plot.setSize({ width: chart.clientWidth, height: 220 }));
}
