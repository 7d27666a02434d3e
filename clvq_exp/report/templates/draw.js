"use strict";
(function () {
  var figures = JSON.parse(document.getElementById("figure-data").textContent);
  var options = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"]
  };
  var narrow = window.matchMedia("(max-width: 46rem)");

  function draw(name, place) {
    var layout = Object.assign({}, figures[name].layout, narrow.matches ? figures[name].narrow : {});
    Plotly.react(place, figures[name].data, layout, options);
  }

  Object.keys(figures).forEach(function (name) {
    var place = document.getElementById("plot-" + name);
    if (!place) {
      return;
    }
    var around = place.closest("details");
    function drawWhereSeen() {
      if (!around || around.open) {
        draw(name, place);
      }
    }
    if (around) {
      around.addEventListener("toggle", drawWhereSeen);
    }
    narrow.addEventListener("change", drawWhereSeen);
    drawWhereSeen();
  });
})();
