"""From per-sentence outcomes to the figures of `metrics.json` (docs/run_folder.md names them all)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.concepts.base import Bypass, ConceptModel, FitSummary, mean_pairwise_cosine
from clvq_exp.evaluation.codes_alone import CodesAlone
from clvq_exp.evaluation.controls import (
    ORIGINAL,
    PERTURBED,
    RANDOM_DIRECTION,
    REFIT,
    REFIT_ORIGINAL,
    SPECIFIC_AGAINST,
)
from clvq_exp.evaluation.faithfulness import RemovalOutcomes
from clvq_exp.evaluation.intervention import LiveOutcomes
from clvq_exp.evaluation.statistics import (
    Bootstrap,
    Outcomes,
    SignFlips,
    above_majority,
    cohens_h,
    holm,
    minimum_detectable_drop,
    relative_drop,
)

READABLE_LEVEL = 0.05


def faithfulness_figures(
    outcomes: RemovalOutcomes,
    bootstrap: Bootstrap,
    labels: NDArray[np.int64],
    n_classes: int,
    sentence_token_salient: NDArray[np.bool_],
) -> dict[str, Any]:
    """All figures of one removal.

    Args:
        outcomes: correct or not, per condition, seed and sentence.
        bootstrap: resamples shared by all figures of the cell.
        labels: gold classes of the sentences.
        n_classes: number of classes.
        sentence_token_salient: sentences whose salient word is the sentence token.
    """
    correct = outcomes.correct
    figures: dict[str, Any] = _accuracies_and_drops(correct, bootstrap)
    n_seeds, n = correct[ORIGINAL].shape
    p_value = max(above_majority(correct[ORIGINAL][seed], labels) for seed in range(n_seeds))
    noise = float((correct[ORIGINAL] != correct[RANDOM_DIRECTION]).mean())
    figures |= {
        "standard_deviation": {
            name: float(each.mean(1).std(ddof=1)) if n_seeds > 1 else None for name, each in correct.items()
        },
        "inverted": sorted(name for name, each in correct.items() if each.mean() < 1 / n_classes),
        "readable": p_value < READABLE_LEVEL,
        "readable_p_value": p_value,
        "minimum_detectable_drop": minimum_detectable_drop(noise, n),
        "removed_norm": outcomes.removed_norm,
        "rank": outcomes.rank,
        "empty_concepts": outcomes.empty,
        "without_sentence_token": _without(correct, bootstrap, sentence_token_salient),
    }
    return figures


def _accuracies_and_drops(correct: Mapping[str, Outcomes], bootstrap: Bootstrap) -> dict[str, Any]:
    accuracies = {name: float(each.mean()) for name, each in correct.items()}
    resampled = dict(zip(correct, bootstrap.means(list(correct.values())), strict=True))
    drops = {
        name: (
            float(relative_drop(accuracies[ORIGINAL], accuracies[name])),
            relative_drop(resampled[ORIGINAL], resampled[name]),
        )
        for name in (PERTURBED, *SPECIFIC_AGAINST)
    }
    specific = drops[PERTURBED][0] - max(drops[name][0] for name in SPECIFIC_AGAINST)
    specific_resampled = drops[PERTURBED][1] - np.max([drops[name][1] for name in SPECIFIC_AGAINST], axis=0)
    figures: dict[str, Any] = {
        name: bootstrap.interval(accuracies[name], resampled[name]).as_dict() for name in correct
    }
    figures["drop"] = bootstrap.interval(*drops[PERTURBED]).as_dict()
    figures["specific_drop"] = bootstrap.interval(specific, specific_resampled).as_dict()
    return figures


def _without(
    correct: Mapping[str, Outcomes], bootstrap: Bootstrap, special: NDArray[np.bool_]
) -> dict[str, Any] | None:
    if not special.any() or special.all():
        return None
    keep = ~special
    rest = {name: each[:, keep] for name, each in correct.items() if name not in (REFIT, REFIT_ORIGINAL)}
    return {"sentences": int(keep.sum()), **_accuracies_and_drops(rest, bootstrap.restrict(keep))}


def intervention_figures(
    live: Mapping[str, Mapping[str, LiveOutcomes]], original: Outcomes, bootstrap: Bootstrap
) -> dict[str, Any]:
    """place -> condition -> accuracy, flips, change of the predicted class's probability."""
    names = {"accuracy": "correct", "flips": "flips", "probability_change": "probability_change"}
    where = [
        (place, condition, name)
        for place, conditions in live.items()
        for condition in conditions
        for name in names
    ]
    measures = [getattr(live[place][condition], names[name]) for place, condition, name in where]
    untouched, *intervals = bootstrap.of([original, *measures])
    figures: dict[str, Any] = {place: {ORIGINAL: {"accuracy": untouched.as_dict()}} for place in live}
    for (place, condition, name), interval in zip(where, intervals, strict=True):
        figures[place].setdefault(condition, {})[name] = interval.as_dict()
    return figures


