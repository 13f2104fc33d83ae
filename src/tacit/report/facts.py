"""What a run was and how it went, in words and numbers."""

from __future__ import annotations

import inspect
import shlex
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from tacit.data.spec import short_name
from tacit.errors import TacitError
from tacit.methods.base import Paper
from tacit.registry import METHODS
from tacit.report.axes import short
from tacit.report.curves import Metrics, alarm_spans, looks, replay
from tacit.untrusted import read_json

if TYPE_CHECKING:
    from tacit.run import Run

HELP = "What usually helps: "
# Shares that can stand beside each other as bars, with their names in words.
SCORES = {
    "knn": "kNN accuracy",
    "linear": "linear probe accuracy",
    "few-shot": "few-shot accuracy",
    "retrieval": "retrieval mAP",
    "staging": "staging accuracy",
}
FEATURES = {
    "encoder": "this encoder",
    "untrained": "same network, untrained",
    "raw": "raw features",
}


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(7.25), duration(75), duration(3725), duration(200_000)
    ('7.2 s', '1 min 15 s', '1 h 2 min', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.2g} s"
    units = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
    size, name, small, small_name = next(unit for unit in units if seconds >= unit[0])
    whole, rest = divmod(int(seconds), size)
    return f"{whole} {name} {rest // small} {small_name}"


class Verdict(NamedTuple):
    """The label-free monitor's judgement; `tone` is good, bad or unknown."""

    tone: str
    title: str
    text: str
    advice: str


def verdict(status: dict[str, Any], metrics: Metrics) -> Verdict:
    """The last word of the alarm; replayed from metrics.csv for a run that did not end."""
    state, message = status.get("health"), status.get("health_message") or ""
    if looks(metrics) and (state is None or metrics["step"][-1] > status.get("step", 0)):
        last = replay(metrics)[-1]
        state, message = last.state, last.message
    if state is None:
        return Verdict(
            "unknown",
            "Not measured",
            "The monitor has not looked: the run stopped before its first look, or the data is "
            "too small to hold samples out for it.",
            "",
        )
    if state == "warming up":
        return Verdict("unknown", "Too early to judge", "The run is still in its first looks.", "")
    # "STATE[ since step N]: what it means. What usually helps: ..."
    message, _, advice = message.partition(HELP)
    title, _, text = message.partition(": ")
    title, text, advice = (_sentence(part) for part in (title or state, text, advice))
    if "collapse" in state:
        return Verdict("bad", title, text, advice)
    if rang := [f"from step {s.start:.0f} to {s.end:.0f}" for s in alarm_spans(metrics)]:
        text += f" The alarm rang {' and '.join(rang)}; the run recovered."
    return Verdict("good", title, text, advice)


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:]


def progress(status: dict[str, Any], metrics: Metrics) -> tuple[int, float | None]:
    """Steps and seconds; metrics.csv is ahead of the status of a run that did not end cleanly."""
    step, seconds = status.get("step", 0), status.get("seconds")
    if metrics.get("step") and metrics["step"][-1] > step:
        step, seconds = int(metrics["step"][-1]), metrics["seconds"][-1]
    return step, seconds


class Outcome(NamedTuple):
    """How the run ended; `command` continues it where that is possible."""

    text: str
    command: str


def outcome(run: Run, status: dict[str, Any], metrics: Metrics) -> Outcome:
    """State of the run in words."""
    step, seconds = progress(status, metrics)
    reached = f"{step:,} steps" + (f" in {duration(seconds)}" if seconds is not None else "")
    state = status.get("state", "empty")
    command = f"tacit pretrain --resume {shlex.quote(str(run.path))}"
    resumable = command if run.folder.checkpoint_path.is_file() else ""
    if state == "finished":
        return Outcome(f"Finished: {reached}.", "")
    if state == "running":
        return Outcome(f"Still running: this page shows the state after {reached}.", "")
    if state == "failed":
        return Outcome(f"Failed after {reached}: {status.get('error', 'unknown')}", resumable)
    if state == "pruned":
        return Outcome(f"Pruned after {reached}: its sweep stopped it early.", resumable)
    if state in ("interrupted", "killed"):
        return Outcome(f"{state.capitalize()} after {reached}, before the end.", resumable)
    return Outcome("The run has not begun.", "")


