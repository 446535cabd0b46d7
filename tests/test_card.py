"""Model cards, from what weights files say."""

from pathlib import Path

import pytest

import gpwjax
from gpwjax.cli import main
from gpwjax.export.card import card

yaml = pytest.importorskip("yaml")


def read(text: str) -> tuple[dict, str]:
    """Head and text of a card, as hubs read it."""
    start, head, body = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(head), body


def with_about(net: gpwjax.Classifier, **about) -> gpwjax.Classifier:
    return gpwjax.Classifier(net.model, net.variables, net.metadata | about)


def test_what_hubs_read(saved_net):
    net = with_about(
        saved_net[1],
        data="cifar10",
        license="Apache-2.0",
        test_accuracy=0.8981,
        test_images=10_000,
    )
    head, body = read(card(net, Path("runs/cats/model.safetensors")))
    assert head["license"] == "apache-2.0"
    assert head["pipeline_tag"] == "image-classification"
    assert head["datasets"] == ["cifar10"]
    assert {"jax", "mobilenet"} <= {*head["tags"]}
    (entry,) = head["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == "cats"
    assert result["metrics"] == [{"type": "accuracy", "value": 0.8981}]
    assert result["dataset"]["name"] == "cifar10"
    # Wilson's interval of 8,981 of 10,000.
    assert "89.81% of 10,000 test images (95% interval 89.2% to 90.4%" in body
    assert "cat, dog, giraffe" in body
    counts = gpwjax.count(net.model, (8, 8, 3))
    assert f"parameters: {counts.params:,}" in body
    assert f"multiply-accumulates: {counts.macs:,} an image" in body


def test_what_the_file_does_not_say_is_not_made_up(saved_net):
    head, body = read(card(saved_net[1], Path("net.safetensors")))
    assert not {"license", "datasets", "model-index"} & {*head}
    assert "The weights file names none" in body or "names none" in body
    assert "## Accuracy\nThe weights file states none." in body
    assert "## Licence\nThe weights file states none." in body
    assert "(Schuler" not in body  # a dense net


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("Our own", {"license": "other", "license_name": "Our own"}),
    ],
)
def test_the_licence_is_a_setting(saved_net, licence, expected):
    net = with_about(saved_net[1], license="Apache-2.0")
    head, body = read(card(net, Path("net.safetensors"), licence))
    assert head | expected == head
    assert f"## Licence\n{licence}\n" in body


def test_texts_of_any_origin_stay_in_their_line(saved_net):
    hostile = 'a"b: [c]\n---\nlicense: none'
    net = with_about(saved_net[1], data=hostile, card={"data": hostile}, license=7)
    head, body = read(card(net, Path("net.safetensors")))
    assert head["datasets"] == [hostile.replace("\n", "?")]
    assert "license" not in head
    assert "\n---" not in body


def test_pictures_are_described_as_they_were_prepared(saved_net):
    about = {"stored_size": 4, "pad": True, "range_16_bit": [0, 4095]}
    _, body = read(card(with_about(saved_net[1], **about), Path("net.safetensors")))
    assert "black bars made them squares, shrunk to 4x4 pixels (bilinear)" in body
    assert "enlarged to 8x8 pixels by nearest neighbour" in body
    assert "16-bit pictures: 0 is black, 4095 white" in body


def test_the_command_writes_it_beside_the_weights(saved_net, capsys):
    assert main(["export", str(saved_net[0]), "--format", "card"]) == 0
    file = saved_net[0].with_suffix(".md")
    assert capsys.readouterr().out == f"{file}: a model card\n"
    read(file.read_text())
