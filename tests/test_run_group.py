"""The group that a cell gets in W&B, and that it changes nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from composing import composed
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from clvq_exp.config import check
from clvq_exp.run import in_group


@pytest.fixture(autouse=True)
def _hydra_of_its_own() -> Iterator[None]:
    before = HydraConfig.instance().cfg
    yield
    HydraConfig.instance().cfg = before


def job(*overrides: str, mode: str = "RUN", name: str = "config", folder: str = "outputs") -> DictConfig:
    """A composed configuration that Hydra says to be running."""
    cfg = composed(*overrides, f"hydra.mode={mode}", f"hydra.sweep.dir={folder}", hydra=True)
    with open_dict(cfg):
        cfg.hydra.job.config_name = name
    HydraConfig.instance().set_config(cfg)
    return cfg


def group(cfg: DictConfig) -> str | None:
    return in_group(check(cfg)).logger.group


def test_group__of_a_single_run_is_the_cell() -> None:
    found = group(job("model=roberta", "dataset=jigsaw", "init=random", "protocol=strict"))
    assert found == "roberta-jigsaw-8-12-clvq_vae-random-strict"


def test_group__of_a_sweep_file_is_its_name() -> None:
    assert group(job(mode="MULTIRUN", name="table08_codebook_size")) == "table08_codebook_size"
    assert group(job(mode="MULTIRUN", name="mine/sweep.yaml")) == "sweep"


def test_group__of_a_sweep_of_the_command_line_is_its_folder(tmp_path: Path) -> None:
    assert group(job(mode="MULTIRUN", folder=str(tmp_path / "k_and_tau"))) == "k_and_tau"


def test_group__that_is_given_stays() -> None:
    assert group(job("logger.group=mine", mode="MULTIRUN", name="table08_codebook_size")) == "mine"


def test_group__changes_nothing_but_itself() -> None:
    cfg = job(mode="MULTIRUN", name="table08_codebook_size")
    plain, grouped = check(cfg), in_group(check(cfg))
    assert grouped != plain
    assert {name for name, value in vars(grouped).items() if value != vars(plain)[name]} == {"logger"}
    assert cfg.logger.group is None
