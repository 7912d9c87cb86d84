// Brings the page up to date every minute. Without it, the page stays as it was when it was loaded.
"use strict";

const MINUTE = 60_000;
const FOCUSABLE = "a[href], button, summary, [tabindex]";
let due = Date.now() + MINUTE;

async function refresh() {
  if (document.hidden || Date.now() < due) return;
  due = Date.now() + MINUTE;
  let answer, text;
  try {
    answer = await fetch(location.href, { cache: "no-store" });
    text = await answer.text();
  } catch {
    answer = {};
  }
  if (answer.status === 401) {
    // Not by a reload: the cookie is gone with this answer, and with it the reason to tell.
    return location.replace(document.querySelector(".sign-out").action.replace(/out$/, "in?ended"));
  }
  if (!answer.ok) return document.body.classList.add("stale");
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const parts = (selector) => [document, fresh].map((page) => [...page.querySelectorAll(selector)]);
  // The header, too: whoever has signed in in another tab, it is their organization from now on.
  let [before, after] = parts("header, main .bar, main section[id]");
  if (before.map((part) => part.id).join() !== after.map((part) => part.id).join()) {
    [before, after] = parts("header, main");
  }
  before.forEach((part, index) => exchange(part, after[index]));
  document.body.classList.remove("stale");
}

// Puts "after" in the place of "before", as the reader has left that: what is open, scrolled to, and in focus.
function exchange(before, after) {
  for (const details of before.querySelectorAll("details[open]")) {
    after.querySelector(`#${details.id}`)?.setAttribute("open", "");
  }
  if (before.outerHTML === after.outerHTML) return;
  const scrolled = [...before.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  const focused = before.contains(document.activeElement) ? document.activeElement : null;
  const alike = (part) => [...part.querySelectorAll(FOCUSABLE)].filter((choice) => choice.href === focused?.href);
  const place = alike(before).indexOf(focused);
  before.replaceWith(after);
  after.querySelectorAll(".scroll").forEach((box, index) => box.scrollTo(...(scrolled[index] ?? [0, 0])));
  if (focused) (alike(after)[place] ?? alike(after)[0] ?? after).focus({ preventScroll: true });
}

setInterval(refresh, MINUTE / 12);
document.addEventListener("visibilitychange", refresh);
// A page that the browser has kept, after signing out: ask again whether it may be seen.
addEventListener("pageshow", (event) => event.persisted && location.reload());
