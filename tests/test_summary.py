"""Tables and pictures: known numbers, and sums that must agree."""

from functools import cache
from pathlib import Path

import pytest
from made_nets import GROUPED

from gpwjax import create_model, list_models
from gpwjax.counts import LayerCount
from gpwjax.summary import (
    Cost,
    check_picture,
    describe,
    draw,
    heading,
    layer_table,
    report,
    savings,
    stage_costs,
    stage_of_layer,
    stage_table,
    summarize,
    table,
    write_picture,
)

summary_of = cache(summarize)


def small(name: str, min_channels: int | None = 16):
    return summary_of(name, min_channels=min_channels, image_size=32)


def words(text: str, first: str) -> list[str]:
    """The words of the line of a table that begins with `first`, without it."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{first} ")]
    return line.removeprefix(first).split()


def column(text: str, header: str) -> list[int]:
    """The numbers in a column of a table, without those of the last row."""
    first, _, *rows = text.splitlines()
    end = first.index(header) + len(header)
    return [int(row[:end].split()[-1].replace(",", "")) for row in rows[:-1]]


def test_the_stages_of_mobilenet_have_the_known_totals():
    text = stage_table(summary_of("mobilenet"))
    params, macs = ["3,217,226", "244,298", "92.4%"], ["567,726,592", "90,051,072"]
    assert words(text, "total") == [*params, *macs, "84.1%"]
    assert words(text, "with running statistics") == ["3,239,114", "274,122", "91.5%"]


def test_the_dense_net_has_no_columns_to_compare():
    summary = summary_of("mobilenet", min_channels=None)
    assert "saved" not in report(summary)
    assert words(stage_table(summary), "total") == ["3,217,226", "567,726,592"]


def test_a_layer_saves_what_the_dense_one_of_its_name_costs_more():
    def layer(name: str, params: int, macs: int) -> LayerCount:
        return LayerCount(name, "Conv", (1,), (1,), 1, params, params, macs)

    grouped = [layer("stem", 5, 50), layer("K", 3, 30), layer("L", 2, 20)]
    dense = [layer("stem", 5, 50), layer("K", 12, 120)]
    assert savings(grouped, dense) == [Cost(0, 0), Cost(9, 90), Cost(-2, -20)]


@pytest.fixture(params=GROUPED)
def shallow_summary(request, shrunk):
    with shrunk():
        yield summarize(request.param, image_size=32)


def test_the_savings_of_the_layers_add_up_to_the_nets(shallow_summary):
    summary = shallow_summary
    text, counts, dense = layer_table(summary), summary.counts, summary.dense
    assert sum(column(text, "parameters")) == counts.params
    assert sum(column(text, "MACs")) == counts.macs
    assert sum(column(text, "params saved")) == dense.params - counts.params
    assert sum(column(text, "MACs saved")) == dense.macs - counts.macs


def test_the_stages_add_up_to_the_net(shallow_summary):
    summary = shallow_summary
    for counts in (summary.counts, summary.dense):
        stages = stage_costs(summary.model, counts)
        assert sum(cost.params for cost in stages.values()) == counts.params
        assert sum(cost.macs for cost in stages.values()) == counts.macs
        assert all(cost.params > 0 and cost.macs > 0 for cost in stages.values())


@pytest.mark.parametrize(
    ("net", "layer", "stage"),
    [
        ("mobilenet", "stem", "stem"),
        ("mobilenet", "stem_norm", "stem"),
        ("mobilenet", "block0/pointwise/K", "stage 1"),
        ("mobilenet", "block1/depthwise", "stage 2"),
        ("mobilenet", "block12/pointwise/BatchNorm_0", "stage 5"),
        ("mobilenet", "head", "head"),
        ("densenet_bc_l100", "block15/conv", "stage 1"),
        ("densenet_bc_l100", "transition1/pointwise/K", "stage 1"),
        ("densenet_bc_l100", "block16/conv", "stage 2"),
        ("densenet_bc_l100", "top_norm", "head"),
        ("mobilenet_v3_large", "hidden/K", "head"),
        ("efficientnet_b7", "top/L", "head"),
    ],
)
def test_a_layer_belongs_to_its_stage(net, layer, stage):
    assert stage_of_layer(layer, create_model(net, classes=10)) == stage


def test_a_row_of_the_layer_table():
    text = layer_table(summary_of("mobilenet"))
    shapes = ["56x56x64", "->", "56x56x128"]
    numbers = ["4", "2,048", "6,422,528", "6,144", "19,267,584"]
    row = words(text, "block1/pointwise/K")
    assert row == ["GroupedPointwise", *shapes, *numbers]


def test_the_heading_names_the_net_and_its_settings():
    summary = summary_of("mobilenet", 3, None, 32, True)
    assert heading(summary) == (
        "mobilenet: min_channels none (dense), 3 classes, images of 32x32 pixels, "
        "small_images"
    )


def test_tables_are_aligned():
    rows = [["name", "size"], ["a", 1234567], ["longer", -1], ["b", ""]]
    assert table(rows, left=("name",)).splitlines() == [
        "name         size",
        "------  ---------",
        "a       1,234,567",
        "longer         -1",
        "b",
    ]


def test_every_net_is_described_in_a_few_words():
    texts = {name: describe(create_model(name, classes=10)) for name in list_models()}
    assert texts["mobilenet"] == "MobileNet, 13 blocks in 5 stages"
    assert texts["efficientnet_b7"].endswith(" in 7 stages, 2.0 times as wide")
    assert len(set(texts.values())) == len(texts)


def test_images_too_small_for_the_net_are_refused():
    with pytest.raises(ValueError, match="at least 32x32 pixels"):
        summarize("mobilenet", image_size=31)


@pytest.mark.parametrize("min_channels", [16, None])
def test_the_picture_shows_the_stages_of_each_net(min_channels):
    summary = small("mobilenet_v3_large", min_channels)
    figure = draw(summary)
    nets = {"dense": summary.dense or summary.counts}
    if min_channels is not None:
        nets["grouped"] = summary.counts
    assert figure.get_suptitle() == heading(summary)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(nets)
    units = {"thousands": 10**3, "millions": 10**6}
    for axes, field in zip(figure.axes, Cost._fields, strict=True):
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == ["stem", "1", "2", "3", "4", "5", "6", "head"]
        unit = units[axes.get_ylabel().split("(")[1].rstrip(")")]
        for bars, counts in zip(axes.containers, nets.values(), strict=True):
            drawn = [bar.get_height() * unit for bar in bars]
            costs = stage_costs(summary.model, counts).values()
            assert drawn == pytest.approx([getattr(cost, field) for cost in costs])
            assert f"{getattr(counts, field):,}" in axes.get_title()


def test_the_names_of_the_most_stages_do_not_overlap():
    figure = draw(small("efficientnet_b0"))
    figure.draw_without_rendering()
    for axes in figure.axes:
        texts = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(texts) == 9
        assert all(a.x1 < b.x0 for a, b in zip(texts, texts[1:], strict=False))
    left, right = (axes.title.get_window_extent() for axes in figure.axes)
    assert left.x1 < right.x0


def test_the_picture_is_a_png_of_a_size_to_read(tmp_path):
    file = tmp_path / "net.PNG"
    write_picture(small("mobilenet"), file)
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(data[i : i + 4]) for i in (16, 20))
    assert 1000 <= width <= 2000
    assert 400 <= height <= 1000
    assert 10_000 < len(data) < 300_000


def test_a_file_stays_as_it_was_where_drawing_fails(tmp_path, monkeypatch):
    def fail(summary):
        raise RuntimeError("no")

    file = tmp_path / "net.png"
    file.write_text("before")
    monkeypatch.setattr("gpwjax.summary.draw", fail)
    with pytest.raises(RuntimeError):
        write_picture(small("mobilenet"), file)
    assert file.read_text() == "before"


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_usual_formats_are_accepted(name):
    check_picture(Path(name))


@pytest.mark.parametrize("name", ["a.doc", "a", "png", ""])
def test_unknown_formats_are_refused(name):
    with pytest.raises(ValueError, match=r"must end in one of .*\.png, .*; got"):
        check_picture(Path(name))
