"""Artifacts: folders that are named by what went into them, finished at once or not at all.

An artifact of kind `activations` with fingerprint F lies in `<root>/activations/<F>/`. It is made in a
working folder beside it, gets a manifest with the size and checksum of each file, and is then renamed: a
folder without a manifest is never read. The manifest carries a checksum of itself. A lock file per artifact
keeps other processes waiting while one makes it; the operating system frees the lock when its holder dies.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from filelock import FileLock

from clvq_exp.storage import storage_errors

CACHE_VARIABLE = "CLVQ_EXP_CACHE"
"""Environment variable that names the cache root."""
MANIFEST = "manifest.json"
CACHE_FORMAT = "cache_format.json"
WORKING = ".partial"
"""Ending of the folder in which an artifact is made."""
_TEMPORARY = ".tmp"
"""Ending of a file that is not whole yet."""
_SEAL = "sha256"
CACHE_ADVICE = f"free space there, or set {CACHE_VARIABLE} to a folder that can be written"
FORMAT_VERSION = 1
"""Raised whenever the layout of an artifact changes; part of every fingerprint."""

log = logging.getLogger(__name__)


class DamagedArtifactError(RuntimeError):
    """A finished artifact whose files are not those of its manifest."""


class CacheVersionError(RuntimeError):
    """A cache that another version of the project has laid out otherwise."""


def cache_root() -> Path:
    """The cache folder: `$CLVQ_EXP_CACHE`, else `clvq_exp` in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "clvq_exp"


def plain(value: object) -> Any:
    """Reduce dataclasses, enums and tuples to what JSON holds.

    Raises:
        TypeError: for a value that has no plain form, named in the message.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no plain form for {value!r} of type {type(value).__name__} in a fingerprint")


def fingerprint(inputs: object) -> str:
    """A 16-digit hexadecimal name of exactly these inputs (their canonical JSON, SHA-256)."""
    text = json.dumps([FORMAT_VERSION, plain(inputs)], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_checksum(folder: Path, ignore: Sequence[str] = ()) -> str:
    """SHA-256 over names and contents of the files of a folder (links followed, names sorted)."""
    digest = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in ignore:
            continue
        digest.update(f"{name}\0{file_checksum(path)}\0".encode())
    return digest.hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically: sorted keys, every float in full, a final newline, flushed to the disk.

    Raises:
        ValueError: if the value holds NaN or an infinity, which JSON has no word for.
    """
    write_text(path, _canonical(value))


