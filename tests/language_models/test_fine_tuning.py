"""Fine-tuning writes a model that can be read back, and the same one for the same seed.

`transformers.Trainer` seeds torch's global generator itself, so fine-tuning is the one step of a cell that does
not leave the global random state as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from families import ENCODERS, KINDS, make_config
from safetensors.torch import load_file
from tiny import tiny_settings

from clvq_exp.artifacts import read_json
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.encoder import EncoderModel
from clvq_exp.language_models.fine_tuning import MODEL_FOLDER, RESULT, fine_tune
from clvq_exp.language_models.sources import is_fine_tuned
from clvq_exp.records import Sentence
from clvq_exp.settings import FineTuningSettings, ModelSettings, NumberFormat

CPU = torch.device("cpu")
LABELS = ("negative", "positive")
BRIEF = FineTuningSettings(epochs=1, batch_size=8, learning_rate=5e-3)


def sentences(n: int) -> list[Sentence]:
    texts = ("dull and clumsy, a mess", "superb, a joy: clever acting")
    return [
        Sentence(f"r{index}", f"{texts[index % 2]} {'!' * (index % 7)}", index % 2, f"r{index}")
        for index in range(n)
    ]


@pytest.fixture(scope="module")
def tuned(
    base_encoder: Path,
    settings: Callable[..., ModelSettings],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[int, str], Path]:
    """Fine-tune the base encoder for a few steps; each (seed, name) once."""
    root = tmp_path_factory.mktemp("tuned")

    def tune(seed: int, name: str = "first") -> Path:
        out = root / f"{seed}-{name}"
        if not out.exists():
            out.mkdir()
            given = FineTuningSettings(epochs=1, batch_size=8, learning_rate=5e-3, seed=seed)
            fine_tune(base_encoder, out, settings(), given, LABELS, sentences(40), sentences(10), CPU)
        return out

    return tune


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / MODEL_FOLDER / "model.safetensors")


def test_fine_tune__writes_a_model_with_the_label_names(
    tuned: Callable[..., Path], settings: Callable[..., ModelSettings]
):
    folder = tuned(42) / MODEL_FOLDER
    assert is_fine_tuned(folder)
    model = EncoderModel.load(folder, settings(), LABELS, CPU)
    assert [model.model.config.id2label[index] for index in range(2)] == list(LABELS)
    with pytest.raises(LanguageModelError, match="none of the model's labels"):
        EncoderModel.load(folder, settings(), ("bad", "good"), CPU)


def test_fine_tune__records_the_accuracy_that_the_saved_model_has(
    tuned: Callable[..., Path], settings: Callable[..., ModelSettings]
):
    result = read_json(tuned(42) / RESULT)
    model = EncoderModel.load(tuned(42) / MODEL_FOLDER, settings(), LABELS, CPU)
    held_out = sentences(10)
    logits = model.class_logits(*model.pad(model.encode([each.text for each in held_out])))
    hits = [guess == each.label for guess, each in zip(logits.argmax(1).tolist(), held_out, strict=True)]
    assert result["accuracy"] == pytest.approx(sum(hits) / 10)
    assert (result["sentences"], result["held_out"], result["epochs"]) == (40, 10, 1)


def test_fine_tune__learns_what_can_be_told_apart(
    base_encoder: Path, settings: Callable[..., ModelSettings], tmp_path: Path
):
    longer = FineTuningSettings(epochs=3, batch_size=8, learning_rate=5e-3)
    fine_tune(base_encoder, tmp_path, settings(), longer, LABELS, sentences(80), sentences(20), CPU)
    assert read_json(tmp_path / RESULT)["accuracy"] == 1


def test_fine_tune__the_same_seed_gives_the_same_weights_bit_for_bit(tuned: Callable[..., Path]):
    first = weights(tuned(42))
    torch.rand(13)
    second = weights(tuned(42, "again"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_fine_tune__another_seed_gives_another_head(tuned: Callable[..., Path]):
    assert not torch.equal(weights(tuned(42))["classifier.weight"], weights(tuned(7))["classifier.weight"])


def test_fine_tune__leaves_the_given_folder_alone(tuned: Callable[..., Path], base_encoder: Path):
    before = {path.name: path.read_bytes() for path in base_encoder.iterdir()}
    tuned(42, "third")
    assert {path.name: path.read_bytes() for path in base_encoder.iterdir()} == before


class KilledError(BaseException):
    """Nobody catches this."""


LONG = FineTuningSettings(epochs=3, batch_size=8, learning_rate=5e-3)


def run_long(
    base_encoder: Path,
    out: Path,
    settings: Callable[..., ModelSettings],
    monkeypatch: pytest.MonkeyPatch,
    steps: int | None = None,
) -> int:
    """Three epochs of five steps, or the start of them; returns the steps that were run."""
    out.mkdir(exist_ok=True)
    own = transformers.Trainer.training_step
    done: list[int] = []

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(done) == steps:
            raise KilledError
        done.append(1)
        return own(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(transformers.Trainer, "training_step", counted)
        if steps is None:
            fine_tune(base_encoder, out, settings(), LONG, LABELS, sentences(40), sentences(10), CPU)
        else:
            with pytest.raises(KilledError):
                fine_tune(base_encoder, out, settings(), LONG, LABELS, sentences(40), sentences(10), CPU)
    return len(done)


@pytest.mark.parametrize(("killed_after", "left"), [(3, 15), (5, 10), (8, 10), (14, 5)])
def test_fine_tune__a_killed_one_goes_on_behind_its_last_epoch_to_the_same_bits(
    base_encoder: Path,
    tmp_path: Path,
    settings: Callable[..., ModelSettings],
    monkeypatch: pytest.MonkeyPatch,
    killed_after: int,
    left: int,
):
    assert run_long(base_encoder, tmp_path / "whole", settings, monkeypatch) == 15
    assert run_long(base_encoder, tmp_path / "killed", settings, monkeypatch, killed_after) == killed_after
    assert run_long(base_encoder, tmp_path / "killed", settings, monkeypatch) == left
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    for name, value in whole.items():
        assert torch.equal(killed[name], value), name
    assert read_json(tmp_path / "killed" / RESULT) == read_json(tmp_path / "whole" / RESULT)


def test_fine_tune__a_damaged_checkpoint_is_passed_over(
    base_encoder: Path,
    tmp_path: Path,
    settings: Callable[..., ModelSettings],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    run_long(base_encoder, tmp_path / "whole", settings, monkeypatch)
    run_long(base_encoder, tmp_path / "killed", settings, monkeypatch, 14)
    path = tmp_path / "killed" / "work" / "checkpoint-10" / "optimizer.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert run_long(base_encoder, tmp_path / "killed", settings, monkeypatch) == 10
    assert [message for message in caplog.messages if "part checkpoint-10 is not what was written" in message]
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(killed[name], value) for name, value in whole.items())


@pytest.mark.parametrize("name", list(ENCODERS))
def test_fine_tune__gives_an_encoder_of_any_family_its_head(name: str, tmp_path: Path):
    tokenizer = KINDS[ENCODERS[name].tokenizer]()
    with torch.random.fork_rng():
        transformers.AutoModel.from_config(make_config(name, tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    assert not is_fine_tuned(tmp_path / "base")
    given = tiny_settings(number_format=NumberFormat.bfloat16)  # fine-tuned in float32 all the same
    fine_tune(tmp_path / "base", tmp_path, given, BRIEF, LABELS, sentences(16), sentences(8), CPU)
    assert {value.dtype for value in weights(tmp_path).values()} == {torch.float32}
    model = EncoderModel.load(tmp_path / MODEL_FOLDER, tiny_settings(), LABELS, CPU)
    assert model.class_logits(*model.pad(model.encode(["dull"]))).shape == (1, 2)
    assert model.label_names == LABELS


def test_fine_tune__leaves_no_checkpoints(tuned: Callable[..., Path]):
    files = {path.relative_to(tuned(42)).parts[0] for path in tuned(42).rglob("*") if path.is_file()}
    assert files == {MODEL_FOLDER, RESULT}


def test_fine_tune__replaces_a_head_for_other_classes(
    tiny_encoder: Path, settings: Callable[..., ModelSettings], tmp_path: Path
):
    labels = ("world", "sport", "business", "science")
    train = [each._replace(label=index % 4) for index, each in enumerate(sentences(16))]
    fine_tune(tiny_encoder, tmp_path, settings(), BRIEF, labels, train, train[:4], CPU)
    model = EncoderModel.load(tmp_path / MODEL_FOLDER, settings(), labels, CPU)
    assert model.class_logits(*model.pad(model.encode(["dull"]))).shape == (1, 4)


def test_fine_tune__cuts_texts_that_are_longer_than_the_table_of_positions(
    base_encoder: Path, settings: Callable[..., ModelSettings], tmp_path: Path
):
    from transformers import AutoModel, AutoTokenizer

    source = tmp_path / "source"
    AutoModel.from_pretrained(base_encoder).save_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(base_encoder)
    tokenizer.model_max_length = 10**9  # a tokenizer that knows no limit
    tokenizer.save_pretrained(source)
    train = [each._replace(text=each.text + " dull" * 200) for each in sentences(8)]
    fine_tune(source, tmp_path / "out", settings(), BRIEF, LABELS, train, train, CPU)
    assert (tmp_path / "out" / RESULT).is_file()


def test_fine_tune__refuses_pickles(tmp_path: Path, settings: Callable[..., ModelSettings]):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(LanguageModelError, match="only pickles"):
        fine_tune(tmp_path, tmp_path / "out", settings(), BRIEF, LABELS, sentences(4), sentences(4), CPU)


def test_fine_tune__a_loss_that_is_not_finite_names_the_rate(
    base_encoder: Path, settings: Callable[..., ModelSettings], tmp_path: Path
):
    wild = FineTuningSettings(epochs=1, batch_size=2, learning_rate=1e38, warmup_share=0.0)
    with pytest.raises(LanguageModelError, match=r"tiny diverged.*fine_tuning\.learning_rate"):
        fine_tune(base_encoder, tmp_path, settings(), wild, LABELS, sentences(8), sentences(4), CPU)
    assert not (tmp_path / MODEL_FOLDER).exists()
