// Draws the charts of a screen: elements with `data-chart`, of the history that `data-of` names. Times are UTC.
"use strict";
const charts = (() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const two = (number) => String(number).padStart(2, "0");
  const clock = (seconds, whole) => {
    const at = new Date(seconds * 1000);
    return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}${whole ? `:${two(at.getUTCSeconds())}` : ""}`;
  };
  const number = (value) => value === null || value === undefined ? "–" : String(Math.round(value * 100) / 100);
  const line = (label, field, stroke, more) => ({ label, field, stroke, ...more });
  // What each kind of chart shows.
  const KINDS = {
    latency: [line("p50", "p50_ms", "--good"), line("p95", "p95_ms", "--link"), line("p99", "p99_ms", "--warn")],
    rates: [line("requests", "per_second", "--link"), line("degraded", "degraded_per_second", "--warn", { dash: [5, 3] }), line("errors", "errors_per_second", "--bad")],
    "spark-rate": [line("requests", "per_second", "--link", { fill: true })],
    "spark-errors": [line("degraded", "degraded_per_second", "--warn", { dash: [5, 3] }), line("errors", "errors_per_second", "--bad")],
    "spark-p99": [line("p99", "p99_ms", "--link")],
  };
  const drawn = new Map();
  const histories = new Map();

  // A vertical line for each change of files.
  const marks = (element) => ({ hooks: { draw: [(plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour("--quiet");
    ctx.setLineDash([2, 3]);
    for (const at of element.marks ?? []) {
      const x = plot.valToPos(at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }] } });

  const create = (element) => {
    const small = element.dataset.chart.startsWith("spark");
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const series = KINDS[element.dataset.chart].map(({ label, stroke, dash, fill }) => ({
      label, stroke: colour(stroke), dash, width: 2, points: { show: false }, value: (_, value) => number(value),
      fill: fill ? `${colour(stroke)}22` : undefined,
    }));
    return new uPlot({
      width: element.clientWidth, height: small ? 64 : 200,
      padding: small ? [4, 0, 4, 0] : [12, 8, 0, 0],
      legend: { show: !small }, cursor: { show: !small, y: false, drag: { x: false, y: false } },
      scales: { x: { time: true, range: () => { const now = Date.now() / 1000; return [now - 900, now]; } }, y: { range: (_, low, high) => [0, (high || 1) * 1.1] } },
      axes: small ? [{ show: false }, { show: false }] : [{ ...axis, space: 50, incrs: [60, 120, 180, 300], values: (_, at) => at.map((one) => clock(one)) }, { ...axis, size: 52 }],
      series: [{ label: "UTC", value: (_, at) => at === null || at === undefined ? "–" : clock(at, true) }, ...series],
      plugins: [marks(element)],
    }, [[], ...series.map(() => [])], element);
  };

  const fill = (element, plot, history) => {
    const now = Date.now() / 1000;
    element.marks = history.changes.map((one) => now - one.seconds_ago);
    const last = history.seconds_ago.length - 1;
    plot.setData([history.seconds_ago.map((ago) => now - ago), ...KINDS[element.dataset.chart].map(({ field }) => history[field])]);
    // Without a pointer, the legend shows the latest values.
    if (plot.cursor.idx === null || plot.cursor.idx === undefined) plot.setLegend({ idx: last });
  };

  // Draws charts that are new on the screen, and drops those that are no longer there.
  const find = () => {
    for (const [element, plot] of drawn) if (!element.isConnected) { plot.destroy(); drawn.delete(element); }
    for (const element of document.querySelectorAll("[data-chart]")) {
      if (drawn.has(element)) continue;
      drawn.set(element, create(element));
      const known = histories.get(element.dataset.of);
      if (known) fill(element, drawn.get(element), known);
    }
  };
  const renew = async () => {
    find();
    for (const path of new Set([...drawn.keys()].map((element) => element.dataset.of))) {
      try {
        const response = await fetch(path);
        if (!response.ok) continue;
        histories.set(path, await response.json());
        for (const [element, plot] of drawn) if (element.dataset.of === path) fill(element, plot, histories.get(path));
      } catch { /* The screen says that the connection is lost. */ }
    }
  };
  addEventListener("resize", () => { for (const [element, plot] of drawn) plot.setSize({ width: element.clientWidth, height: plot.height }); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const [element, plot] of drawn) { plot.destroy(); drawn.delete(element); } renew(); });
  renew();
  setInterval(renew, 5000);
  return { find };
})();
