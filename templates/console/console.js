// Keeps a screen up to date. The server renders everything that it shows; what people have typed or chosen stays.
"use strict";
const live = document.getElementById("live");
const connection = document.getElementById("connection");

// Shows only the rows that contain the text of the filter.
const filter = () => {
  const text = document.querySelector("[data-filter]")?.value.trim().toLowerCase();
  if (text === undefined) return;
  for (const row of live.querySelectorAll("tbody tr")) row.hidden = !row.textContent.toLowerCase().includes(text);
};
document.querySelector("[data-filter]")?.addEventListener("input", filter);

// The map draws lines between neighbouring columns; the more traffic, the thicker the line. Above LINES lines nobody can
// follow one, so only those of the highlighted item are drawn.
const LINES = 150, SVG = "http://www.w3.org/2000/svg";
let pointed = null;
const linked = (one) => [one.dataset.name, ...one.dataset.links.split("\n")];
const lines = (map, isShown) => {
  const columns = [...map.querySelectorAll("ul")].map((list) => new Map([...list.querySelectorAll("[data-name]")].map((one) => [one.dataset.name, one])));
  return columns.slice(1).flatMap((right, at) => [...columns[at].values()].filter(isShown).flatMap((from) =>
    linked(from).slice(1).map((name) => right.get(name)).filter((to) => to && isShown(to)).map((to) => [from, to])));
};
const draw = () => {
  const map = live.querySelector(".map");
  if (!map) return;
  map.querySelector("svg")?.remove();
  const one = pointed && [...map.querySelectorAll("[data-name]")].find((other) => other.getAttribute("href") === pointed);
  map.classList.toggle("pointing", Boolean(one));
  const links = new Set(one ? linked(one) : []);
  for (const other of map.querySelectorAll("[data-name]")) other.classList.toggle("linked", links.has(other.dataset.name));
  const pairs = lines(map, (other) => !one || links.has(other.dataset.name));
  // On a narrow screen the columns are below each other, and no lines are drawn.
  if (getComputedStyle(map).gridTemplateColumns.split(" ").length === 1 || pairs.length > LINES && !one) return;
  const svg = document.createElementNS(SVG, "svg"), origin = map.getBoundingClientRect();
  svg.setAttribute("aria-hidden", "true");
  for (const [from, to] of pairs) {
    const [a, b] = [from.getBoundingClientRect(), to.getBoundingClientRect()];
    const [x, y, u, v] = [a.right - origin.left, a.top + a.height / 2 - origin.top, b.left - origin.left, b.top + b.height / 2 - origin.top];
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `M${x} ${y}C${(x + u) / 2} ${y} ${(x + u) / 2} ${v} ${u} ${v}`);
    path.setAttribute("stroke-width", 1 + Math.log10(1 + Math.min(Number(from.dataset.rate), Number(to.dataset.rate))));
    svg.append(path);
  }
  map.append(svg);
};
const point = (event) => {
  const one = event.target.closest?.("[data-name]")?.getAttribute("href") ?? null;
  if (one !== pointed) { pointed = one; draw(); }
};
for (const name of ["mouseover", "focusin"]) live.addEventListener(name, point);
live.addEventListener("mouseleave", point);
addEventListener("resize", draw);
draw();

const events = new EventSource(`/console/live?of=${encodeURIComponent(location.pathname + location.search)}`);
events.onopen = () => { connection.textContent = connection.dataset.live; };
events.onerror = () => { connection.textContent = "Connection lost: these figures are not updated any more."; };
events.onmessage = ({ data }) => {
  const focused = live.contains(document.activeElement) ? document.activeElement : null;
  const key = focused && [focused.tagName, focused.getAttribute("href") ?? focused.getAttribute("aria-label")];
  const scrolled = [...live.querySelectorAll(".wide")].map((one) => one.scrollLeft);
  const fresh = new DOMParser().parseFromString(JSON.parse(data), "text/html");
  live.replaceChildren(...fresh.body.childNodes);
  live.querySelectorAll(".wide").forEach((one, at) => { one.scrollLeft = scrolled[at] ?? 0; });
  if (key) [...live.querySelectorAll(key[0])].find((one) => (one.getAttribute("href") ?? one.getAttribute("aria-label")) === key[1])?.focus({ preventScroll: true });
  filter();
  draw();
};

const post = async (path, order) => {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(order) });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail ?? response.statusText);
  return body;
};
const purge = document.querySelector("[data-purge]");
let counted = null;
const responses = (count) => count === 1 ? "1 response" : `${count} responses`;
const startOver = () => { counted = null; purge.querySelector("button").textContent = "Count first"; };
purge?.addEventListener("input", startOver);
purge?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [output, button] = [purge.querySelector("output"), purge.querySelector("button")];
  const order = { keys: purge.elements.keys.value.trim().split(/\s+/), soft: purge.elements.soft.checked };
  try {
    if (counted === null) {
      const query = new URLSearchParams(order.keys.map((key) => ["key", key]));
      counted = (await (await fetch(`/api/cache/count?${query}`)).json()).count;
      output.textContent = `${responses(counted)} ${counted === 1 ? "matches" : "match"}.`;
      button.textContent = counted ? `Purge ${responses(counted)}` : "Count first";
      if (!counted) counted = null;
    } else {
      output.textContent = `Purged ${responses((await post("/api/purge", order)).purged)}.`;
      startOver();
    }
  } catch (error) { output.textContent = error.message; startOver(); }
});
const debug = document.querySelector("[data-debug]");
debug?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const output = debug.querySelector("output");
  try {
    const { path } = await post("/api/debug-token", { minutes: Number(debug.elements.minutes.value) });
    const code = document.createElement("code");
    code.textContent = path;
    output.replaceChildren("Open this path on the public listener: ", code);
  } catch (error) { output.textContent = error.message; }
});

const toggle = document.querySelector("[data-switch]");
toggle?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const output = toggle.querySelector("output"), off = event.submitter?.value !== "on";
  try {
    const order = off ? { off, minutes: Number(toggle.elements.minutes.value) } : { off };
    await post(`/api/fragments/${encodeURIComponent(toggle.dataset.switch)}`, order);
    output.textContent = off ? "Switched off." : "Switched on.";
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
    axes: [axis(), { ...axis(), scale: "ms", label: "ms", size: 60 }, { ...axis(), scale: "rate", side: 1, label: "per second", size: 60, grid: { show: false } }],
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
