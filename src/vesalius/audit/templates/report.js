// Draws each figure when it comes near the screen, in the colours of the page; redraws when the page turns dark or light.
(function () {
  "use strict";
  var specs = JSON.parse(document.getElementById("figures").textContent);
  var drawn = new Set();

  function coloured(value, style) {
    if (typeof value === "string") return value.charAt(0) === "@" ? style.getPropertyValue("--" + value.slice(1)).trim() : value;
    if (Array.isArray(value)) return value.map(function (item) { return coloured(item, style); });
    if (value && typeof value === "object") {
      var result = {};
      Object.keys(value).forEach(function (key) { result[key] = coloured(value[key], style); });
      return result;
    }
    return value;
  }

  function draw(place) {
    var spec = coloured(specs[place.dataset.figure], getComputedStyle(document.documentElement));
    spec.layout.font.family = getComputedStyle(document.body).fontFamily;
    Plotly.react(place, spec.data, spec.layout, { displayModeBar: false, responsive: true });
    drawn.add(place);
  }

  var places = Array.prototype.slice.call(document.querySelectorAll(".plot[data-figure]"));
  if (!window.Plotly) return;
  if ("IntersectionObserver" in window) {
    var watch = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (entry.isIntersecting) { watch.unobserve(entry.target); draw(entry.target); }
      });
    }, { rootMargin: "700px 0px" });
    places.forEach(function (place) { watch.observe(place); });
  } else {
    places.forEach(draw);
  }
  window.addEventListener("beforeprint", function () { places.forEach(function (place) { if (!drawn.has(place)) draw(place); }); });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () { drawn.forEach(draw); });
})();
