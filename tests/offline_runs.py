"""What an offline run of W&B left on the disk, as `wandb sync` would read it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_BLOCK = 32768
_HEADER = struct.Struct("<IHB")
_WHOLE_OR_LAST = (1, 4)


class OfflineRun(NamedTuple):
    """One `.wandb` file."""

    name: str
    project: str
    group: str
    job_type: str
    tags: list[str]
    config: dict[str, Any]
    defined: dict[str, tuple[str, str]]
    """Metric, or pattern of metrics -> its step metric and what stands in the summary; empty where not given."""
    history: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def curves(self) -> set[str]:
        """Every name that was logged."""
        return {name for row in self.history for name in row}

    @property
    def figures(self) -> set[str]:
        """Every name in the summary; what stands below a name, behind a dot."""
        found: set[str] = set()
        for name, value in self.summary.items():
            found |= {f"{name}.{end}" for end in value} if isinstance(value, dict) else {name}
        return found


def offline_runs(folder: Path) -> list[OfflineRun]:
    """The offline runs below a folder, oldest first."""
    return [_read(path) for path in sorted(folder.rglob("*.wandb"))]


def _records(path: Path) -> Iterator[Any]:
    """LevelDB's log format after seven bytes, one protobuf message each."""
    from wandb.proto import wandb_internal_pb2

    content, place, message = path.read_bytes(), _HEADER.size, b""
    while place + _HEADER.size <= len(content):
        room = _BLOCK - place % _BLOCK
        if room < _HEADER.size:
            place += room
            continue
        _, size, kind = _HEADER.unpack_from(content, place)
        place += _HEADER.size
        message += content[place : place + size]
        place += size
        if kind in _WHOLE_OR_LAST:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            message = b""
            yield record


def _read(path: Path) -> OfflineRun:
    run: Any = None
    config: dict[str, Any] = {}
    defined: dict[str, tuple[str, str]] = {}
    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for record in _records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= {each.key: json.loads(each.value_json) for each in run.config.update}
        elif kind == "metric":
            metric = record.metric
            chosen = [field.name for field, value in metric.summary.ListFields() if value is True]
            defined[metric.name or metric.glob_name] = (metric.step_metric, ",".join(chosen))
        elif kind == "history":
            history.append({_key(each): json.loads(each.value_json) for each in record.history.item})
        elif kind == "summary":
            summary |= {_key(each): json.loads(each.value_json) for each in record.summary.update}
    names = (run.display_name, run.project, run.run_group, run.job_type)
    return OfflineRun(*names, list(run.tags), config, defined, history, summary)


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)
