"use strict";
const rules = JSON.parse(document.getElementById("rules").textContent);
const told = document.getElementById("told");
const filter = document.getElementById("filter");
const count = document.getElementById("count");
const body = document.querySelector("tbody");
const rows = Array.from(body.rows);
const subjects = Array.from(document.querySelectorAll("thead th")).slice(1).map((head) => head.textContent);
const chips = Array.from(document.querySelectorAll("button[data-kind]"));
const words = {
  allowed: "allowed", conditional: "conditions decide", denied: "denied by a rule",
  open: "open to everyone", nothing: "nothing allows it",
};

// So many rules of a cell are shown: more would be higher than the window.
const RULES_MAX = 8;
// The cell that the Tab key goes to.
let reached = body.querySelector("td");

// What a row can be found by: its route, and the rules behind it.
const texts = new Map(rows.filter((row) => row.dataset.route).map((row) => {
  const named = Array.from(row.cells).flatMap((cell) => (cell.dataset.rules || "").split(" ").filter(Boolean));
  const places = Array.from(new Set(named)).map((id) => `${rules[id].at} ${rules[id].permission || ""}`);
  return [row, `${row.dataset.route} ${places.join(" ")}`.toLowerCase()];
}));

function apply() {
  const parts = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const kinds = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.kind);
  let shown = 0;
  for (const [row, text] of texts) {
    const fits = parts.every((part) => text.includes(part))
      && (kinds.length === 0 || kinds.some((kind) => row.querySelector(`td.${kind}`)));
    row.hidden = !fits;
    shown += fits ? 1 : 0;
  }
  // A part of the way is shown while something below it is.
  let deepest = [];
  for (const row of rows.slice().reverse()) {
    const depth = Number(row.dataset.depth);
    if (!row.dataset.route) row.hidden = !deepest.some((below) => below > depth);
    deepest = deepest.filter((below) => below <= depth);
    if (!row.hidden) deepest.push(depth);
  }
  count.textContent = shown === texts.size ? "" : `${shown} of ${texts.size} routes`;
  told.hidden = true;
  if (!reached || reached.parentElement.hidden) {
    const row = rows.find((row) => row.dataset.route && !row.hidden);
    if (row) reach(row.cells[1]);
  }
}

function reach(cell) {
  if (reached) reached.tabIndex = -1;
  reached = cell;
  if (reached) reached.tabIndex = 0;
}

function line(parent, kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  parent.append(element);
  return element;
}

function tell(cell) {
  const row = cell.parentElement;
  const named = (cell.dataset.rules || "").split(" ").filter(Boolean);
  told.replaceChildren();
  line(told, "p", `${subjects[cell.cellIndex - 1]}, ${row.dataset.route}: ${words[cell.className.split(" ")[0]]}`);
  for (const id of named.slice(0, RULES_MAX)) {
    const rule = rules[id];
    const entry = line(told, "div", "");
    line(entry, "i", `${rule.at}${rule.permission ? ` (permission ${rule.permission})` : ""}${rule.conditional ? " (conditional)" : ""}`);
    if (rule.line) line(entry, "div", rule.line);
  }
  if (named.length > RULES_MAX) line(told, "p", `and ${named.length - RULES_MAX} more rules`);
  // Where it stood before, it may have had less room than it takes.
  told.style.left = told.style.top = "0";
  told.hidden = false;
  const place = cell.getBoundingClientRect();
  const box = told.getBoundingClientRect();
  const below = place.bottom + 6 + box.height < innerHeight;
  told.style.left = `${Math.max(8, Math.min(place.left, innerWidth - box.width - 8))}px`;
  told.style.top = `${below ? place.bottom + 6 : Math.max(8, place.top - box.height - 6)}px`;
}

body.addEventListener("mouseover", (event) => {
  const cell = event.target.closest("td");
  if (cell) tell(cell); else told.hidden = true;
});
body.addEventListener("mouseleave", () => { told.hidden = true; });
body.addEventListener("focusin", (event) => {
  const cell = event.target;
  if (!cell.matches("td")) return;
  reach(cell);
  // The names of routes and roles stay in view, and may lie above the cell.
  const [place, route] = [cell.getBoundingClientRect(), cell.parentElement.cells[0].getBoundingClientRect()];
  const roles = document.querySelector("thead th").getBoundingClientRect();
  scrollBy(Math.min(0, place.left - route.right), Math.min(0, place.top - roles.bottom));
  tell(cell);
});
body.addEventListener("focusout", () => { told.hidden = true; });
addEventListener("keydown", (event) => { if (event.key === "Escape") told.hidden = true; });
// Arrow keys go from cell to cell.
body.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!steps || !event.target.matches("td")) return;
  const shown = rows.filter((row) => row.dataset.route && !row.hidden);
  const next = shown[shown.indexOf(event.target.parentElement) + steps[0]];
  const cell = next && next.cells[event.target.cellIndex + steps[1]];
  if (cell && cell.matches("td")) { event.preventDefault(); cell.focus(); }
});
// The filter is part of the address, so that a view can be sent to somebody.
function ask() {
  const asked = location.hash.slice(1);
  try { filter.value = decodeURIComponent(asked); } catch { filter.value = asked; }
  apply();
}
filter.addEventListener("input", () => {
  history.replaceState(null, "", `#${encodeURIComponent(filter.value)}`);
  apply();
});
addEventListener("hashchange", ask);
for (const chip of chips) {
  chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
    apply();
  });
}
reach(reached);
ask();
