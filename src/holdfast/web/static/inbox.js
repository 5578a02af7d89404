// What the page does beyond links and forms: keys, values that must be opened, and new rows. All works without it.
"use strict";

const all = (query, within = document) => [...within.querySelectorAll(query)];

// --- keys: j k move, enter follows the link by itself, a and d go to a button, which enter then presses

function isTyping(element) {
  return element.matches("input:not([type=checkbox]):not([type=radio]), textarea, select");
}

function move(by) {
  const links = all(".row a");
  const at = links.indexOf(document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by));
  links[next]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "i") location.assign("/inbox");
  else if (event.key === "a" || event.key === "d" || event.key === "t") {
    const button = document.querySelector(`button[data-key="${event.key}"]`);
    const unread = document.querySelector(".long:not([open]) summary");
    (button?.disabled ? unread : button)?.focus();
  } else return;
  event.preventDefault();
});

// --- what is long is opened before it is approved

function mayApprove() {
  const button = document.querySelector('button[value="approve"]');
  if (button) button.disabled = all('input[name^="opened-"]').some((box) => !box.checked);
}

for (const long of all(".long")) {
  long.addEventListener("toggle", () => {
    if (!long.open) return;
    all('input[type="checkbox"]', long).forEach((box) => (box.checked = true));
    mayApprove();
  });
}
all('input[name^="opened-"]').forEach((box) => box.addEventListener("change", mayApprove));
mayApprove();

// --- one answer is sent once

for (const form of all("form.answer")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}

// --- who has opened a question is known to the others

const taking = document.querySelector("form.take");
if (taking) {
  const to = taking.action.replace(/take$/, "seen");
  fetch(to, { method: "POST", body: new URLSearchParams(new FormData(taking)) }).catch(() => {});
}

// --- new rows come at the end, so that nothing moves under a finger; what is closed stays and says so

function put(element, row) {
  const set = (name, text) => all(`[data-is="${name}"]`, element).forEach((each) => (each.textContent = text));
  element.dataset.id = row.id;
  element.classList.toggle("urgent", row.is_urgent);
  element.classList.toggle("posted", row.is_posted);
  element.querySelector("a").setAttribute("href", row.href);
  all('[data-is="urgent"]', element).forEach((each) => (each.hidden = !row.is_urgent));
  for (const name of ["title", "run", "to", "age", "ends", "state"]) set(name, row[name]);
}

function take(state) {
  const list = document.querySelector(".rows");
  const known = new Map(all(".row", list).map((element) => [element.dataset.id, element]));
  let fresh = 0;
  for (const row of state.rows) {
    let element = known.get(row.id);
    if (!element) {
      element = document.getElementById("row").content.firstElementChild.cloneNode(true);
      list.append(element);
      fresh += 1;
    }
    put(element, row);
    known.delete(row.id);
  }
  for (const element of known.values()) {
    element.classList.add("gone");
    all('[data-is="ends"]', element).forEach((each) => (each.textContent = "closed"));
  }
  all('[data-is="open"]').forEach((each) => (each.textContent = state.open));
  document.title = `${state.open} open · holdfast`;
  if (fresh) document.querySelector('[data-is="news"]').textContent = `${fresh} new`;
}

if (document.querySelector(".rows") && window.EventSource) {
  const news = new EventSource("/events");
  news.addEventListener("rows", (event) => take(JSON.parse(event.data)));
}
