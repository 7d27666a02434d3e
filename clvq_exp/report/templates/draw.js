"use strict";
(function () {
  var figures = JSON.parse(document.getElementById("figure-data").textContent);
  var options = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"]
  };
  Object.keys(figures).forEach(function (name) {
    var place = document.getElementById("plot-" + name);
    if (place) {
      Plotly.newPlot(place, figures[name].data, figures[name].layout, options);
    }
  });
})();
