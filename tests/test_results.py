from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gpwjax import explain
from train import results
from train.predictions import Predictions


@pytest.mark.parametrize("count", [1, 5, 12, 205])
def test_heatmaps_are_of_the_whole_test_set_and_of_the_surest_mistakes(
    monkeypatch, tmp_path, count
):
    drawn = []

    def draw(classifier: object, image: np.ndarray, title: str) -> Image.Image:
        drawn.append(int(image))
        return Image.new("RGB", (2, explain.CAPTION + 1))

    monkeypatch.setattr(results.explain, "draw", draw)
    monkeypatch.setattr(results.gpwjax, "load", lambda file: None)
    indices = np.arange(100, 100 + count)
    answers = Predictions(
        classes=["a", "b"],
        labels=np.zeros(count, int),
        predicted=np.arange(count) % 2,
        confidence=np.linspace(0.5, 1, count),
        indices=indices,
        names=[""] * count,
    )
    data = SimpleNamespace(
        images=np.arange(1000), classes=answers.classes, test=indices
    )
    results.draw_heatmaps(SimpleNamespace(folder=tmp_path, dataset=data), answers)

    shown = min(count, results.HEATMAPS)
    spread, mistakes = drawn[:shown], drawn[shown:]
    assert spread[0] == 100
    assert spread[-1] == 99 + count
    assert len(set(np.diff(spread))) <= 2  # as evenly as whole numbers go
    wrong = [100 + number for number in range(count) if number % 2]
    assert mistakes == wrong[::-1][: results.MISTAKES]
    files = {f"{number}.webp" for number in mistakes}
    assert {file.name for file in (tmp_path / "mistakes").iterdir()} == files
