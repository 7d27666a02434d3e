"""Many annotators at once, each his whole study on loopback: how long a page takes, and whether answers are kept.

python benchmarks/study_load.py [--annotators 200] [--sentences 19] [--kill]

Two methods. Each annotator reads the start, and then for every word cloud the page and its picture, thinks, and
sends an answer. `--kill` ends the server by SIGKILL half way, counts what was acknowledged by then, and starts it
again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp
import numpy as np

from clvq_exp.report.clouds import draw_cloud
from clvq_exp.study import answers
from clvq_exp.study.design import Design, Drawn, Item, Label, Method, Sentence
from clvq_exp.study.folder import OpenedStudy, make_study, open_study

WORDS = (
    *("film", "plot", "cast", "scene", "score", "charming", "dull", "awful", "warm", "slow"),
    *("funny", "sad", "great", "bad", "fresh", "rotten", "bold", "thin", "long", "short"),
)
PATIENCE = 60.0
"""Seconds for which a request is sent again where nobody answers."""
LIMIT = 300.0
"""Milliseconds within which 95% of the requests are to be answered."""


class Given(NamedTuple):
    """What an annotator sent and the server acknowledged."""

    annotator: str
    place: int
    label: int
    confidence: int


class Load:
    """What the annotators saw."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, list[float]] = {"start": [], "page": [], "picture": [], "answer": []}
        self.acknowledged: list[Given] = []
        self.repeated = 0
        """Requests that were sent again because nobody answered."""
        self.other: Counter[int] = Counter()
        """Answers of the server that were neither expected nor a wait, by status."""


