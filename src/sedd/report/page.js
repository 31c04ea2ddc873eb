// Shows the values at the pointer. Everything on the page is there without it.
"use strict";
for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const data = JSON.parse(document.getElementById(figure.dataset.chart).textContent);
  const tip = figure.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;
  for (const svg of figure.querySelectorAll("svg")) {
    const axes = svg.dataset.axes.split(";").map((each) => each.split(" ").map(Number));
    const line = document.createElementNS(svg.namespaceURI, "path");
    line.setAttribute("style", "stroke: currentColor; stroke-width: 1; opacity: .5; fill: none");
    svg.appendChild(line);
    const hide = () => { tip.hidden = true; line.removeAttribute("d"); };
    svg.addEventListener("pointerleave", hide);
    const show = (event) => {
      const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      const [left, right, top, , first, last] = axes[0];
      const bottom = axes[data.heat ? 0 : axes.length - 1][3];
      if (x < left - 4 || x > right + 4 || y > bottom) { hide(); return; }
      const at = first + (Math.min(Math.max(x, left), right) - left) / (right - left) * (last - first);
      tip.replaceChildren(...(data.heat ? cell(data, at, (axes[0][3] - y) / (axes[0][3] - top)) : values(data, at)));
      line.setAttribute("d", `M ${x} ${top} V ${bottom}`);
      tip.hidden = false;
      const place = figure.getBoundingClientRect();
      const room = figure.clientWidth - tip.offsetWidth, near = event.clientX - place.left;
      tip.style.left = Math.max(0, Math.min(room, near > room / 2 ? near - tip.offsetWidth - 14 : near + 14)) + "px";
      tip.style.top = event.clientY - place.top + 14 + "px";
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
  }
}
function row(text, color) {
  const div = document.createElement("div");
  if (color) {
    const dot = div.appendChild(document.createElement("i"));
    dot.style.color = `var(--${color})`;
  }
  div.append(text);
  return div;
}
function number(value) {
  return value === null ? "–" : Math.abs(value) >= 1e5 ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
}
function nearest(list, at) {
  let low = 0, high = list.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle] < at) { low = middle; } else { high = middle; }
  }
  return at - list[low] < list[high] - at ? low : high;
}
function values(data, at) {
  const main = data.x[data.series[data.series.length - 1].x];
  const head = row(`${data.name} ${number(main[nearest(main, at)])}`);
  head.style.fontWeight = 600;
  return [head, ...data.series.map((each) => row(`${each.name}: ${number(each.y[nearest(data.x[each.x], at)])}`, each.color))];
}
function cell(data, at, height) {
  const rows = data.values.length, columns = data.values[0].length;
  const i = Math.min(rows - 1, Math.max(0, Math.floor(height * rows)));
  const j = Math.min(columns - 1, Math.floor(at / data.last * columns));
  const value = data.values[i][j];
  const head = row(`step ${number(Math.round(at))}`);
  head.style.fontWeight = 600;
  const rates = `${number(100 * i / rows)} to ${number(100 * (i + 1) / rows)} % masked`;
  return [head, row(rates), row(value === null ? "not measured" : `${number(value)} nats`)];
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