def _canonical(value: object) -> str:
    return json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def remove_temporary_files(folder: Path) -> None:
    """Remove what killed processes were about to write by `write_text`.

    Args:
        folder: one that no other process writes just now.
    """
    for path in folder.glob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_manifest(folder: Path, inputs: object, files: Iterable[Path] | None = None) -> None:
    """Seal a folder: sizes and checksums of its files and of the manifest itself, written last.

    Args:
        folder: the folder.
        inputs: what its content was made of.
        files: the files that belong to it; all where None.
    """
    chosen = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    listed: dict[str, dict[str, object]] = {}
    for path in sorted(chosen if files is None else files):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        listed[path.relative_to(folder).as_posix()] = {
            "bytes": path.stat().st_size,
            "sha256": file_checksum(path),
        }
    write_sealed(folder / MANIFEST, {"format_version": FORMAT_VERSION, "inputs": plain(inputs), "files": listed})


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that carries a checksum of itself, atomically."""
    write_json(path, {**content, _SEAL: _seal(content)})


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote.

    Raises:
        DamagedArtifactError: it cannot be read, or one byte of it is another.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content: dict[str, Any] = json.loads(text)
        whole = text == _canonical(content) and content.pop(_SEAL) == _seal(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedArtifactError(f"{path} cannot be read: {error}") from error
    if not whole:
        raise DamagedArtifactError(f"{path} is not what was written: its checksum differs")
    return content


def verify(folder: Path) -> dict[str, Any]:
    """Compare a finished folder with its manifest.

    Returns:
        The manifest.

    Raises:
        DamagedArtifactError: names the first file that is missing, of another size or of other content.
    """
    manifest = read_sealed(folder / MANIFEST)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise DamagedArtifactError(f"{path} is missing")
        if path.stat().st_size != expected["bytes"]:
            raise DamagedArtifactError(
                f"{path} has {path.stat().st_size} bytes where its manifest says {expected['bytes']}"
            )
        if file_checksum(path) != expected["sha256"]:
            raise DamagedArtifactError(f"{path} is not what was written: its checksum differs")
    return manifest


class ArtifactCache:
    """All artifacts below one root.

    Args:
        root: the cache folder; made when missing.

    Raises:
        StorageError: the folder cannot be made or written; names the variable to set.
        CacheVersionError: another version laid it out.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else cache_root()
        self.on_use: Callable[[str, str], None] | None = None
        """Told the kind and the fingerprint of each artifact that is handed out."""
        self._verified: set[Path] = set()
        self._warned: set[Path] = set()
        with storage_errors("the cache folder", self.root, CACHE_ADVICE):
            self.root.mkdir(parents=True, exist_ok=True)
            self._check_format()

    def _check_format(self) -> None:
        """A cache says in which format it is; one that does not say so yet is told."""
        path = self.root / CACHE_FORMAT
        own = {"format_version": FORMAT_VERSION}
        try:
            found = read_sealed(path) if path.exists() else None
        except DamagedArtifactError as error:
            log.warning("%s; it is written again", error)
            found = None
        if found is None:
            write_sealed(path, own)
        elif found != own:
            raise CacheVersionError(
                f"the cache {self.root} has format {found.get('format_version')}, and this version of clvq_exp "
                f"reads and writes format {FORMAT_VERSION}: set {CACHE_VARIABLE} to another folder, or delete "
                "this one"
            )

    def path(self, kind: str, inputs: object) -> Path:
        """Where the artifact of this kind and these inputs lies, or would lie."""
        return self.root / kind / fingerprint(inputs)

    def get(self, kind: str, inputs: object) -> Path | None:
        """The finished, verified artifact, or None. A damaged one is warned of and counts as missing."""
        folder = self.path(kind, inputs)
        if not (folder / MANIFEST).is_file():
            return None
        if folder in self._verified:
            return self._handed_out(folder)
        try:
            if fingerprint(verify(folder)["inputs"]) != folder.name:
                raise DamagedArtifactError(f"{folder} holds what was made of other inputs")
        except (DamagedArtifactError, FileNotFoundError) as error:
            # Only the holder of its lock may remove it: another process may be replacing it just now.
            if folder not in self._warned:
                log.warning("%s; it is made again when it is needed", error)
            self._warned.add(folder)
            return None
        self._verified.add(folder)
        return self._handed_out(folder)

    def _handed_out(self, folder: Path) -> Path:
        if self.on_use is not None:
            self.on_use(folder.parent.name, folder.name)
        return folder

    def get_or_make(
        self, kind: str, inputs: object, make: Callable[[Path], None], resumable: bool = False
    ) -> Path:
        """The artifact of these inputs, made once whoever asks.

        Args:
            kind: sub-folder of the root, `activations` say.
            inputs: all that can change the result; anything `plain` accepts.
            make: fills an empty working folder. A failure leaves nothing that looks finished.
            resumable: hand the working folder of a killed maker on instead of emptying it.

        Returns:
            The finished folder. Treat it as read-only.

        Raises:
            StorageError: a full disk or a folder that cannot be written; says what to do.
        """
        return self.get_or_make_many(kind, [inputs], lambda folders: make(folders[0]), resumable)[0]

    def get_or_make_many(
        self,
        kind: str,
        inputs: Sequence[object],
        make: Callable[[dict[int, Path]], None],
        resumable: bool = False,
    ) -> list[Path]:
        """Several artifacts of one kind whose missing ones are made together, in one pass.

        Args:
            kind: sub-folder of the root.
            inputs: the inputs of each artifact.
            make: gets the working folder of each missing artifact, by its (first) position in `inputs`.
            resumable: see `get_or_make`.

        Returns:
            The finished folders, in the order of `inputs`.
        """
        found = [self.get(kind, each) for each in inputs]
        if all(found):
            return [folder for folder in found if folder is not None]
        with storage_errors("the cache folder", self.root, CACHE_ADVICE):
            return self._make_missing(kind, inputs, make, resumable)

    def _make_missing(
        self,
        kind: str,
        inputs: Sequence[object],
        make: Callable[[dict[int, Path]], None],
        resumable: bool,
    ) -> list[Path]:
        (self.root / kind).mkdir(parents=True, exist_ok=True)
        first: dict[str, int] = {}
        for index, each in enumerate(inputs):
            first.setdefault(fingerprint(each), index)
        locks = [self._lock(kind, inputs[first[name]]) for name in sorted(first)]
        held: list[FileLock] = []
        try:
            for lock in locks:  # one order for everybody, so two makers cannot wait for each other
                self._acquire(lock)
                held.append(lock)
            missing = [index for index in first.values() if self.get(kind, inputs[index]) is None]
            if missing:
                self._make(kind, inputs, missing, make, resumable)
            return [self.path(kind, each) for each in inputs]
        finally:
            for lock in reversed(held):
                lock.release()

    def _make(
        self,
        kind: str,
        inputs: Sequence[object],
        missing: list[int],
        make: Callable[[dict[int, Path]], None],
        resumable: bool,
    ) -> None:
        working = {index: self._working_folder(kind, inputs[index], resumable) for index in missing}
        try:
            make(working)
        except Exception:
            if not resumable:
                for folder in working.values():
                    shutil.rmtree(folder, ignore_errors=True)
            raise
        for index, folder in working.items():
            write_manifest(folder, inputs[index])
            final = self.path(kind, inputs[index])
            if final.exists():  # damaged, or without a manifest: left by a hand or another version
                shutil.rmtree(final)
            folder.rename(final)
            self._verified.add(final)
            self._handed_out(final)

    def _working_folder(self, kind: str, inputs: object, resumable: bool) -> Path:
        folder = self.path(kind, inputs).with_suffix(WORKING)
        if folder.exists() and not resumable:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        remove_temporary_files(folder)  # or they would be sealed with the rest
        return folder

    def _lock(self, kind: str, inputs: object) -> FileLock:
        return FileLock(self.path(kind, inputs).with_suffix(".lock"))

    def _acquire(self, lock: FileLock) -> None:
        try:
            lock.acquire(timeout=0.1)
        except TimeoutError:
            log.info("another process makes %s; waiting for it", Path(lock.lock_file).stem)
            lock.acquire()
