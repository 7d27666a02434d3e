"""AG's corpus in its own form, and how its cells are cleaned."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from clvq_exp.settings import DatasetSettings, OriginalForm
from clvq_exp.texts import TextsError, load_texts
from clvq_exp.texts.agnews import cleaned


def corpus(n: int, word: str = "news") -> bytes:
    """N articles whose classes take turns."""
    stream = io.StringIO()
    rows = [[index % 4 + 1, f"{word} {index}", f"Article #39;s {index}"] for index in range(n)]
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows(rows)
    return stream.getvalue().encode()


@pytest.fixture
def news(settings: Callable[..., DatasetSettings]) -> Callable[..., DatasetSettings]:
    def news(path: Path, **changed: object) -> DatasetSettings:
        names = ["World", "Sports", "Business", "Sci/Tech"]
        given = {"original": OriginalForm.agnews, "label_names": names, "label_meanings": names}
        return settings(path, **(given | {"validation_share": 0} | changed))

    return news


def message(settings: DatasetSettings) -> str:
    with pytest.raises(TextsError) as caught:
        load_texts(settings, False)
    return str(caught.value)


class TestCleaning:
    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            ("A second\\team of rocketeers", "A second team of rocketeers"),
            ('known as\\"phishing."', 'known as "phishing."'),
            ("an end\\\\and a start", "an end and a start"),
            ("agreed to pay \\$320 million", "agreed to pay $320 million"),
            ("fines (US\\$12 million)", "fines (US$12 million)"),
            ("the  #36;10 million Ansari X Prize", "the $10 million Ansari X Prize"),
            ("Iraq #39;s new army", "Iraq's new army"),
            ("#39;Olympic #39; Ring", "'Olympic' Ring"),
            ("calls it  quot;Web Snare quot;, catching", 'calls it "Web Snare", catching'),
            ("quot;80 of Americans quot; Link", '"80 of Americans" Link'),
            ("Ernst  amp; Young, H amp;M, AT&amp;T", "Ernst & Young, H&M, AT&T"),
            ("Newsday #146;s new threat #151;prostate cancer", "Newsday’s new threat—prostate cancer"),
            ("Netscape  #038; Google", "Netscape & Google"),
            ("India News  gt; Guwahati", "India News > Guwahati"),
            ("Western  amp;amp;amp; Southern", "Western & Southern"),
            ("Dell Inc. &lt;DELL.O&gt;, the", "Dell Inc. <DELL.O>, the"),
            ("Sports Blog &lt;b&gt;...&lt;/b&gt; says", "Sports Blog ... says"),
            ('Co. &lt;A HREF="http://x.y/?a=1"&gt;SPLS.O&lt;/A&gt;, it', "Co. SPLS.O, it"),
            ("months.&lt;br&gt;&lt;BR /&gt;Then", "months. Then"),
            ("a  lt;b gt;bold lt;/b gt; word", "a bold word"),
            ("  white\tspace \n here ", "white space here"),
        ],
    )
    def test_traces_of_web_pages__go(self, cell, expected):
        assert cleaned(cell) == expected

    @pytest.mark.parametrize(
        "cell",
        [
            "the best of times; the worst of times",
            "Stocks Flat; Gold Up; and so on",
            "ranked #1; seeded #10; done",
            "3 < 4 > 2 <7269.T> <A.N>",
            "R&D and &unknown; stay",
            "",
        ],
    )
    def test_what_is_no_trace__stays(self, cell):
        assert cleaned(cell) == cell

    def test_what_was_escaped_over_and_over__is_read_four_times_only(self):
        assert cleaned("x " + "amp;" * 50_000) == "x&" + "amp;" * 49_996


class TestForms:
    def test_article__is_title_and_description_with_classes_from_0(self, news, write):
        write("train.csv", corpus(8))
        write("test.csv", corpus(4, "later"))
        texts = load_texts(news(write("train.csv", corpus(8)).parent), False)
        assert [(s.text, s.label) for s in texts.dev] == [
            (f"later {index} Article's {index}", index) for index in range(4)
        ]
        assert texts.train[5].text == "news 5 Article's 5"
        assert (texts.train[5].label, texts.train[5].id) == (1, "train-6")

    def test_samples__are_stratified(self, news, write, tmp_path):
        write("train.csv", corpus(80))
        write("test.csv", corpus(40, "later"))
        texts = load_texts(news(tmp_path, train_size=16, dev_size=8, validation_share=0.25), False)
        assert Counter(s.label for s in texts.train) == dict.fromkeys(range(4), 3)
        assert Counter(s.label for s in texts.validation) == dict.fromkeys(range(4), 1)
        assert Counter(s.label for s in texts.dev) == dict.fromkeys(range(4), 2)

    @pytest.mark.parametrize("name", ["test.csv", "any.csv.gz"])
    def test_one_file__is_split_by_the_draw(self, news, write, name):
        path = write(name, gzip.compress(corpus(40)) if name.endswith("gz") else corpus(40))
        texts = load_texts(news(path, train_size=20, dev_size=8), False)
        assert [len(texts.train), len(texts.dev)] == [20, 8]
        assert {s.text for s in texts.train}.isdisjoint(s.text for s in texts.dev)

    def test_packed_files_of_a_folder__are_found(self, news, write, tmp_path):
        write("train.csv.gz", gzip.compress(corpus(8)))
        write("test.csv", corpus(4, "later"))
        assert len(load_texts(news(tmp_path), False).dev) == 4

    def test_copy_with_a_header__is_read_without_it(self, news, write):
        path = write("a.csv", b"Class Index,Title,Description\n" + corpus(8))
        texts = load_texts(news(path, dev_size=4), False)
        assert {s.id for s in texts.train + texts.dev} == {f"row-{number}" for number in range(2, 10)}

    def test_folder_whose_test_file_has_another_form__is_read_as_plain_files(self, news, write, rows, tmp_path):
        write("train.csv", corpus(8))
        write("test.csv", rows(8))
        assert "train.csv has no column 'text' (dataset.text_column)" in message(news(tmp_path))

    def test_file_of_no_known_form__says_what_belongs_there(self, news, write):
        found = message(news(write("corpus.zip", b"x"), what_belongs_there="a folder of news"))
        assert found.endswith("or .parquet; what belongs there: a folder of news")

    def test_folder_without_test_csv__is_split_by_the_draw(self, news, write, tmp_path):
        write("train.csv", corpus(40))
        assert len(load_texts(news(tmp_path, dev_size=8), False).dev) == 8

    def test_other_files__are_read_as_they_are(self, news, write, rows, tmp_path):
        given = [row | {"text": f"{row['text']} amp; \\"} for row in rows(16, classes=4)]
        for name in ("train.jsonl", "dev.csv"):
            write(name, given)
        assert load_texts(news(tmp_path), False).dev[0].text == "text 0 amp; \\"

    def test_csv_with_a_header__is_no_original(self, news, write, rows):
        given = [
            {"label": row["label"], "id": index, "text": f"{index} amp;"} for index, row in enumerate(rows(16, 4))
        ]
        texts = load_texts(news(write("a.csv", given), dev_size=4), False)
        assert all(sentence.text == f"{sentence.id} amp;" for sentence in texts.train)

    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            ('"0","a","b"', "row 3: the class '0' is none of 1, 2, 3, 4"),
            ('"5","a","b"', "row 3: the class '5' is none of 1, 2, 3, 4"),
            ('"1","a"', "row 3: 2 cells where class, title and description belong"),
            ('"1","&lt;b&gt;"," "', "row 3: the text is empty"),
        ],
    )
    def test_row_that_cannot_be_used__is_named(self, news, write, row, problem):
        assert problem in message(news(write("train.csv", corpus(2) + f"{row}\n".encode())))

    def test_damaged_packing__names_the_file(self, news, write):
        path = write("train.csv.gz", b"no gzip")
        assert message(news(path)).startswith(f"dataset reviews: {path} cannot be read: ")

    def test_changed_file__has_another_fingerprint(self, news, write):
        prints = {load_texts(news(write("a.csv", corpus(n)), dev_size=8), False).fingerprint for n in (40, 44)}
        assert len(prints) == 2
