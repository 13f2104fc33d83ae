"""Frame Projections: other bases of a window instead of augmentations of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tacit.claims._loop import ViewsFunction, build_method, train
from tacit.claims.base import Check, Claim, Rows
from tacit.data import SeriesSource, open_source
from tacit.encoders import Encoder
from tacit.encoders.series import MappedEncoder, ResNet1D
from tacit.errors import DataError
from tacit.evaluation import FrozenProbe, frozen_linear_probe, regression_scores
from tacit.methods.base import Batch, Method
from tacit.methods.contrastive.frame_projections import FrameProjections
from tacit.recipe import OptimizerConfig, ScheduleConfig
from tacit.views import build_series_views, fourier_view

ADAM = OptimizerConfig(name="adam", lr=1e-3, scale_lr=False, weight_decay=1e-6, decay_all=True)
COSINE = ScheduleConfig(name="cosine", warmup=0.0)
TAU = 0.15
PROBE_EPOCHS = 256
TARGET, LABELLED = 0, (1, 2, 3, 4)  # subjects: tested, and whose labels the probe sees
BPM_CLASSES = 180


class Task(NamedTuple):
    """A data set as the experiment sees it: (n, C, T) float32, standardised, and labels."""

    pretrain: Tensor
    labelled: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    n_classes: int
    batch_size: int
    steps: int
    scores: Callable[[FrozenProbe], dict[str, float]]


def heart_rate(probe: FrozenProbe) -> dict[str, float]:
    scores = probe.regression()
    return {"MAE (bpm)": scores["mae"], "RMSE": scores["rmse"], "Pearson r": scores["pearson"]}


def activity(probe: FrozenProbe) -> dict[str, float]:
    scores = probe.classification()
    return {"accuracy": 100 * scores["accuracy"], "macro F1": 100 * scores["macro_f1"]}


def ppg_task(data: str | None) -> Task:
    """Pre-training on all subjects but the target, labels of four, test on the target."""
    source = open_source(data) if data else None
    if not isinstance(source, SeriesSource) or source.groups is None or source.labels is None:
        raise DataError(
            "this claim needs heart rates with subjects: give --data ppg-ieee:PATH/IEEE_Small.mat"
        )
    x, y = source.batch(np.arange(len(source))), torch.from_numpy(source.labels)
    subject = torch.from_numpy(source.groups)
    labelled, test = torch.isin(subject, torch.tensor(LABELLED)), subject == TARGET
    return Task(
        pretrain=x[~test],
        labelled=(x[labelled], y[labelled]),
        test=(x[test], y[test]),
        n_classes=BPM_CLASSES,
        batch_size=64,
        steps=250,
        scores=heart_rate,
    )


def motions_task() -> Task:
    """BasicMotions with the archive's split, standardised by the training series."""
    train_part, test_part = (open_source("ucr:BasicMotions", split=s) for s in ("train", "test"))
    assert isinstance(train_part, SeriesSource)
    assert isinstance(test_part, SeriesSource)
    mean, std = (torch.tensor(v)[:, None] for v in train_part.statistics())
    pairs = []
    for part in (train_part, test_part):
        x = (part.batch(np.arange(len(part))) - mean) / std
        pairs.append((x.float(), torch.from_numpy(part.labels)))
    train_pair, test_pair = pairs
    return Task(train_pair[0], train_pair, test_pair, 4, len(train_pair[0]), 100, activity)


