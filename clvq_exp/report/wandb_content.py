"""What W&B shows of a finished cell beside its figures: tables, word clouds, plots."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from clvq_exp.report.access import Metrics
from clvq_exp.report.cases import read_cases
from clvq_exp.report.codebook_figures import concept_map, cosine_map
from clvq_exp.report.examples import label_names
from clvq_exp.report.figures import code_use_figure
from clvq_exp.report.purity_figure import purity_figure
from clvq_exp.report.representation import WORDS, ConceptFiles, read_concepts, salient_counts
from clvq_exp.report.run_files import read_rows
from clvq_exp.report.tables import faithfulness_table, intervention_table
from clvq_exp.report.text_safety import visible


def shown_once(folder: Path, metrics: Metrics) -> dict[str, Any]:
    """Tables, clouds and plots under the names that they are logged by, once, at the end of a run.

    Args:
        folder: where the run's tables are.
        metrics: the content of `metrics.json`.

    Returns:
        What belongs to a file that is absent is left out. Texts are neutralised.
    """
    concepts = read_concepts(folder, metrics)
    found = {"tables/faithfulness": _faithfulness(metrics), "tables/intervention": _intervention(metrics)}
    if concepts.rows:
        found |= {"tables/concepts": _concepts(folder, concepts), **_cases(folder, metrics, concepts)}
    return {**found, **_figures(folder, metrics, concepts)}


def _table(columns: list[str]) -> Any:
    import wandb

    return wandb.Table(columns=list[str | int](columns))


def _faithfulness(metrics: Metrics) -> Any:
    made = _table(["method", "removal", "condition", "accuracy", "low", "high", "drop", "inverted"])
    table = faithfulness_table(metrics)
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell is not None:
                names = map(visible, (*column, row.condition))
                made.add_data(*names, *cell.accuracy, cell.drop, cell.inverted)
    return made


def _intervention(metrics: Metrics) -> Any:
    made = _table(["method", "removal", "place", "condition", "accuracy", "flips", "probability_change"])
    live = intervention_table(metrics)
    for row in live.rows:
        for column, cell in zip(live.columns, row.cells, strict=True):
            if cell is not None:
                means = (value.mean if value else None for value in cell)
                names = map(visible, (*column, row.place, row.condition))
                made.add_data(*names, *means)
    return made


def _concepts(folder: Path, concepts: ConceptFiles) -> Any:
    """A row for each concept of the first seed."""
    salient = salient_counts(read_rows(folder, "salient_words", ("code",), split="dev"))
    made = _table(
        ["concept", "words", "salient_in_dev", "train_words", "dev_words", "sentence_tokens", "label", "purity"]
    )
    for row in concepts.rows:
        words = ", ".join(word for word, _ in concepts.words.get(row.concept, ())[:WORDS])
        counts = (salient[row.concept], row.train_words, row.dev_words, row.sentence_tokens)
        made.add_data(row.concept, words, *counts, row.label, row.purity)
    return made


def _cases(folder: Path, metrics: Metrics, concepts: ConceptFiles) -> dict[str, Any]:
    """A table of the cases, and the cloud of each."""
    import wandb
    from PIL import Image

    made = _table(["kind", "sentence", "prediction", "truth", "salient_word", "concept", "holds"])
    clouds: dict[str, Any] = {}
    for case in read_cases(folder, metrics, concepts):
        kind, example, stands_for = case.kind, case.example, case.representation
        holds = " | ".join(stands_for.sentences) or ", ".join(word for word, _ in stands_for.words)
        text = " ".join(word.text for word in example.words if not word.special)
        made.add_data(kind, text, example.prediction, example.label, example.salient_word, example.code, holds)
        if case.cloud is not None:
            with Image.open(io.BytesIO(case.cloud.png)) as image:
                name = f"clouds/{kind.lower().replace(' ', '_')}"
                clouds[name] = wandb.Image(image, caption=f"{kind}, concept {example.code}")
    return {"tables/cases": made, **clouds}


def _figures(folder: Path, metrics: Metrics, concepts: ConceptFiles) -> dict[str, Any]:
    import plotly.graph_objects as go
    import wandb

    plots = (
        concept_map(concepts, label_names(metrics)),
        cosine_map(folder, metrics, concepts),
        code_use_figure(read_rows(folder, "concepts"), metrics),
        purity_figure(metrics),
    )
    return {
        f"figures/{each.name}": wandb.Plotly(go.Figure(data=each.data, layout=each.layout))
        for each in plots
        if each is not None
    }
