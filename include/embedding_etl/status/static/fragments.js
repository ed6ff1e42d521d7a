// A part of a page that could not be loaded says so in its place, in the words that the page has given it.
for (const failure of ["htmx:timeout", "htmx:sendError", "htmx:responseError"]) {
  document.addEventListener(failure, (event) => {
    const place = event.target.closest("[data-failed]");
    if (!place) return;
    const words = document.createElement("p");
    words.className = "problem";
    words.setAttribute("role", "alert");
    words.textContent = place.dataset.failed;
    place.replaceChildren(words);
  });
}
