// Updates the page every minute. Without JavaScript, the page stays as it was when it was loaded.
"use strict";

const MINUTE = 60_000;
const FOCUSABLE = "a[href], button, summary, [tabindex]";
let due = Date.now() + MINUTE;

async function refresh() {
  if (document.hidden || Date.now() < due) return;
  due = Date.now() + MINUTE;
  let response, text;
  try {
    response = await fetch(location.href, { cache: "no-store" });
    text = await response.text();
  } catch {
    response = {};
  }
  if (response.status === 401) {
    // A reload would not say that the session has ended, because this response deleted the cookie.
    const [signOut, base] = document.querySelector(".sign-out").action.match(/(.*)\/sign-out$/);
    const page = encodeURIComponent(location.href.slice(base.length).replace(/#.*/, ""));
    return location.replace(`${signOut.replace(/out$/, "in")}?ended&return_to=${page}`);
  }
  if (!response.ok) return document.body.classList.add("stale");
  const fresh = new DOMParser().parseFromString(text, "text/html");
  addLocalTimes(fresh);
  const parts = (selector) => [document, fresh].map((page) => [...page.querySelectorAll(selector)]);
  // The header changes if somebody has signed in to another organization in another tab.
  let [before, after] = parts("header, main .bar, main section[id]");
  if (before.map((part) => part.id).join() !== after.map((part) => part.id).join()) {
    [before, after] = parts("header, main");
  }
  before.forEach((part, index) => replace(part, after[index]));
  document.body.classList.remove("stale");
}

// Replaces "before" by "after" and keeps what the reader opened, scrolled to and focused.
function replace(before, after) {
  for (const details of before.querySelectorAll("details[open]")) {
    after.querySelector(`#${details.id}`)?.setAttribute("open", "");
  }
  if (before.outerHTML === after.outerHTML) return;
  if (isBeingFilledIn(before)) return announce(before, after);
  if (isOpen(before)) return;
  exchange(before, after);
}

function exchange(before, after) {
  const scrolled = [...before.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  const focused = before.contains(document.activeElement) ? document.activeElement : null;
  const matching = (part) => [...part.querySelectorAll(FOCUSABLE)].filter((choice) => choice.href === focused?.href);
  const place = matching(before).indexOf(focused);
  before.replaceWith(after);
  after.querySelectorAll(".scroll").forEach((box, index) => box.scrollTo(...(scrolled[index] ?? [0, 0])));
  if (focused) (matching(after)[place] ?? matching(after)[0] ?? after).focus({ preventScroll: true });
}

// Announces new findings of a part that is not updated while a form in it is filled in, and offers to show them.
function announce(before, after) {
  const urgency = (row) => row.id + row.className;
  const known = new Set([...before.querySelectorAll(".finding")].map(urgency));
  const fresh = [...after.querySelectorAll(".finding")].filter((row) => !known.has(urgency(row)));
  before.querySelector(".news")?.remove();
  if (!fresh.length) return;
  const news = document.createElement("p"), button = document.createElement("button");
  news.className = "notice news";
  news.setAttribute("role", "status");
  news.textContent = fresh.length === 1 ? "1 finding is new or changed. " : `${fresh.length} findings are new or changed. `;
  button.type = "button";
  button.textContent = "Show";
  button.addEventListener("click", () => {
    for (const form of before.querySelectorAll("details[id^=act-]")) if (isBeingFilledIn(form)) keepForm(form, after);
    exchange(before, after);
    openAround(fresh[0].parentElement);
    fresh[0].querySelector("summary").focus();
  });
  news.append(button);
  before.append(news);
}

// Moves a form of a finding that is open or changed into "after". If the finding has ended, or is no longer listed, the form
// still works, and what was typed in the form must not be lost.
function keepForm(form, after) {
  const row = form.closest(".finding"), place = after.querySelector(`#${form.id}`);
  if (place) {
    place.replaceWith(form);
    return openAround(form.parentElement);
  }
  const ended = after.querySelector(`#${row.id}`);
  if (ended) {
    ended.lastElementChild.append(form);
    return openAround(form.parentElement);
  }
  const list = document.createElement("ol"), item = document.createElement("li");
  list.className = "findings";
  item.append(row);
  list.append(item);
  after.querySelector("h2").after(list);
}

// Opens all details elements around "part".
function openAround(part) {
  for (let box = part.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
}

// Opens the details elements around the target of a link, because older browsers do not.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target) openAround(target);
}

// Whether the reader is filling in a form in "part", whose content must not be lost. A reader who has opened the form of a
// finding is about to press a button, which must not move away from the pointer.
function isBeingFilledIn(part) {
  const open = "details[open][id^=act-]";
  if (part.matches(open) || part.querySelector(open)) return true;
  // The value and the defaultValue of an unchanged checkbox differ, because the value is "on" by default.
  const isChanged = ({ type, value, defaultValue, checked, defaultChecked }) =>
    type === "checkbox" ? checked !== defaultChecked : value !== defaultValue;
  return [...part.querySelectorAll("input")].some((field) => field === document.activeElement || isChanged(field));
}

// Whether the menu of a narrow screen is open, which must not close under the finger.
function isOpen(part) {
  return CSS.supports("selector(:popover-open)") && part.querySelector(":popover-open") !== null;
}

// Writes the reader's own time beside each time in UTC, if it differs.
function addLocalTimes(page) {
  for (const time of page.querySelectorAll("time[datetime*=T]")) {
    const at = new Date(time.dateTime);
    const offset = at.getTimezoneOffset();
    if (!offset) continue;
    const isSameDay = at.getDate() === at.getUTCDate();
    const format = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(isSameDay ? {} : { weekday: "short" }) };
    const local = page.createElement("span");
    local.className = "local";
    local.textContent = ` (${at.toLocaleString("en-GB", format)} your time)`;
    time.append(local);
  }
}

// Shows the value of a bar or of an hour of the week below the chart, when the bar is pointed at or has the focus.
function showValue({ target }) {
  const bar = target.closest?.(".chart a"), hour = target.closest?.(".heatmap tbody td");
  if (bar) bar.closest(".chart").querySelector(".readout").textContent = bar.querySelector("title").textContent;
  if (hour) {
    const when = `${hour.parentElement.cells[0].textContent} ${String(hour.cellIndex - 1).padStart(2, "0")}:00`;
    hour.closest("section").querySelector(".readout").textContent = `${when}: ${hour.textContent} requests on average`;
  }
}

// Arrow keys move between the bars of a chart and the findings on them. Only one of these is in the order of the Tab key.
function moveFocus(event) {
  const bar = event.target.closest?.(".chart a");
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (!bar || !step) return;
  event.preventDefault();
  const stops = [...bar.closest("svg").querySelectorAll("a")];
  const next = stops[Math.min(Math.max(stops.indexOf(bar) + step, 0), stops.length - 1)];
  stops.forEach((stop) => stop.setAttribute("tabindex", stop === next ? 0 : -1));
  next.focus();
}

// On a touch screen the first tap on a bar shows its value, and the second opens it.
let tapped;
function openOnSecondTap(event) {
  const bar = event.target.closest?.(".chart a:not(.flag)");
  if (!bar || event.pointerType !== "touch" || bar === tapped) return;
  event.preventDefault();
  tapped = bar;
  showValue(event);
}

// Prevents a second click from sending a form again: the second response would not show the secret.
function sendOnce(event) {
  const form = event.target;
  if (!form.querySelector("[name=form_key]")) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "true";
  setTimeout(() => delete form.dataset.sent, MINUTE / 6);
}

addLocalTimes(document);
openTarget();
addEventListener("hashchange", openTarget);
for (const type of ["pointerover", "focusin"]) document.addEventListener(type, showValue);
document.addEventListener("keydown", moveFocus);
document.addEventListener("click", openOnSecondTap);
document.addEventListener("submit", sendOnce);
setInterval(refresh, MINUTE / 12);
document.addEventListener("visibilitychange", refresh);
// Reloads a page that the browser has kept, because it may not be shown after signing out.
addEventListener("pageshow", (event) => event.persisted && location.reload());
