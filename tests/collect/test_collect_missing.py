"""What is missing, and that the commands run exactly that."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from collect.made_runs import DEMO_CELL, PAPER_CELL, gathered, write_run

from clvq_exp.collect.catalogue import LAYER_PAIR, TABLES, TableSpec
from clvq_exp.collect.missing import cell_command, missing_of, whole_sweep
from clvq_exp.collect.selection import is_equal, table11
from clvq_exp.collect.tables import Filled, Row, paper_rows
from clvq_exp.composing import ComposedCell, compose_cells
from clvq_exp.settings import AlphaMode

ROOT = Path(__file__).resolve().parents[2]
WITH_SWEEP = [spec for spec in TABLES if spec.sweep]


def composed(command: str) -> list[ComposedCell]:
    """The cells that a command would run."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "clvq_exp"]
    assert words[3::2][:2] == ["--config-dir", "--config-name"]
    folder, name = words[4], words[6]
    return compose_cells(words[7:], name, str(ROOT / folder))


def rows_to_run(spec: TableSpec) -> list[Row]:
    """The paper's rows of a table, or the cells of its grid where it prints none."""
    if spec.on_grid:
        (grid,) = [table for table in TABLES if table.key == "v1_table10"]
        return [Row(*row.cell, "", "", (), {}) for row in paper_rows(grid)]
    # figures of no method come with those of any method
    return [
        Row(*row.cell, row.method, "", row.setting, {}) for row in paper_rows(spec) if row.method or not spec.swept
    ]


def check(cell: ComposedCell, row: Row) -> None:
    """Whether a cell is the one of a row of the paper, under the paper's own settings."""
    config = cell.config
    assert config.dataset.name == row.dataset
    if row.model:
        assert config.model.name == row.model
    if row.layers:
        assert config.layer_pair.name == row.layers
    values = {
        "quantizer.codebook_size": config.quantizer.codebook_size,
        "quantizer.commitment_weight": config.quantizer.commitment_weight,
        "quantizer.temperature": config.quantizer.temperature,
        "quantizer.top_k": config.quantizer.top_k,
        "encoder.alpha_mode": config.encoder.alpha_mode.value,
    }
    expected = {**table11(), **dict(row.setting)}
    assert all(is_equal(value, expected[key]) for key, value in values.items()), row.setting
    if config.encoder.alpha_mode is AlphaMode.fixed:
        assert is_equal(config.encoder.alpha, dict(row.setting)["encoder.alpha"])
    assert (config.protocol.name, config.trainer.name, len(config.seeds)) == ("paper", "default", 3)


@pytest.mark.parametrize("spec", WITH_SWEEP, ids=lambda spec: spec.key)
def test_cell_command__composes_the_cell_of_the_papers_last_row(spec: TableSpec) -> None:
    row = rows_to_run(spec)[-1]
    cells = composed(cell_command(spec, row))
    assert len({cell.run_folder for cell in cells}) == (1 if row.model else 4)
    for cell in cells:
        check(cell, row)


@pytest.mark.slow
@pytest.mark.parametrize("spec", WITH_SWEEP, ids=lambda spec: spec.key)
def test_cell_command__composes_the_cell_of_every_row_of_the_paper(spec: TableSpec) -> None:
    commands = {cell_command(spec, row): row for row in rows_to_run(spec)}
    for command, row in commands.items():
        for cell in composed(command):
            check(cell, row)


@pytest.mark.parametrize("key", ["v1_table08", "v1_table13", "v1_table16"])
def test_whole_sweep__holds_every_row_of_the_paper(key: str) -> None:
    (spec,) = [each for each in TABLES if each.key == key]
    cells = composed(whole_sweep(spec))
    assert len(cells) == len(rows_to_run(spec))
    pairs = {(cell.config.model.name, cell.config.dataset.name, cell.config.layer_pair.name) for cell in cells}
    assert pairs == {row.cell for row in rows_to_run(spec)}


def test_missing__one_command_where_everything_is(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *DEMO_CELL)
    sheet = gathered(tmp_path, "v1_table13").sheet
    assert sheet.missing == "Missing: all 10 of the paper's rows. The sweep that fills them:"
    assert sheet.commands == (
        "python -m clvq_exp --config-dir multirun_sweeps --config-name table13_commitment "
        "'dataset.path=FOLDER/${dataset.name}'",
    )


def test_missing__a_command_for_each_cell_once(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL)
    sheet = gathered(tmp_path, "v1_table12").sheet  # no training curves
    assert len(sheet.commands) == 1
    sheet = gathered(tmp_path, "v1_table01").sheet
    assert sheet.missing == "Missing: 59 of the paper's 60 rows. What runs them:"
    assert len(sheet.commands) == 12  # a run has all methods of a model and a data set
    sheet = gathered(tmp_path, "v1_table14").sheet
    assert (
        "python -m clvq_exp --config-dir multirun_sweeps --config-name table14_sampling "
        "'quantizer={temperature:1.0,top_k:100}' dataset.path=FOLDER"
    ) in sheet.commands
    assert len(sheet.commands) == 7
    assert LAYER_PAIR not in sheet.commands[0]


def test_missing__nothing_where_no_sweep_fills_a_table() -> None:
    (spec,) = [each for each in TABLES if each.key == "v1_table11"]
    assert missing_of(spec, Filled([], [], 0)).commands == ()
