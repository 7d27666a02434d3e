"""The codebook as plots: a map of the concepts, and their cosines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clvq_exp.report.access import Metrics
from clvq_exp.report.formatting import count
from clvq_exp.report.plots import COLOURS, MARKERS, Figure, axis, label, layout
from clvq_exp.report.representation import ConceptFiles, ConceptRow, first_model
from clvq_exp.report.run_files import read_vectors

MAP = "concept-map"
COSINES = "concept-cosines"
_MOST = 400
"""Concepts of the map of cosines."""
_WORDS = 6
"""Words of a concept in what is shown over its point."""


def concept_map(concepts: ConceptFiles, labels: Sequence[str]) -> Figure | None:
    """The concepts on a plane, coloured by the commonest label of their words, with a marker for each label.

    Args:
        concepts: the inventory.
        labels: names of the classes, neutralised.

    Returns:
        The plot, or None where no concept has a place.
    """
    placed = [row for row in concepts.rows if row.place is not None]
    if not placed:
        return None
    data = [
        _points([row for row in placed if row.label == name], name, index, concepts)
        for index, name in enumerate(labels)
    ]
    data.append(
        _points([row for row in placed if row.label is None], "sentence tokens only", len(labels), concepts)
    )
    data = [trace for trace in data if trace["x"]]
    shown = layout(
        460,
        xaxis=axis(showticklabels=False, showgrid=False, showline=False, range=[-1.1, 1.1]),
        yaxis=axis(showticklabels=False, showgrid=False, showline=False, range=[-1.1, 1.1]),
        hovermode="closest",
    )
    caption = (
        "Each point is a concept; near points hold like vectors (t-SNE of cosine distances: neighbourhoods mean "
        "something, distances between far points do not). Colour and marker tell the commonest label among its "
        "training words, size their number. A click opens the concept."
    )
    described = f"{caption} {count(len(placed))} concepts are drawn; the list below holds the same and more."
    return Figure(MAP, caption, described, 460, data, shown)


def _points(rows: Sequence[ConceptRow], name: str, index: int, concepts: ConceptFiles) -> dict[str, Any]:
    most = max((row.train_words for row in concepts.rows), default=1)
    places = [row.place for row in rows if row.place is not None]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(name),
        "x": [round(x, 4) for x, _ in places],
        "y": [round(y, 4) for _, y in places],
        "customdata": [row.concept for row in rows],
        "text": [_hover(row, concepts) for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "color": COLOURS[index % len(COLOURS)],
            "symbol": MARKERS[index % len(MARKERS)],
            "size": [round(6 + 16 * (row.train_words / most) ** 0.5, 1) for row in rows],
            "opacity": 0.8,
            "line": {"color": "#ffffff", "width": 1},
        },
    }


def _hover(row: ConceptRow, concepts: ConceptFiles) -> str:
    words = ", ".join(word for word, _ in concepts.words.get(row.concept, ())[:_WORDS])
    return f"<b>concept {row.concept}</b>, {count(row.train_words)} training words<br>{label(words)}"


def cosine_map(folder: Path, metrics: Metrics, concepts: ConceptFiles) -> Figure | None:
    """Cosines between the concepts, like ones beside each other.

    Args:
        folder: the run folder, with `concepts`.
        metrics: the content of `metrics.json`.
        concepts: the inventory.

    Returns:
        The plot of the most used concepts, or None where fewer than two have a vector.
    """
    use = {row.concept: row.train_words for row in concepts.rows if row.train_words > 0}
    chosen = sorted(sorted(use, key=lambda each: -use[each])[:_MOST])
    chosen, vectors = read_vectors(folder, chosen, **first_model(metrics))
    if len(chosen) < 2:
        return None
    unit = _unit(vectors)
    order = _like_beside_like(unit)
    names = [f"#{chosen[index]}" for index in order]
    cosines = np.clip(unit[order] @ unit[order].T, -1.0, 1.0)
    apart = cosines[~np.eye(len(chosen), dtype=np.bool_)]
    trace = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": np.round(cosines, 2).tolist(),
        "zmin": -1,
        "zmax": 1,
        "colorscale": "RdBu",
        "colorbar": {"title": {"text": "cosine"}, "thickness": 14},
        "hovertemplate": "%{y} and %{x}: %{z:.2f}<extra></extra>",
    }
    plain: dict[str, Any] = {"showticklabels": False, "showgrid": False, "constrain": "domain"}
    shown = layout(
        520,
        xaxis=axis(**plain),
        yaxis=axis(autorange="reversed", scaleanchor="x", **plain),
    )
    all_of_them = len(chosen) == len(use)
    what = "the concepts that hold a training word" if all_of_them else f"the {_MOST} most used concepts"
    caption = (
        f"Cosines between the vectors of {what} ({count(len(chosen))}), like ones beside each other: mean "
        f"{apart.mean():.2f}, largest {apart.max():.2f}, smallest {apart.min():.2f}."
    )
    return Figure(COSINES, caption, caption, 520, [trace], shown)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def _like_beside_like(unit: NDArray[np.float64]) -> NDArray[np.int64]:
    """The leaves of the tree of average linkage."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distances = np.clip(1.0 - unit @ unit.T, 0.0, 2.0)
    np.fill_diagonal(distances, 0.0)
    distances = (distances + distances.T) / 2
    return leaves_list(linkage(squareform(distances, checks=False), "average")).astype(np.int64)
