"""`clvq study` as a user calls it: files, what is printed, what is refused and how."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from study.made_studies import Made, answer, kept, make, make_run, read_links, served

from clvq_exp.artifacts import read_json, write_json
from clvq_exp.commands import main
from clvq_exp.report.text_safety import visible
from clvq_exp.study import answers
from clvq_exp.study.answers import Answer
from clvq_exp.study.serving import is_loopback

HOSTILE = "=1+1 <script>alert(1)</script>\x1b[31m"


def fill(made: Made, annotators: int = 3) -> None:
    """Annotators who answer everything: the model's prediction, but for the last of them."""
    design = made.study.design
    with answers.connected(made.study.answers) as connection, answers.writing(connection):
        for who in range(1, annotators + 1):
            for place in range(len(design.items)):
                item = answers.item_at(connection, who, place)
                assert item is not None
                label = design.sentences[design.items[item].sentence].prediction
                label = label if who < annotators else 1 - label
                assert answers.record(connection, Answer(who, place, label, 10 - who, 2.0, "2026-01-01T00:00:00Z"))


def test_new__draws_a_study_and_writes_links_that_nobody_else_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "deep" / "study"
    asked = ["--annotators", "4", "--url", "https://study.example.org", "--labels", "no,yes", "--seed", "3"]
    (tmp_path / "hello.txt").write_text("Thank you for your time.", encoding="utf-8")
    assert (
        main(["study", "new", str(run), "--out", str(out), *asked, "--introduction", str(tmp_path / "hello.txt")])
        == 0
    )
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0].startswith("19 sentences of 42 (of 48 that the runs share): 5 true positive, 5 false positive")
    assert "2 methods (clvq_vae, kmeans_codes)" in lines
    assert f"38 word clouds for each of 4 annotators, in {out}" in lines
    links = (out / "links.txt").read_text(encoding="utf-8")
    assert len(re.findall(r"^a0\d\thttps://study\.example\.org/s/[\w-]{43}/$", links, re.M)) == 4
    for secret in re.findall(r"/s/([\w-]+)/", links):
        assert secret not in shown.out
    assert read_json(out / "study.json")["introduction"] == "Thank you for your time."
    assert not out.with_name("study.partial").exists()
    assert main(["study", "new", str(run), "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"{out} is there already: choose another by --out\n"


def test_new__what_a_killed_one_left_is_no_study_and_is_made_anew(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.study.folder.rename(tmp_path / "out.partial")  # killed before its last step
    (tmp_path / "out.partial" / "junk").write_text("", encoding="utf-8")
    assert main(["study", "score", str(tmp_path / "out")]) == 1
    run = make_run(tmp_path / "run")
    assert main(["study", "new", str(run), "--out", str(tmp_path / "out"), "--annotators", "2"]) == 0
    assert not (tmp_path / "out" / "junk").exists()
    assert not (tmp_path / "out.partial").exists()
    assert len(read_links(tmp_path / "out" / "links.txt")) == 2


def test_new__the_same_seed_draws_the_same_study_with_other_links(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for name in ("a", "b"):
        assert main(["study", "new", str(run), "--out", str(tmp_path / name), "--annotators", "2"]) == 0
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()
    assert read_links(tmp_path / "a" / "links.txt") != read_links(tmp_path / "b" / "links.txt")


def test_new__what_cannot_be_drawn_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    for asked, said in (
        ([str(tmp_path / "nowhere")], "no such folder"),
        ([str(run), "--sentences", "1000"], "lower --sentences"),
        ([str(run), "--methods", "clvq_vae"], "two methods or more"),
        ([str(run), "--url", "study.example.org"], "give an address like https"),
        ([str(run), "--url", "javascript:alert(1)"], "give an address like https"),
        ([str(run), "--url", "https://a.example/?x=1"], "give an address like https"),
        ([str(run), "--introduction", str(tmp_path / "none.txt")], "cannot be read"),
        ([str(run), "--labels", "a"], "--labels has 1 names"),
    ):
        assert main(["study", "new", *asked, "--out", str(out)]) == 1
        shown = capsys.readouterr()
        assert said in shown.err, asked
        assert shown.err.count("\n") == 1
        assert shown.out == ""
        assert not out.exists()
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["study", "new", str(run), "--out", str(tmp_path / "file" / "x")]) == 1
    assert "choose another by --out" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [["--methods", "a,,b"], ["--methods", "a,a"], ["--annotators", "0"]])
def test_new__arguments_that_mean_nothing(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["study", "new", "run", *asked])
    assert error.value.code == 2
    assert asked[0] in capsys.readouterr().err


def test_score__in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make(tmp_path, annotators=4)
    fill(made, annotators=3)
    folder = str(made.study.folder)
    assert main(["study", "score", folder]) == 0
    text = capsys.readouterr().out
    assert "3 of 4 annotators have answered everything" in text
    assert "66.7%" in text  # two of three say what the model says
    assert main(["study", "score", folder, "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("score.md", "score.html", "score.json", "answers.csv", "items.csv")
    }
    found = json.loads((tmp_path / "out" / "score.json").read_text(encoding="utf-8"))
    for method in found["methods"]:
        assert method["alignment"]["mean"] == pytest.approx(2 / 3)
        assert method["confidence"]["mean"] == pytest.approx(8.0)
    assert found["complete"] == ["a01", "a02", "a03"]
    capsys.readouterr()
    for form in ("markdown", "html", "json", "csv"):
        assert main(["study", "score", folder, "--format", form]) == 0
        name = {"markdown": "score.md", "html": "score.html", "json": "score.json", "csv": "answers.csv"}[form]
        assert capsys.readouterr().out == (tmp_path / "out" / name).read_text(encoding="utf-8")


def test_score__raw_answers_have_a_row_each_and_run_no_formula(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run",
        texts=dict.fromkeys(range(48), HOSTILE) | {place: f"{HOSTILE}{place}" for place in range(48)},
    )
    assert main(["study", "new", str(run), "--out", str(tmp_path / "study"), "--annotators", "1"]) == 0
    with answers.connected(tmp_path / "study" / "answers.sqlite") as connection:
        for place in range(5):
            answers.record(connection, Answer(1, place, 1, 4, 2.5, "2026-01-01T00:00:00Z"))
    assert main(["study", "score", str(tmp_path / "study"), "--out", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "answers.csv").read_text(encoding="utf-8"))))
    design = read_json(tmp_path / "study" / "study.json")
    assert [row["place"] for row in rows] == ["1", "2", "3", "4", "5"]
    for row in rows:
        item = design["items"][int(row["item"])]
        prediction = design["sentences"][item["sentence"]]["prediction"]
        assert (row["annotator"], row["confidence"], row["seconds"], row["answer"]) == ("a01", "4", "2.5", "fresh")
        assert row["aligned"] == str(int(prediction == 1))
        assert row["method"] == design["methods"][item["method"]]["name"]
    items = list(csv.DictReader(io.StringIO((tmp_path / "out" / "items.csv").read_text(encoding="utf-8"))))
    assert len(items) == 38
    assert all(row["text"].startswith("'" + visible(HOSTILE)) for row in items)


def test_score__before_anybody_has_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make(tmp_path)
    assert main(["study", "score", str(made.study.folder)]) == 0
    assert "0 of 3 annotators have answered everything" in capsys.readouterr().out


def test_score_serve_and_invite__what_is_no_study_or_a_damaged_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(tmp_path)
    content = read_json(made.study.folder / "study.json")
    for does in ("score", "serve", "invite"):
        assert main(["study", does, str(tmp_path)]) == 1
        assert capsys.readouterr().err == f"{tmp_path} holds no study: make one by `clvq study new`\n"
    write_json(made.study.folder / "study.json", {**content, "seed": 5})
    for does in ("score", "serve", "invite"):
        assert main(["study", does, str(made.study.folder)]) == 1
        assert "is damaged" in capsys.readouterr().err


def test_invite__writes_a_file_for_each_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make(tmp_path)
    folder = made.study.folder
    assert main(["study", "invite", str(folder), "--annotators", "2"]) == 0
    assert str(folder / "links_2.txt") in capsys.readouterr().out
    assert main(["study", "invite", str(folder), "--again", "a01"]) == 0
    assert set(read_links(folder / "links_3.txt")) == {"a01"}
    assert main(["study", "invite", str(folder), "--again", "a77"]) == 1


def test_serve__a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["study", "serve", str(made.study.folder), "--port", str(port)]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"127.0.0.1, port {port}: ")
        assert said.endswith("choose others by --host and --port\n")


