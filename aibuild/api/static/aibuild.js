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
