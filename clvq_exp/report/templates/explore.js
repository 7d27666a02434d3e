"use strict";
(function () {
  var data = JSON.parse(document.getElementById("explorer-data").textContent);
  var STEP = 50;
  var conceptOf = new Map(data.concepts.map(function (each) { return [each.concept, each]; }));
  var sentenceOf = new Map(data.sentences.map(function (each) { return [each.sentence, each]; }));
  var sentencesOf = new Map();
  data.sentences.forEach(function (each) {
    if (!sentencesOf.has(each.concept)) {
      sentencesOf.set(each.concept, []);
    }
    sentencesOf.get(each.concept).push(each);
  });

  function byId(id) {
    return document.getElementById(id);
  }

  // Text goes in as text: nothing of the data is ever read as markup.
  function make(tag, attributes, children) {
    var node = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (name) {
      node.setAttribute(name, attributes[name]);
    });
    (children || []).forEach(function (child) {
      node.append(child);
    });
    return node;
  }

  function of(text) {
    return make("bdi", {}, [String(text)]);
  }

  function count(value) {
    return value.toLocaleString("en");
  }

  function percent(value) {
    return value === null ? "–" : (100 * value).toFixed(0) + "%";
  }

  function counted(value, one, many) {
    return count(value) + " " + (value === 1 ? one : many);
  }

  function link(kind, number, text) {
    return make("a", { href: "#" + kind + "-" + number }, [text]);
  }

  function conceptLink(number) {
    return conceptOf.has(number) ? link("concept", number, "concept " + number) : of("concept " + number);
  }

  function sentenceText(each) {
    return each.words.filter(function (word) { return word[3] < 2; }).map(function (word) { return word[0]; }).join(" ");
  }

  function cut(text, most) {
    return text.length > most ? text.slice(0, most) + "…" : text;
  }

  // A list: columns with a value to sort by, rows that a search leaves, the first of them drawn.
  function List(kind, rows, columns, haystack, chosen) {
    var self = this;
    this.rows = rows;
    this.columns = columns;
    this.kind = kind;
    this.table = byId(kind + "-list");
    this.search = byId(kind + "-search");
    this.select = byId(kind + (kind === "concept" ? "-label" : "-kind"));
    this.more = byId(kind + "-more");
    this.hay = rows.map(function (row) { return haystack(row).toLowerCase(); });
    this.chosen = chosen;
    this.drawn = STEP;
    this.sorted = { column: null, up: false };
    var head = make("tr");
    columns.forEach(function (column, index) {
      var button = make("button", { type: "button", class: "sort" }, [column.title]);
      button.addEventListener("click", function () { self.sortBy(index); });
      head.append(make("th", { scope: "col", class: column.text ? "text" : "" }, [button]));
    });
    this.table.tHead.append(head);
    this.search.closest("form").addEventListener("submit", function (event) { event.preventDefault(); });
    this.search.addEventListener("input", function () { self.drawn = STEP; self.draw(); });
    this.select.addEventListener("change", function () { self.drawn = STEP; self.draw(); });
    this.more.addEventListener("click", function () { self.drawn += 4 * STEP; self.draw(); });
    this.order = rows.map(function (_, index) { return index; });
    this.draw();
  }

  List.prototype.sortBy = function (index) {
    var column = this.columns[index];
    var up = this.sorted.column === index ? !this.sorted.up : Boolean(column.text);
    var rows = this.rows;
    this.sorted = { column: index, up: up };
    this.order.sort(function (a, b) {
      var x = column.value(rows[a]), y = column.value(rows[b]);
      if (x === null || y === null) {
        return (x === null) - (y === null) || a - b;
      }
      var before = typeof x === "string" ? x.localeCompare(y) : x - y;
      return (up ? before : -before) || a - b;
    });
    Array.from(this.table.tHead.rows[0].cells).forEach(function (cell, at) {
      if (at === index) {
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      } else {
        cell.removeAttribute("aria-sort");
      }
    });
    this.draw();
  };

  List.prototype.draw = function () {
    var self = this;
    var wanted = this.search.value.trim().toLowerCase();
    var of_kind = this.select.value;
    var left = this.order.filter(function (index) {
      return (!of_kind || self.chosen(self.rows[index]) === of_kind) && (!wanted || self.hay[index].includes(wanted));
    });
    var body = make("tbody");
    left.slice(0, this.drawn).forEach(function (index) {
      var row = make("tr");
      self.columns.forEach(function (column, at) {
        var cell = make(at ? "td" : "th", at ? {} : { scope: "row" }, [column.show(self.rows[index])]);
        if (column.text) {
          cell.className = "text";
        }
        row.append(cell);
      });
      body.append(row);
    });
    this.table.tBodies[0].replaceWith(body);
    this.more.hidden = left.length <= this.drawn;
    var shown = Math.min(left.length, this.drawn);
    byId(this.kind + "-found").textContent =
      count(left.length) + " of " + counted(this.rows.length, this.kind, this.kind + "s") +
      (shown < left.length ? ", the first " + count(shown) + " are shown" : "");
  };

  function options(id, values) {
    values.forEach(function (value) {
      byId(id).append(make("option", { value: value }, [value]));
    });
  }

  function fact(name, value) {
    return make("div", {}, [make("dt", {}, [name]), make("dd", {}, [value])]);
  }

  function opened(node, title, back) {
    node.replaceChildren();
    node.hidden = false;
    var heading = make("h3", { tabindex: "-1" }, title);
    var close = make("a", { href: "#" + back, class: "close" }, ["Back to the list"]);
    node.append(heading, close);
    return heading;
  }

  function bars(words) {
    var most = words.length ? words[0][1] : 1;
    return make("ol", { class: "bars" }, words.map(function (each) {
      var bar = make("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = Math.max(2, (100 * each[1]) / most) + "%";
      return make("li", {}, [of(each[0]), make("span", { class: "soft" }, [count(each[1])]), bar]);
    }));
  }

  function labelBars(each) {
    var total = each.label_words.reduce(function (a, b) { return a + b; }, 0);
    return make("ol", { class: "bars" }, each.label_words.map(function (words, index) {
      var bar = make("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = (total ? (100 * words) / total : 0) + "%";
      var told = count(words) + (total ? ", " + percent(words / total) : "");
      return make("li", {}, [of(data.labels[index]), make("span", { class: "soft" }, [told]), bar]);
    }));
  }

  function exampleItem(each) {
    var parts = [make("span", { class: "soft" }, [each.split + ", "]), of(each.label), ": "];
    if (each.before) {
      parts.push(of(each.before), " ");
    }
    parts.push(make("mark", {}, [of(each.word)]));
    if (each.after) {
      parts.push(" ", of(each.after));
    }
    if (each.sentence !== null) {
      parts.push(" ", link("sentence", each.sentence, "the sentence"));
    }
    return make("li", { dir: "auto" }, parts);
  }

  function showConcept(each) {
    var node = byId("concept-detail");
    var heading = opened(node, ["Concept " + each.concept], "concepts");
    var facts = make("dl", { class: "facts" }, [
      fact("Training words", count(each.train)),
      fact("Words of dev", count(each.dev)),
      fact("Training sentences", count(each.train_sentences)),
      fact("Sentence tokens among the training words", count(each.tokens) + (each.train ? ", " + percent(each.tokens / each.train) : "")),
      fact("Different words", count(each.forms)),
      fact("Salient in dev", counted(each.salient, "sentence", "sentences")),
      fact("Commonest label", each.label === null ? "none" : of(each.label)),
      fact("Purity", percent(each.purity))
    ]);
    node.append(facts);
    var columns = make("div", { class: "columns" });
    var words = make("section", {}, [make("h4", {}, ["Most frequent words"])]);
    words.append(each.words.length ? bars(each.words) : make("p", { class: "soft" }, ["It holds no training word."]));
    if (each.forms > each.words.length) {
      words.append(make("p", { class: "soft" }, ["and " + count(each.forms - each.words.length) + " more in concept_words.parquet"]));
    }
    var right = make("section", {}, [make("h4", {}, ["Training words by label"]), labelBars(each)]);
    right.append(make("h4", {}, ["Nearest concepts"]));
    right.append(make("ul", { class: "plain" }, each.nearest.map(function (near) {
      var other = conceptOf.get(near[0]);
      var its = other ? other.words.slice(0, 5).map(function (word) { return word[0]; }).join(", ") : "";
      return make("li", {}, [conceptLink(near[0]), ", cosine " + near[1].toFixed(2) + (its ? ": " : ""), of(its)]);
    })));
    columns.append(words, right);
    node.append(columns);
    node.append(make("h4", {}, ["Examples, drawn by lot"]));
    node.append(make("ul", { class: "plain" }, each.examples.map(exampleItem)));
    var own = sentencesOf.get(each.concept) || [];
    node.append(make("h4", {}, ["Dev sentences whose salient word it is"]));
    node.append(own.length
      ? make("ul", { class: "plain" }, own.slice(0, STEP).map(function (sentence) {
          return make("li", { dir: "auto" }, [link("sentence", sentence.sentence, cut(sentenceText(sentence), 160)), " ", make("span", { class: "soft" }, [sentence.kind])]);
        }))
      : make("p", { class: "soft" }, ["none"]));
    heading.focus();
  }

  function wordNode(word) {
    var shade = word[2] > 0 ? " p" + word[2] : word[2] < 0 ? " n" + -word[2] : "";
    var attributes = { class: "w" + shade + (word[3] % 2 ? " salient" : "") + (word[3] > 1 ? " special" : "") };
    if (word[1] !== null) {
      attributes.title = "attribution " + word[1];
    }
    var parts = [make("span", attributes, [of(word[0])])];
    if (word[3] % 2) {
      parts.push(make("span", { class: "tag" }, ["◂ salient" + (word[1] === null ? "" : " " + word[1].toFixed(2))]));
    } else if (Math.abs(word[2]) > 2) {
      parts.push(make("span", { class: "tag" }, [word[1].toFixed(2)]));
    }
    return parts;
  }

  function verdict(right) {
    return right === null ? "not known" : right ? "right" : "wrong";
  }

  function showSentence(each) {
    var node = byId("sentence-detail");
    var heading = opened(node, ["Sentence ", of(each.id)], "all-sentences");
    var text = make("p", { class: "sentence", dir: "auto" });
    each.words.forEach(function (word) {
      wordNode(word).forEach(function (part) { text.append(part, " "); });
    });
    if (each.more_words) {
      text.append(make("span", { class: "soft" }, ["… and " + counted(each.more_words, "word", "words") + " more"]));
    }
    node.append(text);
    var facts = [
      fact("Predicted", of(each.prediction)),
      fact("Truth", of(each.label)),
      fact("Outcome", each.kind),
      fact("Confidence", each.confidence === null ? "–" : (100 * each.confidence).toFixed(1) + "%"),
      fact("Salient word", of(each.salient_word)),
      fact("Its concept", each.concept === null || each.concept < 0 ? "none" : conceptLink(each.concept)),
      fact("Probe, nothing removed", verdict(each.probe[0]))
    ];
    if (data.removal !== null) {
      facts.push(fact("Probe without " + data.removal, verdict(each.probe[1])));
    }
    node.append(make("dl", { class: "facts" }, facts));
    var concept = conceptOf.get(each.concept);
    if (concept) {
      node.append(make("h4", {}, ["What the concept holds"]), bars(concept.words.slice(0, 10)));
    }
    heading.focus();
  }

  function route() {
    var found = /^#(concept|sentence)-(-?\d+)$/.exec(window.location.hash);
    byId("concept-detail").hidden = true;
    byId("sentence-detail").hidden = true;
    if (!found) {
      return;
    }
    var number = Number(found[2]);
    if (found[1] === "concept" && conceptOf.has(number)) {
      showConcept(conceptOf.get(number));
    } else if (found[1] === "sentence" && sentenceOf.has(number)) {
      showSentence(sentenceOf.get(number));
    }
  }

  options("concept-label", data.labels);
  options("sentence-kind", data.kinds);
  new List("concept", data.concepts, [
    { title: "Concept", value: function (row) { return row.concept; }, show: function (row) { return conceptLink(row.concept); } },
    {
      title: "Most frequent words", text: true,
      value: function (row) { return row.words.length ? row.words[0][0] : null; },
      show: function (row) { return of(row.words.slice(0, 8).map(function (word) { return word[0]; }).join(", ") || "sentence tokens only"); }
    },
    { title: "Salient in dev", value: function (row) { return row.salient; }, show: function (row) { return count(row.salient); } },
    { title: "Training words", value: function (row) { return row.train; }, show: function (row) { return count(row.train); } },
    { title: "Words of dev", value: function (row) { return row.dev; }, show: function (row) { return count(row.dev); } },
    { title: "Label", text: true, value: function (row) { return row.label; }, show: function (row) { return of(row.label === null ? "–" : row.label); } },
    { title: "Purity", value: function (row) { return row.purity; }, show: function (row) { return percent(row.purity); } }
  ], function (row) {
    return row.concept + " " + row.words.map(function (word) { return word[0]; }).join(" ");
  }, function (row) { return row.label; });
  new List("sentence", data.sentences, [
    {
      title: "Sentence", text: true,
      value: sentenceText,
      show: function (row) { return link("sentence", row.sentence, cut(sentenceText(row), 160) || row.id); }
    },
    { title: "Outcome", text: true, value: function (row) { return row.kind; }, show: function (row) { return row.kind; } },
    { title: "Predicted", text: true, value: function (row) { return row.prediction; }, show: function (row) { return of(row.prediction); } },
    { title: "Confidence", value: function (row) { return row.confidence; }, show: function (row) { return percent(row.confidence); } },
    { title: "Salient word", text: true, value: function (row) { return row.salient_word; }, show: function (row) { return of(row.salient_word); } },
    { title: "Concept", value: function (row) { return row.concept; }, show: function (row) { return row.concept === null || row.concept < 0 ? "–" : conceptLink(row.concept); } }
  ], function (row) {
    return row.id + " " + sentenceText(row);
  }, function (row) { return row.kind; });
  var left = data.left_out;
  var notes = [];
  if (data.empty) {
    notes.push(counted(data.empty, "concept holds no word and is", "concepts hold no word and are") + " not listed.");
  }
  if (left.concepts) {
    notes.push("Of the others the " + count(data.concepts.length) + " most salient and most used are listed.");
  }
  if (notes.length) {
    byId("concept-list").caption.append(make("span", { class: "more" }, [" " + notes.join(" ")]));
  }
  if (left.sentences) {
    byId("sentence-list").caption.append(make("span", { class: "more" }, [" " + counted(left.sentences, "sentence is", "sentences are") + " left out, evenly over outcomes."]));
  }
  var map = byId("plot-concept-map");
  if (map && map.on) {
    map.on("plotly_click", function (event) {
      window.location.hash = "#concept-" + event.points[0].customdata;
    });
  }
  window.addEventListener("hashchange", route);
  route();
})();
