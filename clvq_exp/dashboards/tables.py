"""A dashboard for each table of the paper that a sweep fills; keys, figures and sweeps are the catalogue's."""

from __future__ import annotations

from collections.abc import Iterator

from clvq_exp.collect.catalogue import LAYER_PAIR, METHOD, TABLES, RowsOf, TableSpec
from clvq_exp.collect.measures import title_of
from clvq_exp.collect.reference import shipped_methods
from clvq_exp.dashboards.panels import Bars, Dashboard, Line, Panel, Scatter, Section, Setting
from clvq_exp.report.headline import CONDITIONS, HIGH, LOW, overlap_name
from clvq_exp.report.run_logger import CELL

_TWIN = "demo_"
"""Before the name of a sweep: the same on the embedded cell."""
MAIN = "clvq_vae"
"""The method that comes first."""
MODEL, DATASET, LAYERS = Setting("model.name"), Setting("dataset.name"), Setting("run.layers")
_LIVE = tuple(f"intervention/concept/{place}" for place in ("sentence_token", "salient_word", "all_words"))
_OWN = Section(
    "Controls of the cell's own method",
    (
        Bars("Drop, specific drop (share)", ("faithfulness/concept/drop", "faithfulness/concept/specific_drop")),
        Bars("Inside the live model: predictions that flip (share)", tuple(f"{at}/flips" for at in _LIVE)),
        Bars("Inside the live model: accuracy", (f"{_LIVE[0]}/original", *(f"{at}/accuracy" for at in _LIVE))),
        Bars("Loss, codes as they are and permuted", ("codebook/bypass/as_is", "codebook/bypass/permuted")),
        Bars("Codes in use", ("codebook/codes_in_use",)),
    ),
)
"""What every table has to be read beside."""

_OF_REMOVAL = {
    **{name: name for name in CONDITIONS},
    "drop_percent": "drop",
    "specific_drop_percent": "specific_drop",
}
"""Figure of the catalogue -> what the logger calls it below `faithfulness/<removal>/`."""
_OTHERS = {
    "perplexity": "codebook/perplexity",
    "utilisation_percent": "codebook/utilisation",
    "best_validation_loss": "codebook/validation_loss",
    "train_sentences": "texts/train_sentences",
    "dev_sentences": "texts/dev_sentences",
    "labels": "texts/labels",
    "purity": "specificity/purity",
    "purity_shuffled": "specificity/purity_shuffled",
    "pure_share_percent": "specificity/pure_share",
    "differing_percent": "specificity/differing_share",
    "divergence": "specificity/divergence",
    **{
        f"overlap_ratio_{reading}_{edge}": f"specificity/{overlap_name(reading, edge)}"
        for reading in ("below", "at_least")
        for edge in ("0.1", "0.3")
    },
}
_OF_CURVES = {
    name: "perplexity"
    for name in ("perplexity_before", "perplexity_epoch_10", "perplexity_epoch_30", "perplexity_final")
}
"""Figures that are points of a curve."""
_SHARE = " (share)"


def table_dashboards() -> tuple[Dashboard, ...]:
    """A dashboard for each table that a sweep fills, in the catalogue's order."""
    return tuple(_dashboard(spec) for spec in TABLES if spec.sweep)


def _dashboard(spec: TableSpec) -> Dashboard:
    curves = any(figure in _OF_CURVES for figure in spec.figures)
    swept = tuple(LAYERS if key == LAYER_PAIR else Setting(key) for key in spec.swept if key != METHOD)
    sections = list(_by_setting(spec, swept) if swept else _by_method(spec))
    if spec.rows is not RowsOf.datasets:
        sections.append(_OWN)
    return Dashboard(
        spec.key,
        spec.title,
        tuple(sections),
        job_type=None if curves else CELL,  # curves are in runs of their own
        groups=(spec.sweep, _TWIN + spec.sweep),
        grouped_by=_grouped_by(spec, swept),
        columns=(MODEL, DATASET, LAYERS, *(each for each in swept if each != LAYERS), *_columns(spec)),
    )


