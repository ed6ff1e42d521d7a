// Behaviour that needs a script. Elements say by data attributes what they want: no inline handlers, by policy.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens)?.showModal();
  if (event.target.closest("[data-closes]")) event.target.closest("dialog")?.close();
});
// A box in a table's head checks the boxes of that name in the same form.
document.addEventListener("change", (event) => {
  const name = event.target.dataset?.checks;
  if (name) for (const box of event.target.form.querySelectorAll(`input[name="${name}"]`)) box.checked = event.target.checked;
});
// A picture that the server cannot make a preview of says so, before or after this script was there to hear of it.
const lacking = (image) => {
  const words = document.createElement("p");
  words.className = "faint";
  words.textContent = "No preview can be made of it.";
  image.replaceWith(words);
};
document.addEventListener("error", (event) => { if (event.target.matches?.("img.thumb")) lacking(event.target); }, true);
for (const image of document.querySelectorAll("img.thumb")) if (image.complete && image.currentSrc && !image.naturalWidth) lacking(image);
