"""Run folders as configurations: the same sentences under several methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clvq_exp.artifacts import DamagedArtifactError, file_checksum, read_json
from clvq_exp.collect.runs import Run, find_runs
from clvq_exp.collect.units import Unit, units_of
from clvq_exp.judging.method_tables import TABLES, MethodTables, read_method
from clvq_exp.judging.records import Configuration, Instance, JudgingError
from clvq_exp.report.access import entry, main_method, mapping
from clvq_exp.report.run_files import Row, read_rows

_SALIENT = ("id", "group", "text", "label", "prediction", "position", "word")


class Methods(NamedTuple):
    """The methods of the runs of one model, data set and layers."""

    place: tuple[str, str, str]
    """Model, data set, layers."""
    runs: tuple[Run, ...]
    units: Mapping[str, Unit]
    """Method, as the tables name it -> the run that it is taken from."""


def find_methods(folders: Sequence[Path]) -> list[Methods]:
    """What the finished runs below some folders hold, by configuration.

    A method that is the main one of a run is taken from there, else from the first run that has it beside.

    Args:
        folders: run folders, or folders of run folders.

    Raises:
        JudgingError: a folder without a finished run, a method that two runs are about, or one configuration with
            two language models; a line each.
    """
    found = find_runs(folders)
    problems = [
        f"{each.folder}: {each.reason}" for each in found.left_out if not each.reason.startswith("the same")
    ]
    problems += [
        f"{folder}: no finished run is in it"
        for folder in folders
        if folder.is_dir()
        and not any(run.folder.resolve().is_relative_to(folder.resolve()) for run in found.runs)
        and not any(each.folder.resolve().is_relative_to(folder.resolve()) for each in found.left_out)
    ]
    of_place: dict[tuple[str, str, str], list[Run]] = {}
    for run in found.runs:
        of_place.setdefault(run.place, []).append(run)
    methods: list[Methods] = []
    for place, runs in of_place.items():
        units: dict[str, Unit] = {}
        for unit in sorted((unit for run in runs for unit in units_of(run)), key=lambda each: not _is_main(each)):
            earlier = units.setdefault(unit.method, unit)
            if earlier is not unit and _is_main(earlier) and _is_main(unit):
                problems.append(
                    f"{earlier.run.folder} and {unit.run.folder} are both about {unit.method} of "
                    f"{' '.join(place)}: give one of them"
                )
        weights = {str(_fingerprint(run)) for run in runs}
        if len(weights) > 1:
            folders_named = ", ".join(str(run.folder) for run in runs)
            problems.append(
                f"{' '.join(place)}: the runs are of {len(weights)} language models ({folders_named}): "
                "give those of one, or name the others by model.name"
            )
        methods.append(Methods(place, tuple(runs), units))
    if problems:
        raise JudgingError("\n".join(problems))
    return methods


def _is_main(unit: Unit) -> bool:
    return unit.key == main_method(unit.run.metrics)


def _fingerprint(run: Run) -> object:
    path = run.folder / "provenance.json"
    return entry(mapping(read_json(path)), "fingerprints").get("model") if path.name in run.files else None


def read_configuration(found: Methods, chosen: Sequence[str]) -> Configuration:
    """Read what judges are shown of one configuration.

    Args:
        found: its runs.
        chosen: names of methods that it has.

    Raises:
        JudgingError: a run without what a method is shown by, or no sentence that all runs share.
        DamagedArtifactError: a table is not what was written.
    """
    units = [found.units[name] for name in chosen]
    for run in {id(unit.run): unit.run for unit in units}.values():
        _check(run)
    tables = {unit.method: read_method(unit) for unit in units}
    instances, notes = _instances(found, units, tables)
    run = units[0].run
    dataset = entry(run.config, "dataset")
    cell_names = run.cell.get("label_names")
    names = tuple(str(each) for each in (cell_names if isinstance(cell_names, list) else []))
    meanings = dataset.get("label_meanings")
    warning = dataset.get("content_warning")
    return Configuration(
        *found.place,
        label_names=names,
        label_meanings=tuple(str(each) for each in meanings) if isinstance(meanings, list) else names,
        guidance=str(dataset.get("judge_guidance") or "").strip(),
        warning=str(warning) if warning else None,
        methods=tuple(chosen),
        instances=instances,
        representations={name: each.representations for name, each in tables.items()},
        notes=tuple(notes),
    )


def _instances(
    found: Methods, units: Sequence[Unit], tables: Mapping[str, MethodTables]
) -> tuple[tuple[Instance, ...], list[str]]:
    """The sentences that all runs explain by the same word, in the order of the first run."""
    of_run = {id(unit.run): _sentences(unit.run) for unit in units}
    base = of_run[id(units[0].run)]
    kept: list[Instance] = []
    differ = 0
    for name, row in base.items():
        others = [each.get(name) for each in of_run.values()]
        concepts = {unit.method: tables[unit.method].concepts.get(_row(of_run, unit, name)) for unit in units}
        same = all(
            each is not None and (each["prediction"], each["position"]) == (row["prediction"], row["position"])
            for each in others
        )
        known = {method: concept for method, concept in concepts.items() if concept is not None}
        if not same or len(known) < len(concepts):
            differ += 1
            continue
        kept.append(
            Instance(
                str(row["id"]),
                str(row["text"]),
                str(row.get("group") or row["id"]),
                int(row["label"]),
                int(row["prediction"]),
                str(row["word"]),
                known,
            )
        )
    where = " ".join(found.place)
    if not kept:
        raise JudgingError(f"{where}: the runs share no dev sentence with the same prediction and salient word")
    note = f"{differ:,} of {len(base):,} dev sentences are not in all runs with one prediction and salient word"
    return tuple(kept), [note] if differ else []


def _row(of_run: Mapping[int, Mapping[tuple[str, str], Row]], unit: Unit, name: tuple[str, str]) -> int:
    row = of_run[id(unit.run)].get(name)
    return -1 if row is None else int(row["sentence"])


def _sentences(run: Run) -> dict[tuple[str, str], Row]:
    """The explained dev sentences by id and text."""
    rows = read_rows(run.folder, "salient_words", split="dev")
    missing = [name for name in _SALIENT if rows and name != "group" and name not in rows[0]]
    if not rows or missing:
        raise JudgingError(f"{run.folder}: salient_words.parquet holds no dev sentences with their salient words")
    return {(str(row["id"]), str(row["text"])): row for row in rows}


def _check(run: Run) -> None:
    """Compare the tables that are read with the manifest.

    Raises:
        DamagedArtifactError: names the first one that is not what was written.
    """
    for name in _present(run):
        path = run.folder / name
        if file_checksum(path) != mapping(run.files[name]).get("sha256"):
            raise DamagedArtifactError(f"{path} is not what was written: its checksum differs")


def _present(run: Run) -> Iterator[str]:
    yield from (f"{table}.parquet" for table in TABLES if f"{table}.parquet" in run.files)