def made_study(folder: Path, n_sentences: int, n_annotators: int) -> dict[str, str]:
    """A study of made-up words; returns the path of each annotator's link."""
    items: list[Item] = []
    clouds: dict[str, bytes] = {}
    for method in range(2):
        for sentence in range(n_sentences):
            lot = random.Random(f"{method}/{sentence}")
            words = [(word, 90 - 4 * rank) for rank, word in enumerate(lot.sample(WORDS, len(WORDS)))]
            cloud = draw_cloud(words, len(items))
            assert cloud is not None
            items.append(Item(method, sentence, sentence, f"{len(items)}.png", cloud.description))
            clouds[items[-1].cloud] = cloud.png
    design = Design(
        model="none",
        dataset="none",
        layer_pair="4-6",
        labels=(Label("negative", ""), Label("positive", "")),
        methods=tuple(Method(name, name, "", "", 0) for name in ("clvq_vae", "clustering")),
        sentences=tuple(
            Sentence(str(each), str(each), "", each % 2, each // 2 % 2, "True positive")
            for each in range(n_sentences)
        ),
        items=tuple(items),
        pool={"True positive": n_sentences},
        seed=0,
        content_warning="",
        introduction="",
    )
    links = make_study(folder, Drawn(design, clouds, []), n_annotators, "http://127.0.0.1:1")
    rows = [line.split("\t") for line in links.read_text(encoding="utf-8").splitlines()]
    return {name: "/" + address.split("/", 3)[3] for name, address in rows}


def start_server(folder: Path, port: int) -> tuple[subprocess.Popen[str], int]:
    """`clvq study serve`; returns the process and its port."""
    command = [sys.executable, "-m", "clvq_exp.commands", "study", "serve", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    if found is None:
        raise RuntimeError(f"the server did not start: {line}")
    return process, int(found[1])


class Reply(NamedTuple):
    """What the server said."""

    status: int
    text: str
    wait: float
    """Seconds after which it wants to be asked again."""


async def request(
    client: aiohttp.ClientSession, load: Load, kind: str, path: str, form: dict[str, str] | None = None
) -> Reply:
    """One request, sent again as a browser's user would where nobody answers, or where the server says wait."""
    until = time.monotonic() + PATIENCE
    while True:
        start = time.perf_counter()
        try:
            method = "GET" if form is None else "POST"
            async with client.request(method, path, data=form, allow_redirects=False) as got:
                body = await got.read()
        except (aiohttp.ClientError, TimeoutError):
            if time.monotonic() > until:
                raise
            load.repeated += 1
            await asyncio.sleep(0.25)
            continue
        load.milliseconds[kind].append(1000 * (time.perf_counter() - start))
        text = body.decode() if got.content_type == "text/html" else ""
        found = Reply(got.status, text, float(got.headers.get("retry-after", "1")))
        if found.status not in (429, 503):
            return found
        load.other[found.status] += 1
        await asyncio.sleep(found.wait)


async def annotate(
    name: str, link: str, address: str, load: Load, think: tuple[float, float], lead: float
) -> None:
    """One annotator, from the link to the thanks."""
    lot = random.Random(name)
    await asyncio.sleep(lot.uniform(0, lead))
    async with aiohttp.ClientSession(address, connector=aiohttp.TCPConnector(limit=1)) as client:
        await request(client, load, "start", link)
        while True:
            page = await request(client, load, "page", link + "item")
            if page.status == 303:
                return
            if page.status != 200:
                load.other[page.status] += 1
                raise RuntimeError(f"{name}: {page.status}")
            fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
            place = int(fields["place"])
            picture = await request(client, load, "picture", f"{link}{place}.png")
            if picture.status != 200:
                load.other[picture.status] += 1
            await asyncio.sleep(lot.uniform(*think))
            label, confidence = chosen(name, place)
            form = {**fields, "label": str(label), "confidence": str(confidence)}
            sent = await request(client, load, "answer", link + "item", form)
            if sent.status == 303:
                load.acknowledged.append(Given(name, place, label, confidence))
            else:
                load.other[sent.status] += 1


def chosen(annotator: str, place: int) -> tuple[int, int]:
    """What an annotator answers: known beforehand, so that every answer on the disk can be held against it."""
    lot = random.Random(f"{annotator}/{place}")
    return lot.randrange(2), lot.randint(1, 10)


def kept(folder: Path) -> list[Given]:
    """The answers on the disk."""
    with answers.connected(folder / "answers.sqlite") as connection:
        return [
            Given(each.annotator, each.place, each.label, each.confidence) for each in answers.ratings(connection)
        ]


class Outcome(NamedTuple):
    """What a load came to."""

    load: Load
    study: OpenedStudy
    lost: int
    """Acknowledged, and not on the disk as sent."""
    doubled: int
    """On the disk twice."""
    wrong: int
    """On the disk otherwise than sent, or missing at the end."""
    acknowledged_at_kill: int
    seconds: float
    server_seconds: float
    """Of a processor, of the last server process."""


async def run(
    folder: Path, n_annotators: int, n_sentences: int, think: tuple[float, float], kill: bool, lead: float = 2.0
) -> Outcome:
    """Serve a study to many annotators.

    Args:
        folder: in which the study is made.
        n_annotators: at once.
        n_sentences: under each of two methods.
        think: seconds between a page and its answer, lowest and highest.
        kill: the server, when half of the answers are acknowledged.
        lead: seconds in which the annotators come.
    """
    study = folder / "study"
    links = made_study(study, n_sentences, n_annotators)
    server, port = start_server(study, 0)
    load, lost_at_kill, at_kill = Load(), 0, 0
    wanted = n_annotators * n_sentences * 2
    start = time.monotonic()
    try:
        work = [
            annotate(name, link, f"http://127.0.0.1:{port}", load, think, lead) for name, link in links.items()
        ]
        everybody = asyncio.gather(*work)
        if kill:
            while len(load.acknowledged) < wanted // 2 and not everybody.done():
                await asyncio.sleep(0.01)
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
            at_kill = len(load.acknowledged)
            lost_at_kill = len(set(load.acknowledged) - set(kept(study)))
            server, _ = await asyncio.to_thread(start_server, study, port)
        await everybody
        seconds = time.monotonic() - start
        used = processor_seconds(server.pid)
    finally:
        server.terminate()
        server.wait()
    found = kept(study)
    n_each = Counter((each.annotator, each.place) for each in found)
    right = {(name, place, *chosen(name, place)) for name in links for place in range(n_sentences * 2)}
    return Outcome(
        load,
        open_study(study),
        lost_at_kill + len(set(load.acknowledged) - set(found)),
        sum(n > 1 for n in n_each.values()),
        len(right ^ {tuple(each) for each in found}),
        at_kill,
        seconds,
        used,
    )


def processor_seconds(pid: int) -> float:
    """Seconds of a processor that a process has used; 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(milliseconds: dict[str, list[float]]) -> list[str]:
    """p50, p95 and the longest of each kind of request."""
    lines = [f"{'request':<10}{'count':>8}{'p50':>10}{'p95':>10}{'max':>10}"]
    everything: Sequence[float] = [value for values in milliseconds.values() for value in values]
    for name, values in (*milliseconds.items(), ("all", everything)):
        if values:
            p50, p95 = np.percentile(values, [50, 95])
            lines.append(f"{name:<10}{len(values):>8}{p50:>7.1f} ms{p95:>7.1f} ms{max(values):>7.1f} ms")
    return lines


def main() -> int:
    """Entry point; 1 where an answer was lost or doubled, or the limit passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--sentences", type=int, default=19)
    parser.add_argument("--low", type=float, default=1.0, help="seconds between a page and its answer")
    parser.add_argument("--high", type=float, default=3.0)
    parser.add_argument("--kill", action="store_true", help="SIGKILL half way, and start again")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores; load of the machine before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        think = (given.low, given.high)
        found = asyncio.run(run(Path(folder), given.annotators, given.sentences, think, given.kill))
    print("\n".join(table(found.load.milliseconds)))
    n = given.annotators * given.sentences * 2
    print(
        f"{given.annotators} annotators, {n} answers in {found.seconds:.0f} s; load of the machine "
        f"{os.getloadavg()[0]:.1f}; the server used {found.server_seconds:.1f} s of a processor, the annotators "
        f"{time.process_time():.1f} s"
    )
    if given.kill:
        again = f"{found.load.repeated} requests sent again"
        print(f"killed after {found.acknowledged_at_kill} acknowledged answers; {again}")
    print(
        f"acknowledged {len(found.load.acknowledged)}, lost {found.lost}, doubled {found.doubled}, wrong or "
        f"missing {found.wrong}; other answers of the server: {dict(found.load.other) or 'none'}"
    )
    p95 = float(np.percentile([each for values in found.load.milliseconds.values() for each in values], 95))
    return int(bool(found.lost or found.doubled or found.wrong or (p95 >= LIMIT and not given.kill)))


if __name__ == "__main__":
    sys.exit(main())