def codebook_figures(models: Mapping[int, ConceptModel], alone: Mapping[int, CodesAlone]) -> dict[str, Any]:
    """Size, use, cosine, bypass and what concepts alone explain: means over seeds, and each seed.

    Args:
        models: seed -> fitted model.
        alone: seed -> what its concepts alone explain of the upper layer.
    """
    seeds = {str(seed): _codebook_of_seed(model, alone[seed]) for seed, model in models.items()}
    names = [name for name in next(iter(seeds.values())) if name not in ("bypass", "chosen", "codes_alone")]
    means: dict[str, Any] = {name: _mean([each[name] for each in seeds.values()]) for name in names}
    bypasses = [each["bypass"] for each in seeds.values()]
    means["bypass"] = (
        {name: _mean([each[name] for each in bypasses]) for name in Bypass._fields} if bypasses[0] else None
    )
    shares = [each["codes_alone"] for each in seeds.values()]
    means["codes_alone"] = {name: _mean([each[name] for each in shares]) for name in CodesAlone._fields}
    return {**means, "seeds": seeds}


def _codebook_of_seed(model: ConceptModel, alone: CodesAlone) -> dict[str, Any]:
    summary = model.summary
    return {
        "size": model.n_concepts,
        "perplexity": summary.perplexity,
        "utilisation": summary.perplexity / model.n_concepts,
        "codes_in_use": summary.codes_in_use,
        "mean_cosine": mean_pairwise_cosine(model.vectors()),
        "alpha": summary.alpha,
        "validation_loss": summary.validation_loss,
        "best_epoch": summary.best_epoch,
        "variance_explained": _variance_explained(summary),
        "l0": summary.l0,
        "dead_neurons": summary.dead_neurons,
        "chosen": dict(summary.chosen),
        "bypass": summary.bypass._asdict() if summary.bypass else None,
        "codes_alone": alone._asdict(),
    }


def _variance_explained(summary: FitSummary) -> float | None:
    """1 less the loss as a share of that of the mean predictor."""
    if summary.bypass is None:
        return summary.variance_explained
    return 1 - summary.bypass.as_is / summary.bypass.mean_predictor


def _mean(values: Sequence[int | float | None]) -> int | float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = float(np.mean(known))
    return int(mean) if all(isinstance(value, int) for value in known) and mean.is_integer() else mean


def comparisons(
    results: Mapping[str, Mapping[str, RemovalOutcomes]], bootstrap: Bootstrap, test: SignFlips
) -> list[dict[str, Any]]:
    """Perturbed accuracy of each pair of methods on the same sentences.

    Methods are held against each other by the removal that each names first, and by every other that both have;
    Holm's correction goes over the pairs of one removal.

    Args:
        results: method -> removal -> outcomes, the method's own removal first.
        bootstrap: resamples of the cell.
        test: of the difference.
    """
    found = list(_compared(results))
    left = [results[each.first][each.removals[0]].correct[PERTURBED] for each in found]
    right = [results[each.second][each.removals[1]].correct[PERTURBED] for each in found]
    intervals = bootstrap.of([a.astype(np.float64) - b for a, b in zip(left, right, strict=True)]) if found else []
    rows: list[dict[str, Any]] = [
        {
            "removals": list(each.removals),
            "methods": [each.first, each.second],
            "difference": interval.as_dict(),
            "cohens_h": cohens_h(float(a.mean()), float(b.mean())),
            "p_value": test.p_value(a, b),
        }
        for each, a, b, interval in zip(found, left, right, intervals, strict=True)
    ]
    for family in dict.fromkeys(each.family for each in found):
        members = [row for row, each in zip(rows, found, strict=True) if each.family == family]
        for row, p_value in zip(members, holm([row["p_value"] for row in members]), strict=True):
            row["p_holm"] = p_value
    return rows


class _Pair(NamedTuple):
    first: str
    second: str
    removals: tuple[str, str]
    family: str
    """What Holm's correction goes over."""


def _compared(results: Mapping[str, Mapping[str, RemovalOutcomes]]) -> Iterator[_Pair]:
    for a, b in combinations(results, 2):
        own = (next(iter(results[a])), next(iter(results[b])))
        yield _Pair(a, b, own, "")
        for name in results[a]:
            if name in results[b] and (name, name) != own:
                yield _Pair(a, b, (name, name), name)
