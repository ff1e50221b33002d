// Makes the pages pleasanter. All that they tell is there without it.
"use strict";

// Times are those of the reader's own clock.
function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = time.dateTime;
    time.textContent = at.toLocaleString();
  }
}

class LoggedOut extends Error {}

// That JSON would do as well tells a login in front that nobody looks at the answer, so that it refuses in place of beginning a login of its own.
async function load(url, signal) {
  const answer = await fetch(url, { signal, headers: { Accept: "text/html, application/json" } });
  if (answer.status === 401 || answer.status === 403) throw new LoggedOut();
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Parts that tell of the present are read again, but for those that somebody is about to use.
function keepFresh(parts) {
  const busy = (part) => document.hidden || part.contains(document.activeElement) || part.matches(":hover") || !getSelection().isCollapsed;
  setInterval(async () => {
    if (parts.every(busy)) return;
    try {
      const url = location.href;
      const page = await load(url);
      if (url !== location.href) return; // somebody has searched for something else meanwhile
      const fresh = page.querySelectorAll("[data-live]");
      parts.forEach((part, i) => {
        if (!fresh[i] || busy(part)) return;
        part.replaceChildren(...fresh[i].childNodes);
        localTimes(part);
      });
      document.querySelector("header > .state").replaceWith(page.querySelector("header > .state"));
    } catch (error) {
      if (error instanceof LoggedOut) location.reload();
      // Else the gateway is away: what is shown stays, until it is back or the reader reloads.
    }
  }, 5000);
}

// Results come while somebody types.
function searchWhileTyping(form) {
  const results = document.querySelector("[data-results]");
  let waiting, running;
  const run = async () => {
    running?.abort();
    running = new AbortController();
    const words = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    const url = form.action + (words.size ? `?${words}` : "");
    try {
      const page = await load(url, running.signal);
      results.replaceChildren(...page.querySelector("[data-results]").childNodes);
      localTimes(results);
      history.replaceState(null, "", url);
    } catch (error) {
      if (error.name !== "AbortError") location.assign(url);
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(run, 200);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    run();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    form.querySelector("[type=search]").focus();
  });
}

// A form is sent as a link is followed: where a login in front has ended, the pages' policy would stop a form on its way to the login, and no link.
function sendAsLink(form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const url = new URL(form.action);
    url.search = new URLSearchParams(new FormData(form));
    location.assign(url);
  });
}

localTimes(document);
const live = [...document.querySelectorAll("[data-live]")];
if (live.length) keepFresh(live);
for (const form of document.querySelectorAll("form[data-search]")) searchWhileTyping(form);
for (const form of document.querySelectorAll("form.caller")) sendAsLink(form);
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) button.hidden = true;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}
