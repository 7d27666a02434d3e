"""Long work in parts: which are done, so that a killed run goes on behind the last of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from clvq_exp.artifacts import DamagedArtifactError, file_checksum, read_sealed, write_sealed

log = logging.getLogger(__name__)

EXTRACTED = 1024
"""Sentences of a part of extraction, at least: what a killed run does again at most, but for the batch that is run
while a part's bytes go to the disk."""
ATTRIBUTED = 32
"""Sentences of a part of attribution: a quarter of an hour of a decoder on one core."""
LEDGER = "parts.json"
_ALL = "parts*.json"


class Ledger:
    """The finished parts of a working folder, each with a checksum of what it left there.

    A part is entered once its bytes are on the disk. What is found again has to have the same checksum; a part
    that does not is done anew. Several processes that share the work each write a ledger of their own; who
    opens the folder reads them all.

    Args:
        folder: the working folder; its ledgers are read where there are any.
        process: which of several processes this is; 0 is the first.
    """

    def __init__(self, folder: Path, process: int = 0) -> None:
        self._folder = folder
        self._path = folder / (f"parts-{process}.json" if process else LEDGER)
        self._ledgers: dict[Path, dict[str, str]] = {self._path: {}}
        for path in sorted(folder.glob(_ALL)):
            try:
                self._ledgers[path] = read_sealed(path)["parts"]
            except DamagedArtifactError as error:
                log.warning("%s; its parts are made again", error)
        self._parts = {part: path for path, parts in self._ledgers.items() for part in parts}

    def __len__(self) -> int:
        return len(self._parts)

    def holds(self, part: str) -> bool:
        """Whether the part was finished."""
        return part in self._parts

    def keeps(self, part: str, checksum: Callable[[], str]) -> bool:
        """Whether the part was finished and still is what it was.

        One that is not is warned of and forgotten.

        Args:
            part: its name.
            checksum: of what is there now; asked only if the part was finished.
        """
        path = self._parts.get(part)
        if path is None:
            return False
        if self._ledgers[path][part] == checksum():
            return True
        log.warning("%s: part %s is not what was written: its checksum differs; it is made again", path, part)
        self.leave(part)
        return False

    def enter(self, part: str, checksum: str) -> None:
        """Record a part whose bytes are on the disk."""
        self._parts[part] = self._path
        self._ledgers[self._path][part] = checksum
        write_sealed(self._path, {"parts": self._ledgers[self._path]})

    def leave(self, part: str) -> None:
        """Forget a part: its bytes are about to go."""
        path = self._parts.pop(part, None)
        if path is not None:
            del self._ledgers[path][part]
            write_sealed(path, {"parts": self._ledgers[path]})

    def has_file(self, path: Path) -> bool:
        """Whether a file of the folder was entered as a part and is whole; see `keeps`."""
        return path.is_file() and self.keeps(path.name, lambda: file_checksum(path))

    def enter_file(self, path: Path) -> None:
        """Record a finished file of the folder as a part of its own name."""
        self.enter(path.name, file_checksum(path))

    def close(self) -> None:
        """Remove the ledgers: the work is whole."""
        for path in self._folder.glob(_ALL):
            path.unlink(missing_ok=True)
