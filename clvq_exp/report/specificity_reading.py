"""What the specificity of the main method's codes says, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from clvq_exp.report.access import Interval, Metrics, block, entry, main_method, mapping, number
from clvq_exp.report.formatting import bounds, count, decimal, percent, percent_bounds
from clvq_exp.report.shuffles import Measured, measured

OF_SENTENCES = ("shuffled_groups", "shuffled")
"""What purity and overlap have to stand above: whole documents keep their label, where there are documents."""
OF_WORDS = ("shuffled_within_words",)
"""What routing has to stand above."""
ROUTING_CAUTION = (
    "A word’s occurrences under one label are a sample: two samples of the same word often have different most "
    "frequent codes by chance alone. That a word changes its code with the label therefore means little unless "
    "more words do so than when the labels are shuffled within the occurrences of each word."
)


def counted(metrics: Metrics) -> str | None:
    """What the figures were counted on; None where nothing was measured.

    Args:
        metrics: the content of `metrics.json`.
    """
    values = block(metrics, main_method(metrics), "specificity")
    if not values:
        return None
    words, sentences, documents = (count(number(values.get(key))) for key in ("words", "sentences", "documents"))
    shuffles = number(values.get("shuffles"))
    drawn = (
        f" Each figure stands beside the same under shuffled labels: the mean and 95% interval over "
        f"{count(shuffles)} shuffles, the same ones for every method."
        if shuffles
        else ""
    )
    return (
        f"Counted on {words} training words, without sentence tokens, in {sentences} sentences of {documents} "
        f"documents; {percent(number(values.get('majority')))} of them stand under the commonest label.{drawn}"
    )


def readings(metrics: Metrics) -> dict[str, str]:
    """A sentence on each of `purity`, `routing`, `overlap` and `stability` that was measured.

    Args:
        metrics: the content of `metrics.json`.
    """
    found = {
        "purity": _purity(metrics),
        "routing": _routing(metrics),
        "overlap": _overlap(metrics),
        "stability": _stability(metrics),
    }
    return {name: text for name, text in found.items() if text}


def _purity(metrics: Metrics) -> str:
    found = measured(metrics, main_method(metrics), ("purity",), "weighted_mean")
    if found.value is None:
        return ""
    text = f"{percent(found.value)} of the words stand under the commonest label of their code"
    shuffle = strictest(found, OF_SENTENCES)
    if shuffle is None:
        return f"{text}."
    return f"{text}; under shuffled labels {_share(found.shuffled[shuffle])}. {_verdict(found, shuffle)}"


def _routing(metrics: Metrics) -> str:
    method = main_method(metrics)
    found = measured(metrics, method, ("routing",), "differing_share")
    if found.value is None:
        return ""
    words = number(entry(block(metrics, method, "specificity"), "routing").get("words"))
    text = f"{percent(found.value)} of {count(words)} content words have another main code under another label"
    shuffle = strictest(found, OF_WORDS)
    if shuffle is None:
        return f"{text}; nothing was shuffled within words, so this cannot be read."
    beside = _share(found.shuffled[shuffle])
    if found.above(shuffle):
        return f"{text}, more than with labels shuffled within words, {beside}: the codes follow the label."
    return (
        f"{text}, no more than with labels shuffled within words, {beside}: "
        "this does not show that the codes follow the label."
    )


def overlap_edge(metrics: Metrics) -> str | None:
    """The highest TF-IDF cosine from which on the main method's overlap is defined; None where it never is."""
    bands = entry(block(metrics, main_method(metrics), "specificity"), "overlap", "at_least")
    defined = [band for band, values in bands.items() if number(mapping(values).get("ratio")) is not None]
    return max(defined, key=float, default=None)


def _overlap(metrics: Metrics) -> str:
    edge = overlap_edge(metrics)
    if edge is None:
        return ""
    found = measured(metrics, main_method(metrics), ("overlap", "at_least", edge), "ratio")
    at = "Of all pairs of sentences" if float(edge) == 0 else f"At a TF-IDF cosine of {edge} and above"
    text = f"{at}, those of one label share {decimal(found.value, 2)} times as many codes as those of two"
    shuffle = strictest(found, OF_SENTENCES)
    if shuffle is None:
        return f"{text}."
    return f"{text}; under shuffled labels {_times(found.shuffled[shuffle])}. {_verdict(found, shuffle)}"


def _stability(metrics: Metrics) -> str:
    values = entry(block(metrics, main_method(metrics), "specificity"), "stability")
    agreement = number(values.get("agreement"))
    matched, random = number(values.get("matched_cosine_in_use")), number(values.get("random_cosine_in_use"))
    parts: list[str] = []
    if matched is not None and random is not None:
        parts.append(
            f"codes in use, matched one to one, have a cosine of {decimal(matched)} (all pairs: {decimal(random)})"
        )
    if agreement is not None:
        parts.append(
            f"the groupings of the dev words agree by {decimal(agreement)} (0 by chance, 1 for the same grouping)"
        )
    return f"Between two seeds, {' and '.join(parts)}." if parts else ""


def strictest(found: Measured, shuffles: Sequence[str]) -> str | None:
    """The first of some shuffles that was drawn."""
    return next((name for name in shuffles if found.shuffled.get(name)), None)


def _verdict(found: Measured, shuffle: str) -> str:
    return "That is above chance." if found.above(shuffle) else "That is not above chance."


def _share(value: Interval | None) -> str:
    return "–" if value is None else f"{percent(value.mean)} {percent_bounds(value)}"


def _times(value: Interval | None) -> str:
    return "–" if value is None else f"{decimal(value.mean, 2)} {bounds(value, 2)}"
