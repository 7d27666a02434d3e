"""The web application: what an annotator sees, what others see, and what is turned away."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

import httpx
import pytest
from study.made_studies import Made, answer, fields, kept, order_of

from clvq_exp.study import answers as answers_of
from clvq_exp.study.pace import Pace

Serve = Callable[..., tuple[Made, httpx.Client]]
FORM = {"content-type": "application/x-www-form-urlencoded"}


def test_study__is_answered_from_the_link_to_the_thanks_in_the_annotators_order(serve: Serve) -> None:
    made, client = serve()
    link, n = made.links["a02"], len(made.study.design.items)
    start = client.get(link)
    assert f"You will see {n} word clouds" in start.text
    assert "rotten" in start.text
    order = order_of(made.study, "a02")
    for place in range(n):
        page = client.get(link + "item").text
        assert f"<h1>{place + 1} of {n}</h1>" in page
        assert made.study.design.items[order[place]].words in page
        picture = client.get(f"{link}{place}.png")
        assert picture.headers["content-type"] == "image/png"
        assert picture.content == made.study.cloud(made.study.design.items[order[place]].cloud)
        sent = answer(client, link, place % 2, 1 + place % 10)
        assert (sent.status_code, sent.headers["location"]) == (303, "item")
    assert client.get(link + "item").headers["location"] == "./"
    assert "Thank you" in client.get(link).text
    found = kept(made.study)
    assert [(each.annotator, each.item, each.label, each.confidence) for each in found] == [
        ("a02", item, place % 2, 1 + place % 10) for place, item in enumerate(order)
    ]
    assert all(0 <= each.seconds < 600 for each in found)


def test_pages__show_no_sentence_no_method_no_prediction_and_no_other_link(serve: Serve) -> None:
    made, client = serve()
    seen = ""
    for _ in made.study.design.items:
        seen += client.get(made.links["a01"]).text + client.get(made.links["a01"] + "item").text
        answer(client, made.links["a01"], 0, 5)
    for method in made.study.design.methods:
        assert method.name not in seen
    assert "text of sentence" not in seen
    assert "document-" not in seen
    assert "positive" not in seen
    assert made.links["a01"].split("/")[2] not in seen
    assert made.links["a02"].split("/")[2] not in seen
    # two annotators see pictures of the same item under the same kind of name: their place, and nothing else
    assert set(re.findall(r'src="([^"]+)"', seen)) == {
        f"{place}.png" for place in range(len(made.study.design.items))
    }


def test_annotators__see_nothing_of_each_other(serve: Serve) -> None:
    made, client = serve()
    before = client.get(made.links["a02"] + "item").text
    for _ in range(5):
        answer(client, made.links["a01"], 1, 9)
    after = client.get(made.links["a02"] + "item").text
    strip = re.compile(r'name="token" value="[^"]*"')
    assert strip.sub("", before) == strip.sub("", after)
    theirs = fields(client.get(made.links["a01"] + "item").text)
    mine = client.post(made.links["a02"] + "item", data={**theirs, "label": "0", "confidence": "5"})
    assert mine.status_code == 403
    assert [each.annotator for each in kept(made.study)] == ["a01"] * 5


@pytest.mark.parametrize("path", ["", "item", "item/", "0.png", "style.css"])
def test_link__a_wrong_or_missing_one_gets_404_whatever_is_asked(serve: Serve, path: str) -> None:
    made, client = serve()
    link = made.links["a01"]
    wrong = [link[:-2] + "/", link[:-3] + "x" + link[-2:], "/s/x/", "/s//", "/s/" + "a" * 5000 + "/", "/"]
    for each in (*wrong, link.upper()):
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
            if each == "/" and path == "style.css":
                continue
            found = client.request(method, each + path)
            assert found.status_code == 404, (method, each + path)
            assert "set-cookie" not in found.headers
    assert client.put(link + "item").status_code == 404


def test_link__works_without_its_last_slash(serve: Serve) -> None:
    made, client = serve()
    link = made.links["a01"]
    found = client.get(link.rstrip("/"))
    assert found.status_code == 307
    assert client.get(link.rstrip("/"), follow_redirects=True).status_code == 200
    assert not found.headers["location"].startswith("http")


def test_answer__sent_twice_or_late_changes_nothing(serve: Serve) -> None:
    made, client = serve()
    link = made.links["a01"]
    first = fields(client.get(link + "item").text)
    for confidence in ("7", "7", "2"):
        sent = client.post(link + "item", data={**first, "label": "1", "confidence": confidence})
        assert sent.status_code == 303
    answer(client, link, 0, 3)
    client.post(link + "item", data={**first, "label": "0", "confidence": "1"})
    assert [(each.label, each.confidence) for each in kept(made.study)] == [(1, 7), (0, 3)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": ""}, "choose one of the answers"),
        ({"label": "2"}, "choose one of the answers"),
        ({"label": "-1"}, "choose one of the answers"),
        ({"label": "١"}, "choose one of the answers"),
        ({"confidence": ""}, "how sure you are"),
        ({"confidence": "0"}, "how sure you are"),
        ({"confidence": "11"}, "how sure you are"),
        ({"confidence": "5.5"}, "how sure you are"),
        ({"confidence": "9" * 50}, "how sure you are"),
    ],
)
def test_answer__an_incomplete_one_is_asked_again(serve: Serve, changed: dict[str, str], said: str) -> None:
    made, client = serve()
    link = made.links["a01"]
    form = {**fields(client.get(link + "item").text), "label": "1", "confidence": "5", **changed}
    found = client.post(link + "item", data=form)
    assert found.status_code == 422
    assert said in found.text
    assert kept(made.study) == []
    assert (
        client.post(link + "item", data={**fields(found.text), "label": "1", "confidence": "5"}).status_code == 303
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"token": ""},
        {"token": "1.x"},
        {"token": "x"},
        {"token": "é.é"},
        {"place": "1"},
        {"place": ""},
        {"place": "x"},
    ],
)
def test_answer__without_the_pages_own_token_is_refused(serve: Serve, changed: dict[str, str]) -> None:
    made, client = serve()
    link = made.links["a01"]
    form = {**fields(client.get(link + "item").text), "label": "1", "confidence": "5", **changed}
    assert client.post(link + "item", data=form).status_code == 403
    assert kept(made.study) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "https://study.example.org"}, 303),
        ({"host": "study.example.org", "origin": "https://study.example.org"}, 303),
    ],
)
def test_answer__of_another_sites_page_is_refused(serve: Serve, headers: dict[str, str], status: int) -> None:
    made, client = serve()
    link = made.links["a01"]
    form = {**fields(client.get(link + "item").text), "label": "1", "confidence": "5"}
    assert client.post(link + "item", data=form, headers=headers).status_code == status
    assert len(kept(made.study)) == (status == 303)


def test_answer__a_large_body_is_refused_whether_announced_or_not(serve: Serve) -> None:
    made, client = serve()
    link = made.links["a01"]
    assert client.post(link + "item", content=b"a=" + b"b" * 10_000, headers=FORM).status_code == 413

    def drip():
        for _ in range(100):
            yield b"a=" + b"b" * 1000

    assert client.post(link + "item", content=drip(), headers=FORM).status_code == 413
    assert (
        client.post(link + "item", content=b"{}", headers={"content-type": "application/json"}).status_code == 415
    )
    assert client.post(link + "item", content=b"&".join([b"a=b"] * 100), headers=FORM).status_code == 400
    assert client.post(link + "item", content=b"\xff\xfe", headers=FORM).status_code == 400
    assert kept(made.study) == []
    assert answer(client, link, 0, 5).status_code == 303


def test_answer__a_body_that_does_not_come_is_not_waited_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clvq_exp.study.forms.BODY_SECONDS", 0.2)
    made, client = serve()
    link = made.links["a01"]
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as raw:
        head = f"POST {link}item HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM['content-type']}\r\n"
        raw.sendall(f"{head}Content-Length: 50\r\n\r\nplace=".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 408")
    assert client.get(link).status_code == 200


def test_headers__on_every_answer(serve: Serve) -> None:
    made, client = serve()
    link = made.links["a01"]
    for path in ("/", "/style.css", link, link + "item", link + "0.png", "/s/x/"):
        found = client.get(path)
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy  # none at all, then
        assert found.headers["cache-control"] == "no-store"
        assert found.headers["referrer-policy"] == "same-origin"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert "<script" not in found.text
    large = client.post(link + "item", content=b"b" * 10_000, headers=FORM)
    assert "content-security-policy" in large.headers


def test_pictures__of_later_items_are_not_shown(serve: Serve) -> None:
    made, client = serve()
    link = made.links["a01"]
    assert [client.get(f"{link}{place}.png").status_code for place in (0, 1)] == [200, 404]
    answer(client, link, 0, 5)
    assert [client.get(f"{link}{place}.png").status_code for place in (0, 1, 2)] == [200, 200, 404]
    for name in ("-1", "x", "9" * 5000, "²", "1.5", "00000000001"):
        assert client.get(f"{link}{name}.png").status_code == 404


def test_pace__one_link_is_slowed_and_no_other(serve: Serve) -> None:
    made, client = serve(Pace(burst=5, per_second=0.001))
    found = [client.get(made.links["a01"]).status_code for _ in range(7)]
    assert found == [200] * 5 + [429] * 2
    slowed = client.get(made.links["a01"])
    assert int(slowed.headers["retry-after"]) >= 1
    assert client.get(made.links["a02"]).status_code == 200  # from the same address
    for _ in range(50):
        assert client.get("/s/nobody/").status_code == 404


def test_texts__of_the_data_set_are_shown_and_never_obeyed(serve: Serve) -> None:
    hostile = "<script>alert(1)</script>"
    made, client = serve(labels=(hostile, "{{7*7}}"), introduction=f"Welcome {hostile}\n\nSecond \u202epart")
    for page in (client.get(made.links["a01"]).text, client.get(made.links["a01"] + "item").text):
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert "{{7*7}}" in page
        assert "\u202e" not in page
    assert "<p>Second \\u202epart</p>" in client.get(made.links["a01"]).text


def test_answer__that_cannot_be_kept_is_said_and_can_be_sent_again(serve: Serve) -> None:
    made, client = serve()
    link = made.links["a01"]
    form = {**fields(client.get(link + "item").text), "label": "1", "confidence": "5"}
    with answers_of.connected(made.study.answers) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON answers BEGIN SELECT raise(ROLLBACK, 'disk'); END"
        )
    assert client.post(link + "item", data=form).status_code == 503
    with answers_of.connected(made.study.answers) as connection:
        connection.execute("DROP TRIGGER full")
    assert client.post(link + "item", data=form).status_code == 303
    assert len(kept(made.study)) == 1


def test_pages__name_each_other_relatively_so_that_a_path_before_them_works(serve: Serve) -> None:
    made, client = serve()
    link = made.links["a01"]
    for path in (link, link + "item"):
        named = re.findall(r'(?:href|src|action)="([^"]*)"', client.get(path).text)
        assert named
        assert not [each for each in named if each.startswith(("/", "http"))]
    assert client.get(link + "../../style.css").headers["content-type"].startswith("text/css")
