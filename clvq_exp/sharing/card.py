"""The model card: what a concept model is, its figures beside their controls, its data, its limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp import __version__
from clvq_exp.collect.markdown import escaped
from clvq_exp.report import reading
from clvq_exp.report.access import entry, interval, number
from clvq_exp.report.access import seeds as run_seeds
from clvq_exp.report.formatting import NOTHING, count, decimal, percent, percent_with_bounds, with_bounds
from clvq_exp.report.names import method_title
from clvq_exp.report.tables import FaithfulnessCell, faithfulness_table
from clvq_exp.report.text_safety import shorten
from clvq_exp.sharing.records import Held, SharedModel, Subject

_TEMPLATES = Path(__file__).parent / "templates"
_TEMPLATE = "model_card.md.j2"
_SHOWN_CONCEPTS = 10
_SHOWN_WORDS = 10
_LONGEST_WORD = 40
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
"""`owner/name` on the hub."""


class _Plain(str):
    """Text that the card takes as it stands."""

    __slots__ = ()


class _Concept(NamedTuple):
    concept: int
    n_words: str
    label: str
    words: str


def model_card(shared: SharedModel, with_words: bool = True, repo_id: str | None = None) -> str:
    """The card as Markdown.

    Args:
        shared: the model and what is told of it.
        with_words: whether it shows words of the data set.
        repo_id: of the hub, if it goes there.

    Returns:
        The text. Whatever comes from a data set or a file is escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    def finalize(value: object) -> str:
        return value if isinstance(value, _Plain) else escaped(str(value))

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # it is Markdown, which `finalize` escapes
        keep_trailing_newline=True,
    )
    text = environment.get_template(_TEMPLATE).render(_content(shared, with_words, repo_id))
    return re.sub(r"\n{3,}", "\n\n", text)


def _content(shared: SharedModel, with_words: bool, repo_id: str | None) -> dict[str, Any]:
    origin, metrics = shared.origin, shared.metrics or {}
    source = repo_id if repo_id is not None and HUB_ID.fullmatch(repo_id) else "FOLDER"
    table = faithfulness_table(metrics, only=[_own_name(shared)]) if shared.metrics else None
    if table is not None and not table.columns:
        table = None
    return {
        "front_matter": _Plain(_front_matter(shared)),
        "title": _title(shared),
        "warning": origin.content_warning,
        "about": _about(shared),
        "source": _Plain(f'"{source}"'),
        "shape": _Plain(f"[n, {shared.width}]"),
        "codebook": list(_codebook(shared)),
        "table": table,
        "summary": reading.summary(metrics) if table else [],
        "seeds": ", ".join(map(str, run_seeds(metrics))),
        "seed": shared.seed,
        "accuracy": _accuracy,
        "share": percent_with_bounds,
        "concepts": _concepts(shared.held) if with_words else [],
        "origin": list(_origin(shared)),
        "limits": [*_limits(shared), *(table.notes if table else ())],
    }


def _own_name(shared: SharedModel) -> str:
    """The name of the method's rows in the figures of its run."""
    return str(entry(shared.metrics or {}, "cell").get("method", shared.method.name))


def _front_matter(shared: SharedModel) -> str:
    """What the hub reads: plain YAML, dumped and not put together."""
    import yaml

    origin = shared.origin
    values: dict[str, Any] = {
        "library_name": "clvq_exp",
        "tags": ["interpretability", "concepts", "clvq-vae", shared.model.name],
    }
    for key, subject in (("base_model", origin.language_model), ("datasets", origin.dataset)):
        if subject.hub_id is not None and HUB_ID.fullmatch(subject.hub_id):
            values[key] = [subject.hub_id]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=False)


def _title(shared: SharedModel) -> str:
    origin = shared.origin
    where = f" of {_name(origin.language_model, 'a language model')}"
    layers = f", layers {origin.layer_pair[0]}-{origin.layer_pair[1]}" if origin.layer_pair else ""
    return f"{method_title(shared.method.name)} concepts{where}{layers}"


def _name(subject: Subject, otherwise: str) -> str:
    return subject.name or subject.hub_id or otherwise


def _about(shared: SharedModel) -> str:
    origin = shared.origin
    layer = f" at layer {origin.layer_pair[0]}" if origin.layer_pair else ""
    n, method = count(shared.model.n_concepts), method_title(shared.method.name)
    model = _name(origin.language_model, "a language model")
    texts = f"the data set {origin.dataset.name}" if origin.dataset.name else "a data set"
    return (
        f"{n} concepts that {method} found in the activations of {model}{layer}, one vector of {shared.width} "
        f"numbers for each word of {texts}. It assigns the activation of a word to a concept, and gives the "
        "direction of that concept, to be taken out."
    )