def _grouped_by(spec: TableSpec, swept: tuple[Setting, ...]) -> tuple[Setting, ...]:
    if spec.rows is RowsOf.datasets:
        return (DATASET,)
    if LAYERS in swept or not swept:
        return (MODEL, DATASET, *swept)
    return (DATASET, *swept) if "dataset" in spec.overrides else swept


def _by_setting(spec: TableSpec, swept: tuple[Setting, ...]) -> Iterator[Section]:
    """Figures of the cell's own method over what is swept."""
    figures = [each for each in (*spec.figures, *spec.reference) if each not in _OF_CURVES]
    if any(each in _OF_CURVES for each in spec.figures):
        curves = tuple(dict.fromkeys(_OF_CURVES.values()))
        yield Section("Curves", tuple(Line(title_of(name), (name,)) for name in curves))
    for setting in swept:
        panels: list[Panel] = []
        for figure in figures:
            name, title = metric_of(figure, spec.removals[0]), _title(figure)
            if _is_numeric(setting):
                panels.append(Scatter(title, setting, name))
            panels.append(Bars(title, (name,), by=setting))
        yield Section(f"By {setting}", tuple(panels))


def _by_method(spec: TableSpec) -> Iterator[Section]:
    """Figures of every method of a table beside each other, or of the cell where no method plays a part."""
    prefixes = [f"methods/{name}/" for name in methods_of(spec)] if spec.rows is RowsOf.methods else [""]
    for removal in spec.removals:
        panels = tuple(
            Bars(_title(figure), tuple(prefix + metric_of(figure, removal) for prefix in prefixes))
            for figure in spec.figures
        )
        yield Section(_heading(spec, removal), panels)


def _heading(spec: TableSpec, removal: str) -> str:
    return f"Removal: {removal}" if any(each in _OF_REMOVAL for each in spec.figures) else "Figures"


def _columns(spec: TableSpec) -> Iterator[str]:
    """The same figures beside the runs' names; the specific drop with the ends of its interval."""
    by_method = spec.rows is RowsOf.methods and not any(key != METHOD for key in spec.swept)
    prefixes = [f"methods/{name}/" for name in methods_of(spec)] if by_method else [""]
    for removal in spec.removals:
        for figure in (*spec.figures, *spec.reference):
            if figure in _OF_CURVES:
                continue
            name = metric_of(figure, removal)
            ends = (LOW, HIGH) if figure == "specific_drop_percent" else ()
            for prefix in prefixes:
                yield from (f"{prefix}{name}{end}" for end in ("", *ends))


def metric_of(figure: str, removal: str) -> str:
    """What the logger of a cell calls a figure of the catalogue.

    Args:
        figure: a key of `MEASURES`.
        removal: what is taken out, `concept` say.

    Raises:
        KeyError: the logger has no such figure.
    """
    if figure in _OF_REMOVAL:
        return f"faithfulness/{removal}/{_OF_REMOVAL[figure]}"
    return _OTHERS[figure]


def _title(figure: str) -> str:
    """The table's title of a figure: what it prints in percent is logged as a share."""
    return title_of(figure).removesuffix(", %") + (_SHARE if figure.endswith("_percent") else "")


def _is_numeric(setting: Setting) -> bool:
    """Whether the values can stand on an axis."""
    return setting != LAYERS and not setting.key.endswith("_mode")


def methods_of(spec: TableSpec) -> tuple[str, ...]:
    """The methods that stand beside each other in a table: those it names, else the shipped ones of its classes.

    Args:
        spec: a table that sweeps no setting.
    """
    kinds = {name: str(given["_target_"]).rpartition(".")[2] for name, given in shipped_methods().items()}
    first_own = sorted(kinds, key=lambda name: (name != MAIN, name))
    return spec.methods or tuple(name for name in first_own if kinds[name] in spec.kinds)
