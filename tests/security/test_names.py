"""Names from others: shown, never obeyed, and never a way out of the run folder."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import tacit
from tacit.data import open_source
from tacit.errors import ConfigError, DataError, TacitError
from tacit.registry import METHODS
from tacit.run import Run
from tacit.training.folder import RunFolder

ESCAPE = "\x1b]0;owned\x07\x1b[2Jx\x9b31m"
EVIL = [
    "<script>alert(1)<!",
    '"><img src=x onerror=alert(2)>',
    "'-alert(3)-'",
    "{{ 7*7 }}{% raw %}",
    "[red]x[/] [/nothing] [link=file:a]",
    ESCAPE,
    "\u202egnp.exe",
    "a\nb",
]
ICON = {"rel": "icon", "href": "data:,"}
ACTIVE = ("script", "img", "iframe", "object", "embed", "link", "base", "form")


def photos(folder: Path, names: list[str]) -> Path:
    """A class a name, and a file of that name that is no image."""
    rng = np.random.default_rng(0)
    for name in names:
        inner = folder / name.replace("/", "\u2215")
        inner.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(inner / f"{i}.png")
        (inner / f"{name.replace('/', '')}.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("names") / EVIL[0]
    os.environ["TACIT_CACHE"] = str(folder.parent / "cache")
    data = photos(folder / EVIL[1], EVIL)
    run = tacit.pretrain(
        "simclr", f"images:{data}", out=folder / EVIL[4].replace("/", ""), steps=2, batch_size=8,
        progress=False, monitor={"samples": 32},
    )  # fmt: skip
    return run, data


class Tags(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_report_shows_names_as_text(evil: tuple[Run, Path], monkeypatch) -> None:
    run, _ = evil
    monkeypatch.setattr("tacit.report.sample.SAMPLES", 30)
    text = "</script><script>alert(9)</script></style></svg></title>"
    (run.path / "metrics.csv").write_text(
        f"step,epoch,seconds,samples_per_second,lr,loss,{text}\n1,1,1,1,1,1,1\n2,1,1,1,1,1,2\n"
    )
    skipped = [[name, text] for name in EVIL]
    run.folder.set_status("failed", error=text, health=text, health_message=text, skipped=skipped)
    html = run.report().read_text(encoding="utf-8")
    for tag, attributes in Tags(html).found:
        assert tag not in ACTIVE or tag == "img" or attributes == ICON, (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:", "#", "https://")), (tag, value)
    assert "alert(9)" in html  # as text
    assert "49" not in re.findall(r"\{\{.*?\}\}|7\*7|>49<", html)
    assert "{{ 7*7 }}" in html
    assert "default-src 'none'" in html


@pytest.mark.parametrize("verb", ["pretrain", "doctor", "runs", "report", "evaluate", "compare"])
def test_the_terminal_shows_names_as_text(verb: str, evil: tuple[Run, Path], command) -> None:
    run, data = evil
    if not run.folder.status().get("rankme"):
        run.folder.set_status("finished", rankme=3.0, width=8)
    arguments = {
        "pretrain": ["simclr", f"images:{data}", "--strict", "-o", data / "new"],
        "doctor": [f"images:{data}"],
        "runs": [run.path.parent],
        "report": [run.path.parent / f"no{ESCAPE}"],
        "evaluate": [run.path, "--probe", "knn", "--data", f"images:{data}/{ESCAPE}/none"],
        "compare": [run.path, run.path],
    }
    done = command(verb, *arguments[verb])
    assert "Traceback" not in done.text, done.text
    assert not re.search(r"\x1b\][^\n]*owned|\x1b\[2J|\x9b|\x07|\u202e", done.text), done.text
    assert done.code == {"pretrain": 2, "report": 2, "evaluate": 2}.get(verb, 0), done.text
    if verb in ("runs", "compare"):
        assert "[red]x[] [nothing] [link=file:a]" in done.text.replace("\n", "")


def test_skipped_files_are_warned_of_as_text(evil: tuple[Run, Path], command, tmp_path) -> None:
    _, data = evil
    done = command("pretrain", "simclr", f"images:{data}", "--steps", 1, "--batch-size", 8,
                   "--no-report", "-o", tmp_path / "new")  # fmt: skip
    assert done.code == 0, done.text
    assert "could not be read" in done.text
    assert "\\x1b]0;owned\\x07" in done.text
    assert not re.search(r"\x1b\]|\x9b|\x07", done.text)


def test_names_that_are_not_text(tmp_path: Path, command) -> None:
    """Linux file names are bytes."""
    folder = os.fsencode(tmp_path) + b"/\xff\xfe photos"
    photos(Path(os.fsdecode(folder)), ["a", "b"])
    data = os.fsdecode(folder)
    out = os.fsdecode(os.fsencode(tmp_path) + b"/run\xff")
    done = command("pretrain", "simclr", f"images:{data}", "--steps", 1, "--batch-size", 4,
                   "-o", out)  # fmt: skip
    assert done.code == 2
    assert "not valid text" in done.text
    done = command("pretrain", "simclr", f"images:{data}", "--steps", 1, "--batch-size", 4,
                   "-o", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.text


def test_members_of_archives_write_nothing(tmp_path: Path) -> None:
    numbers = "\n".join(str(i % 7) for i in range(50))
    names = ["../../out.txt", "/tmp/tacit-out.txt", "..\\out.txt", "a/../../../out.txt"]
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name in names:
            archive.writestr(name, numbers)
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    before = sorted(tmp_path.parent.rglob("*"))
    source = open_source(f"txt:{tmp_path / 't.zip'}#unequal=pad")
    assert len(source) == len(names)
    assert [what for what, _ in source.skipped] == ["link.txt"]  # a text, not what it points to
    assert sorted(tmp_path.parent.rglob("*")) == before
    assert not Path("/tmp/tacit-out.txt").exists()
    np.savez(tmp_path / "n.npz", **{"../../images": np.zeros((4, 8, 8), np.uint8)})
    with pytest.raises(DataError, match="no array of images"):
        open_source(f"npz:{tmp_path / 'n.npz'}")


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("simclr", "images:../../../up"),
        ("simclr", "images:.."),
        ("simclr", f"images:{ESCAPE}"),
        ("simclr", "npz:a\nb"),
        ("simclr", "images:c:\\up"),
        ("simclr", "hf:a/../../b"),
        ("simclr", "images:" + "x" * 300),
    ],
)
def test_the_default_run_folder_is_below_runs(
    method: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if len(data) > 255:
        with pytest.raises(TacitError, match="Cannot create the run folder"):
            RunFolder.create(None, method, data)
        return
    folder = RunFolder.create(None, method, data)
    assert folder.path.resolve().parent == tmp_path / "runs"
    assert re.fullmatch(r"[\w .+=@,~-]+", folder.path.name)


def test_a_recipe_cannot_say_where_to_write(tmp_path: Path) -> None:
    from tacit.recipe import Recipe

    for field in ("out", "path", "cache_dir", "folder"):
        with pytest.raises(ConfigError, match="there is no field"):
            Recipe.parse({field: str(tmp_path)})


@pytest.mark.parametrize(
    "name", ["os:system", "builtins:eval", "subprocess:Popen", "tacit.run:Run", "os:nothing",
             ":x", "os:", ".a:B", "no_such_module:X"]
)  # fmt: skip
def test_a_recipe_names_methods_only(name: str, tmp_path: Path, command) -> None:
    with pytest.raises(ConfigError):
        METHODS.get(name)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"method": name, "data": "digits"}))
    done = command("pretrain", "--recipe", tmp_path / "r.yaml", "-o", tmp_path / "run")
    assert done.code == 2, done.text
    assert "Traceback" not in done.text


def test_a_saved_encoder_is_read_from_its_own_folder_only(
    evil: tuple[Run, Path], tmp_path: Path
) -> None:
    """Whatever encoder.json says; and pickles beside it are not looked at."""
    import json

    from tacit.encoders import load_encoder

    run, _ = evil
    for name in ("encoder.json", "encoder.safetensors"):
        shutil.copy(run.path / name, tmp_path)
    spec = json.loads((tmp_path / "encoder.json").read_text())
    del spec["checksum"]
    for more in (
        {"name": "../../small"},
        {"name": "/etc/passwd"},
        {"name": "monai:__import__"},
        {"options": {"weights": "/etc/passwd"}},
        {"options": [1]},
        {"options": {"width": "wide"}},
        {"in_channels": "3"},
        {"in_channels": -1},
        {"image_size": "x"},
        {"modality": "../image"},
        {"weights": "0" * 32},
    ):
        (tmp_path / "encoder.json").write_text(json.dumps(spec | more))
        with pytest.raises(TacitError):
            load_encoder(tmp_path)
    extra = spec | {"path": "/etc/passwd", "weights_file": "../x"}
    (tmp_path / "encoder.json").write_text(json.dumps(extra))
    load_encoder(tmp_path)