_FIGURES = {
    "size": ("Concepts", count),
    "codes_in_use": ("Concepts in use", count),
    "perplexity": ("Perplexity of their use", lambda value: decimal(value, 1)),
    "mean_cosine": ("Mean cosine of two concepts", decimal),
    "alpha": ("Weight alpha of the encoder", decimal),
    "validation_loss": ("Validation loss", lambda value: decimal(value, 4)),
    "best_epoch": ("Epoch that was kept", count),
    "variance_explained": ("Variance explained", percent),
    "l0": ("Active neurons of a word", lambda value: decimal(value, 1)),
    "dead_neurons": ("Dead neurons", count),
}


def _codebook(shared: SharedModel) -> Iterator[tuple[str, str]]:
    """Names and values; of figures that the method does not have, nothing."""
    codebook = shared.codebook
    for key, (title, form) in _FIGURES.items():
        value = number(codebook.get(key))
        if value is not None:
            yield title, form(value)
    bypass = entry(codebook, "bypass")
    line = reading.bypass(number(bypass.get("as_is")), number(bypass.get("permuted")))
    if line:
        yield "Use of the codes", line
    purity = entry(shared.metrics or {}, "specificity", "purity")
    weighted = number(purity.get("weighted_mean"))
    if weighted is not None:
        shuffled = interval(entry(purity, "shuffled").get("weighted_mean"))
        beside = f" (labels shuffled: {with_bounds(shuffled)})" if shuffled else ""
        yield "Label purity, mean over words and seeds", decimal(weighted) + beside


def _accuracy(cell: FaithfulnessCell | None) -> str:
    if cell is None:
        return NOTHING
    drop = f" (drop {percent(cell.drop)})" if cell.drop is not None else ""
    return with_bounds(cell.accuracy) + drop + (", inverted" if cell.inverted else "")


def _concepts(held: Sequence[Held]) -> list[_Concept]:
    """The concepts that hold most words; none where no words are known."""
    if not any(each.words for each in held):
        return []
    largest = sorted(range(len(held)), key=lambda concept: (-held[concept].n_words, concept))[:_SHOWN_CONCEPTS]
    return [
        _Concept(
            concept,
            count(held[concept].n_words),
            _commonest(held[concept]),
            ", ".join(shorten(each.word, _LONGEST_WORD) for each in held[concept].words[:_SHOWN_WORDS]),
        )
        for concept in largest
        if held[concept].n_words
    ]


def _commonest(held: Held) -> str:
    total = sum(each.n_words for each in held.labels)
    if not total:
        return NOTHING
    most = max(held.labels, key=lambda each: each.n_words)
    return f"{most.label} ({percent(most.n_words / total)})"


def _origin(shared: SharedModel) -> Iterator[tuple[str, str]]:
    origin = shared.origin
    yield "language model", _told(origin.language_model)
    pair = origin.layer_pair
    yield "layers", f"{pair[0]} (assigned and removed), {pair[1]} (rebuilt)" if pair else "not told"
    yield "data set", _told(origin.dataset)
    if origin.label_names:
        yield "labels", ", ".join(origin.label_names)
    names = {"train": "training sentences", "validation": "for early stopping", "evaluation": "evaluated"}
    counts = [f"{origin.counts[key]:,} {name}" for key, name in names.items() if key in origin.counts]
    if "words" in origin.counts:
        counts.append(f"{origin.counts['words']:,} words")
    yield "size", ", ".join(counts) or "not told"
    if origin.protocol:
        yield "protocol", origin.protocol
    yield "method", f"{method_title(shared.method.name)}, seed {shared.seed}"
    yield "library", f"clvq_exp {__version__}"


def _told(subject: Subject) -> str:
    parts = [_name(subject, "not told")]
    if subject.hub_id and subject.hub_id != subject.name:
        parts.append(f"on the hub: {subject.hub_id}")
    if subject.revision:
        parts.append(f"revision {subject.revision}")
    return ", ".join(parts)


def _limits(shared: SharedModel) -> Iterator[str]:
    origin = shared.origin
    where = f"layer {origin.layer_pair[0]} of " if origin.layer_pair else "the layer of "
    yield (
        f"It reads activations of {where}{_name(origin.language_model, 'that language model')} and of no other; "
        "on other texts than those it was fitted to it has not been measured."
    )
    if origin.fine_tuned:
        yield (
            "The language model was fine-tuned on the data set before its activations were read, and its weights "
            "are not in this folder: activations of the published checkpoint are others."
        )
    yield (
        "The words of a concept are those that it held in training. They do not say what the language model uses "
        "the direction for; only removing it, beside its controls, does."
    )
    if len(run_seeds(shared.metrics or {})) > 1:
        yield "Another seed finds other concepts: the figures of faithfulness are means over seeds."
    if origin.content_warning:
        yield "Words and labels come from a data set with the content that the warning above names."