def trained(name: str, task: Task, seed: int, steps: int, **encoder: bool) -> tuple[Method, Any]:
    """A method after `steps` steps, in eval mode, and its losses."""
    channels, length = task.pretrain.shape[1:]

    def network() -> Encoder:
        time = ResNet1D(channels)
        return time if name == "simclr" else MappedEncoder(time, length, **encoder)

    options: dict[str, Any] = {"temperature": TAU}
    if name == "simclr":
        options |= {"proj_hidden_dim": 128, "proj_output_dim": 128}
        plain = {"mean": [0.0] * channels, "std": [1.0] * channels}
        views: ViewsFunction = build_series_views("jitter-scale", n_views=2, **plain)
    else:
        options |= {"wavelet_width": 8, "proj_dim": 128}
        views = one_view
    method = build_method(name, network, seed=seed, options=options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of the dropout
        losses = train(
            method,
            views,
            task.pretrain,
            optimizer=ADAM,
            schedule=COSINE,
            batch_size=task.batch_size,
            steps=steps,
            seed=seed,
        )
    return method, losses


def one_view(x: Tensor, generator: torch.Generator) -> list[Tensor]:
    return [x]


class FrameProjectionsClaim(Claim):
    """Frame Projections against an untrained network, augmentations, and its own parts."""

    paper = FrameProjections.paper
    statement = (
        "Contrasting a window with its own Fourier coefficients and wavelet scalogram, without "
        "any augmentation, gives features that are better than those of augmentation-based "
        "contrast."
    )
    protocol = (
        "Wrist PPG of the IEEE Signal Processing Cup 2015 (12 subjects, 1,768 windows of 8 s): "
        "pre-training on all subjects but subject 0, 250 steps of 64 windows, the published "
        "time and Fourier encoders and a scalogram encoder of width 8 (the published one is "
        "32), Adam 1e-3, weight decay 1e-6, cosine; latent mappers for as many steps. A linear "
        "layer (Adam 0.03, 256 epochs) on frozen features sees the labels of subjects 1 to 4 "
        "and is tested on subject 0: heart rate as one of 180 classes, errors of the predicted "
        "class. BasicMotions (UEA archive, 6 channels, 40 + 40 series, 4 classes, the archive's"
        " split): 100 steps of all 40 series, tested likewise. Every encoder is in eval mode. "
        "SimCLR has the same time encoder, projector widths, temperature 0.15 and budget, with "
        "white noise 0.3 and factors N(1, 0.5^2). Chance of the contrast is log(2B - 1); the "
        "loss a pair is the total over the number of pairs (the distances add less than 0.01). "
        "Median and spectral peak use no network: the median heart rate of the labelled "
        "subjects, and the largest Fourier amplitude between 40 and 200 bpm. After a trial at 8 % "
        "of the steps the batch was cut from 128 to 64 windows, and the checks on BasicMotions, "
        "where the untrained encoder has 100 %, became information."
    )

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        rows: Rows = {}
        ppg = ppg_task(data)
        rows["PPG: spectral peak"] = _spectral_peak(ppg)
        rows["PPG: median of the labels"] = _median(ppg)
        contrast: Rows = {}
        for title, task in (("PPG", ppg), ("BasicMotions", motions_task())):
            rows |= self._task(title, task, seed, scale, contrast)
        return rows | contrast

    @staticmethod
    def _task(title: str, task: Task, seed: int, scale: float, contrast: Rows) -> Rows:
        rows: Rows = {}
        steps = max(10, round(task.steps * scale))

        def probe(setting: str, encode: Callable[[Tensor], Tensor]) -> None:
            result = frozen_linear_probe(
                encode,
                task.labelled,
                task.test,
                epochs=PROBE_EPOCHS,
                n_classes=task.n_classes,
                seed=seed,
            )
            rows[f"{title}: {setting}"] = task.scores(result)

        an_epoch = len(task.pretrain) // task.batch_size
        probe("raw series", lambda x: x.flatten(1))
        untrained, _ = trained("frame-projections", task, seed, 0)
        probe("untrained time encoder", _time_of(untrained))
        simclr, _ = trained("simclr", task, seed, steps)
        probe("SimCLR, jitter and scale", simclr.embed)
        for setting, pairs, encoder in (
            ("time and Fourier", 1, {"wavelet": False}),
            ("time and wavelet", 1, {"fourier": False}),
            ("Frame Projections", 3, {}),
        ):
            method, losses = trained("frame-projections", task, seed, steps, **encoder)
            method.config = method.config.model_copy(
                update={"mapper_epochs": max(1, steps // an_epoch)}
            )
            batches = [Batch([part]) for part in task.pretrain.split(task.batch_size)]
            method.finish(lambda: iter(batches))  # noqa: B023 - called at once
            probe(f"{setting}, mapped features", method.encoder)
            if pairs == 3:
                probe(f"{setting}, time features", _time_of(method))
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    control = MappedEncoder(_time_of(method)).eval()
                probe(f"{setting}, untrained mappers", control)
            values = torch.tensor(losses) / pairs
            tenth = max(1, len(values) // 10)
            contrast[f"{title}: loss a pair, {setting}"] = {
                "chance": float(np.log(2 * task.batch_size - 1)),
                "first tenth": float(values[:tenth].mean()),
                "fifth tenth": float(values[4 * tenth : 5 * tenth].mean()),
                "last tenth": float(values[-tenth:].mean()),
            }
        return rows

    def checks(self, rows: Rows) -> list[Check]:
        system = "Frame Projections, mapped features"
        mae = {key: values["MAE (bpm)"] for key, values in rows.items() if "MAE (bpm)" in values}
        accuracy = {key: values["accuracy"] for key, values in rows.items() if "accuracy" in values}
        checks = []
        for title in ("PPG", "BasicMotions"):
            loss = rows[f"{title}: loss a pair, Frame Projections"]
            checks += [
                Check(
                    f"{title}: the mean loss a pair ends below chance",
                    loss["last tenth"] < loss["chance"],
                ),
                Check(
                    f"{title}: it is still falling in the second half",
                    loss["last tenth"] < loss["fifth tenth"],
                ),
            ]
        own, own_accuracy = mae[f"PPG: {system}"], accuracy[f"BasicMotions: {system}"]
        checks += [
            Check(
                "PPG: no worse than the untrained encoder (MAE)",
                own <= mae["PPG: untrained time encoder"],
            ),
            Check(
                "BasicMotions: no worse than the untrained encoder (accuracy)",
                own_accuracy >= accuracy["BasicMotions: untrained time encoder"],
                decisive=False,
            ),
        ]
        for other in (
            "SimCLR, jitter and scale",
            "time and Fourier, mapped features",
            "time and wavelet, mapped features",
            "Frame Projections, untrained mappers",
            "Frame Projections, time features",
            "raw series",
        ):
            checks += [
                Check(f"PPG: better than '{other}' (MAE)", own < mae[f"PPG: {other}"], False),
                Check(
                    f"BasicMotions: better than '{other}' (accuracy)",
                    own_accuracy > accuracy[f"BasicMotions: {other}"],
                    False,
                ),
            ]
        return checks


def _time_of(method: Method) -> Encoder:
    assert isinstance(method, FrameProjections)
    return method.encoder.time


def _median(task: Task) -> dict[str, float]:
    """One number for every window: it has no correlation with anything."""
    truth = task.test[1]
    scores = _without_network(torch.full_like(truth, int(task.labelled[1].median())), truth)
    return {name: value for name, value in scores.items() if name != "Pearson r"}


def _spectral_peak(task: Task) -> dict[str, float]:
    """The frequency of the largest Fourier amplitude of windows of 8 s, as a class."""
    x, truth = task.test
    bpm = 60 / 8 * torch.arange(x.shape[-1] // 2 + 1)
    inside = (bpm >= 40) & (bpm <= 200)
    peak = fourier_view(x)[:, 0].abs().masked_fill(~inside, 0).argmax(1)
    return _without_network(bpm[peak] - 31, truth)


def _without_network(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    scores = regression_scores(predicted, truth)
    return {"MAE (bpm)": scores["mae"], "RMSE": scores["rmse"], "Pearson r": scores["pearson"]}
