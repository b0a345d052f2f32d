"use strict";
// Values under the pointer, and the choice of a window of candles. Without it everything is still there to read.
for (const figure of document.querySelectorAll("figure.chart")) {
  const script = figure.querySelector("script");
  if (!script) continue;
  const values = JSON.parse(script.textContent);
  if (!values.x || !values.x.length) continue;
  const svg = figure.querySelector("svg"), cross = svg.querySelector(".cross"), tip = document.createElement("div");
  tip.className = "tip";
  figure.append(tip);
  const hide = () => { tip.style.visibility = cross.style.visibility = "hidden"; };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let low = 0, high = values.x.length - 1;
    if (at.x < values.x[0] - 20 || at.x > values.x[high] + 20) return hide();
    while (high - low > 1) { const mid = (low + high) >> 1; if (values.x[mid] <= at.x) low = mid; else high = mid; }
    const index = at.x - values.x[low] < values.x[high] - at.x ? low : high;
    for (const [name, value] of [["x1", values.x[index]], ["x2", values.x[index]], ["y1", values.top], ["y2", values.bottom]]) cross.setAttribute(name, value);
    tip.replaceChildren();
    const title = document.createElement("b");
    title.textContent = values.at[index];
    tip.append(title);
    for (const row of values.rows) {
      if (!row.v[index]) continue;
      const line = document.createElement("div"), name = document.createElement("span"), value = document.createElement("span");
      name.textContent = row.n;
      name.className = "c-" + row.c;
      value.textContent = row.v[index];
      line.append(name, value);
      tip.append(line);
    }
    const box = figure.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const left = x + 16 + tip.offsetWidth > box.width ? x - tip.offsetWidth - 16 : x + 16;
    tip.style.transform = `translate(${Math.max(0, left)}px,${Math.max(0, y - tip.offsetHeight / 2)}px)`;
    tip.style.visibility = cross.style.visibility = "visible";
  });
}
for (const button of document.querySelectorAll("[data-tab]")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-tab]")) other.setAttribute("aria-pressed", String(other === button));
    for (const pane of document.querySelectorAll("[data-pane]")) pane.hidden = pane.dataset.pane !== button.dataset.tab;
  });
}
