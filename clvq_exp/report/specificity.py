"""How specific the codes of each method are, as tables: each figure beside the same under shuffled labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clvq_exp.report.access import Metrics, block, entry, number
from clvq_exp.report.formatting import NOTHING, bounds, count, decimal, percent
from clvq_exp.report.grid import Grid, GridCell, GridColumn, GridRow, plain_cells, plain_columns
from clvq_exp.report.representation import shown
from clvq_exp.report.shuffles import described, group, method_row, shuffled_grid

BANDS = {
    "bands": "in bands of wording",
    "below": "below a cosine",
    "at_least": "from a cosine on",
}
"""The readings of the overlap, by their keys."""
_QUANTILES = {
    "0": "Lowest",
    "0.05": "5%",
    "0.25": "25%",
    "0.5": "Median",
    "0.75": "75%",
    "0.95": "95%",
    "1": "Highest",
}


def purity_grid(metrics: Metrics) -> Grid | None:
    """Label purity of the codes; None where nothing was measured.

    Args:
        metrics: the content of `metrics.json`.
    """
    groups = [
        group(metrics, "Purity, mean over words", ("purity",), "weighted_mean"),
        group(metrics, "Codes that hold one label only", ("purity",), "pure_share"),
    ]
    first = {
        "Codes": lambda name: count(number(_values(metrics, name, "purity").get("codes"))),
        "Words": lambda name: count(number(_values(metrics, name, "purity").get("words"))),
    }
    note = "Share of the commonest label among the training words that a code holds."
    return shuffled_grid(metrics, "Label purity of the codes", note, groups, first)


def routing_grid(metrics: Metrics) -> Grid | None:
    """Routing of content words by the label of their sentence; None where nothing was measured.

    Args:
        metrics: the content of `metrics.json`.
    """
    groups = [
        group(metrics, "Words that change their code", ("routing",), "differing_share"),
        group(metrics, "Divergence, bits", ("routing",), "divergence", decimal, bounds),
    ]
    first = {"Words": lambda name: count(number(_values(metrics, name, "routing").get("words")))}
    note = (
        "Share of the content words whose most frequent code differs between two labels, and the Jensen-Shannon "
        "divergence of their codes under them; with more labels, the mean over pairs."
    )
    return shuffled_grid(metrics, "Label-conditioned routing of words", note, groups, first)


def label_pairs_grid(metrics: Metrics) -> Grid | None:
    """Routing for each pair of labels; None with two labels, where the routing itself says it.

    Args:
        metrics: the content of `metrics.json`.
    """
    pairs = {name: _label_pairs(metrics, name) for name in described(metrics)}
    titles = list(dict.fromkeys(title for of_method in pairs.values() for title in of_method))
    if len(titles) < 2:
        return None
    return Grid(
        "Words that change their code, by pair of labels",
        "Below: the divergence in bits, and the words compared.",
        "Method",
        plain_columns(titles),
        tuple(
            method_row(metrics, name, tuple(of_method.get(title, GridCell(NOTHING)) for title in titles))
            for name, of_method in pairs.items()
        ),
    )


def overlap_grid(metrics: Metrics, reading: str) -> Grid | None:
    """Codes that two sentences share, at controlled wording; None where nothing was measured.

    Args:
        metrics: the content of `metrics.json`.
        reading: a key of `BANDS`.
    """
    of_main = next((_values(metrics, name, "overlap", reading) for name in described(metrics)), {})
    groups = [
        group(
            metrics,
            f"{_band_title(reading, band)}: {count(number(entry(of_main, band).get('same_pairs')))} / "
            f"{count(number(entry(of_main, band).get('different_pairs')))} pairs",
            ("overlap", reading, band),
            "ratio",
            lambda value: decimal(value, 2),
            lambda value: bounds(value, 2),
            _means(metrics, reading, band),
        )
        for band in sorted(of_main, key=_lower_edge)
    ]
    note = (
        "Shared codes of a pair of sentences with one label, as a multiple of those of a pair with two; below it "
        "both means. Wording: TF-IDF cosine. Pairs: of one label / of two."
    )
    return shuffled_grid(metrics, f"Codes that sentences share, {BANDS[reading]}", note, groups, {})


def cosine_grid(metrics: Metrics) -> Grid | None:
    """Cosines over all pairs of codes; None where nothing was measured.

    Args:
        metrics: the content of `metrics.json`.
    """
    found = {name: _values(metrics, name, "cosine") for name in described(metrics)}
    if not any(found.values()):
        return None
    rows = tuple(
        method_row(metrics, name, plain_cells(decimal(number(values.get(key))) for key in ("mean", *_QUANTILES)))
        for name, values in found.items()
    )
    columns = (GridColumn("Mean"), *plain_columns(list(_QUANTILES.values()), "Quantiles"))
    return Grid("Pairwise cosine of the codes", "Over all pairs of codes.", "Method", columns, rows)


def stability_grid(metrics: Metrics) -> Grid | None:
    """How far the codes are the same over seeds; None with one seed.

    Args:
        metrics: the content of `metrics.json`.
    """
    found = {name: _values(metrics, name, "stability") for name in described(metrics)}
    if not any(found.values()):
        return None
    keys = ("matched_cosine", "random_cosine", "matched_cosine_in_use", "random_cosine_in_use", "agreement")
    rows = tuple(
        method_row(metrics, name, plain_cells(decimal(number(values.get(key))) for key in keys))
        for name, values in found.items()
    )
    columns = (
        *plain_columns(("Best match", "All pairs"), "Cosine of the codes"),
        *plain_columns(("Best match", "All pairs"), "Cosine of the codes in use"),
        GridColumn("Agreement on words"),
    )
    note = (
        "Mean over pairs of seeds. Best match: each code of one seed with one of the other, so that the cosines "
        "are highest together; all pairs: what a match at random gives. Agreement: adjusted mutual information "
        "of the codes of dev words, 0 by chance and 1 for the same grouping."
    )
    return Grid("The same codes with another seed", note, "Method", columns, rows)


def seeds_grid(metrics: Metrics) -> Grid | None:
    """The main figures seed by seed; None with one seed.

    Args:
        metrics: the content of `metrics.json`.
    """
    rows: list[GridRow] = []
    for name in described(metrics):
        seeds = _values(metrics, name, "seeds")
        for seed in sorted(seeds, key=lambda each: (len(each), each)):
            rows.append(method_row(metrics, name, _of_seed(entry(seeds, seed)), f"seed {seed}"))
    if len({row.below for row in rows}) < 2:
        return None
    columns = ("Purity, mean over words", "Codes of one label", "Words that change their code", "Divergence, bits")
    return Grid("By seed", "", "Method", plain_columns((*columns, "Mean cosine")), tuple(rows))


def _of_seed(values: Mapping[str, Any]) -> tuple[GridCell, ...]:
    purity, routing = entry(values, "purity"), entry(values, "routing")
    return plain_cells(
        (
            percent(number(purity.get("weighted_mean"))),
            percent(number(purity.get("pure_share"))),
            percent(number(routing.get("differing_share"))),
            decimal(number(routing.get("divergence"))),
            decimal(number(entry(values, "cosine").get("mean"))),
        )
    )


def _label_pairs(metrics: Metrics, method: str) -> dict[str, GridCell]:
    found: dict[str, GridCell] = {}
    for pair in _values(metrics, method, "routing").get("label_pairs") or []:
        title = " / ".join(shown(str(label)) for label in pair["labels"])
        divergence, words = number(pair.get("divergence")), number(pair.get("words"))
        below = f"{decimal(divergence)}, {count(words)} words"
        found[title] = GridCell(percent(number(pair.get("differing_share"))), below)
    return found


def _means(metrics: Metrics, reading: str, band: str) -> Callable[[str], str]:
    def of_method(method: str) -> str:
        values = _values(metrics, method, "overlap", reading, band)
        same, different = (number(values.get(key)) for key in ("same_label", "different_label"))
        return f"{decimal(same, 2)} / {decimal(different, 2)}"

    return of_method


def _lower_edge(band: str) -> float:
    return float(band.split("-")[0])


def _band_title(reading: str, band: str) -> str:
    low, _, high = band.partition("-")
    if reading == "bands":
        return f"{low} to {high}"
    return f"below {band}" if reading == "below" else ("all" if low == "0" else f"{band} and above")


def _values(metrics: Metrics, method: str, *path: str) -> Mapping[str, Any]:
    return entry(block(metrics, method, "specificity"), *path)
