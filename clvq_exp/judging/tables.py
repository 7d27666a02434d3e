"""The paper's tables of judges: which methods stand in them, and what it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clvq_exp.collect.paper import PaperFigure, paper
from clvq_exp.judging.records import JudgingError
from clvq_exp.judging.settings import Plan
from clvq_exp.judging.subjects import Methods

SAE = "sae"


class Table(NamedTuple):
    """A pair of tables of the paper: the methods' ratings, and how far the judges agree."""

    number: str
    methods: tuple[str, ...]
    """`SAE` stands for the one that the plan names."""
    ratings: str
    """Key of its figures."""
    agreement: str
    remark: str


TABLES: Mapping[str, Table] = {
    "2": Table(
        "2",
        ("clvq_vae_spherical_kmeans", "single_layer_spherical_kmeans", "clustering", SAE),
        "v1_table02",
        "v1_table03",
        "Tables 2 and 3 start CLVQ-VAE and the single-layer model with spherical k-means; Table 1 starts them "
        "with k-means.",
    ),
    "6": Table(
        "6",
        ("clvq_vae_spherical_kmeans", "clvq_vae", "clvq_vae_random"),
        "v1_table06",
        "v1_table07",
        "Table 6’s reciprocal ranks add up to those of ranks without ties, and its win rates to 35 of 36 pairs: "
        "one pair was tied, and the tie broken for the ranks.",
    ),
}


class Printed(NamedTuple):
    """What the paper prints beside an evaluation."""

    table: Table
    methods: Mapping[str, Mapping[str, PaperFigure]]
    """Method, as the evaluation names it -> `rating`, `reciprocal_rank`, `win_percent`."""
    agreement: Mapping[str, PaperFigure]
    """Data set -> Kendall's W; under the empty name the overall average."""


def chosen_methods(found: Sequence[Methods], plan: Plan) -> tuple[str, ...]:
    """The methods that are compared, the same in every configuration.

    Args:
        found: of each configuration.
        plan: names methods, or a table.

    Raises:
        JudgingError: a method that a configuration does not have, or fewer than two; names what there is.
    """
    common = [name for name in found[0].units if all(name in each.units for each in found)]
    if plan.methods:
        wanted = plan.methods
    elif plan.table is not None:
        wanted = tuple(plan.sae if name == SAE else name for name in TABLES[plan.table].methods)
    else:
        wanted = tuple(common)
    problems = [
        f"{' '.join(each.place)}: no run has {', '.join(missing)}; there are {', '.join(each.units)}"
        for each in found
        if (missing := [name for name in wanted if name not in each.units])
    ]
    if not problems and len(wanted) < 2:
        problems = [
            f"at least two methods are compared, and all configurations have {', '.join(wanted) or 'none'}"
        ]
    if plan.floor not in (None, "first", *wanted):
        problems.append(f"--floor {plan.floor}: not one of the methods ({', '.join(wanted)})")
    if problems:
        raise JudgingError("\n".join(problems))
    return wanted


def printed(methods: Sequence[str], plan: Plan) -> Printed | None:
    """What the paper prints: of the table that was asked for, else of the one whose methods these are."""
    named = {key: {plan.sae if name == SAE else name for name in table.methods} for key, table in TABLES.items()}
    fitting = [key for key in ("6", "2") if set(methods) <= named[key]]
    key = plan.table if plan.table is not None else next(iter(fitting), None)
    if key is None:
        return None
    table = TABLES[key]
    rows = {row.method: row.figures for row in paper()[table.ratings]}
    rows[plan.sae] = rows.get(SAE, {})
    of_methods = {name: rows.get(name, {}) for name in methods}
    agreement = {row.dataset: row.figures["kendall_w"] for row in paper()[table.agreement]}
    return Printed(table, of_methods, agreement)
