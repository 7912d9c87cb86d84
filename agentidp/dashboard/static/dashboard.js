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
    // Not by a reload: this response deleted the cookie, so a reload would not say that the session ended.
    return location.replace(document.querySelector(".sign-out").action.replace(/out$/, "in?ended"));
  }
  if (!response.ok) return document.body.classList.add("stale");
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const parts = (selector) => [document, fresh].map((page) => [...page.querySelectorAll(selector)]);
  // The header as well: somebody may have signed in to another organization in another tab.
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
  const scrolled = [...before.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  const focused = before.contains(document.activeElement) ? document.activeElement : null;
  const matching = (part) => [...part.querySelectorAll(FOCUSABLE)].filter((choice) => choice.href === focused?.href);
  const place = matching(before).indexOf(focused);
  before.replaceWith(after);
  after.querySelectorAll(".scroll").forEach((box, index) => box.scrollTo(...(scrolled[index] ?? [0, 0])));
  if (focused) (matching(after)[place] ?? matching(after)[0] ?? after).focus({ preventScroll: true });
}

setInterval(refresh, MINUTE / 12);
document.addEventListener("visibilitychange", refresh);
// A page that the browser kept may no longer be shown after signing out: load it again.
addEventListener("pageshow", (event) => event.persisted && location.reload());
