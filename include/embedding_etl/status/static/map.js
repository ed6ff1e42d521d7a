// Draws the points of the page with Chart.js. Keys are foreign text: they become text of nodes or of the canvas only.
const SIGNS = [["circle", "●"], ["triangle", "▲"], ["rect", "■"], ["rectRot", "◆"], ["star", "✱"], ["cross", "✚"], ["crossRot", "✖"], ["dash", "▬"]];
const place = document.getElementById("map");
const state = place?.querySelector(".map-state");
const ofTheme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourOf = (group) => ofTheme(`--map-${group + 1}`);
const shortened = (key) => (key.length > 80 ? `${key.slice(0, 40)}…${key.slice(-38)}` : key);

const fail = (message) => {
  state.className = "problem map-state";
  state.setAttribute("role", "alert");
  state.textContent = message;
};

const showLegend = (groups) => {
  const items = groups.map(({ name, points }, group) => {
    const item = document.createElement("li");
    const sign = document.createElement("span");
    sign.className = `map-sign map-${group + 1}`;
    sign.setAttribute("aria-hidden", "true");
    sign.textContent = SIGNS[group][1];
    item.append(sign, ` ${shortened(name)} (${points.length.toLocaleString("en")})`);
    return item;
  });
  place.querySelector(".map-legend").replaceChildren(...items);
};

const paint = (chart) => {
  chart.data.datasets.forEach((dataset, group) => { dataset.backgroundColor = dataset.borderColor = colourOf(group); });
  for (const scale of Object.values(chart.options.scales)) {
    scale.grid.color = ofTheme("--line");
    scale.ticks.color = ofTheme("--faint");
  }
  chart.update("none");
};

const draw = (found) => {
  const chosen = found[place.dataset.colour];
  const groups = [...chosen.names, "other"].map((name) => ({ name, points: [] }));
  found.points.forEach(([x, y, key], index) => groups[chosen.of_points[index]].points.push({ x, y, key }));
  if (!groups.at(-1).points.length) groups.pop();
  const axis = () => ({ grid: {}, ticks: { display: false } });
  const chart = new Chart(place.querySelector("canvas"), {
    type: "scatter",
    data: { datasets: groups.map(({ name, points }, group) => ({ label: name, data: points, pointStyle: SIGNS[group][0], radius: 5, borderWidth: 2, hoverRadius: 8, hoverBorderWidth: 3 })) },
    options: {
      animation: false,
      maintainAspectRatio: false,
      scales: { x: axis(), y: axis() },
      plugins: {
        legend: { display: false },
        tooltip: { callbacks: { label: ({ raw, dataset }) => `${shortened(raw.key)} · ${shortened(dataset.label)}` } },
      },
      onClick: (_, [hit]) => {
        if (hit) location.assign(`${place.dataset.objects}?key=${encodeURIComponent(groups[hit.datasetIndex].points[hit.index].key)}`);
      },
      onHover: (event, hits) => { event.native.target.classList.toggle("over-point", hits.length > 0); },
    },
  });
  showLegend(groups);
  paint(chart);
  new MutationObserver(() => paint(chart)).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  const share = Math.round(found.shown_variance * 100);
  state.textContent = `${found.points.length.toLocaleString("en")} of ${found.rows.toLocaleString("en")} rows. Two dimensions show ${share} % of their differences.`;
};

const load = async () => {
  let found;
  try {
    const answer = await fetch(place.dataset.points);
    found = await answer.json();
    if (!answer.ok) return fail(`The vectors could not be read: ${found.problem ?? answer.status}. Load this page again.`);
  } catch {
    return fail("The vectors could not be read: the server did not answer. Load this page again.");
  }
  if (found.points.length) draw(found);
  else { state.textContent = "Nothing is indexed in this lane yet."; place.querySelector(".map-frame").hidden = true; }
};
if (place) load();
