"""The model card: whatever comes from a data set is shown and does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from clvq_exp.notebook import Concepts

HOSTILE = [
    "<script>alert(1)</script>",
    "![x](https://a.example/x.png)",
    "[link](https://a.example)",
    "a|b|c",
    "`code`",
    "**bold**",
    "line\nbreak\n# Heading",
    "---",
    "\x1b[31mred",
    "\u202egnp",
    "&lt;",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "x" * 5000,
]


def fit(**given: Any) -> Concepts:
    n = len(HOSTILE) * 8
    lower = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    told: dict[str, Any] = {"words": HOSTILE * 8, "labels": np.arange(n // 4) % 2, "sentences": np.arange(n) // 4}
    return Concepts.fit(lower, method="kmeans_codes", codebook_size=2, **{**told, **given})


def test_card__shows_text_of_a_data_set_and_does_not_obey_it() -> None:
    made = fit(
        label_names=["<b>bad</b>", "good | better"],
        dataset="set](https://a.example)\n## Not a heading",
        language_model="model\n---\nlicense: mit",
        content_warning="<img src=x onerror=alert(1)>\n\n## Neither",
    )
    card = made.card()
    for acts in ("<script", "<b>", "<img", "\x1b", "\u202e", "![x](", " [link](", "{% raw %}x", " 49"):
        assert acts not in card, acts
    assert "&lt;script&gt;" in card
    assert r"[link\](https" in card
    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert [line for line in headings if "ot a heading" in line or "either" in line or "Heading" in line] == []
    assert max(map(len, card.splitlines())) < 4000


def test_card__front_matter_is_plain_yaml_and_links_only_names_of_the_hub() -> None:
    given = {"language_model": "owner/model", "dataset": "owner/set"}
    _, front, body = fit(**given).card().split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["base_model"] == ["owner/model"]
    assert values["datasets"] == ["owner/set"]
    assert values["library_name"] == "clvq_exp"
    assert body.lstrip().startswith("# k-means codes concepts of owner/model")
    other = {"language_model": "a: [b", "dataset": "../../etc/passwd"}
    values = yaml.safe_load(fit(**other).card().split("---\n", 2)[1])
    assert "base_model" not in values
    assert "datasets" not in values


def test_card__rows_of_tables_have_one_number_of_columns() -> None:
    tables: list[list[str]] = [[]]
    for line in fit().card().splitlines():
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    assert len([table for table in tables if table]) == 2
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) <= 1, table


def test_card__says_that_faithfulness_was_not_measured() -> None:
    card = fit().card()
    assert "Not measured: the model was fitted outside of a run" in card
    assert "Specific drop" not in card


def test_card__leaves_words_out_where_it_is_told_to(tmp_path: Path) -> None:
    folder = fit().save_pretrained(tmp_path / "model", words=False)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "The largest concepts" not in card
    assert "alert" not in card


def test_card__how_to_load_it_is_what_works(tmp_path: Path) -> None:
    folder = fit().save_pretrained(tmp_path / "model")
    card = (folder / "README.md").read_text(encoding="utf-8")
    code = card.split("```python\n")[1].split("```")[0]
    activations = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    space: dict[str, Any] = {"activations": activations}
    exec(code.replace('"FOLDER"', repr(str(folder))), space)
    assert space["codes"].shape == (4,)


@pytest.mark.parametrize("labels", [None, np.zeros(len(HOSTILE) * 2, int)])
def test_card__is_made_with_and_without_labels(labels: Any) -> None:
    card = fit(labels=labels).card()
    assert ("- labels: 0" in card) == (labels is not None)
