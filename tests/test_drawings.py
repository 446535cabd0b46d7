"""The pictures of a finished run."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from made_runs import PLAIN, make_run
from PIL import Image

from gpwjax import explain
from gpwjax.canvas import own_settings
from train.config import RunError
from train.evaluate.answers import Answers
from train.presets import presets
from train.report import drawings


@pytest.mark.parametrize("count", [1, 5, 12, 205])
def test_heatmaps_are_of_the_whole_test_set_and_of_the_surest_mistakes(
    monkeypatch, tmp_path, count
):
    drawn = []

    def draw(classifier: object, image: np.ndarray, title: str) -> Image.Image:
        drawn.append(int(image))
        return Image.new("RGB", (2, explain.CAPTION + 1))

    monkeypatch.setattr(drawings.explain, "draw", draw)
    monkeypatch.setattr(drawings.gpwjax, "load", lambda file: None)
    monkeypatch.setattr(drawings.explain, "size_of_a_map", lambda classifier: None)
    indices = np.arange(100, 100 + count)
    answers = Answers(
        classes=["a", "b"],
        labels=np.zeros(count, int),
        predicted=np.arange(count) % 2,
        confidence=np.linspace(0.5, 1, count),
        indices=indices,
        names=[""] * count,
    )
    data = SimpleNamespace(images=np.arange(1000))
    drawings.draw_heatmaps(tmp_path, data, answers)

    shown = min(count, drawings.MAPS)
    spread, mistakes = drawn[:shown], drawn[shown:]
    assert spread[0] == 100
    assert spread[-1] == 99 + count
    assert len(set(np.diff(spread))) <= 2  # as evenly as whole numbers go
    wrong = [100 + number for number in range(count) if number % 2]
    assert mistakes == wrong[::-1][: drawings.MISTAKES_DRAWN]
    files = {f"{number}.webp" for number in mistakes}
    assert {file.name for file in (tmp_path / "mistakes").iterdir()} == files


@pytest.mark.parametrize("finished", [True, False])
def test_the_curves_of_a_row_of_the_paper_are_beside_the_authors(tmp_path, finished):
    row = presets()["cifar10-efficientnet_b0-16ch-32"]
    panels = []
    for name, config in (("row", row), ("own", PLAIN)):
        config = dataclasses.replace(config, epochs=3)
        run = make_run(tmp_path / name, config, finished=finished)
        with own_settings():
            panels.append(drawings.curves_picture(run).axes)
    names = ["training", "validation", "best epoch"]
    theirs = ["training, authors", "validation, authors"]
    for of_row, of_own in zip(*(axes[:2] for axes in panels), strict=True):
        lines = {line.get_label(): len(line.get_xdata()) for line in of_own.lines}
        assert lines == dict(zip(names, (3, 3, 2), strict=True))
        lengths = {line.get_label(): len(line.get_xdata()) for line in of_row.lines}
        assert lengths == lines | dict.fromkeys(theirs, 50)


def test_what_cannot_be_drawn_costs_neither_the_run_nor_the_other_pictures(
    tmp_path, monkeypatch, caplog
):
    def fail(*_: object) -> None:
        raise RuntimeError("no font")

    def load() -> None:
        raise RunError("there is no data set")

    run = make_run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(drawings, "line_picture", fail)
        drawings.draw_missing(run, load)
    reasons = {"curves.png": "no font", "heatmaps.png": "there is no data set"}
    for message, (name, reason) in zip(caplog.messages, reasons.items(), strict=True):
        assert f"{run / name} could not be drawn: {reason}; " in message
    assert (run / "confusion.png").is_file()
    report = (run / "report.html").stat().st_mtime_ns
    caplog.clear()
    drawings.draw_missing(run, load)
    assert (run / "curves.png").is_file()
    assert (run / "report.html").stat().st_mtime_ns > report
    assert len(caplog.messages) == 1


def test_data_at_a_relative_path_are_found_from_elsewhere(tmp_path, monkeypatch):
    run, place = make_run(tmp_path / "run"), tmp_path / "cats"
    place.mkdir()
    (run / "origin.json").write_text(json.dumps({"place": str(place)}))
    (run / "heatmaps.png").unlink(missing_ok=True)
    asked = []
    monkeypatch.setattr(drawings, "load_dataset", asked.append)
    drawings.draw_pictures_of(run)
    assert [config.data for config in asked] == [str(place)]
