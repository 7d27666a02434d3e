"""Data sets of the hub, read from local folders in their place: no test asks the hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clvq_exp.settings import DatasetSettings, OriginalForm
from clvq_exp.texts import TextsError, load_texts

CALLS: list[dict[str, Any]] = []


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put splits where the library looks; what it was asked for is in CALLS."""
    import datasets

    CALLS.clear()
    real = datasets.load_dataset

    def load_dataset(name: str, config: str | None = None, **asked: Any) -> Any:
        CALLS.append({"name": name, "config": config, **asked})
        asked.pop("revision")
        return real(str(tmp_path / name), config, cache_dir=str(tmp_path / "cache"), **asked)

    def put(name: str, **splits: Sequence[dict[str, Any]]) -> None:
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            datasets.Dataset.from_list(list(rows)).to_parquet(str(tmp_path / name / f"{split}.parquet"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return put


def message(settings: DatasetSettings) -> str:
    with pytest.raises(TextsError) as caught:
        load_texts(settings, False)
    return str(caught.value)


def test_splits__are_those_that_the_settings_name(settings, hub, rows):
    hub("some/where", train=rows(10), test=rows(6, word="dev"))
    texts = load_texts(settings(hub_id="some/where", hub_dev="test", revision="abc"), False)
    assert [s.text for s in texts.dev] == [f"dev {index}" for index in range(6)]
    asked = {"name": "some/where", "config": None, "revision": "abc"}
    assert [asked | {"split": "test"}, asked | {"split": "train"}] == CALLS


def test_no_dev_split__is_drawn(settings, hub, rows):
    hub("some/where", test=rows(20))
    texts = load_texts(settings(hub_id="some/where", hub_train="test", dev_size=4), False)
    assert [len(texts.train) + len(texts.validation), len(texts.dev)] == [16, 4]


def test_path_and_package__win_over_the_hub(settings, write, rows, hub):
    given = settings(write("a.jsonl", rows(20)), hub_id="some/where", dev_size=4)
    assert len(load_texts(given, False).dev) == 4
    assert "the package no-such-package-here is not installed" in message(
        settings(hub_id="some/where", package="no-such-package-here", package_file="x.csv")
    )
    assert CALLS == []


def test_agnews__is_cleaned_as_its_files_are(settings, hub):
    rows = [{"text": f"Dell \\${index} It #39;s &lt;b&gt;up&lt;/b&gt;", "label": index % 2} for index in range(8)]
    hub("ag", train=rows, test=[row | {"text": f"Late {row['text']}"} for row in rows])
    texts = load_texts(settings(hub_id="ag", hub_dev="test", original=OriginalForm.agnews), False)
    assert texts.dev[3].text == "Late Dell $3 It's up"


def test_eraser__gives_one_example_for_each_evidence_grouped_by_review(settings, hub):
    given = [
        {"review": "a dull film .\nit drags .", "label": 0, "evidences": ["dull", "drags"]},
        {"review": "a joy .", "label": 1, "evidences": ["a joy"]},
        {"review": "so so .", "label": 1, "evidences": []},
        {"review": "warm .", "label": 1, "evidences": ["warm"]},
    ]
    hub("movies", train=given, validation=given)
    named = settings(
        hub_id="movies",
        hub_dev="validation",
        original=OriginalForm.eraser,
        group_column="evidence.docid",
        validation_share=0,
    )
    assert [(s.text, s.label, s.group) for s in load_texts(named, False).dev] == [
        ("dull", 0, "review-1"),
        ("drags", 0, "review-1"),
        ("a joy", 1, "review-2"),
        ("warm", 1, "review-4"),
    ]


def test_eraser_with_other_columns__lists_them(settings, hub, rows):
    hub("movies", train=rows(4))
    found = message(settings(hub_id="movies", original=OriginalForm.eraser))
    assert found == (
        "dataset reviews: the hub's movies, split train has the columns 'text', 'label', but ERASER Movie Reviews "
        "have label and evidences: check dataset.hub_id, or set dataset.original=none"
    )


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"hub_train": "trani"}, 'Unknown split "trani"'),
        ({"hub_config": "other"}, "BuilderConfig 'other' not found"),
    ],
)
def test_split_or_configuration_that_is_not_there__names_the_keys(settings, hub, rows, changed, why):
    hub("some/where", train=rows(4))
    found = message(settings(hub_id="some/where", what_belongs_there="reviews", **changed))
    assert why in found
    assert found.endswith(
        "; check dataset.hub_id, dataset.hub_config, dataset.revision, dataset.hub_train and dataset.hub_dev, or "
        "give dataset.path=...; what belongs there: reviews"
    )


def test_data_set_with_code_of_its_own__is_refused_and_nothing_runs(settings, hub, tmp_path):
    (tmp_path / "scripted").mkdir()
    (tmp_path / "scripted" / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "Dataset scripts are no longer supported" in message(settings(hub_id="scripted"))
    assert not (tmp_path / "ran").exists()


def test_hub_out_of_reach__says_so_and_what_to_give(settings, monkeypatch):
    import datasets
    import huggingface_hub

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for module in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    found = message(settings(hub_id="no-such/data-set", revision="abc", what_belongs_there="reviews"))
    assert found.startswith(
        "dataset reviews: the hub's no-such/data-set at revision abc, split train cannot be had (HF_HUB_OFFLINE "
        "is set): Couldn't reach 'no-such/data-set' on the Hub"
    )
    assert found.endswith("or give dataset.path=...; what belongs there: reviews")


def test_fingerprint__holds_rows_and_revision_and_not_the_name(settings, hub, rows):
    hub("one", train=rows(20))
    hub("two", train=rows(20))
    hub("three", train=rows(21))
    given = [
        {"hub_id": "one"},
        {"hub_id": "two"},
        {"hub_id": "three"},
        {"hub_id": "one", "revision": "abc"},
        {"hub_id": "one", "revision": "abd"},
    ]
    prints = [load_texts(settings(**each, dev_size=4), False).fingerprint for each in given]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4
