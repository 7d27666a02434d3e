"""`clvq explain` as a user calls it: sentences, formats, and runs that cannot explain."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from explaining import MadeRun, change_json, make_run, reseal
from running import environment, tiny_cell
from tiny import make_tiny_encoder

from clvq_exp.artifacts import MANIFEST, read_json
from clvq_exp.commands import main
from clvq_exp.explainer import Explainer
from clvq_exp.finished_run import RunError
from clvq_exp.language_models.base import LanguageModelError

QUICK = (
    *("beside=none", "specificity.shuffles=0", "evaluation.bootstrap_samples=100", "evaluation.permutations=100"),
    *("trainer.max_epochs=1", "trainer.sentences.refit=4", "evaluation.intervention=false"),
)
SENTENCE = "The acting is superb."
TOP = "format_version explained_by explanations"
BY = "run model dataset layer_pair method seed removal label_names attribution_unit probes content_warning"
EXPLANATION = (
    "text prediction words salient concept removed removed_share probe live attribution truncated vanished notes"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    """A folder with a language model and texts of its own, which tests may take away."""
    home = tmp_path_factory.mktemp("command")
    make_tiny_encoder(home / "encoder", fine_tuned=False)
    shutil.copytree(reviews, home / "reviews")
    return home


def overrides(home: Path) -> list[str]:
    tuning = ("fine_tuning.epochs=1", "trainer.sentences.fine_tuning=32")
    return [*tiny_cell(home / "encoder", home / "reviews"), *QUICK, *tuning, "dataset.content_warning=bad words"]


@pytest.fixture(scope="module")
def tuned(home: Path) -> MadeRun:
    """A run whose language model was fine-tuned, and so lies in the cache; it tells what its concepts hold."""
    run = make_run(home / "run", home / "cache", *overrides(home))
    words = [
        {
            "method": "clvq_vae",
            "seed": 0,
            "concept": code,
            "rank": rank,
            "word": f"w{code}<b>{rank}",
            "count": 99 - rank,
        }
        for code in range(20)
        for rank in range(12)
    ]
    pq.write_table(pa.Table.from_pylist(words), run.folder / "concept_words.parquet")
    reseal(run.folder)
    return run


@pytest.fixture
def run(tuned: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run that a test may change."""
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tuned.cache))
    return shutil.copytree(tuned.folder, tmp_path / "run")