class MethodFacts(NamedTuple):
    """What the method does and where it is from; empty where it cannot be imported any more."""

    summary: str
    paper: Paper | None


def method_facts(name: str) -> MethodFacts:
    """From the class of the method."""
    try:
        cls = METHODS.get(name)
    except TacitError:
        return MethodFacts("", None)
    summary = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    paper = getattr(cls, "paper", None)
    if paper is not None and not paper.url.startswith(("https://", "http://")):
        paper = paper._replace(url="")
    return MethodFacts(summary, paper)


def data_name(spec: str) -> str:
    """The last part of a data spec, for headings.

    >>> data_name("images:/home/me/photographs/"), data_name("planetoid:cora@/data/planetoid")
    ('photographs', 'cora')
    """
    return short_name(spec) or spec


def tiles(run: Run, status: dict[str, Any], metrics: Metrics) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the numbers at the top."""
    recipe, name = run.recipe, data_name(run.recipe.data)
    where = f"split {recipe.split}"
    if recipe.image_size is not None:
        where += f", {recipe.image_size} px"
    found = [
        ("method", recipe.method, ""),
        ("data", name, f"{recipe.data}, " * (name != recipe.data) + where),
        ("encoder", recipe.encoder or "not chosen", _size(run)),
    ]
    step, seconds = progress(status, metrics)
    remark = f"batch {recipe.batch_size}"
    if metrics.get("epoch"):
        remark = f"{short(round(metrics['epoch'][-1], 1))} epochs, {remark}"
    found.append(("steps", f"{step:,}", remark))
    if seconds is not None:
        spent = status.get("monitor_seconds")
        remark = f"monitor {spent / seconds:.1%} of it" if spent and seconds else ""
        found.append(("time", duration(seconds), remark))
    speeds = [v for v in metrics.get("samples_per_second", []) if isinstance(v, float)]
    if speeds:
        found.append(("samples/s", f"{statistics.median(speeds):,.0f}", "median"))
    return found


def _size(run: Run) -> str:
    try:
        encoder = run.encoder
    except (TacitError, RuntimeError):
        return ""
    weights = sum(p.numel() for p in encoder.parameters())
    return f"{short(float(f'{weights:.3g}'))} weights, {encoder.dim}-d output"


class Probes(NamedTuple):
    """Bars: (score, rows of (features, value)); table: columns and (features, texts)."""

    data: str
    counts: str
    bars: list[tuple[str, list[tuple[str, float]]]]
    columns: list[str]
    table: list[tuple[str, list[str]]]


def probes(evaluation: dict[str, Any] | None) -> Probes | None:
    """evaluation.json in words; None before the first evaluation."""
    if not evaluation or not evaluation.get("rows"):
        return None
    rows = {FEATURES.get(name, name): row for name, row in evaluation["rows"].items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    bars = [
        (SCORES[column], [(name, row[column]) for name, row in rows.items() if column in row])
        for column in columns
        if column in SCORES
    ]
    table = [
        (name, [short(round(row[c], 4)) if c in row else "" for c in columns])
        for name, row in rows.items()
    ]
    counts = (
        f"{evaluation.get('train_samples', 0):,} training and "
        f"{evaluation.get('test_samples', 0):,} test samples"
    )
    return Probes(str(evaluation.get("data", "")), counts, bars, columns, table)


def environment(run: Run) -> list[tuple[str, str]]:
    """environment.json as rows; empty where it is missing or damaged."""
    try:
        values = read_json(run.path / "environment.json", "")
    except TacitError:
        return []
    versions = values.pop("versions", {})
    if isinstance(versions, dict):
        values |= versions
    rows = [(key, _words(value)) for key, value in values.items()]
    return [(key, value) for key, value in rows if value]


def _words(value: Any) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else ""
        if value is None
        else str(value)
    )


def commands(run: Run) -> list[tuple[str, str]]:
    """(what it does, command) to repeat and to use a run."""
    path = shlex.quote(str(run.path))
    data = shlex.quote(run.recipe.data)
    return [
        ("Repeat it", f"tacit pretrain --recipe {path}/recipe.yaml --out runs/again"),
        ("Test it with labels", f"tacit evaluate {path}"),
        ("Use it", f"tacit embed {path} {data} -o vectors.parquet"),
        ("In Python", f"import tacit; run = tacit.load({str(run.path)!r})"),
    ]
