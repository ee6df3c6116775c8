"use strict";
// Click on a heading: sort the table by that column, again: the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.querySelectorAll("thead th")];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...heading.childNodes);
    heading.append(button);
    const sort = () => {
      const falling = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        return "value" in cell.dataset ? parseFloat(cell.dataset.value) : cell.textContent;
      };
      const missing = (value) => typeof value === "number" && isNaN(value);
      const body = table.tBodies[0];
      [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (missing(x) || missing(y)) return missing(x) - missing(y);
        const order = typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true });
        return falling ? -order : order;
      }).forEach((row) => body.append(row));
    };
    heading.addEventListener("click", sort);
  });
}
// The section being read is marked in the contents.
const links = new Map(
  [...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((changes) => {
  for (const change of changes) {
    if (!change.isIntersecting) continue;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(change.target.id)?.setAttribute("aria-current", "true");
  }
}, { rootMargin: "-10% 0px -80% 0px" });
document.querySelectorAll("main > section").forEach((section) => seen.observe(section));
// Drawings by keyboard: each is one stop of the Tab key, arrows go from mark to mark, and what pointing
// at a mark says is read out and shown beside it. Networks have keys of their own.
const NAMED = ":not(text):not(svg) > title";
const STEPS = { ArrowRight: ["x", "y", 1], ArrowLeft: ["x", "y", -1], ArrowDown: ["y", "x", 1], ArrowUp: ["y", "x", -1] };
const reading = document.createElement("p");
reading.className = "reading";
reading.hidden = true;
reading.setAttribute("aria-hidden", "true");
document.body.append(reading);
const makeStop = (mark) => {
  mark.setAttribute("tabindex", 0);
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", mark.querySelector("title").textContent);
};
const findNext = (marks, mark, key) => {
  if (key === "Home") return marks[0];
  if (key === "End") return marks.at(-1);
  const [along, across, step] = STEPS[key];
  if (!mark.closest(".wells")) return marks[marks.indexOf(mark) + step];
  // Wells: the next one in the same row or column, over places without a well.
  const place = (well, axis) => parseFloat(well.getAttribute(axis));
  const far = (well) => step * (place(well, along) - place(mark, along));
  return marks.filter((well) => place(well, across) === place(mark, across) && far(well) > 0)
    .sort((a, b) => far(a) - far(b))[0];
};
for (const svg of document.querySelectorAll("figure:not(.network) svg[role=img]")) {
  const first = svg.querySelector(NAMED)?.parentNode;
  if (!first) continue;
  svg.setAttribute("role", "group");
  makeStop(first);
}
// Heard by the document: a drawing with listeners of its own would be a stop itself.
document.addEventListener("focusout", () => { reading.hidden = true; });
document.addEventListener("focusin", ({ target: mark }) => {
  if (!mark.closest("svg[role=group]")) return;
  const box = mark.getBoundingClientRect();
  reading.textContent = mark.getAttribute("aria-label");
  reading.hidden = false;
  const most = document.documentElement.clientWidth - reading.offsetWidth - 4;
  reading.style.left = `${Math.max(4, Math.min(box.left, most)) + scrollX}px`;
  reading.style.top = `${box.bottom + 8 + scrollY}px`;
});
document.addEventListener("keydown", (event) => {
  const mark = event.target, svg = mark.closest?.("svg[role=group]");
  if (!svg) return;
  if (event.key === "Escape") reading.hidden = true;
  if (!(event.key in STEPS) && event.key !== "Home" && event.key !== "End") return;
  event.preventDefault();
  const next = findNext([...svg.querySelectorAll(NAMED)].map((title) => title.parentNode), mark, event.key);
  if (!next) return;
  mark.setAttribute("tabindex", -1);
  makeStop(next);
  next.focus();
});
// A chart that is wider than a narrow window scrolls, and can be scrolled by keyboard.
const widths = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    const scrolls = target.scrollWidth > target.clientWidth + 1;
    const named = { tabindex: 0, role: "group", "aria-label": target.querySelector(".chart").getAttribute("aria-label") };
    for (const [name, value] of Object.entries(named)) {
      if (scrolls) target.setAttribute(name, value);
      else target.removeAttribute(name);
    }
  }
});
document.querySelectorAll("figure:has(> .chart)").forEach((figure) => widths.observe(figure));
// Networks: find a gene, zoom, move. A view is a part of the drawing; printing shows all of it.
for (const figure of document.querySelectorAll("figure.network")) {
  const svg = figure.querySelector("svg");
  const { width, height } = svg.viewBox.baseVal;
  let view = { x: 0, y: 0, share: 1 };
  const show = (x, y, share) => {
    share = Math.min(1, Math.max(0.04, share));
    const within = (value, length) => Math.min(length * (1 - share), Math.max(0, value));
    view = { x: within(x, width), y: within(y, height), share };
    svg.setAttribute("viewBox", [view.x, view.y, width * share, height * share].join(" "));
  };
  const zoom = (factor, x = view.x + width * view.share / 2, y = view.y + height * view.share / 2) => {
    const share = Math.min(1, Math.max(0.04, view.share * factor));
    const kept = share / view.share;
    show(x - (x - view.x) * kept, y - (y - view.y) * kept, share);
  };
  const move = (right, down) => show(view.x + right, view.y + down, view.share);
  const scale = () => width * view.share / svg.getBoundingClientRect().width;
  for (const button of figure.querySelectorAll("button")) {
    const factor = parseFloat(button.dataset.zoom);
    button.addEventListener("click", () => (factor ? zoom(factor) : show(0, 0, 1)));
  }
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 0.85 : 1.18, view.x + (event.clientX - box.left) * scale(),
      view.y + (event.clientY - box.top) * scale());
  }, { passive: false });
  svg.addEventListener("pointerdown", (event) => svg.setPointerCapture(event.pointerId));
  svg.addEventListener("pointermove", (event) => {
    if (svg.hasPointerCapture(event.pointerId)) move(-event.movementX * scale(), -event.movementY * scale());
  });
  svg.addEventListener("keydown", (event) => {
    const step = 0.15 * width * view.share;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in moves) move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") zoom(0.7);
    else if (event.key === "-") zoom(1.43);
    else return;
    event.preventDefault();
  });
  const genes = [...figure.querySelectorAll(".gene")];
  figure.querySelector("input").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toUpperCase();
    const found = genes.filter((gene) => wanted && gene.dataset.gene.includes(wanted));
    genes.forEach((gene) => gene.classList.toggle("found", found.includes(gene)));
    const best = found.find((gene) => gene.dataset.gene === wanted) ?? found[0];
    figure.querySelector("output").textContent = wanted ? `${found.length} found` : "";
    if (!best) return;
    const circle = best.querySelector("circle");
    const share = Math.min(view.share, 0.4);
    show(circle.cx.baseVal.value - width * share / 2, circle.cy.baseVal.value - height * share / 2, share);
  });
  window.addEventListener("beforeprint", () => show(0, 0, 1));
}
