"use strict";
// Figures: drawn as SVG, whose colours follow the page's, on screen in either mode and on paper.
for (const source of document.querySelectorAll("script[data-chart]")) {
  const place = document.getElementById(source.dataset.chart);
  vegaEmbed(place, JSON.parse(source.textContent), {
    mode: "vega-lite", renderer: "svg", actions: false, tooltip: { theme: "page" },
  }).then(() => place.classList.add("drawn"));
}
// Tables: a head that is pressed sorts by its column; pressed again, the other way round.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
      };
      const order = (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
      body.append(...[...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b))));
    });
  });
}
// Paper shows what is folded away on a screen.
const folds = () => document.querySelectorAll("details.configuration");
window.addEventListener("beforeprint", () => folds().forEach((each) => (each.open = true)));
window.addEventListener("afterprint", () => folds().forEach((each) => (each.open = false)));
