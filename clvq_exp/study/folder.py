"""The folder of a study: a sealed design with its clouds, and beside it the answers as they come in."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clvq_exp.artifacts import (
    DamagedArtifactError,
    fingerprint,
    read_json,
    verify,
    write_bytes,
    write_json,
    write_manifest,
)
from clvq_exp.study import answers
from clvq_exp.study.design import Design, Drawn, StudyError, design_of
from clvq_exp.study.links import Link, address, hashed, new_secret, write_links

STUDY = "study.json"
CLOUDS = "clouds"
ANSWERS = "answers.sqlite"
_WORKING = ".partial"
_LINKS = "links.txt"
_NAME = re.compile(r"a(\d+)")


class OpenedStudy(NamedTuple):
    """A study as it lies on the disk."""

    folder: Path
    design: Design
    name: str
    """Fingerprint of the design."""

    @property
    def answers(self) -> Path:
        """The file of its annotators and answers."""
        return self.folder / ANSWERS

    def cloud(self, name: str) -> bytes:
        """A picture."""
        return (self.folder / CLOUDS / name).read_bytes()


def make_study(folder: Path, drawn: Drawn, n_annotators: int, url: str) -> Path:
    """Write a new study, all of it or nothing.

    Args:
        folder: of the study; must not be there.
        drawn: its design and its clouds.
        n_annotators: annotators who are let in.
        url: where annotators reach the study; stands in their links alone.

    Returns:
        The file of their links.

    Raises:
        StudyError: the folder is there.
    """
    refuse_existing(folder)
    working = folder.with_name(folder.name + _WORKING)
    shutil.rmtree(working, ignore_errors=True)
    (working / CLOUDS).mkdir(parents=True)
    content = drawn.design.to_json()
    write_json(working / STUDY, content)
    for name, png in drawn.clouds.items():
        write_bytes(working / CLOUDS / name, png)
    files = [working / STUDY, *(working / CLOUDS / name for name in drawn.clouds)]
    write_manifest(working, {"study": fingerprint(content)}, files)
    answers.create(working / ANSWERS, fingerprint(content))
    study = OpenedStudy(working, drawn.design, fingerprint(content))
    links = invite(study, n_annotators, url)
    working.rename(folder)
    return folder / links.name


def refuse_existing(folder: Path) -> None:
    """See that a study can be made there.

    Raises:
        StudyError: something is there.
    """
    if folder.exists():
        raise StudyError(f"{folder} is there already: choose another by --out")


def open_study(folder: Path) -> OpenedStudy:
    """Open a study: every file of its design is compared with its checksum.

    Raises:
        StudyError: no study, a damaged one, or one of another version.
    """
    if not (folder / STUDY).is_file():
        raise StudyError(f"{folder} holds no study: make one by `clvq study new`")
    try:
        manifest = verify(folder)
        content = read_json(folder / STUDY)
    except (DamagedArtifactError, OSError, ValueError) as error:
        raise StudyError(f"{folder} is damaged: {error}") from error
    name = fingerprint(content)
    if manifest["inputs"] != {"study": name}:
        raise StudyError(f"{folder} is damaged: {STUDY} is not what its manifest was written for")
    study = OpenedStudy(folder, design_of(content), name)
    with answers.connected(study.answers) as connection:
        answers.check(connection, study.answers, name)
    return study


def invite(study: OpenedStudy, n_annotators: int, url: str) -> Path:
    """Let further annotators in; each sees the items in an order of its own.

    Args:
        study: the study.
        n_annotators: how many.
        url: where they reach it.

    Returns:
        The file of their links. Where the process is killed on the way, the links of the file lead nowhere.
    """
    from clvq_exp.seeding import numpy_generator  # needs torch

    links: list[Link] = []
    entrants: list[answers.Entrant] = []
    with answers.connected(study.answers) as connection, answers.writing(connection):
        taken = [int(found[1]) for each in answers.annotators(connection) if (found := _NAME.fullmatch(each.name))]
        first = max(taken, default=0) + 1
        for number in range(first, first + n_annotators):
            name, secret = f"a{number:02d}", new_secret()
            order = numpy_generator(study.design.seed, "study", "order", name).permutation(len(study.design.items))
            entrants.append(answers.Entrant(name, hashed(secret), [int(each) for each in order]))
            links.append(Link(name, address(url, secret)))
        answers.let_in(connection, entrants)
        return _write_new(study.folder, links)


def replace_link(study: OpenedStudy, name: str, url: str) -> Path:
    """Give an annotator a new link; the one before leads nowhere from now on. The answers stay.

    Returns:
        The file of the link.

    Raises:
        StudyError: there is no such annotator.
    """
    secret = new_secret()
    with answers.connected(study.answers) as connection, answers.writing(connection):
        if not answers.replace_secret(connection, name, hashed(secret)):
            known = ", ".join(each.name for each in answers.annotators(connection))
            raise StudyError(f"--again {name}: the study has {known}")
        return _write_new(study.folder, [Link(name, address(url, secret))])


def _write_new(folder: Path, links: Sequence[Link]) -> Path:
    """Write links into the first file that is not there."""
    stem, ending = _LINKS.split(".")
    number = 1
    while True:
        path = folder / (_LINKS if number == 1 else f"{stem}_{number}.{ending}")
        try:
            write_links(path, links)
        except FileExistsError:
            number += 1
        else:
            return path
