// Draws the curves. Everything else is in the page already.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const ms = (value) => value == null ? "–" : value >= 1000 ? `${+(value / 1000).toPrecision(3)} s` : `${+value.toPrecision(3)} ms`;
const draw = () => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = (more) => ({ stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, ...more });
  const plot = (id, options, values) => {
    const place = document.getElementById(id);
    if (!place) return;
    place.replaceChildren();
    new uPlot({ width: place.clientWidth, height: 300, ...options }, values, place);
  };
  // The x axis stretches what is rare: each step is a tenth of the clients before.
  const percentile = (x) => `${+(100 - 100 * 10 ** -x).toFixed(Math.max(0, Math.ceil(x) - 2) + (x % 1 ? 1 : 0))}%`;
  const line = (label, name, more) => ({ label, stroke: colour(name), width: 2, points: { show: false }, value: (_, value) => ms(value), ...more });
  plot("curve", {
    scales: { x: { time: false }, y: { distr: 3, log: 10 } },
    axes: [
      axis({ splits: () => data.ticks, values: (_, splits) => splits.map((x) => x === data.half ? "50%" : percentile(x)) }),
      axis({ size: 70, values: (_, splits) => splits.map((value) => value == null ? "" : ms(value)) }),
    ],
    series: [{ label: "of clients", value: (_, x) => x == null ? "–" : percentile(x) }, line("whole page", "--link"), line("first byte", "--good", { dash: [8, 4] }), line("once sent", "--quiet", { dash: [2, 4] })],
  }, data.curve);
  if (data.sweep) plot("sweep", {
    scales: { x: { time: false, distr: 3, log: 10 }, y: { distr: 3, log: 10 } },
    axes: [axis({ values: (_, splits) => splits.map((value) => value == null ? "" : `${value}/s`) }), axis({ size: 70, values: (_, splits) => splits.map((value) => value == null ? "" : ms(value)) })],
    series: [{ label: "rate", value: (_, x) => x == null ? "–" : `${x}/s` }, line("p99", "--link", { points: { show: true, size: 7 } })],
  }, data.sweep);
};
draw();
addEventListener("resize", draw);
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
addEventListener("beforeprint", draw);
addEventListener("afterprint", draw);
