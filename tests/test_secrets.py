"""What the environment holds in tokens and keys stays out of every file and off the screen."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from running import Call, call, tiny_cell

from clvq_exp.credentials import is_credential, without_credentials
from clvq_exp.resolvers import CredentialError, environment_variable

NAMES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_ACCESS_KEY_ID"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "KAGGLE_KEY", "PGPASSWORD"),
    *("AZURE_CLIENT_SECRET", "COMET_API_KEY", "NEPTUNE_API_TOKEN", "MYSQL_PWD", "GOOGLE_CREDENTIALS"),
)
SECRETS = {name: f"secret-{secrets.token_hex(12)}" for name in NAMES}
SECRETS["WANDB_API_KEY"] = secrets.token_hex(20)  # W&B looks at the form of its key
SECRETS["https_proxy"] = f"http://somebody:secret-{secrets.token_hex(8)}@proxy.invalid:3128"
PROJECT = "a-project-that-is-kept"
REMOTE = "https://example.invalid/a-private-remote.git"
PERSON = {"WANDB_HOST": "the-name-of-the-host", "WANDB_EMAIL": "someone@example.invalid"}

FAILING = """
import os

class Failing:
    def __init__(self, settings, **own):
        try:
            raise KeyError(str(dict(os.environ)))
        except KeyError as error:
            both = os.environ["HF_TOKEN"] + "\\n" + os.environ["WANDB_API_KEY"]
            raise RuntimeError("refused: " + both) from error
"""


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: LevelDB's log format after seven bytes, one protobuf message each."""
    from wandb.proto import wandb_internal_pb2

    content, place, message = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        _, size, kind = struct.unpack("<IHB", content[place : place + 7])
        message += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            message = b""
            yield record


def content_of(path: Path) -> str:
    """What a file says: its name, its bytes, and what is packed in it."""
    parts = [str(path), path.read_bytes().decode("utf-8", "replace")]
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        parts += [str(table.to_pydict()), str(table.schema.metadata)]
    if path.suffix == ".wandb":
        parts += [str(record) for record in wandb_records(path)]
    return "\n".join(parts)


def files_with(texts: set[str], folder: Path) -> set[str]:
    """Names of the files that hold one of the texts, plainly or in base64."""
    encoded = {base64.b64encode(text.encode()).decode().rstrip("=") for text in texts}
    files = [path for path in folder.rglob("*") if path.is_file()]
    contents = {path.name: content_of(path) for path in files}
    return {name for name, content in contents.items() if any(text in content for text in texts | encoded)}


class Home(NamedTuple):
    """Everything that a process could write into, with the secrets in its environment."""

    folder: Path
    arguments: list[str]

    def call(self, *arguments: str, **variables: str) -> Call:
        own = {
            "HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": str(self.folder / "home" / "cache"),
            "TMPDIR": str(self.folder / "temporary"),
            "PYTHONPATH": os.pathsep.join([str(self.folder / "modules"), os.environ.get("PYTHONPATH", "")]),
        }
        return call(self.folder, *arguments, **own, **SECRETS, **variables)

    def leaks(self, done: Call) -> set[str]:
        shown = {"the screen"} if any(value in done.out + done.err for value in SECRETS.values()) else set()
        return shown | files_with(set(SECRETS.values()), self.folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, reviews: Path) -> Home:
    folder = tmp_path_factory.mktemp("secrets")
    for name in ("home", "temporary", "modules"):
        (folder / name).mkdir()
    (folder / "modules" / "failing.py").write_text(FAILING)
    return Home(folder, tiny_cell(tiny_encoder, reviews))


@pytest.fixture(scope="module")
def with_wandb(home: Home) -> Call:
    """A cell at debug verbosity that logs to W&B, started inside a git repository."""
    if shutil.which("git"):
        for command in (["init", "--quiet"], ["remote", "add", "origin", REMOTE]):
            subprocess.run(["git", *command], cwd=home.folder, check=True)
    own = ["logger=wandb", f"logger.project={PROJECT}", "hydra.verbose=true", "hydra.run.dir=wandb_run"]
    return home.call(*home.arguments, *own, **PERSON)


def test_cell__leaves_no_secret_with_wandb_at_debug_verbosity(home: Home, with_wandb: Call) -> None:
    assert with_wandb.code == 0, with_wandb.err[-3000:]
    assert home.leaks(with_wandb) == set()
    names = {path.name for path in (home.folder / "wandb_run").rglob("*")}
    assert {"config.yaml", "overrides.yaml", "clvq_exp.log", "debug.log", "debug-internal.log"} <= names


def test_files_with__finds_what_is_kept(home: Home, with_wandb: Call) -> None:
    found = files_with({PROJECT}, home.folder / "wandb_run")
    assert {"config.yaml", "overrides.yaml", "debug.log"} <= found
    assert {Path(name).suffix for name in found} >= {".wandb", ".yaml", ".log"}
    assert "salient_words.parquet" in files_with({"first-rate"}, home.folder / "wandb_run")


