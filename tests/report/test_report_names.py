from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import clvq_exp
from clvq_exp.report.names import METHODS, method_title, removal_name, removals_in_order

CONF = Path(clvq_exp.__file__).resolve().parents[1] / "conf"


def named_in_conf() -> set[str]:
    """Every name that the rows of a run can carry as the groups are shipped."""
    methods = {yaml.safe_load(path.read_text(encoding="utf-8"))["name"] for path in CONF.glob("baseline/*.yaml")}
    for path in CONF.glob("beside/*.yaml"):
        for line in yaml.safe_load(path.read_text(encoding="utf-8")).get("defaults", []):
            target = next(iter(line))
            if target.startswith("/baseline@"):
                methods.add(target.removeprefix("/baseline@"))
    return methods


def test_method_title__every_shipped_method_has_one_of_its_own() -> None:
    names = named_in_conf()
    assert {"clvq_vae", "clvq_vae_spherical_kmeans", "clustering_filtered", "transcoder"} <= names
    assert names <= METHODS.keys()
    assert len({method_title(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("method", "title"),
    [
        ("clvq_vae", "CLVQ-VAE"),
        ("clvq_vae_spherical_kmeans", "CLVQ-VAE, spherical k-means"),
        ("sae_8192", "SAE 8192"),
        ("clvq_vae_wide_encoder", "CLVQ-VAE wide encoder"),
        ("my_kmeans", "my k-means"),
        ("plain", "plain"),
        ("_", "_"),
    ],
)
def test_method_title__an_unknown_method_is_made_readable(method: str, title: str) -> None:
    assert method_title(method) == title


@pytest.mark.parametrize(
    ("removal", "title"),
    [
        ("concept", "the concept vector"),
        ("encoder_top_10", "its top 10 neurons"),
        ("encoder_top_1", "its top neuron"),
        ("encoder_top_32", "its top 32 neurons"),
        ("something_else", "something else"),
    ],
)
def test_removal_name(removal: str, title: str) -> None:
    assert removal_name(removal).title == title


def test_removals_in_order__neurons_are_numbers() -> None:
    present = ["zz", "encoder_top_5", "member_mean", "encoder_top_10", "aa", "encoder_top_1", "concept"]
    assert removals_in_order(present) == [
        "concept",
        "member_mean",
        "encoder_top_10",
        "encoder_top_5",
        "encoder_top_1",
        "aa",
        "zz",
    ]
