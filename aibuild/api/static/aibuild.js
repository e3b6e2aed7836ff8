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
