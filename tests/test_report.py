"""`python -m train.report`: the reports of made-up runs."""

import base64
import dataclasses
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_runs import PLAIN, make_run

import train.report.__main__
from train.command_line import parse
from train.config import Augmentation, Config
from train.evaluate.files import read_answers
from train.evaluate.scores import class_table, half_interval, wilson_interval
from train.presets import DIGITS, presets
from train.report.build import build_report, build_reports
from train.report.command import command_of
from train.report.groups import group
from train.report.paper import paper_curves, paper_notes, paper_row
from train.report.runs import read_run
from train.run_folder import read_metrics

VOID = {"meta", "link", "img", "br"}
PAPER = "cifar10-mobilenet-16ch"


class Page(HTMLParser):
    """A page's elements: (tag, attributes, text with that of what is inside)."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list) -> None:
        assert len(dict(attributes)) == len(attributes)
        self.elements.append((tag, dict(attributes), []))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for number in self._open:
            self.elements[number][2].append(data)

    def all(self, *tags: str) -> list[tuple[str, dict[str, str], str]]:
        return [(t, a, "".join(s).strip()) for t, a, s in self.elements if t in tags]

    def texts(self, *tags: str) -> list[str]:
        return [text for _, _, text in self.all(*tags)]

    def table(self, caption: str) -> list[list[str]]:
        """The rows of cells of the table with such a caption."""
        rows, inside = [], False
        for tag, _, parts in self.elements:
            text = "".join(parts).strip()
            if tag == "table":
                inside = caption in text
            if inside and tag == "tr":
                rows.append([])
            if inside and tag in ("td", "th"):
                rows[-1].append(text)
        assert rows, caption
        return rows


def paper_run(folder: Path) -> Path:
    return make_run(folder / "paper", dataclasses.replace(presets()[PAPER], epochs=4))


def dense_run(folder: Path) -> Path:
    return make_run(folder / "run", dataclasses.replace(PLAIN, min_channels=None))


def many_classes(folder: Path) -> Path:
    return make_run(folder / "run", PLAIN, tuple(map(str, range(60))), 240)


def unfinished_run(folder: Path) -> Path:
    return make_run(folder / "run", presets()[PAPER], finished=False)


def old_run(folder: Path) -> Path:
    """Of code that left no more than result.json."""
    run = make_run(folder / "run")
    for name in ("predictions.csv", "classes.csv", "costs.csv"):
        (run / name).unlink()
    shutil.rmtree(run / "mistakes")
    return run


def seeds_folder(folder: Path) -> Path:
    """Three runs that are finished, and one that is not."""
    for seed in range(4):
        config = dataclasses.replace(presets()[PAPER], seed=seed, epochs=4)
        run = make_run(folder / "seeds" / f"seed{seed}", config, finished=seed < 3)
        if seed < 2:
            build_report(run)
    return folder / "seeds"


KINDS = [paper_run, dense_run, many_classes, unfinished_run, old_run, seeds_folder]


def page_of(folder: Path) -> Page:
    return Page(build_report(folder).read_text())


@pytest.fixture(scope="module", params=KINDS)
def text(request, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("runs")
    return build_report(request.param(folder)).read_text()


def test_a_page_is_well_formed_and_needs_nothing_else(text):
    page = Page(text)
    ids = [a["id"] for _, a, _ in page.elements if "id" in a]
    assert len(set(ids)) == len(ids)
    for tag, attributes, _ in page.elements:
        assert tag != "script"
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src"):
            link = attributes.get(name, "#")
            inside = link.startswith(("#", "data:")) or re.fullmatch(
                r"seed\d/report.html", link
            )
            assert inside, link
            if link.startswith("#") and link != "#":
                assert link[1:] in ids
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    assert "://" not in text
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    assert "default-src 'none'" in text


def test_a_page_can_be_read_by_a_screen_reader(text):
    page = Page(text)
    levels = [int(tag[1]) for tag, _, _ in page.all("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert all(a["alt"] for _, a, _ in page.all("img"))
    assert page.all("svg")
    for _, attributes, _ in page.all("svg"):
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"]) > 20
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(a["scope"] in ("row", "col") for _, a, _ in page.all("th"))
    assert all(page.texts("th", "caption", "title", "h1", "h2"))
    regions = [a for _, a, _ in page.elements if "scroll" in a.get("class", "")]
    assert all(a["tabindex"] == "0" and a["role"] == "region" for a in regions)


def test_the_numbers_are_those_of_the_run(tmp_path):
    run = make_run(tmp_path / "run")
    page = page_of(run)
    low, high = wilson_interval(20, 30)
    interval = f"(95% interval {low:.2%} to {high:.2%})"
    (lead,) = (text for text in page.texts("p") if interval in text)
    assert lead.startswith("66.67% of 30 test images are right")
    epochs = page.table("Each epoch")[1:]
    for row, expected in zip(epochs, read_metrics(run), strict=True):
        assert int(row[0]) == expected["epoch"]
        assert float(row[3]) == pytest.approx(expected["val_loss"], rel=1e-3)
    predictions = read_answers(run)
    matrix = page.table("How many test images")
    counts = [[int(cell or 0) for cell in row[1:]] for row in matrix[1:]]
    np.testing.assert_array_equal(counts, predictions.confusion)
    assert [row[0] for row in matrix[1:]] == matrix[0][1:] == ["cat", "dog", "giraffe"]
    recall = {row[0]: row[2] for row in page.table("Each class")[1:]}
    for row in class_table(predictions):
        assert recall[row["class"]] == f"{row['recall']:.1%}"
    assert page.table("Parameters by stage")[-1] == ["total", "2,700", "300", "88.9%"]
    assert page.table("Multiply-acc")[1] == ["stem", "8,000", "2,000", "75.0%"]


def test_the_mistakes_are_the_most_confident_ones(tmp_path):
    run = make_run(tmp_path / "run", images=60)
    page = page_of(run)
    predictions = read_answers(run)
    shown = page.all("figcaption")
    shown = [text for _, _, text in shown if "taken for" in text]
    assert len(shown) == 12
    wrong = predictions.labels != predictions.predicted
    expected = np.sort(predictions.confidence[wrong])[::-1][:12]
    for text, confidence, number in zip(
        shown, expected, predictions.mistakes, strict=False
    ):
        assert f"with {confidence:.1%}" in text
        assert predictions.names[number] in text
        assert text.startswith(predictions.classes[predictions.labels[number]])
    file = run / "mistakes" / f"{predictions.indices[predictions.mistakes[0]]}.webp"
    first = page.all("img")[0][1]["src"].removeprefix("data:image/webp;base64,")
    assert base64.b64decode(first) == file.read_bytes()


def test_names_are_text_whatever_they_hold(tmp_path):
    classes = ("<script>alert(1)</script>", "\"&amp;', $x$", "a\nb,c")
    config = dataclasses.replace(PLAIN, data="x/<b>cats</b>", init=Path("<i>.st"))
    run = make_run(tmp_path / "<img src=x onerror=1>", config, classes)
    text = build_report(run).read_text()
    page = Page(text)
    assert "<script" not in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert [row[0] for row in page.table("Each class")[1:]] == list(classes)
    assert page.texts("h1")[0].startswith("<img src=x onerror=1>: mobilenet 16ch on ")
    several = Page(build_reports([run, run], tmp_path / "several.html").read_text())
    (link, _) = (a["href"] for _, a, _ in several.all("a"))
    assert link == "%3Cimg%20src%3Dx%20onerror%3D1%3E/report.html"


def test_to_build_it_again_gives_the_same_file(tmp_path):
    folder = seeds_folder(tmp_path)
    for run in (folder, folder / "seed0"):
        assert build_report(run).read_bytes() == build_report(run).read_bytes()


def test_the_papers_figures_and_curves_are_beside_those_of_its_row(tmp_path):
    page = page_of(paper_run(tmp_path))
    beside = {row[0]: row[1:] for row in page.table("Beside the paper")}
    assert beside["test accuracy"] == ["66.67%", "89.81%"]
    assert beside["parameters"] == ["300", "244,298"]
    assert any("43 of 50 epochs" in text for text in page.texts("li"))
    labels = [a["aria-label"] for _, a, _ in page.all("svg")]
    assert re.search(r"validation, authors from 0\.2104 to 0\.8546", labels[1])
    assert "validation, authors" in page.texts("li")
    assert (
        "Beside the paper" not in build_report(make_run(tmp_path / "own")).read_text()
    )


def test_a_row_of_the_paper_is_found_by_what_it_trained():
    for name in (PAPER, f"modern-{PAPER}", "cropped_plantdoc-efficientnet_b0-dense"):
        config = dataclasses.replace(presets()[name], preset=None, lr=0.3)
        row = paper_row(config)
        assert row["model"] == config.model
        assert (row["channels_per_group"] or None) == (
            config.min_channels and str(config.min_channels)
        )
        assert paper_row(dataclasses.replace(config, image_size=64)) is None
    assert paper_row(DIGITS) is None


def test_what_differs_from_the_paper_is_said():
    ours = dataclasses.replace(presets()[PAPER], augment_val=False)
    row = paper_row(ours)
    assert "this run did not" in " ".join(paper_notes(ours, row))
    assert "so did this run" in " ".join(paper_notes(presets()[PAPER], row))
    clean = dataclasses.replace(
        presets()["cropped_plantdoc-efficientnet_b0-16ch"], split="clean"
    )
    notes = " ".join(paper_notes(clean, paper_row(clean)))
    assert "in several parts" in notes
    assert "a slip: the records have 64.84%" in notes
    none = presets()["cifar10-mobilenet-64ch"]
    assert paper_curves(paper_row(none)) == []
    assert "published no curves" in " ".join(paper_notes(none, paper_row(none)))


@pytest.mark.parametrize(
    "config",
    [
        DIGITS,
        dataclasses.replace(DIGITS, epochs=3, small_images=False, seed=7),
        presets()[PAPER],
        dataclasses.replace(
            presets()["modern-oxford_iiit_pet-efficientnet_b0-16ch"],
            pad=False,
            min_channels=None,
            augmentation=Augmentation(flip=False),
        ),
        Config("a folder", init=Path("x y.st"), freeze=("stem", "block0"), lr=1e-5),
        Config("cifar10", preset="of other code", optimizer="sgd", augment_val=True),
    ],
)
def test_the_command_makes_the_run_again(config):
    words = shlex.split(command_of(config))
    assert words[:2] == ["gpwjax", "train"]
    again = parse(words[2:]).to_json()
    expected = config.to_json()
    if expected["preset"] not in presets():
        expected["preset"] = None
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(expected))


def test_a_run_that_is_not_finished_has_its_curves(tmp_path):
    page = page_of(unfinished_run(tmp_path))
    (lead,) = (text for text in page.texts("p") if text.startswith("Not finished"))
    assert "50 of 50 epochs" in lead
    assert len(page.all("svg")) == 4
    assert not page.all("img")
    assert (
        sum("is not finished: what its test" in text for text in page.texts("p")) == 3
    )


def test_what_older_code_did_not_write_is_left_out_and_why(tmp_path):
    page = page_of(old_run(tmp_path))
    said = " ".join(page.texts("p"))
    assert "did not write predictions.csv and classes.csv yet" in said
    assert "has no costs.csv" in said
    assert any(text.startswith("66.67% of 30 test") for text in page.texts("p"))


def test_runs_side_by_side(tmp_path):
    folder = seeds_folder(tmp_path)
    page = page_of(folder)
    rows = page.table("Each run")
    assert [row[0] for row in rows] == ["run", "seed0", "seed1", "seed2", "seed3"]
    assert [row[1] for row in rows[1:]] == ["66.67%"] * 3 + ["not finished"]
    assert rows[1][4:9] == ["300", "6,000", "mobilenet", "16ch", "cifar10"]
    links = [a["href"] for _, a, _ in page.all("a")]
    assert links == ["seed0/report.html", "seed1/report.html"]
    assert page.table("Mean over")[1:] == [
        ["mobilenet 16ch", "3", "66.67 ± 0.00%", "75.00 ± 0.00%"]
    ]
    params, macs, curves = (a["aria-label"] for _, a, _ in page.all("svg"))
    assert "the paper's nets 89.81 at 0.2443" in params
    assert params.count("mobilenet 16ch 66.67 at 0.0003") == 3
    assert "mobilenet 16ch 66.67 at 0.006" in macs
    assert curves.count("mobilenet 16ch from") == 4
    assert page.table("The paper's nets")[1][0] == "efficientnet_b0 dense"


def test_the_mean_over_seeds_has_its_interval(tmp_path):
    accuracies = [0.90, 0.92, 0.94]
    for seed, accuracy in enumerate(accuracies):
        config = dataclasses.replace(PLAIN, seed=seed)
        run = make_run(tmp_path / "seeds" / f"seed{seed}", config)
        result = json.loads((run / "result.json").read_text())
        result["test_accuracy"] = accuracy
        (run / "result.json").write_text(json.dumps(result))
    (row,) = page_of(tmp_path / "seeds").table("Mean over")[1:]
    half = half_interval(np.array(accuracies))
    assert row[2] == f"92.00 ± {100 * half:.2f}%"


def test_configurations_are_named_by_what_they_do_not_share(tmp_path):
    configs = {
        "seed 0": PLAIN,
        "seed 1": dataclasses.replace(PLAIN, seed=1),
        "rate": dataclasses.replace(PLAIN, lr=0.5),
        "dense": dataclasses.replace(PLAIN, min_channels=None),
        "preset": presets()[PAPER],
        "modern": presets()[f"modern-{PAPER}"],
    }
    runs = [
        read_run(make_run(tmp_path / name, config, finished=False))
        for name, config in configs.items()
    ]
    names = {name: [run.name for run in of] for name, of in group(runs).items()}
    assert names == {
        "mobilenet 16ch, cats, no preset, lr 0.001": ["seed 0", "seed 1"],
        "mobilenet 16ch, cats, no preset, lr 0.5": ["rate"],
        "mobilenet dense": ["dense"],
        f"mobilenet 16ch, cifar10, {PAPER}": ["preset"],
        f"mobilenet 16ch, cifar10, modern-{PAPER}": ["modern"],
    }


def test_150_epochs_with_three_seeds_are_less_than_3_mb(tmp_path):
    classes = tuple(f"a breed with a long name {number}" for number in range(37))
    config = presets()["oxford_iiit_pet-efficientnet_b0-16ch"]
    total = 0
    for seed in range(3):
        run = tmp_path / "seeds" / f"seed{seed}"
        make_run(run, dataclasses.replace(config, seed=seed), classes, 3669)
        total += build_report(run).stat().st_size
    total += build_report(tmp_path / "seeds").stat().st_size
    assert total < 3_000_000


@pytest.fixture
def program(monkeypatch, capsys) -> Callable[..., tuple[int, str, list[str]]]:
    """Runs the program: status, output and errors."""

    def run(*args: object) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["train.report", *map(str, args)])
        status = train.report.__main__.main()
        output = capsys.readouterr()
        return status, output.out, output.err.splitlines()

    return run


def test_the_program_writes_into_the_folder_or_where_it_is_told(
    program, tmp_path, monkeypatch
):
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other")
    assert program(one) == (0, f"the report is {one / 'report.html'}\n", [])
    assert program(one, "-o", tmp_path / "x.html")[0] == 0
    assert (tmp_path / "x.html").read_bytes() == (one / "report.html").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert program(one, other) == (0, "the report is report.html\n", [])
    rows = Page(Path("report.html").read_text()).table("Each run")
    assert [row[0] for row in rows] == ["run", "one", "other"]


def damage(name: str, content: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        run = make_run(folder / "run")
        (run / name).write_text(content)
        return [run]

    return make


def no_epoch(folder: Path) -> list[Path]:
    run = make_run(folder / "run")
    (run / "metrics.csv").unlink()
    return [run]


def broken_picture(folder: Path) -> list[Path]:
    run = make_run(folder / "run")
    next((run / "mistakes").iterdir()).write_bytes(b"RIFF")
    return [run]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [folder / "no"], r"\S+no holds no run: neither a config.json"),
        (lambda folder: [folder], r"\S+ holds no run: neither"),
        (no_epoch, r"the run in \S+run has finished no epoch yet"),
        (broken_picture, r"\S+/mistakes/\d+.webp is not recognized"),
        (damage("config.json", "{"), r"\S+config.json cannot be read"),
        (damage("config.json", "{}"), r"\S+config.json holds no settings of a run: .*"),
        (
            damage("config.json", '{"data": 5}'),
            r"\S+ holds no settings.* data is no te",
        ),
        (damage("config.json", '{"data": "x", "lr": "y"}'), r"\S+ holds no settings"),
        (damage("origin.json", '{"versions": 5}'), r"\S+origin.json is damaged"),
        (damage("result.json", "{}"), r"\S+result.json is damaged: test_accuracy is"),
        (damage("predictions.csv", "index\n1,2\n"), r"predictions.csv.*is damaged"),
        (damage("predictions.csv", ""), r"predictions.csv.*is damaged"),
        (damage("classes.csv", "class\nx\n"), r"predictions.csv.*is damaged"),
        (damage("costs.csv", "stage,params\nstem,1\n"), r".*costs.csv.*is damaged"),
        (
            lambda folder: [make_run(folder / "run"), "-o", folder / "no" / "x.html"],
            r"cannot write \S+x.html: .*No such file",
        ),
    ],
)
def test_an_error_is_one_line(program, tmp_path, make, message):
    status, output, errors = program(*make(tmp_path))
    assert (status, output, len(errors)) == (1, "", 1)
    assert re.match(f"error: {message}", errors[0])


@pytest.fixture(scope="module", params=[paper_run, many_classes, seeds_folder])
def file(request, tmp_path_factory) -> Path:
    return build_report(request.param(tmp_path_factory.mktemp("runs")))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(browser, file, width, scheme):
    size = {"width": width, "height": 800}
    context = browser.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    for opened in page.locator("summary").all():
        opened.click()
    wide = page.evaluate("document.documentElement.scrollWidth")
    shown = page.evaluate("[...document.images].every(image => image.naturalWidth)")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    assert wide <= width
    assert shown
    assert problems == []
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
