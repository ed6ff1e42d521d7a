// Airflow keeps its theme in localStorage and as a class of its <html>; this page may be in a frame of it.
(() => {
  const wanted = () => {
    try {
      const outer = window.parent.document.documentElement;
      if (window.parent !== window && outer.classList.contains("dark")) return "dark";
      if (window.parent !== window && outer.classList.contains("light")) return "light";
    } catch { /* another origin: not Airflow */ }
    const stored = localStorage.getItem("theme");
    if (stored === "dark" || stored === "light") return stored;
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  };
  const apply = () => { document.documentElement.dataset.theme = wanted(); };
  apply();
  addEventListener("storage", apply);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  try {
    if (window.parent !== window) new MutationObserver(apply).observe(window.parent.document.documentElement, { attributes: true, attributeFilter: ["class"] });
  } catch { /* another origin */ }
})();
