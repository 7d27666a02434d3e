"use strict";
(function () {
  var figures = JSON.parse(document.getElementById("figure-data").textContent);
  var options = { responsive: true, displaylogo: false, showSendToCloud: false };
  Object.keys(figures).forEach(function (key) {
    var place = document.getElementById("plot-" + key);
    if (place) {
      Plotly.newPlot(place, figures[key].data, figures[key].layout, options);
    }
  });
})();