@pytest.fixture
def explain(run: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    """Call the command on the copy; gives code, out and err."""

    def called(*arguments: str, folder: Path | None = None) -> SimpleNamespace:
        capsys.readouterr()
        code = main(["explain", str(folder or run), *arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return called


# ---------------------------------------------------------------- formats


def test_text__shows_prediction_words_concept_and_what_its_removal_changes(
    explain: Callable[..., SimpleNamespace], run: Path
) -> None:
    done = explain(SENTENCE)
    (found,) = Explainer.load(run).explain([SENTENCE])
    assert done.code == 0
    assert done.err == ""
    assert "removing the concept vector" in done.out
    assert "content warning: bad words" in done.out
    assert f"predicted {found.prediction.label} ({found.prediction.confidence:.1%})" in done.out
    assert f"[{found.salient.text}]" in done.out
    code = found.salient.concept
    assert f"‘{found.salient.text}’ → concept {code}: w{code}<b>0 (99), w{code}<b>1 (98)" in " ".join(
        done.out.split()
    )
    for place in ("Probe", "Sentence token", "Salient word", "All words"):
        assert sum(line.startswith(place) for line in done.out.splitlines()) == 1


def test_json__has_the_documented_keys(explain: Callable[..., SimpleNamespace], run: Path, tuned: MadeRun) -> None:
    done = explain(SENTENCE, "--format", "json", "dull", "--removal", "member_mean")
    assert done.code == 0
    content = json.loads(done.out)
    assert list(content) == TOP.split()
    assert set(content["explained_by"]) == set(BY.split())
    assert (content["explained_by"]["run"], content["explained_by"]["removal"]) == (str(run), "member_mean")
    assert [each["text"] for each in content["explanations"]] == [SENTENCE, "dull"]
    for each in content["explanations"]:
        assert set(each) == set(EXPLANATION.split())
        assert set(each["prediction"]) == {"label", "confidence", "probabilities"}
        assert set(each["words"][0]) == set(each["salient"]) == {"position", "text", "attribution", "concept"}
        assert set(each["concept"]) == {"code", "words", "train_words", "label_words"}
        (row,) = tuned.rows("concepts", method="clvq_vae", seed=0, concept=each["concept"]["code"])
        assert each["concept"]["train_words"] == row["train_words"]
        assert list(each["concept"]["label_words"].values()) == row["label_words"]
        assert len(each["concept"]["words"]) == 10
        assert each["concept"]["words"][0] == {"word": f"w{each['concept']['code']}<b>0", "count": 99}
        assert set(each["probe"]) == {"before", "after", "flips", "probability_change"}
        assert list(each["live"]) == ["sentence_token", "salient_word", "all_words"]
        for outcome in each["live"].values():
            assert set(outcome) == {"after", "flips", "probability_change"}
            label = each["prediction"]["label"]
            change = outcome["after"]["probabilities"][label] - each["prediction"]["confidence"]
            assert outcome["probability_change"] == pytest.approx(change, abs=1e-12)
        assert set(each["attribution"]) == {"steps", "convergence_delta"}
    documented = (Path(__file__).parents[1] / "docs" / "explain.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in documented for key in f"{TOP} {BY} {EXPLANATION}".split())


def test_every_format__what_acts_in_a_sentence_is_shown(explain: Callable[..., SimpleNamespace]) -> None:
    hostile = "<script>alert(1)</script> \x1b[31mred \u202eodd [bold]x[/bold] {{7*7}}"
    text, page, data = (explain(hostile, "--format", form).out for form in ("text", "html", "json"))
    for shown in (text, page, data):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "\\x1b[31mred" in text
    assert "[bold]x[/bold]" in text
    assert page.isascii()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "w&lt;b&gt;" not in page
    assert "&lt;b&gt;0" in page, "words of the data set are escaped too"
    assert "{{7*7}}" in page
    assert "script-src" not in page
    assert "default-src &#39;none&#39;" not in page
    assert json.loads(data)["explanations"][0]["text"] == hostile


# ---------------------------------------------------------------- where sentences come from


def texts_of(done: SimpleNamespace) -> list[str]:
    assert done.code == 0, done.err
    return [each["text"] for each in json.loads(done.out)["explanations"]]


def test_sentences__come_from_arguments_standard_input_and_files_in_this_order(
    explain: Callable[..., SimpleNamespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "sentences.txt"
    file.write_bytes("\ufeffof a file\r\n\r\n  with\u2028spaces \n".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"of a pipe\n\n- and another\n")))
    done = explain("first", "--file", str(file), "--format", "json", "-", "- last")
    expected = ["first", "of a pipe", "- and another", "- last", "of a file", "  with\u2028spaces "]
    assert texts_of(done) == expected


@pytest.mark.parametrize("arguments", [["--format", "json", "--", "-5", "x"], ["--format=json", "- 5", "--", "x"]])
def test_sentences__may_begin_with_a_dash(explain: Callable[..., SimpleNamespace], arguments: list[str]) -> None:
    assert texts_of(explain(*arguments)) in (["-5", "x"], ["- 5", "x"])


def test_sentences__none_at_all(explain: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"\n\n")
    for arguments in ((), ("--file", str(tmp_path / "empty.txt"))):
        done = explain(*arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("no sentence: ")


def test_sentences__an_empty_one_is_named(explain: Callable[..., SimpleNamespace]) -> None:
    done = explain("good", " ")
    assert (done.code, done.out) == (1, "")
    assert done.err == "sentence 2 is empty: give one with a word in it\n"


def test_sentences__a_file_that_cannot_be_read(explain: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"good\nna\xefve\n")
    done = explain("--file", str(tmp_path / "latin.txt"))
    assert done.code == 1
    assert done.err == f"--file {tmp_path / 'latin.txt'}, line 2: not UTF-8; write it as UTF-8\n"
    assert "No such file" in explain("--file", str(tmp_path / "absent\x1b.txt")).err


def test_unknown_option__is_refused(explain: Callable[..., SimpleNamespace]) -> None:
    with pytest.raises(SystemExit) as stopped:
        explain(SENTENCE, "--formats", "json")
    assert stopped.value.code == 2


# ---------------------------------------------------------------- runs that cannot explain


def refused(run: Path, **given: Any) -> str:
    with pytest.raises((RunError, LanguageModelError)) as caught:
        Explainer.load(run, **given)
    return str(caught.value)


def test_no_such_run(explain: Callable[..., SimpleNamespace], tmp_path: Path) -> None:
    done = explain(SENTENCE, folder=tmp_path / "ab\x1bsent")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"{tmp_path}/ab\\x1bsent: no such folder; give the folder of a finished run\n"
    assert "holds no run" in refused(tmp_path)


def test_unfinished_run(run: Path) -> None:
    (run / MANIFEST).unlink()
    assert refused(run) == (
        f"the run in {run} is not finished: give its command again, and it goes on where it stopped"
    )


@pytest.mark.parametrize("name", ["probe.safetensors", "config.yaml", "concept_model/seed_0/model.safetensors"])
def test_damaged_run(run: Path, name: str) -> None:
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    message = refused(run)
    assert message.startswith(f"the run in {run} is damaged: {run / name} is not what was written")
    assert message.endswith("give its command again, and the result is made again from the cache")


def test_run_of_another_format(run: Path) -> None:
    change_json(run / "metrics.json", lambda content: content.update(format_version=99))
    assert "format 1.99, and this version of clvq_exp reads 1.1" in refused(run)


def test_run_of_a_version_that_did_not_note_its_model(run: Path) -> None:
    change_json(run / "provenance.json", lambda content: content.pop("language_model"))
    assert "earlier version" in refused(run)


def test_run_with_keys_of_another_version(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config["quantizer"]["crystals"] = 3
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    reseal(run)
    message = refused(run)
    assert message.startswith(f"{run / 'config.yaml'} does not fit this version of clvq_exp")
    assert "quantizer.crystals is no key of the configuration" in message


def change_config(run: Path, **changed: dict[str, Any]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    for section, values in changed.items():
        config[section].update(values)
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    reseal(run)


def test_run_that_names_foreign_code__runs_it_only_if_it_is_trusted(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "was run"
    (tmp_path / "foreign.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
        "from clvq_exp.concepts.clvq_vae import ClvqVae as Mine\n",
        encoding="utf-8",
    )
    change_config(run, baseline={"_target_": "foreign.Mine"}, model={"allow_remote_code": True})
    message = refused(run)
    assert "asks to run foreign.Mine and the Python files of its language model" in message
    assert "--trust" in message
    assert "PYTHONPATH" in refused(run, trust=True)
    assert not mark.exists()
    monkeypatch.syspath_prepend(tmp_path)
    assert Explainer.load(run, trust=True).explain([SENTENCE])
    assert mark.exists()


def test_text_like_an_interpolation_in_the_configuration__stays_text(run: Path) -> None:
    change_config(run, dataset={"prompt": "${oc.env:HOME} {text}"})
    assert Explainer.load(run).explain([SENTENCE])


# ---------------------------------------------------------------- where the language model is


def test_cache__its_artifact_is_named_without_a_place(tuned: MadeRun) -> None:
    noted = read_json(tuned.folder / "provenance.json")["language_model"]
    assert set(noted) == {"artifact", "fingerprint"}
    (folder,) = (tuned.cache / "language_models").glob("*/")
    assert noted["artifact"] == f"language_models/{folder.name}"


def test_any_current_folder_and_no_texts__explains_all_the_same(
    run: Path, home: Path, tuned: MadeRun, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    aside = shutil.move(home / "reviews", home / "aside")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "clvq_exp.commands", "explain", "../run", SENTENCE, "--format", "json"],
            cwd=elsewhere,
            env=environment(tuned.cache),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.move(aside, home / "reviews")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (expected,) = Explainer.load(run).explain([SENTENCE])
    (found,) = json.loads(done.stdout)["explanations"]
    assert found["prediction"]["confidence"] == pytest.approx(expected.prediction.confidence, abs=1e-6)
    assert list(elsewhere.iterdir()) == []


def test_pruned_cache__the_message_leads_to_a_run_that_explains(
    run: Path, home: Path, tuned: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = Explainer.load(run).explain([SENTENCE])
    cache = shutil.copytree(tuned.cache, tmp_path / "cache")
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(cache))
    shutil.rmtree(cache / "language_models")
    message = refused(run)
    name = read_json(run / "provenance.json")["language_model"]["artifact"]
    assert message.startswith(f"the cache {cache} does not hold {name}, the language model of the run: ")
    assert "give the command of the run again with another hydra.run.dir" in message
    make_run(tmp_path / "another", cache, *overrides(home))
    assert Explainer.load(run).explain([SENTENCE]) == [before]


def test_damaged_model_in_the_cache(
    run: Path, tuned: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = shutil.copytree(tuned.cache, tmp_path / "cache")
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(cache))
    (weights,) = cache.glob("language_models/*/model/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    message = refused(run)
    assert message.startswith(f"{weights} has ")
    assert "another hydra.run.dir" in message


@pytest.mark.parametrize("name", ["../../elsewhere", "language_models/../words/0123456789abcdef", 7])
def test_provenance_that_names_no_artifact(run: Path, name: object) -> None:
    change_json(run / "provenance.json", lambda content: content["language_model"].update(artifact=name))
    assert f"names {name!r}, which is no artifact of a language model" in refused(run)


def test_model_that_is_not_the_run_s__is_refused(run: Path, tiny_encoder: Path) -> None:
    message = refused(run, model_path=tiny_encoder)
    assert message.startswith(
        f"the language model in {tiny_encoder} is not that of the run: it has the fingerprint"
    )
    assert "--model-path" in message


def test_model_that_was_moved__is_found_by_its_folder(
    run: Path, tuned: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = Explainer.load(run).explain([SENTENCE])
    (weights,) = tuned.cache.glob("language_models/*/model")
    moved = shutil.copytree(weights, tmp_path / "moved")
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "no cache"))
    assert Explainer.load(run, model_path=moved).explain([SENTENCE]) == [before]
    assert not (tmp_path / "no cache").exists(), "nothing is made"


def test_model_path_of_the_configuration__is_read_from_where_the_run_was_started(
    tmp_path: Path, home: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    shutil.copytree(tiny_encoder, started / "encoder")
    monkeypatch.chdir(started)
    given = [*tiny_cell(Path("encoder"), home / "reviews"), *QUICK]
    run = make_run(tmp_path / "run", tmp_path / "cache", *given)
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    (before,) = Explainer.load(run.folder).explain([SENTENCE])
    assert read_json(run.folder / "provenance.json")["language_model"]["artifact"] is None
    monkeypatch.chdir(tmp_path)
    assert "model.path=encoder: no config.json there" in refused(run.folder)
    (run.folder / ".hydra").mkdir()
    noted = {"hydra": {"runtime": {"cwd": str(started)}}}
    (run.folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(noted), encoding="utf-8")
    assert Explainer.load(run.folder).explain([SENTENCE]) == [before]
