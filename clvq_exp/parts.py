"""Long work in parts: which are done, so that a killed run goes on behind the last of them."""

from __future__ import annotations

import logging
from pathlib import Path

from clvq_exp.artifacts import DamagedArtifactError, file_checksum, read_sealed, write_sealed

log = logging.getLogger(__name__)

LEDGER = "parts.json"


class Ledger:
    """The finished parts of a working folder, each with a checksum of what it left there.

    A part is entered once its bytes are on the disk. What is found again has to have the same checksum; a part
    that does not is done anew.

    Args:
        folder: the working folder; its ledger is read where there is one.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        self._parts: dict[str, str] = {}
        if self._path.exists():
            try:
                self._parts = read_sealed(self._path)["parts"]
            except DamagedArtifactError as error:
                log.warning("%s; its parts are made again", error)

    def __len__(self) -> int:
        return len(self._parts)

    def holds(self, part: str) -> bool:
        """Whether the part was finished."""
        return part in self._parts

    def is_intact(self, part: str, checksum: str) -> bool:
        """Whether a finished part still is what it was; warned of where it is not."""
        if self._parts[part] == checksum:
            return True
        log.warning(
            "%s: part %s is not what was written: its checksum differs; it is made again", self._path, part
        )
        return False

    def enter(self, part: str, checksum: str) -> None:
        """Record a part whose bytes are on the disk."""
        self._parts[part] = checksum
        write_sealed(self._path, {"parts": self._parts})

    def leave(self, part: str) -> None:
        """Forget a part: its bytes are about to go."""
        if self._parts.pop(part, None) is not None:
            write_sealed(self._path, {"parts": self._parts})

    def has_file(self, path: Path) -> bool:
        """Whether a file of the folder was entered as a part and is whole."""
        return self.holds(path.name) and path.is_file() and self.is_intact(path.name, file_checksum(path))

    def enter_file(self, path: Path) -> None:
        """Record a finished file of the folder as a part of its own name."""
        self.enter(path.name, file_checksum(path))

    def close(self) -> None:
        """Remove the ledger: the work is whole."""
        self._path.unlink(missing_ok=True)
