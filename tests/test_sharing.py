"""A concept model as a folder: the same when it comes back, refused where it is not what was written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import MANIFEST, read_json, write_json, write_manifest
from clvq_exp.concepts.base import FitRun, FitSummary, perplexity
from clvq_exp.concepts.codebook_model import CodebookModel
from clvq_exp.notebook import Concepts, SharingError
from clvq_exp.settings import LayerPair
from clvq_exp.sharing.folder import CARD, CONFIG, HELD

K, WIDTH = 6, 8
SMALL: dict[str, Any] = {"max_epochs": 1, "device": "cpu"}
METHODS: dict[str, dict[str, Any]] = {
    "clvq_vae": {"codebook_size": K, "feed_forward": 16, "heads": 2, "settings": {"decoder.layers": 1}, **SMALL},
    "kmeans_codes": {"codebook_size": K},
    "clustering": {"codebook_size": K, "assignment": "logistic"},
    "transcoder": {"k": 2, "expansion": 2, "batch_words": 32, **SMALL},
}


class FirstDimensions(CodebookModel):
    """A method that is not shipped: the first axes of the space."""

    name = "first_dimensions"

    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        return {"method": self.name, "layer": store.layer_fingerprint(pair.lower), "K": self.n_concepts}

    def fit(self, run: FitRun) -> None:
        self._axes = torch.eye(run.store.width)[: self.n_concepts].contiguous()
        self.collect_members(run.store, run.pair.lower)
        counts, in_use = self.codes_in_use(run.store, run.pair.lower)
        self.summary = FitSummary(perplexity(counts), in_use)

    def encode(self, activations: torch.Tensor) -> torch.Tensor:
        return activations

    def vectors(self) -> torch.Tensor:
        return self._axes

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"axes": self._axes}

    def set_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        self._axes = tensors["axes"]


def activations(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    centres = 3 * random.normal(size=(K, WIDTH))
    lower = centres[random.integers(0, K, n)] + 0.2 * random.normal(size=(n, WIDTH))
    return lower.astype(np.float32), np.tanh(lower).astype(np.float32)


def fit(method: Any = "kmeans_codes", **given: Any) -> Concepts:
    lower, upper = activations()
    told = {
        "words": [f"secretword{row % 9}" for row in range(len(lower))],
        "sentences": np.arange(len(lower)) // 4,
        "labels": np.arange(30) % 3,
        "language_model": "owner/model",
        "dataset": "texts",
        "layer_pair": (2, 4),
    }
    return Concepts.fit(lower, upper, method=method, **told, **given)


@pytest.fixture(scope="module", params=METHODS)
def made(request: pytest.FixtureRequest) -> Concepts:
    return fit(request.param, **METHODS[request.param])


@pytest.fixture(scope="module")
def codes() -> Concepts:
    return fit(**METHODS["kmeans_codes"])


@pytest.fixture(scope="module")
def network() -> Concepts:
    return fit("clvq_vae", **METHODS["clvq_vae"])


# --- there and back ---


def test_loaded__assigns_and_removes_the_same_to_the_bit(made: Concepts, tmp_path: Path) -> None:
    loaded = Concepts.from_pretrained(made.save_pretrained(tmp_path / "model"))
    h = np.random.default_rng(0).normal(size=(200, WIDTH)).astype(np.float32)
    assert np.array_equal(loaded.assign(h, every=True), made.assign(h, every=True))
    for removal in made.removals:
        assert np.array_equal(loaded.remove(h, removal=removal), made.remove(h, removal=removal))
    assert torch.equal(loaded.vectors(), made.vectors())


def test_loaded__knows_what_was_told(made: Concepts, tmp_path: Path) -> None:
    loaded = Concepts.from_pretrained(made.save_pretrained(tmp_path / "model"))
    assert loaded.origin == made.origin
    assert loaded.settings == made.settings
    assert loaded.codebook == made.codebook
    assert loaded.summary == made.summary
    assert loaded.table() == made.table()
    assert [loaded.words(concept, 50) for concept in range(3)] == [made.words(concept, 50) for concept in range(3)]
    assert loaded.card() == made.card()
    assert loaded.store is None


def test_saved_twice__is_the_same_folder(codes: Concepts, tmp_path: Path) -> None:
    first = codes.save_pretrained(tmp_path / "first")
    second = Concepts.from_pretrained(first).save_pretrained(tmp_path / "second")
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }


def test_folder__holds_safetensors_and_plain_files_without_paths(network: Concepts, tmp_path: Path) -> None:
    folder = network.save_pretrained(tmp_path / "model")
    names = {path.name for path in folder.iterdir()}
    assert names == {CARD, CONFIG, HELD, MANIFEST, "model.safetensors", "summary.json"}
    for path in folder.iterdir():
        content = path.read_bytes()
        for place in (str(tmp_path), str(Path.home()), str(Path.cwd())):
            assert place.encode() not in content, path.name


def test_config__says_what_the_model_is(network: Concepts, tmp_path: Path) -> None:
    config = read_json(network.save_pretrained(tmp_path / "model") / CONFIG)
    assert config["format_version"] == 1
    assert config["library"] == "clvq_exp"
    assert config["method"] == "clvq_vae"
    assert config["arguments"] == {"target_layer": "upper"}
    assert (config["n_concepts"], config["width"], config["seed"]) == (K, WIDTH, 0)
    assert config["origin"]["layer_pair"] == [2, 4]
    assert config["origin"]["language_model"] == {"name": "owner/model", "hub_id": "owner/model", "revision": None}
    assert config["settings"]["decoder"]["layers"] == 1
    assert not any("clvq_exp." in json.dumps(value) for value in config.values())  # no class is named


def test_name_with_a_path__is_shared_without_it(tmp_path: Path) -> None:
    lower, _ = activations()
    made = Concepts.fit(lower, method="kmeans_codes", codebook_size=K, language_model=str(tmp_path / "mine"))
    config = (made.save_pretrained(tmp_path / "model") / CONFIG).read_text(encoding="utf-8")
    assert str(tmp_path) not in config
    assert made.origin.language_model.name == "mine"


def test_words_left_out__are_in_no_file(codes: Concepts, tmp_path: Path) -> None:
    with_words = codes.save_pretrained(tmp_path / "with")
    assert b"secretword" in (with_words / HELD).read_bytes()
    assert "secretword" in (with_words / CARD).read_text(encoding="utf-8")
    without = codes.save_pretrained(tmp_path / "without", words=False)
    for path in without.iterdir():
        assert b"secretword" not in path.read_bytes(), path.name
    loaded = Concepts.from_pretrained(without)
    assert loaded.purity(0) == codes.purity(0)


def test_own_method__is_loaded_by_its_class_only(tmp_path: Path) -> None:
    made = fit(FirstDimensions, codebook_size=K)
    folder = made.save_pretrained(tmp_path / "model")
    with pytest.raises(SharingError, match=r"'first_dimensions' is none of those shipped.*give the class"):
        Concepts.from_pretrained(folder)
    loaded = Concepts.from_pretrained(folder, method=FirstDimensions)
    h, _ = activations()
    assert np.array_equal(loaded.assign(h), made.assign(h))


# --- whole or not at all ---


def test_earlier_model__is_replaced(codes: Concepts, network: Concepts, tmp_path: Path) -> None:
    folder = network.save_pretrained(tmp_path / "model")
    codes.save_pretrained(folder)
    assert Concepts.from_pretrained(folder).settings == codes.settings
    assert not list(folder.glob(".*"))


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moves", range(12))
def test_killed_save__never_looks_whole(
    codes: Concepts, network: Concepts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    folder = network.save_pretrained(tmp_path / "model")
    before, left = Path.replace, [moves]

    def replace(self: Path, target: Any) -> Path:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return before(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    killed = False
    try:
        codes.save_pretrained(folder)
    except Killed:
        killed = True
    monkeypatch.undo()
    if (folder / MANIFEST).is_file():  # the earlier one as it was, or the new one whole
        assert Concepts.from_pretrained(folder).settings == (network if killed else codes).settings
    else:
        assert killed
        with pytest.raises(SharingError, match="was not written to its end"):
            Concepts.from_pretrained(folder)
    codes.save_pretrained(folder)  # and the folder can be used again
    assert Concepts.from_pretrained(folder).settings == codes.settings


def test_other_files__are_not_overwritten(codes: Concepts, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(SharingError, match=r"holds config.json, which no concept model of this library left"):
        codes.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SharingError, match="is a file: give a folder"):
        codes.save_pretrained(tmp_path / "file")


def test_config_that_is_no_json__is_named_with_what_to_do(codes: Concepts, tmp_path: Path) -> None:
    folder = codes.save_pretrained(tmp_path / "model")
    (folder / CONFIG).write_text('{"library": ', encoding="utf-8")
    with pytest.raises(SharingError, match=r"its config.json is damaged \(.*\): fetch the folder again"):
        Concepts.from_pretrained(folder)


def test_edited_card__is_no_damage(codes: Concepts, tmp_path: Path) -> None:
    folder = codes.save_pretrained(tmp_path / "model")
    (folder / CARD).write_text("# Mine", encoding="utf-8")
    assert len(Concepts.from_pretrained(folder)) == K


# --- what is refused ---


@pytest.mark.parametrize("name", [CONFIG, HELD, "model.safetensors", "summary.json"])
def test_damaged_or_missing_file__is_one_clear_error(codes: Concepts, tmp_path: Path, name: str) -> None:
    folder = codes.save_pretrained(tmp_path / "model")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(SharingError, match=f"model cannot be loaded: .*{name}"):
        Concepts.from_pretrained(folder)
    (folder / name).unlink()
    with pytest.raises(SharingError, match=f"model cannot be loaded: .*{name}"):
        Concepts.from_pretrained(folder)


def test_unfinished_folder_and_no_folder__are_told_apart(codes: Concepts, tmp_path: Path) -> None:
    folder = codes.save_pretrained(tmp_path / "model")
    (folder / MANIFEST).unlink()
    with pytest.raises(SharingError, match=r"holds no manifest.json: it was not written to its end"):
        Concepts.from_pretrained(folder)
    with pytest.raises(SharingError, match="nowhere: no such folder"):
        Concepts.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(SharingError, match="no such folder"):
        Concepts.from_pretrained("no name on the hub")


def set_at(config: dict[str, Any], key: str, value: Any) -> None:
    *way, last = key.split("/")
    for part in way:
        config = config[part]
    config[last] = value


def resealed(folder: Path, change: Callable[[Path], object]) -> Path:
    """A folder that somebody changed and sealed again."""
    change(folder)
    files = [path for path in folder.iterdir() if path.name not in (MANIFEST, CARD)]
    write_manifest(folder, {"library": "clvq_exp", "format_version": 1}, files)
    return folder


def with_config(folder: Path, changes: Mapping[str, Any]) -> Path:
    def change(folder: Path) -> None:
        config = read_json(folder / CONFIG)
        for key, value in changes.items():
            set_at(config, key, value)
        write_json(folder / CONFIG, config)

    return resealed(folder, change)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"format_version": 2, "library_version": "9.9"},
            "format 2, written by clvq_exp 9.9.*reads up to format 1",
        ),
        ({"format_version": "1"}, "format_version='1' in its config.json is no format"),
        ({"library": "transformers"}, "not that of a concept model of clvq_exp"),
        ({"method": "os.system"}, "'os.system' is none of those shipped"),
        ({"method": ["clvq_vae"]}, "cannot be loaded"),
        ({"settings/quantizer/codebook_size": 7}, "n_concepts=6, but its settings ask for 7"),
        (
            {"n_concepts": 10**12, "settings/quantizer/codebook_size": 10**12},
            "bytes at least, and its model.safet",
        ),
        ({"n_concepts": 5, "settings/quantizer/codebook_size": 5}, "cannot be loaded"),
        ({"width": 10**9}, "bytes at least, and its model.safetensors has"),
        ({"width": 4}, "cannot be loaded"),
        ({"width": True}, "width=True: a whole number above 0"),
        ({"n_concepts": 0}, "n_concepts=0"),
        ({"settings/decoder/feed_forward": 10**9}, "bytes at least, and its model.safetensors has"),
        ({"settings/decoder/layers": 10**6}, "bytes at least, and its model.safetensors has"),
        ({"settings/decoder/heads": 3}, "cannot be loaded"),
        ({"settings/decoder/rows": 3}, "decoder.rows is no key of the configuration"),
        ({"settings/model": {"path": "x"}}, "settings.model is no part of the settings of a concept method"),
        ({"settings/quantizer/temperature": "${oc.env:HOME}"}, "a value is taken as it stands"),
        ({"settings/encoder/alpha_mode": "run"}, "encoder.alpha_mode='run'"),
        ({"arguments": {"target_layer": "__import__"}}, "clvq_vae.*target_layer"),
        ({"arguments": {"_target_": "os.system"}}, "unexpected keyword argument"),
        ({"origin/language_model/name": ["x"]}, "where a text belongs"),
        ({"origin": 3}, "origin holds no JSON object"),
        ({"seed": "x"}, "cannot be loaded"),
    ],
)
def test_hostile_config__is_refused(network: Concepts, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    folder = with_config(network.save_pretrained(tmp_path / "model"), changes)
    with pytest.raises(SharingError, match=said):
        Concepts.from_pretrained(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "NaN", "[" * 100_000, '{"format_version": 1}', '{"a": "' + "x" * 2**20 + '"}']
)
def test_config_that_is_none__is_refused(codes: Concepts, tmp_path: Path, text: str) -> None:
    folder = codes.save_pretrained(tmp_path / "model")
    resealed(folder, lambda place: place.joinpath(CONFIG).write_text(text, encoding="utf-8"))
    with pytest.raises(SharingError, match="model cannot be loaded"):
        Concepts.from_pretrained(folder)


def test_hostile_weights__are_refused(codes: Concepts, tmp_path: Path) -> None:
    def changed(tensors: dict[str, torch.Tensor]) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            save_file({**load_file(folder / "model.safetensors"), **tensors}, folder / "model.safetensors")

        return change

    for number, (tensors, said) in enumerate(
        [
            ({"codebook": torch.full((K, WIDTH), math.nan)}, "not finite"),
            ({"codebook": torch.zeros(K, WIDTH + 1)}, rf"\[{K}, {WIDTH + 1}\], config.json says \[{K}, {WIDTH}\]"),
            ({"member_means": torch.zeros(K - 1, WIDTH)}, "cannot be loaded"),
            ({"member_means": torch.zeros(K, WIDTH + 1)}, "its directions of member_mean"),
        ]
    ):
        folder = resealed(codes.save_pretrained(tmp_path / str(number)), changed(tensors))
        with pytest.raises(SharingError, match=said):
            Concepts.from_pretrained(folder)
    folder = resealed(
        codes.save_pretrained(tmp_path / "text"),
        lambda place: place.joinpath("model.safetensors").write_bytes(b"x" * 999),
    )
    with pytest.raises(SharingError, match="cannot be loaded"):
        Concepts.from_pretrained(folder)


def test_words_of_another_model__are_refused(codes: Concepts, tmp_path: Path) -> None:
    other = fit(codebook_size=K - 1).save_pretrained(tmp_path / "other")
    folder = codes.save_pretrained(tmp_path / "model")
    resealed(folder, lambda place: place.joinpath(HELD).write_bytes((other / HELD).read_bytes()))
    with pytest.raises(SharingError, match=f"its rows are not those of {K} concepts"):
        Concepts.from_pretrained(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../b", "C:\\x"])
def test_manifest__names_no_file_outside(codes: Concepts, tmp_path: Path, name: str) -> None:
    from clvq_exp.artifacts import read_sealed, write_sealed

    folder = codes.save_pretrained(tmp_path / "model")
    manifest = read_sealed(folder / MANIFEST)
    manifest["files"][name] = {"bytes": 0, "sha256": ""}
    write_sealed(folder / MANIFEST, manifest)
    with pytest.raises(SharingError, match="which is no file inside the folder"):
        Concepts.from_pretrained(folder)


def test_manifest_without_a_file_that_is_read__is_refused(codes: Concepts, tmp_path: Path) -> None:
    folder = codes.save_pretrained(tmp_path / "model")
    write_manifest(folder, {}, [folder / "model.safetensors"])
    with pytest.raises(SharingError, match=r"its manifest.json does not name concepts.parquet, config.json"):
        Concepts.from_pretrained(folder)


# --- the hub ---


def test_hub_offline__is_said(codes: Concepts) -> None:
    with pytest.raises(SharingError, match=r"nobody/nothing-at-all cannot be fetched.*HF_HUB_OFFLINE is set"):
        Concepts.from_pretrained("nobody/nothing-at-all")
    with pytest.raises(SharingError, match=r"nobody/model cannot be sent.*HF_HUB_OFFLINE is set"):
        codes.push_to_hub("nobody/model")
    with pytest.raises(SharingError, match="'model' is no name on the hub: give owner/name"):
        codes.push_to_hub("model")


def test_push__sends_a_folder_that_can_be_fetched(
    codes: Concepts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from types import SimpleNamespace

    import huggingface_hub

    asked: list[Any] = []

    class Api:
        def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> None:
            asked.append((repo_id, private, exist_ok))

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> Any:
            shutil.copytree(folder_path, tmp_path / "hub")
            asked.append(commit_message)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}")

    def snapshot_download(repo_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo_id, revision))
        return str(tmp_path / "hub")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert codes.push_to_hub("me/concepts") == "https://hub/me/concepts"
    loaded = Concepts.from_pretrained("me/concepts", revision="main")
    assert asked == [("me/concepts", True, True), "Concept model of clvq_exp", ("me/concepts", "main")]
    assert torch.equal(loaded.vectors(), codes.vectors())
    assert 'Concepts.from_pretrained("me/concepts")' in (tmp_path / "hub" / CARD).read_text(encoding="utf-8")
