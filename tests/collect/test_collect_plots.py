"""The curves of the sweeps: what is drawn, and that the files hold it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from collect.made_runs import DEMO_CELL, PAPER_CELL, block, gathered, history, write_run

from clvq_exp.collect.drawing import draw
from clvq_exp.collect.plots import NOT_THE_PAPERS, Panel, Plot, Point, Series


def plot(folder: Path, key: str) -> Plot:
    found = gathered(folder, key).plot
    assert found is not None
    return found


def points(panel: Panel, name: str) -> list[tuple[float | str, float]]:
    (found,) = [series for series in panel.series if series.name == name]
    return [(point.x, point.y) for point in found.points]


def texts(svg: Path) -> str:
    """All text of an SVG file."""
    return " ".join(ElementTree.parse(svg).getroot().itertext())


def test_plot__codebook_sizes_with_the_papers_beside_them(tmp_path: Path) -> None:
    for size, accuracy in ((50, 0.1), (400, 0.3), (7, 0.2)):
        settings = {"quantizer.codebook_size": size}
        write_run(tmp_path / str(size), *PAPER_CELL, settings=settings, main=block(accuracy, [size / 2], size))
    found = plot(tmp_path, "v1_table08")
    assert [panel.y_title for panel in found.panels] == ["Accuracy after removal", "Perplexity", "Utilisation, %"]
    accuracies, perplexities, shares = found.panels
    assert accuracies.log_x
    assert points(accuracies, "ours") == [(7, 0.2), (50, 0.1), (400, 0.3)]
    assert points(accuracies, "paper") == [
        (50, 0.0769),
        (100, 0.0665),
        (400, 0.0606),
        (800, 0.1214),
        (1200, 0.1004),
    ]
    assert points(perplexities, "ours") == [(7, 3.5), (50, 25), (400, 200)]
    assert points(shares, "ours") == [(7, 50), (50, 50), (400, 50)]
    (ours,) = [series for series in accuracies.series if not series.is_paper]
    assert ours.points[0] == Point(7, 0.2, pytest.approx(0.19), pytest.approx(0.21))
    (ours,) = [series for series in perplexities.series if not series.is_paper]
    assert ours.points[0] == Point(7, 3.5)  # one seed: no interval
    assert NOT_THE_PAPERS not in found.caption


def test_plot__lines_go_through_what_differs_in_the_swept_setting_alone(tmp_path: Path) -> None:
    for size in (20, 50):
        for rate in (0.001, 0.01):
            settings = {"quantizer.codebook_size": size, "trainer.learning_rate": rate}
            codes = {"kmeans_codes": block(0.5, size=size)}
            write_run(
                tmp_path / f"{size}-{rate}", *DEMO_CELL, settings=settings, main=block(10 * rate), beside=codes
            )
    found = plot(tmp_path, "v1_table08")
    panel = found.panels[0]
    assert {series.name for series in panel.series} == {
        "CLVQ-VAE, trainer.learning_rate=0.001",
        "CLVQ-VAE, trainer.learning_rate=0.01",
        "k-means codes",
    }
    assert points(panel, "CLVQ-VAE, trainer.learning_rate=0.01") == [(20, 0.1), (50, 0.1)]
    assert points(panel, "k-means codes") == [(20, 0.5), (50, 0.5)]
    assert NOT_THE_PAPERS in found.caption


def test_plot__temperature_and_top_k_each_with_the_other_held(tmp_path: Path) -> None:
    for number, (temperature, top_k) in enumerate(((0.5, 5), (1.0, 5), (1.0, 10))):
        settings = {"quantizer.temperature": temperature, "quantizer.top_k": top_k}
        write_run(tmp_path / str(number), *DEMO_CELL, settings=settings, main=block(perplexities=[number + 1.0]))
    temperatures, tops = plot(tmp_path, "v1_table14").panels
    assert points(temperatures, "ours") == [(0.5, 1), (1.0, 2)]
    assert points(tops, "ours") == [(5, 2), (10, 3)]
    assert not any(series.is_paper for series in temperatures.series)  # another model
    assert gathered(tmp_path, "v1_table15").plot is None or all(
        panel.series for panel in plot(tmp_path, "v1_table15").panels
    )


def test_plot__perplexity_over_the_epochs_a_line_for_each_strategy(tmp_path: Path) -> None:
    for name, mode in (("a", "adaptive"), ("b", "adaptive_full")):
        curves = history("clvq_vae", {0: [1.0, 3.0], 1: [2.0]})
        write_run(tmp_path / name, *DEMO_CELL, settings={"encoder.alpha_mode": mode}, curves=curves)
    (panel,) = plot(tmp_path, "v1_table12").panels
    assert panel.band
    assert points(panel, "adaptive") == points(panel, "adaptive_full") == [(0, 1.5), (1, 3.0)]
    first, last = panel.series[0].points
    assert first.low is not None
    assert first.low < 1.5
    assert last.low is None


def test_plot__layer_pairs_in_order_with_the_accuracies_of_no_method_once(tmp_path: Path) -> None:
    for lower, upper in ((8, 12), (0, 4), (4, 8)):
        pair = {"layer_pair": {"lower": lower, "upper": upper}}
        codes = {"kmeans_codes": block(0.7)}
        write_run(tmp_path / str(lower), *PAPER_CELL, settings=pair, main=block(lower / 10), beside=codes)
    (panel,) = plot(tmp_path, "v1_table16").panels
    assert points(panel, "CLVQ-VAE") == [("0-4", 0.0), ("4-8", 0.4), ("8-12", 0.8)]
    assert [x for x, _ in points(panel, "Original accuracy")] == ["0-4", "4-8", "8-12"]
    assert points(panel, "paper: Accuracy after removal") == [("0-4", 0.5140), ("4-8", 0.7069), ("8-12", 0.0583)]
    assert sum(not series.is_paper for series in panel.series) == 4


def test_plot__none_without_a_sweep(tmp_path: Path) -> None:
    write_run(tmp_path / "run", *PAPER_CELL)
    assert gathered(tmp_path, "v1_table01").plot is None
    assert gathered(tmp_path, "v1_table12").plot is None


def test_draw__writes_the_same_svg_and_png_again(tmp_path: Path) -> None:
    line = Series("ours", (Point(1.0, 0.5, 0.4, 0.6), Point(10.0, 0.7)))
    printed = Series("paper", (Point(1.0, 0.6),), is_paper=True)
    drawn = Plot("v1_table08", "Table 8: size", "A caption.", (Panel("", "K", "accuracy", (line, printed), True),))
    paths = draw(drawn, tmp_path)
    assert [path.name for path in paths] == ["v1_table08.svg", "v1_table08.png"]
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    shown = texts(paths[0])
    assert all(part in shown for part in ("Table 8: size", "A caption.", "accuracy", "ours", "paper", "10"))
    before = paths[0].read_bytes()
    draw(drawn, tmp_path)
    assert paths[0].read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v1_table08.png", "v1_table08.svg"]


def test_draw__bands_and_names_on_the_axis_and_intervals_beside_their_mean(tmp_path: Path) -> None:
    band = Series("a", (Point(0.0, 1.0, 0.5, 1.5), Point(1.0, 2.0, 1.5, 2.5)))
    aside = Series("b", (Point("10-12", 0.5, 0.6, 0.7), Point("2-4", 0.5, 0.1, 0.2)))
    panels = (
        Panel("cell", "epoch", "perplexity", (band,), band=True),
        Panel("", "layer pair", "accuracy", (aside,)),
    )
    svg, _ = draw(Plot("v1_table12", "Title", "", panels), tmp_path)
    shown = texts(svg)
    assert shown.index("2-4") < shown.index("10-12")


def test_draw__hostile_names_are_text(tmp_path: Path) -> None:
    name = "$x^$ <script>alert(1)</script> \x1b[31m_" + "y" * 200
    line = Series(name, (Point(1.0, 0.5),))
    panel = Panel(name, "K", "accuracy", (line, Series("other", (Point(1.0, 0.4),))))
    svg, _ = draw(Plot("v1_table13", name, "", (panel,)), tmp_path)
    content = svg.read_text(encoding="utf-8")
    assert "<script" not in content
    assert "\x1b" not in content
    assert "$x^$" in texts(svg)
