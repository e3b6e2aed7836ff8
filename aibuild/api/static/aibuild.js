// Pages work without this file: it only makes them handier.
"use strict";

// What is copied is the text of the element that the button names.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  if (!source) return;
  const text = source.textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const range = document.createRange(); // without TLS there is no clipboard: the text is selected
    range.selectNodeContents(source);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }
  const said = document.getElementById("said");
  if (said) said.textContent = "copied: " + text;
});

// A page that cannot be renewed says so, until it can.
const away = document.getElementById("away");
let renewed = new Date();
function isAway(why) {
  away.textContent = why + " This page shows how it was at " + renewed.toISOString().slice(11, 19) + ", and goes on by itself.";
  away.classList.remove("hidden");
}
document.addEventListener("htmx:sendError", () => isAway("The server does not answer."));
document.addEventListener("htmx:responseError", (event) => isAway("The server cannot tell now (" + event.detail.xhr.status + ")."));
document.addEventListener("htmx:afterSwap", () => {
  renewed = new Date();
  away.classList.add("hidden");
});

// Buttons that need this file are shown by it.
for (const e of document.querySelectorAll(".needs-js")) e.classList.remove("hidden");
document.addEventListener("htmx:afterSwap", () => {
  for (const e of document.querySelectorAll(".needs-js")) e.classList.remove("hidden");
});

// A log that grows is followed, and its end shown as long as that is what is looked at.
const log = document.querySelector("pre[data-follow]");
if (log && window.EventSource) {
  const mark = document.getElementById("following");
  const source = new EventSource(log.dataset.follow);
  log.classList.remove("hidden");
  source.addEventListener("log", (event) => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(event.data + "\n");
    while (log.childNodes.length > 2000) log.firstChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("open", () => { mark.textContent = "It is followed here while it grows."; });
  source.addEventListener("error", () => {
    const given = source.readyState === EventSource.CLOSED;
    mark.textContent = given ? "It cannot be followed here." : "The connection is lost; it is made again by itself.";
  });
  source.addEventListener("end", () => {
    source.close();
    mark.textContent = "The build has ended.";
  });
}