def test_is_loopback__what_only_this_machine_reaches() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "study.example.org")] == [False] * 4


def test_help__imports_no_web_framework() -> None:
    code = "import sys; from clvq_exp.commands import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'starlette', 'uvicorn', 'torch', 'sqlite3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_serve__needs_no_torch_and_drawing_no_web_framework() -> None:
    for modules, absent in (
        ("clvq_exp.study.folder, clvq_exp.study.server, clvq_exp.study.serving", "torch"),
        (
            "clvq_exp.study.making, clvq_exp.study.folder, clvq_exp.study.scores, clvq_exp.study.sheets",
            "starlette",
        ),
    ):
        code = f"import sys, {modules}; print({absent!r} in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n", modules


@pytest.mark.slow
def test_serve__answers_outlive_a_killed_server_and_no_log_holds_a_link(tmp_path: Path) -> None:
    made = make(tmp_path)
    link = made.links["a01"]
    told = 0
    for _ in range(2):
        with served(made.study.folder) as server, httpx.Client(base_url=server.address) as client:
            for _ in range(7):
                told += answer(client, link, 1, 6).status_code == 303
            client.get("/s/nobody/")
            client.post(link + "item", content=b"x" * 9000)
            server.kill()
            assert server.process.stdout is not None
            assert link.split("/")[2] not in server.process.stdout.read()
        assert len(kept(made.study)) == told
    with served(made.study.folder) as server, httpx.Client(base_url=server.address) as client:
        assert "You have answered 14 of 38" in client.get(link).text
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=30) in (0, -signal.SIGINT, 130)
    assert not list(made.study.folder.glob("*-wal"))  # what it held is in the file
