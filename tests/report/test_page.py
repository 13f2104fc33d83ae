import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from tacit.errors import TacitError
from tacit.registry import METHODS
from tacit.report import page, sample, write_report
from tacit.training.build import build_method

VOID = {"meta", "link", "img", "br", "path", "circle", "rect"}
SECTIONS = ("probes", "curves", "spectrum", "map", "neighbours", "views", "skipped", "repeat")


class Reader(HTMLParser):
    """Checks nesting; keeps tags, attributes and the text of each section."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], {"": ""}
        self.section = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.links += [v for k, v in attributes.items() if k in ("href", "src", "srcset", "action")]
        if tag == "section":
            self.section = attributes["id"]
            self.text[self.section] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text[self.section] += data

    def count(self, tag, css=None):
        return sum(
            t == tag and (css is None or css in (a.get("class") or "").split())
            for t, a in self.tags
        )


def read(run):
    return Reader(write_report(run).read_text(encoding="utf-8"))


def test_a_whole_page(make_run):
    run = make_run(status={"health": "healthy", "health_message": "healthy: rank 9."})
    rows = {"encoder": {"knn": 0.9}, "untrained": {"knn": 0.7}, "raw": {"knn": 0.24}}
    result = {"data": "digits", "train_samples": 10, "test_samples": 5, "rows": rows}
    (run.path / "evaluation.json").write_text(json.dumps(result))
    path = write_report(run)
    assert path == run.path / "report.html"
    assert path.stat().st_size < 3_000_000
    html = path.read_text(encoding="utf-8")
    found = Reader(html)
    assert set(SECTIONS) <= set(found.text)
    assert "Left out" not in html
    assert "Healthy" in found.text[""]
    assert "24.0 %" in found.text["probes"]
    assert found.count("svg", "chart") == 7  # six curves and the spectrum
    assert found.count("svg", "map") == 2
    nines = int((sample.embed_sample(run).labels == 9).sum())
    assert found.count("circle", "k9") == 1 + 2 * nines  # a legend entry and both maps
    assert len(re.findall(r'src="data:image/png', html)) == 8 * 7 + 6 * 3
    assert "seed" in found.text["repeat"]
    assert "tacit pretrain --recipe" in found.text["repeat"]
    assert not list(run.path.glob(".report*"))


def test_nothing_is_fetched_and_nothing_runs(make_run):
    html = write_report(make_run()).read_text(encoding="utf-8")
    found = Reader(html)
    outside = [link for link in found.links if not link.startswith(("#", "data:"))]
    assert outside == ["https://arxiv.org/abs/2002.05709"]  # a link that a reader may follow
    assert found.count("script") == 0
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html


def test_untrusted_names_are_escaped(make_run, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    rng = np.random.default_rng(0)
    for name in (evil, "plain"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(folder / f"{i}.png")
    script = "</pre><script>alert(2)</script>"
    status = {"skipped": [[script, script]] * 60, "state": "failed", "error": script}
    run = make_run(f"images:{tmp_path / 'photos'}", status=status)
    (run.path / "evaluation.json").write_text(
        json.dumps({"data": script, "rows": {script: {"knn": 0.5, script: 1.0}}})
    )
    environment = {"versions": {script: script}, "seed": script}
    (run.path / "environment.json").write_text(json.dumps(environment))
    html = write_report(run).read_text(encoding="utf-8")
    assert "<script" not in html
    assert evil not in html
    found = Reader(html)
    assert evil in found.text["map"]
    assert found.text["skipped"].count(script) == 2 * page.NAMED_FILES
    assert "60 items could not be read" in found.text["skipped"]


def test_data_that_moved_costs_its_sections_only(make_run):
    found = read(make_run(to="npz:/nowhere/gone.npz"))
    for name in ("spectrum", "map", "neighbours", "views"):
        assert "Left out" in found.text[name]
        assert "gone.npz" in found.text[name]
    assert found.count("svg", "chart") == 6


def test_an_encoder_that_was_never_saved_costs_its_sections_only(make_run):
    found = read(make_run(encoder=False, status={"state": "running"}))
    for name in ("spectrum", "map", "neighbours"):
        assert "Left out" in found.text[name]
    assert "Left out" not in found.text["views"]
    assert "Killed after" in found.text[""]


def test_a_run_that_stopped_before_its_first_row(make_run):
    found = read(make_run(encoder=False, rows=0, status={"state": "failed", "error": "no"}))
    assert "There are none" in found.text["curves"]
    assert "Not measured" in found.text[""]
    assert "tacit evaluate" in found.text["probes"]


def test_a_collapsed_encoder_is_shown_as_it_is(make_run, monkeypatch):
    run = make_run(collapse_at=18)
    with torch.no_grad():
        for parameter in run.encoder.parameters():
            parameter.zero_()
    found = read(run)
    assert "Dimensional collapse since step 180" in found.text[""]
    assert found.count("rect", "alarm") == 5  # every curve but the learning rate
    assert "all zero" in found.text["spectrum"]
    assert "0% across" in found.text["map"]
    assert found.count("svg", "map") == 1  # t-SNE of one point says nothing


@pytest.mark.parametrize(("classes", "words"), [(0, "no labels"), (25, "classes are too many")])
def test_maps_without_colours(make_run, tmp_path, classes, words):
    rng = np.random.default_rng(0)
    arrays = {"images": rng.integers(0, 256, (200, 16, 16), np.uint8)}
    if classes:
        arrays["labels"] = np.arange(200) % classes
    np.savez(tmp_path / "x.npz", **arrays)
    found = read(make_run(f"npz:{tmp_path / 'x.npz'}"))
    assert words in found.text["map"]
    assert found.count("circle", "k0") == 0
    assert found.count("circle", "k") == 2 * 40
    if not classes:
        assert "no label" in found.text["map"]
        assert "own class" not in found.text["neighbours"]


def test_projections_come_from_the_checkpoint(make_run):
    run = make_run()
    method = build_method(METHODS.get("simclr"), run.recipe, run.input_spec)
    state = {f"method.{name}": value for name, value in method.state_dict().items()}
    run.folder.checkpoint_path.parent.mkdir()
    torch.save({"state_dict": state, "global_step": 0, "loops": {}}, run.folder.checkpoint_path)
    taken = sample.embed_sample(run)
    found = sample.project_sample(run, taken)
    method.eval()
    with torch.no_grad():
        wanted = method.project(run.view(taken.source.batch(taken.positions[:5])))
    torch.testing.assert_close(found[:5], wanted, rtol=1e-4, atol=1e-5)
    assert "projections" in read(run).text["spectrum"]
    # A checkpoint of something else costs that one curve.
    torch.save({"state_dict": {}}, run.folder.checkpoint_path)
    assert f"embeddings{run.encoder.dim}" in "".join(read(run).text["spectrum"].split())


def test_a_slow_network_embeds_fewer_samples(make_run, monkeypatch):
    monkeypatch.setattr(sample, "SECONDS", -1.0)
    taken = sample.embed_sample(make_run())
    assert len(taken.vectors) == len(taken.positions) == len(taken.labels) == 128


def test_a_folder_that_cannot_be_written_keeps_the_old_page(make_run, monkeypatch):
    run = make_run(encoder=False)
    path = write_report(run)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(TacitError, match="No space left"):
        write_report(run)
    assert path.read_bytes() == before
    assert not list(run.path.glob(".report*"))
