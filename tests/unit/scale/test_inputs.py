"""The sources of a run: folders, tables of paths, tars, zips and addresses; what is carried, and what stays secret."""

import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

from src.scale import addresses, images, inputs, parts
from src.scale.addresses import ScaleError, StoreError
from tests.support.scale_runs import files, rows
from tests.support.scoring import read
from tests.unit.scale.conftest import Run

SECRET = "AKIA0SECRET0KEY"


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """An object store in memory."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PAUSES", (0.0, 0.0))


def tar(file: Path, folder: Path, mode: str = "w") -> Path:
    """A WebDataset of the images in a folder: each with its class, and what macOS adds."""
    with tarfile.open(file, mode) as out:  # type: ignore[call-overload]
        for one in sorted(folder.iterdir()):
            out.add(one, one.name)
            label = tarfile.TarInfo(f"{one.stem}.cls")
            label.size = 1
            out.addfile(label, io.BytesIO(b"1"))
        out.add(one, f"._{one.name}")
    return file


def zipped(file: Path, folder: Path) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for one in sorted(folder.iterdir()):
            out.write(one, f"inside/{one.name}")
    return file


def test_archives_and_stores_give_the_rows_of_the_files(
    run: Run, images: Path, tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    run(images, "--out", tmp_path / "plain")
    expected = [{**row, "path": Path(row["path"]).name} for row in rows(tmp_path / "plain")]
    for one in images.iterdir():
        memory.pipe_file(f"/bucket/in/{one.name}", one.read_bytes())
    memory.pipe_file("/bucket/in/notes.txt", b"two lesions")
    memory.pipe_file("/bucket/packed/a.tar", tar(tmp_path / "a.tar", images).read_bytes())
    sources: dict[str, list[object]] = {
        "tar": [tmp_path / "a.tar"],
        "zip": [zipped(tmp_path / "a.zip", images)],
        "folder of a store": ["memory://bucket/in"],
        "files of a store": [f"memory://bucket/in/{one.name}" for one in images.iterdir()],
        "pattern": ["memory://bucket/in/*.png"],
        "tar in a store": ["memory://bucket/packed"],
    }
    for name, named in sources.items():
        out = tmp_path / name
        assert run(*named, "--out", out) == 1, name
        found = sorted(rows(out), key=lambda row: row["path"].rpartition("/")[2].partition("::")[0])
        told = [{**row, "path": row["path"].partition("::")[0].rpartition("/")[2]} for row in found]
        assert told == expected, name
    assert {row["path"] for row in rows(tmp_path / "tar in a store")} == {
        f"tar://{one.name}::memory:///bucket/packed/a.tar" for one in images.iterdir()
    }


def test_results_can_be_in_a_store(
    run: Run, images: Path, tmp_path: Path, memory: fsspec.AbstractFileSystem, scored: list[str]
) -> None:
    run(images, "--out", tmp_path / "plain")
    run(images, "--out", "memory://bucket/results")
    names = {path.rpartition("/")[2] for path in memory.ls("/bucket/results", detail=False)}
    assert names == {*files(tmp_path / "plain"), "_run.json", "_manifest.json"}
    for name, content in files(tmp_path / "plain").items():
        assert memory.cat_file(f"/bucket/results/{name}") == content
    scored.clear()
    memory.pipe_file(f"/bucket/results/{name}", content[:50])
    run(images, "--out", "memory://bucket/results")
    assert scored == [name]


def test_a_damaged_or_compressed_archive_is_one_row_with_an_error(run: Run, images: Path, tmp_path: Path) -> None:
    whole = tar(tmp_path / "whole.tar", images).read_bytes()
    (tmp_path / "half.tar").write_bytes(whole[: len(whole) // 2 + 700])
    (tmp_path / "half.zip").write_bytes(zipped(tmp_path / "a.zip", images).read_bytes()[:-50])
    tar(tmp_path / "a.tar.gz", images, "w:gz")
    names = ["half.tar", "half.zip", "a.tar.gz", "missing.tar"]
    assert run(*(tmp_path / name for name in names), "--out", tmp_path / "out") == 1
    said = {Path(row["path"]).name: row["error"] for row in rows(tmp_path / "out")}
    assert "cut off or damaged" in said["half.tar"]
    assert "cut off or damaged" in said["half.zip"]
    assert said["a.tar.gz"] == images_error("COMPRESSED")
    assert said["missing.tar"] == images_error("NO_FILE")


def images_error(name: str) -> str:
    return str(getattr(images, name))


def test_a_table_of_paths_carries_its_columns(run: Run, images: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('lesion,path,note\n007,images/1.png,"a, b"\n008,images/gone.png,\n')
    other = tmp_path / "table.parquet"
    columns = {"path": [str(images / "2.png"), "images/1.png"], "age": [61, 62], "lesion": ["x", "again"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), other)
    out, csv = tmp_path / "out", tmp_path / "all.csv"
    assert run(table, other, images / "3.png", "--out", out, "--csv", csv) == 1
    found = {Path(row["path"]).name: row for row in rows(out)}
    assert {name: (row["lesion"], row["note"], row["age"]) for name, row in found.items()} == {
        "1.png": ("007", "a, b", None),  # named twice, and read once
        "gone.png": ("008", "", None),
        "2.png": ("x", None, 61),
        "3.png": (None, None, None),
    }
    assert found["gone.png"]["error"] == "There is no such file."
    assert list(read(csv)[0])[-4:] == ["error", "lesion", "note", "age"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name\na.png\n", "needs one column path"),
        ("path,error\na.png,none\n", "has the column error, which the result has, too"),
        ("path,x\n,1\n", "Row 1 of"),
        ("path,x\n1,2,3\n", "is no table that can be read"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    content: str, said: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "table.csv").write_text(content)
    assert run(tmp_path / "table.csv", "--out", tmp_path / "out") == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_order_of_sources_changes_nothing(images: Path) -> None:
    names = [str(images / f"{number}.png") for number in range(5)]
    about = {"task": "breastmnist"}
    plans = [
        parts.plan(about, inputs.find(some), 2) for some in (names, [*names[::-1], names[2]], [*names[2:], *names])
    ]
    assert plans[0] == plans[1] == plans[2]


@pytest.mark.parametrize("source", ["s3://key:secret@bucket/a.png", "https://token@host/a.png", "http://[1/a.png"])
def test_an_address_with_a_password_is_refused(source: str) -> None:
    with pytest.raises(ScaleError) as refusal:
        inputs.find([source])
    assert "secret" not in str(refusal.value)
    assert "token" not in str(refusal.value)


def test_a_protocol_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(ScaleError, match=r"pip install -r requirements-scale\.txt"):
        inputs.find(["gs://bucket/folder"])
    with pytest.raises(ScaleError, match="no address that can be read"):
        inputs.find(["nothing-of-the-kind://bucket/folder"])


def test_a_file_system_gets_no_options_of_another_protocol() -> None:
    class Strict(fsspec.AbstractFileSystem):
        """Takes its own options alone, as aiohttp does for web addresses."""

        protocol = "strict"

        def __init__(self, use_listings_cache: bool = True) -> None:
            super().__init__(use_listings_cache=use_listings_cache)

    fsspec.register_implementation("strict", Strict, clobber=True)
    files, path = addresses.filesystem("strict://folder/a.png")
    assert (type(files), path) == (Strict, "folder/a.png")


def test_a_signature_appears_nowhere(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    content = (images / "1.png").read_bytes()

    class Web(fsspec.AbstractFileSystem):
        """A web server that answers with an image, with 404, or with an error that repeats the address."""

        protocol = "https"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path

        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> bytes:
            assert SECRET in path
            if "gone" in path:
                raise FileNotFoundError(path)
            if "failing" in path:
                raise OSError(f"503 for {path}")
            return content[start:end]

    def web(address: str, **_: object) -> tuple[fsspec.AbstractFileSystem, str]:
        return Web(), address

    monkeypatch.setattr(addresses, "url_to_fs", web)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    signed = [f"https://host/{name}.png?X-Amz-Signature={SECRET}&x=1" for name in ("1", "gone")]
    out = tmp_path / "out"
    assert run(*signed, "--out", out, "--csv", tmp_path / "all.csv") == 1
    found = {row["path"]: row["error"] for row in rows(out)}
    assert found == {"https://host/1.png": None, "https://host/gone.png": "There is no such file."}

    with pytest.raises(StoreError) as failure:
        images_of(f"https://host/failing.png?X-Amz-Signature={SECRET}").fetch()
    assert "https://host/failing.png cannot be read or written at present (OSError)" in str(failure.value)
    assert failure.value.__context__ is None
    with pytest.raises(ScaleError, match="differ only in their query"):
        inputs.find([f"https://host/a.png?X-Amz-Signature={SECRET}", "https://host/a.png?id=2"])

    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err
    for file in [*out.iterdir(), tmp_path / "all.csv"]:
        assert SECRET.encode() not in file.read_bytes()
        assert SECRET not in file.name
    assert SECRET not in json.dumps(pyarrow.parquet.read_table(next(out.glob("*.parquet"))).to_pylist())


def images_of(address: str) -> images.Image:
    return images.Image(addresses.name(address), address)


def test_a_store_that_fails_once_is_asked_again(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/bucket/a.png", b"content")
    asked = memory.cat_file
    calls: list[str] = []

    def failing(path: str, **arguments: int) -> bytes:
        calls.append(path)
        if len(calls) == 1:
            raise ConnectionResetError
        return asked(path, **arguments)

    monkeypatch.setattr(type(memory), "cat_file", lambda _, path, **arguments: failing(path, **arguments))
    assert images_of("memory://bucket/a.png").fetch() == b"content"
    assert len(calls) == 2
