// Links to Airflow's own pages. Airflow shows these pages in a frame that may not navigate what is around it, nor open
// windows; so the surrounding page, which is of the same origin, follows the link itself.
const here = new URL("..", document.currentScript.src).pathname;
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || window.parent === window || event.defaultPrevented) return;
  const target = new URL(link.getAttribute("href"), location.href);
  if (target.origin !== location.origin || target.pathname.startsWith(here)) return;
  event.preventDefault();
  const outer = window.parent.document.createElement("a");
  outer.href = target.href;
  outer.click();
});