def test_wandb__keeps_neither_host_nor_command_nor_repository(home: Home, with_wandb: Call) -> None:
    paths = list((home.folder / "wandb_run" / "wandb").rglob("*.wandb"))
    assert len(paths) == 2
    records = [record for path in paths for record in wandb_records(path)]
    kinds = {record.WhichOneof("record_type") for record in records}
    assert {"run", "history", "summary"} <= kinds
    assert "environment" not in kinds
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert runs
    assert not [run for run in runs if run.host or run.git.remote_url or run.git.commit]
    assert files_with({REMOTE, *PERSON.values()}, home.folder / "wandb_run") == set()


@pytest.mark.slow
def test_cell__leaves_no_secret_with_csv_and_full_errors(home: Home) -> None:
    done = home.call(*home.arguments, "logger=csv", "hydra.run.dir=csv_run", HYDRA_FULL_ERROR="1")
    assert done.code == 0, done.err[-3000:]
    assert home.leaks(done) == set()
    assert list((home.folder / "csv_run" / "logs").rglob("metrics.csv"))


@pytest.mark.parametrize(("sweep", "full"), [(False, "1"), (True, "0")])
def test_failing_cell__its_traceback_names_the_variable_and_hides_the_value(
    home: Home, sweep: bool, full: str
) -> None:
    where = "failed_sweep" if sweep else "failed_run"
    own = ["-m", f"hydra.sweep.dir={where}"] if sweep else [f"hydra.run.dir={where}"]
    failing = ["baseline._target_=failing.Failing", "hydra.verbose=true"]
    done = home.call(*own, *home.arguments, *failing, HYDRA_FULL_ERROR=full)
    assert done.code == 1
    assert home.leaks(done) == set()
    (log,) = (home.folder / where).rglob("clvq_exp.log")
    for text in (done.out, log.read_text()):
        assert "Traceback" in text
        assert "RuntimeError: refused: <HF_TOKEN>\n<WANDB_API_KEY>" in text
    assert ("the log in" in done.err) == sweep


@pytest.mark.parametrize(
    "override",
    [
        "logger.group=${oc.env:HF_TOKEN}",
        "dataset.label_names=[a,'${oc.env:HF_TOKEN}']",
        "dataset.name=${oc.env:HF_TOKEN}",  # a part of the run folder's path
        "dataset.content_warning='${oc.decode:${oc.env:HF_TOKEN,nothing}}'",
        "hydra.job.name=${oc.env:HF_TOKEN}",
    ],
)
def test_interpolation_of_a_credential__is_refused_before_anything_is_written(home: Home, override: str) -> None:
    done = home.call("hydra.sweep.dir=refused", "dataset=file", override, "-m")
    assert done.code == 1
    assert "${oc.env:HF_TOKEN} would write a credential into the run folder" in done.out + done.err
    assert "Traceback" not in done.out + done.err
    assert home.leaks(done) == set()


def test_cfg_resolve__prints_no_credential(home: Home) -> None:
    done = home.call("--cfg", "job", "--resolve", "logger.group=${oc.env:GITHUB_TOKEN}")
    assert done.code == 1
    assert "${oc.env:GITHUB_TOKEN} would write a credential" in done.err
    assert not any(value in done.out + done.err for value in SECRETS.values())


def test_environment_variable__other_names_and_defaults(monkeypatch) -> None:
    monkeypatch.setenv("SCRATCH_FOLDER", "/scratch")
    monkeypatch.setenv("STORE", "https://somebody:password@example.invalid/")
    monkeypatch.delenv("NOT_THERE", raising=False)
    assert environment_variable("SCRATCH_FOLDER") == "/scratch"
    assert environment_variable("NOT_THERE", "instead") == "instead"
    assert environment_variable("NOT_THERE", None) is None
    with pytest.raises(KeyError, match="NOT_THERE"):
        environment_variable("NOT_THERE")
    for name in ("STORE", "HF_TOKEN"):
        with pytest.raises(CredentialError, match=name):
            environment_variable(name, "instead")


@pytest.mark.parametrize("name", [*SECRETS, "hf_token", "APIKEY", "SMTP_PASS", "SSH_PRIVATE_KEY", "GITLAB_PAT"])
def test_is_credential__names_of_credentials(name: str) -> None:
    assert is_credential(name, SECRETS.get(name, ""))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PWD", "/home/me"),
        ("OLDPWD", "/home/me"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("KEYBOARD", "de"),
        ("PATH", "/usr/bin:/bin"),
        ("COMPASS", "north"),
        ("HTTP_PROXY", "http://proxy.invalid:3128"),
        ("WANDB_MODE", "offline"),
    ],
)
def test_is_credential__other_names(name: str, value: str) -> None:
    assert not is_credential(name, value)


def test_without_credentials__longest_first_and_no_short_ones() -> None:
    environment = {"A_TOKEN": "abcdefgh", "B_TOKEN": "abcdefghij", "C_TOKEN": "a", "HOME": "/home/someone"}
    text = "a abcdefghij and abcdefgh in /home/someone"
    assert without_credentials(text, environment) == "a <B_TOKEN> and <A_TOKEN> in /home/someone"
