"""What the figures say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clvq_exp.report.access import (
    Interval,
    Metrics,
    block,
    entry,
    interval,
    main_method,
    number,
    own_removal,
    seeds,
    strongest_control,
)
from clvq_exp.report.formatting import count, decimal, p_value, percent, percent_bounds, percent_with_bounds
from clvq_exp.report.names import condition_name, method_title, removal_name

SAME_LOSS = 0.01
"""Up to this relative rise of the loss under permuted codes, the codes count as unused."""
FEW_COLUMNS = 3
"""Up to as many columns of a table each have their own notes; of more, the figures stand in the overview."""


def bypass(as_is: float | None, permuted: float | None) -> str | None:
    """One line on whether the decoder needs the codes.

    Args:
        as_is: validation loss with the codes as they are.
        permuted: validation loss with the codes permuted among the words.

    Returns:
        The reading, or None where either loss is missing.
    """
    if as_is is None or permuted is None or as_is <= 0:
        return None
    rise = (permuted - as_is) / as_is
    if rise <= SAME_LOSS:
        return f"the decoder goes around the codebook: permuted codes change the loss by {percent(rise)}"
    return f"the decoder reads the codes: permuting them raises the loss by {percent(rise)}"


def notes(metrics: Metrics, columns: Sequence[tuple[str, ...]]) -> list[str]:
    """What has to be known before a drop is read.

    Args:
        metrics: the content of `metrics.json`.
        columns: pairs of method and removal, as the table shows them.

    Returns:
        One sentence or two each; the same note of several columns is given once. Of many columns only what
        forbids to read a drop.
    """
    found: dict[str, list[str]] = {}
    few = len(columns) <= FEW_COLUMNS
    for method, removal in columns:
        values = entry(block(metrics, method, "faithfulness"), removal)
        where = f"{method_title(method)}, {removal_name(removal).title}"
        for note in _readable(metrics, values) + (_column_notes(values) if few else []):
            found.setdefault(note, []).append(where)
    shown: list[str] = []
    for note, where in found.items():
        everywhere = len(where) == len(columns)
        shown.append(note[0].upper() + note[1:] if everywhere else f"{'; '.join(where)}: {note}")
    return shown + _run_notes(metrics)


def _readable(metrics: Metrics, values: Mapping[str, Any]) -> list[str]:
    if values.get("readable") is not False:
        return []
    p = p_value(number(values.get("readable_p_value")))
    p = p if p.startswith("<") else f"= {p}"
    majority = decimal(number(entry(metrics, "model").get("majority")))
    return [
        f"the original accuracy is not above the majority class's ({majority}; p {p}): no drop can be read here."
    ]


def _column_notes(values: Mapping[str, Any]) -> list[str]:
    notes: list[str] = []
    smallest = number(values.get("minimum_detectable_drop"))
    if smallest is not None:
        notes.append(f"a fall of the accuracy by less than {decimal(smallest)} could not be detected here.")
    if values.get("inverted"):
        names = ", ".join(condition_name(name).title for name in values["inverted"])
        notes.append(f"inverted (accuracy below chance: labels were flipped, not erased): {names}.")
    rank = number(values.get("rank"))
    if rank is not None and rank > 1:
        notes.append(f"each removal takes out {count(rank)} directions.")
    empty = number(values.get("empty_concepts"))
    if empty:
        notes.append(f"in {percent(empty)} of the sentences the concept has no direction to remove.")
    rest = entry(values, "without_sentence_token")
    if rest:
        left = count(number(rest.get("sentences")))
        notes.append(
            f"without the sentences whose salient word is the sentence token ({left} left): "
            f"drop {percent_with_bounds(interval(rest.get('drop')))}, "
            f"specific drop {percent_with_bounds(interval(rest.get('specific_drop')))}."
        )
    return notes


def _run_notes(metrics: Metrics) -> list[str]:
    notes: list[str] = []
    attribution = entry(metrics, "attribution")
    token = number(attribution.get("sentence_token_share"))
    if token is not None:
        notes.append(f"The salient word is the sentence token in {percent(token)} of the sentences.")
    converged = number(attribution.get("converged_share"))
    if converged is not None:
        notes.append(
            f"The attribution converged in {percent(converged)} of the sentences (an error of at most "
            f"{percent(number(attribution.get('tolerance')))} of the logit's change)."
        )
    if len(seeds(metrics)) == 1:
        notes.append("One seed: the intervals know of sentences only, not of how training varies.")
    return notes


def summary(metrics: Metrics) -> list[str]:
    """The run in plain words: what was removed, what happened, what the controls say.

    Args:
        metrics: the content of `metrics.json`.

    Returns:
        A few sentences; fewer where blocks are missing.
    """
    faithfulness = block(metrics, main_method(metrics), "faithfulness")
    removal = own_removal(metrics, main_method(metrics))
    sentences = [*_chance(metrics), _what_was_removed(metrics, removal)]
    if removal is None:
        return sentences
    values = entry(faithfulness, removal)
    sentences += [*_what_happened(values), *_controls(values), *_live_model(metrics, removal)]
    codebook = entry(block(metrics, main_method(metrics), "codebook"), "bypass")
    line = bypass(number(codebook.get("as_is")), number(codebook.get("permuted")))
    if line:
        sentences.append(f"In the concept model {line}.")
    return sentences


def codebook_size(metrics: Metrics) -> float | None:
    """How many concepts the main method has: as fitted, else as asked for."""
    fitted = number(block(metrics, main_method(metrics), "codebook").get("size"))
    return number(entry(metrics, "cell").get("codebook_size")) if fitted is None else fitted


def _what_was_removed(metrics: Metrics, removal: str | None) -> str:
    cell = entry(metrics, "cell")
    size = codebook_size(metrics)
    lower = str(cell.get("layer_pair", "?")).split("-")[0]
    how = "" if removal in (None, "concept") else f" (by {removal_name(removal).title})"
    words = "" if size is None else f", one of {count(size)} in the codebook,"
    evaluated = number(entry(cell, "sentences").get("evaluation"))
    where = "each sentence" if evaluated is None else f"each of {count(evaluated)} dev sentences"
    return (
        f"The concept of the most salient word{words} was removed{how} from the representation of {where} "
        f"at layer {lower} of {cell.get('model', 'the model')}; a probe then read the label of "
        f"{cell.get('dataset', 'the data set')}."
    )


def _chance(metrics: Metrics) -> list[str]:
    model = entry(metrics, "model")
    if model.get("above_majority") is not False:
        return []
    p = p_value(number(model.get("above_majority_p_value")))
    p = p if p.startswith("<") else f"= {p}"
    accuracy, majority = (decimal(number(model.get(key))) for key in ("accuracy", "majority"))
    return [
        f"The language model is at chance: its accuracy, {accuracy}, is not above the commonest class's, "
        f"{majority} (p {p})."
    ]


def _what_happened(values: Mapping[str, Any]) -> list[str]:
    original, perturbed = number(values.get("original")), number(values.get("perturbed"))
    if original is None or perturbed is None:
        return []
    drop = interval(values.get("drop"))
    text = f"Its accuracy went from {decimal(original)} to {decimal(perturbed)}"
    text += (
        "."
        if drop is None
        else f", a drop of {percent(drop.mean)} of the original (95% interval {percent_bounds(drop)})."
    )
    if values.get("readable") is False:
        text += " The original accuracy is not above the majority class's, so no drop can be read here."
    if "perturbed" in (values.get("inverted") or []):
        text += " That is below chance: the labels were flipped, not erased."
    return [text]


def _controls(values: Mapping[str, Any]) -> list[str]:
    strongest = strongest_control(values)
    specific = interval(values.get("specific_drop"))
    if strongest is None or specific is None:
        return []
    name, drop = strongest
    text = (
        f"Of the controls, ‘{condition_name(name).title}’ does most, with a drop of {percent(drop)}. What the "
        f"concept does beyond its controls, the specific drop, is {percent_with_bounds(specific)}: "
    )
    return [text + _specific(specific)]


def _specific(specific: Interval) -> str:
    if specific.low > 0:
        return "removing the concept does more than removing any of the control directions."
    if specific.high < 0:
        return "a control direction does more than the concept does."
    return "this cannot be told apart from what the control directions do."


def _live_model(metrics: Metrics, removal: str) -> list[str]:
    places = entry(block(metrics, main_method(metrics), "intervention"), removal)
    found: list[str] = []
    for place, words in (
        ("sentence_token", "at the sentence token"),
        ("answer_position", "where it reads the label"),
        ("all_words", "at every word"),
    ):
        flips = {
            name: number(entry(places, place, name).get("flips")) for name in ("perturbed", "random_direction")
        }
        if flips["perturbed"] is not None:
            beside = (
                "" if flips["random_direction"] is None else f" (random: {percent(flips['random_direction'])})"
            )
            found.append(f"{percent(flips['perturbed'])} of the predictions when removed {words}{beside}")
    return [f"Inside the live model, the same directions flip {' and '.join(found)}."] if found else []
