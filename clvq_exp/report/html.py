"""One page that shows a run and opens from the disk, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clvq_exp.artifacts import write_text
from clvq_exp.report import figures, formatting, page
from clvq_exp.report.access import Metrics
from clvq_exp.report.codebook_figures import concept_map, cosine_map
from clvq_exp.report.embedding import embedded_json, escaping_templates, plotly_script, script_hash, trusted
from clvq_exp.report.examples import label_names
from clvq_exp.report.explorer import explorer
from clvq_exp.report.plots import Figure
from clvq_exp.report.purity_figure import purity_figure
from clvq_exp.report.representation import ConceptFiles, read_concepts
from clvq_exp.report.run_files import read_rows
from clvq_exp.report.training_figures import training_figures

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = "report.html"
CODE_USE = ("method", "seed", "concept", "train_words")
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(folder: Path, metrics: Metrics, provenance: Mapping[str, Any]) -> Path:
    """Write `report.html` into a run folder, at once or not at all.

    Args:
        folder: the run folder; history, code use, attributions and concepts are read from it.
        metrics: the content of `metrics.json`.
        provenance: the content of `provenance.json`.

    Returns:
        The path of the page.
    """
    concepts = read_concepts(folder, metrics)
    content = page.page(folder, metrics, provenance, concepts)
    plots = _figures(folder, metrics, content, concepts)
    explored = explorer(folder, metrics, concepts)
    scripts = {"plotly": plotly_script(), **{name: _script(name) for name in ("draw", "explore")}}
    environment = _environment()
    text = environment.get_template(f"{PAGE}.j2").render(
        page=content,
        figures={figure.name: figure for figure in plots},
        figure_data=trusted(embedded_json({each.name: _drawn(each) for each in plots})),
        with_explorer=explored is not None,
        explorer_data=trusted(embedded_json(explored)),
        scripts={name: trusted(script) for name, script in scripts.items()},
        hashes=[script_hash(script) for script in scripts.values()],
    )
    path = folder / PAGE
    write_text(path, text)
    return path


def _script(name: str) -> str:
    return (_TEMPLATES / f"{name}.js").read_text(encoding="utf-8")


def _environment() -> Environment:
    """Templates with the filters that numbers are printed by."""
    environment = escaping_templates(_TEMPLATES)
    for name in (
        "decimal",
        "percent",
        "bounds",
        "percent_bounds",
        "percent_with_bounds",
        "with_bounds",
        "p_value",
        "count",
    ):
        environment.filters[name] = getattr(formatting, name)
    return environment


def _drawn(figure: Figure) -> dict[str, Any]:
    return {"data": figure.data, "layout": figure.layout, "narrow": figure.narrow or {}}


def _figures(folder: Path, metrics: Metrics, content: page.Page, concepts: ConceptFiles) -> list[Figure]:
    found = [
        figures.faithfulness_figure(block.faithfulness, f"accuracy-{block.key}", figures.majority(metrics))
        for block in content.blocks
    ]
    found += training_figures(read_rows(folder, "history"), metrics)
    found.append(figures.code_use_figure(read_rows(folder, "concepts", CODE_USE), metrics))
    found.append(purity_figure(metrics))
    found.append(concept_map(concepts, label_names(metrics)))
    found.append(cosine_map(folder, metrics, concepts))
    return [figure for figure in found if figure is not None]
