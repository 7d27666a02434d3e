"""ERASER Movie Reviews in the benchmark's own form: what becomes an example, and archives that mean harm."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clvq_exp.settings import DatasetSettings, OriginalForm
from clvq_exp.texts import TextsError, eraser, load_texts

DOCUMENTS = {
    "neg_1.txt": "a dull film .\nit drags .\nand then it ends .",
    "neg_2.txt": "no .\nno !",
    "pos_1.txt": "a joy .\nsee it\u2028twice .\n",
    "pos_2.txt": "warm .\nfunny .",
}


def evidence(document: str, start: int, end: int, **more: Any) -> dict[str, Any]:
    return {"docid": document, "start_sentence": start, "end_sentence": end, "text": "x", **more}


def review(document: str, *spans: tuple[int, int]) -> dict[str, Any]:
    """A line of the benchmark; each span is a group of its own, as in the real files."""
    return {
        "annotation_id": document,
        "classification": document[:3].upper(),
        "evidences": [[evidence(document, *span)] for span in spans],
        "query": "What is the sentiment of this review?",
    }


TRAIN = [review("neg_1.txt", (0, 1), (1, 3)), review("neg_2.txt", (1, 2)), review("pos_1.txt", (0, 2), (1, 2))]
VAL = [review("pos_2.txt", (0, 1)), review("neg_1.txt", (2, 3))]
TRAIN_EXAMPLES = [
    ("a dull film .", 0, "neg_1.txt"),
    ("it drags . and then it ends .", 0, "neg_1.txt"),
    ("no !", 0, "neg_2.txt"),
    ("a joy . see it\u2028twice .", 1, "pos_1.txt"),
    ("see it\u2028twice .", 1, "pos_1.txt"),
]
DEV_EXAMPLES = [("warm .", 1, "pos_2.txt"), ("and then it ends .", 0, "neg_1.txt")]


def contents(train: list[dict[str, Any]] | None = None) -> dict[str, bytes]:
    """The benchmark's files by their names in the archive."""
    files = {f"movies/docs/{name}": text.encode() for name, text in DOCUMENTS.items()}
    for name, rows in (("train", train or TRAIN), ("val", VAL), ("test", TRAIN)):
        files[f"movies/{name}.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return files


def member(name: str, content: bytes = b"", **changed: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changed.items():
        setattr(info, key, value)
    return info, content


def packed(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive, written header by header: the library would not write what these tests need."""
    stream = io.BytesIO()
    for info, content in members:
        stream.write(info.tobuf(form))
        stream.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
    stream.write(bytes(2 * tarfile.BLOCKSIZE))
    return gzip.compress(stream.getvalue(), mtime=0)


def archive(train: list[dict[str, Any]] | None = None) -> bytes:
    return packed(*(member(name, content) for name, content in contents(train).items()))


@pytest.fixture
def movies(settings: Callable[..., DatasetSettings]) -> Callable[..., DatasetSettings]:
    def movies(path: Path, **changed: Any) -> DatasetSettings:
        given = {"original": OriginalForm.eraser, "group_column": "evidence.docid", "validation_share": 0}
        return settings(path, **(given | changed))

    return movies


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    for name, content in contents().items():
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "here" / "movies"


def examples(settings: DatasetSettings):
    texts = load_texts(settings, False)
    return [[(s.text, s.label, s.group) for s in part] for part in (texts.train, texts.dev)]


def message(settings: DatasetSettings) -> str:
    with pytest.raises(TextsError) as caught:
        load_texts(settings, False)
    return str(caught.value)


class TestForms:
    @pytest.mark.parametrize("name", ["movies.tar.gz", "movies.tgz", "movies.tar", "other.TAR.GZ"])
    def test_archive__gives_one_example_for_each_span(self, movies, write, name):
        content = archive() if name.lower().endswith("gz") else gzip.decompress(archive())
        assert examples(movies(write(name, content))) == [TRAIN_EXAMPLES, DEV_EXAMPLES]

    def test_folder__gives_the_same_whether_it_or_its_parent_is_named(self, movies, unpacked):
        for path in (unpacked, unpacked.parent):
            assert examples(movies(path)) == [TRAIN_EXAMPLES, DEV_EXAMPLES]

    def test_folder_with_the_archive__is_read_from_it(self, movies, write, tmp_path):
        write("movies.tar.gz", archive())
        assert examples(movies(tmp_path)) == [TRAIN_EXAMPLES, DEV_EXAMPLES]

    def test_plain_files__are_read_as_ever(self, movies, write, rows, tmp_path):
        for name in ("train", "dev"):
            write(f"{name}.jsonl", [row | {"evidence": {"docid": "d"}} for row in rows(4)])
        write("movies.tar.gz", archive())
        assert [len(part) for part in examples(movies(tmp_path))] == [4, 4]

    def test_order_of_the_members__does_not_matter(self, movies, write):
        members = [member(name, content) for name, content in contents().items()]
        path = write("movies.tar.gz", packed(*reversed(members)))
        assert examples(movies(path)) == [TRAIN_EXAMPLES, DEV_EXAMPLES]

    def test_folders_and_other_files_of_the_archive__are_passed_over(self, movies, write):
        extra = [
            member("./movies", type=tarfile.DIRTYPE),
            member("movies/docs", type=tarfile.DIRTYPE),
            member("movies/README", b"read me"),
            member("movies/docs/deep/er.txt", b"deeper"),
        ]
        path = write("movies.tar.gz", packed(*extra, *(member(f"./{n}", c) for n, c in contents().items())))
        assert examples(movies(path)) == [TRAIN_EXAMPLES, DEV_EXAMPLES]

    def test_group_of_several_pieces__gives_one_example_each(self, movies, write):
        both = review("pos_1.txt") | {"evidences": [[evidence("pos_1.txt", 0, 1), evidence("pos_2.txt", 1, 2)]]}
        path = write("movies.tar.gz", archive([review("neg_2.txt", (0, 1), (1, 2)), both]))
        assert examples(movies(path))[0][2:] == [("a joy .", 1, "pos_1.txt"), ("funny .", 1, "pos_2.txt")]

    def test_archive_without_val__asks_for_a_draw(self, movies, write):
        kept = [member(name, content) for name, content in contents().items() if "val" not in name]
        path = write("movies.tar.gz", packed(*kept))
        assert "movies.tar.gz, train.jsonl comes without a dev file: set dataset.dev_size" in message(movies(path))
        assert [len(part) for part in examples(movies(path, dev_size=2))] == [3, 2]


class TestRows:
    @pytest.mark.parametrize(
        ("changed", "problem"),
        [
            ({"docid": "gone.txt"}, "there is no document 'gone.txt' in docs/"),
            ({"docid": "../train.jsonl"}, "there is no document '../train.jsonl' in docs/"),
            ({"docid": "/etc/passwd"}, "there is no document '/etc/passwd' in docs/"),
            ({"docid": ".."}, "there is no document '..' in docs/"),
            ({"docid": ""}, "there is no document '' in docs/"),
            ({"docid": "a\0b"}, "there is no document 'a\\x00b' in docs/"),
            (
                {"docid": "pos_1.txt", "end_sentence": 3},
                "sentences 0 to 3 (without the last) of 2 in 'pos_1.txt'",
            ),
            ({"end_sentence": 4}, "sentences 0 to 4 (without the last) of 2 in 'neg_2.txt'"),
            ({"start_sentence": -1}, "sentences -1 to 1 (without the last) of 2 in 'neg_2.txt'"),
            ({"start_sentence": 1}, "sentences 1 to 1 (without the last) of 2 in 'neg_2.txt'"),
        ],
    )
    @pytest.mark.parametrize("form", ["archive", "folder"])
    def test_span_that_is_not_there__names_line_and_document(
        self, movies, write, unpacked, changed, problem, form
    ):
        bad = review("neg_2.txt") | {"evidences": [[evidence("neg_2.txt", 0, 1) | changed]]}
        if form == "archive":
            path, named = write("movies.tar.gz", archive([*TRAIN, bad])), "movies.tar.gz"
        else:
            path, named = unpacked, "here/movies"
            (unpacked / "train.jsonl").write_bytes(contents([*TRAIN, bad])["movies/train.jsonl"])
        found = message(movies(path)).splitlines()
        assert found[0].endswith(f"{named}, train.jsonl cannot be used")
        assert found[0].startswith("dataset reviews: 1 of 6 rows of ")
        assert found[1] == f"  evidence 6: line 4 of train.jsonl: {problem}"

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("{", "broken JSON at character 2"),
            ('{"classification": "NEG"}', "evidences is null and no list of lists"),
            ('{"evidences": [{"docid": "neg_1.txt"}]}', "and no list of lists"),
            ('{"evidences": [["x"]]}', "the evidence 'x' has no usable docid"),
            (
                '{"evidences": [[{"docid": "neg_1.txt", "start_sentence": true}]]}',
                "has no usable start_sentence",
            ),
            (
                '{"evidences": [[{"docid": "neg_1.txt", "start_sentence": 0, "end_sentence": 0.5}]]}',
                "has no usable end_sentence",
            ),
        ],
    )
    def test_line_that_is_no_review__says_what_is_wrong(self, movies, unpacked, line, problem):
        (unpacked / "train.jsonl").write_text(f"{line}\n")
        found = message(movies(unpacked)).splitlines()[1]
        assert found.startswith("  evidence 1: line 1 of train.jsonl: ")
        assert problem in found

    @pytest.mark.parametrize("named", ["maybe", ["NEG"], None])
    def test_unknown_class__is_an_unknown_label(self, movies, unpacked, named):
        changed = review("neg_2.txt", (0, 1)) | {"classification": named}
        (unpacked / "train.jsonl").write_bytes(contents([changed])["movies/train.jsonl"])
        assert "evidence 1: unknown label" in message(movies(unpacked))


class TestFolder:
    @pytest.mark.parametrize("name", ["docs/neg_1.txt", "train.jsonl"])
    def test_file_that_is_not_utf_8__names_it_and_the_byte(self, movies, unpacked, name):
        (unpacked / name).write_bytes(b"fine \xe4")
        assert f"has a file '{name}' that is not UTF-8 (byte 5)" in message(movies(unpacked))

    def test_link_out_of_docs__is_not_followed(self, movies, unpacked, tmp_path):
        (tmp_path / "secret").write_text("a\nb\nc")
        (unpacked / "docs" / "neg_1.txt").unlink()
        (unpacked / "docs" / "neg_1.txt").symlink_to(tmp_path / "secret")
        assert "has a file 'docs/neg_1.txt' that is a link out of its folder" in message(movies(unpacked))

    def test_docs_that_is_itself_a_link__is_followed(self, movies, unpacked, tmp_path):
        (unpacked / "docs").rename(tmp_path / "elsewhere")
        (unpacked / "docs").symlink_to(tmp_path / "elsewhere")
        assert examples(movies(unpacked)) == [TRAIN_EXAMPLES, DEV_EXAMPLES]

    def test_large_file__is_refused(self, movies, unpacked, monkeypatch):
        monkeypatch.setattr(eraser, "FILE_LIMIT", 1000)
        (unpacked / "docs" / "neg_1.txt").write_text("a .\n" * 251)
        assert "has a file 'docs/neg_1.txt' of more than 1000 bytes" in message(movies(unpacked))


class TestHostileArchives:
    @pytest.mark.parametrize(
        ("bad", "problem"),
        [
            (
                member("movies/docs/a.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
                "holds 'movies/docs/a.txt', which is a symbolic link and no plain file",
            ),
            (
                member("movies/docs/a.txt", type=tarfile.LNKTYPE, linkname="movies/train.jsonl"),
                "holds 'movies/docs/a.txt', which is a hard link and no plain file",
            ),
            (member("movies/docs/a.txt", type=tarfile.CHRTYPE), "which is a device and no plain file"),
            (member("movies/docs/a.txt", type=tarfile.BLKTYPE), "which is a device and no plain file"),
            (member("movies/docs/a.txt", type=tarfile.FIFOTYPE), "which is a named pipe and no plain file"),
            (member("movies/docs/a.txt", type=b"Z"), "which is of an unknown kind and no plain file"),
            (member("../x", b"x"), "holds '../x', a name that leads out of the archive"),
            (member("movies/../../x", b"x"), "holds 'movies/../../x', a name that leads out of the archive"),
            (member("movies/docs/../x", b"x"), "holds 'movies/docs/../x', a name that leads out of the archive"),
            (member("/movies/docs/a.txt", b"x"), "holds '/movies/docs/a.txt', a name that leads out of"),
            (member("other/a.txt", b"x"), "holds 'other/a.txt', which is not below movies/"),
            (member("movies.txt", b"x"), "holds 'movies.txt', which is not below movies/"),
            (member("movies/docs/\x1b[2Ja", type=tarfile.FIFOTYPE), r"holds 'movies/docs/\x1b[2Ja', which"),
        ],
    )
    def test_member__is_refused_by_name(self, movies, write, bad, problem):
        good = [member(name, content) for name, content in contents().items()]
        found = message(movies(write("movies.tar.gz", packed(*good, bad))))
        assert problem in found
        assert found.endswith(
            "; give the benchmark's own movies.tar.gz, or the folder that it unpacks to, as dataset.path"
        )

    @pytest.mark.parametrize("name", ["movies/docs/a.txt", "movies/unread"])
    @pytest.mark.parametrize("size", [2**26 + 1, 2**40])
    def test_huge_declared_size__is_refused_before_it_is_read(self, movies, write, name, size):
        path = write("movies.tar.gz", packed(member(name, size=size), form=tarfile.GNU_FORMAT))
        assert f"holds '{name}' of {size} bytes, more than {2**26}" in message(movies(path))

    def test_huge_header__does_not_outgrow_the_archive(self, movies, write):
        header = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=2**40)
        path = write("movies.tar.gz", packed(header, form=tarfile.GNU_FORMAT))
        assert f"dataset reviews: {path} " in message(movies(path))

    def test_sparse_file__is_refused(self, movies, write):
        sparse = member(
            "movies/docs/a.txt", b"x", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999"}
        )
        assert "which is a sparse file and no plain file" in message(movies(write("m.tar.gz", packed(sparse))))

    def test_archive_that_unpacks_to_more__is_refused(self, movies, write, monkeypatch):
        monkeypatch.setattr(eraser, "ARCHIVE_LIMIT", 100_000)
        path = write("movies.tar.gz", packed(*(member(f"movies/{i}", bytes(20_000)) for i in range(6))))
        assert "unpacks to more than 100000 bytes" in message(movies(path))

    def test_what_follows_the_last_member__is_bounded_too(self, movies, write, monkeypatch):
        monkeypatch.setattr(eraser, "ARCHIVE_LIMIT", 100_000)
        content = gzip.decompress(archive()) + bytes(200_000)
        assert "unpacks to more than 100000 bytes" in message(movies(write("m.tar.gz", gzip.compress(content))))

    def test_endless_members__are_counted(self, movies, write, monkeypatch):
        monkeypatch.setattr(eraser, "MEMBERS_LIMIT", 5)
        path = write("movies.tar.gz", packed(*(member(f"movies/docs/{i}") for i in range(6))))
        assert "has more than 5 members" in message(movies(path))

    @pytest.mark.parametrize(
        "content",
        [b"", b"no archive", gzip.compress(b"no archive" * 100), archive()[:-300], archive()[:-6]],
        ids=["empty", "no gzip", "no tar", "truncated", "truncated checksum"],
    )
    def test_damaged_archive__names_it(self, movies, write, content):
        path = write("movies.tar.gz", content)
        assert message(movies(path)).startswith(f"dataset reviews: {path} cannot be read as an archive (")

    def test_archive_of_something_else__says_what_it_lacks(self, movies, write):
        path = write("movies.tar.gz", packed(member("movies/notes", b"x")))
        assert f"dataset reviews: {path} has no train.jsonl; give the benchmark's own" in message(movies(path))

    def test_nothing__is_written_beside_the_archive(self, movies, write, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = write("movies.tar.gz", archive())
        load_texts(movies(path), False)
        assert list(tmp_path.iterdir()) == [path]


class TestFingerprint:
    def test_archive_and_folder__are_the_same_texts(self, movies, write, unpacked):
        packed_ones = load_texts(movies(write("movies.tar.gz", archive())), False)
        assert packed_ones == load_texts(movies(unpacked), False)

    @pytest.mark.parametrize("name", ["docs/neg_1.txt", "train.jsonl", "val.jsonl"])
    def test_changed_file_of_the_folder__changes_it(self, movies, unpacked, name):
        before = load_texts(movies(unpacked), False).fingerprint
        path = unpacked / name
        path.write_text(path.read_text().replace("dull", "grey").replace('"text": "x"', '"text": "y"'))
        assert load_texts(movies(unpacked), False).fingerprint != before

    def test_changed_archive__changes_it(self, movies, write):
        prints = [
            load_texts(movies(write("movies.tar.gz", archive(train))), False).fingerprint
            for train in (TRAIN, [*TRAIN[:-1], review("pos_1.txt", (0, 1))])
        ]
        assert prints[0] != prints[1]
