"""The web page, in a browser."""

import base64
import functools
import http.server
import io
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import gpwjax
from gpwjax import explain
from gpwjax.cli import main
from gpwjax.export import web
from gpwjax.export.calibration import LEAST
from gpwjax.export.files import run_onnx
from gpwjax.inference import fit
from gpwjax.pictures import read_image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
# A drop as of a person, but for the pictures, which a script has to make.
DROP = """pictures => {
  const data = new DataTransfer();
  for (const [name, content] of pictures) {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    data.items.add(new File([bytes], name));
  }
  document.querySelector("main").dispatchEvent(
    new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}),
  );
}"""
PREPARE = """async ([content, description]) => {
  const {decode, prepare} = await import("./preprocess.js");
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  return [...prepare(await decode(new Blob([bytes])), description)];
}"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory) -> Path:
    """A `node_modules` with onnxruntime-web, as the documented command makes it."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    folder = tmp_path_factory.mktemp("runtime")
    shutil.copy(web.PAGE / "package.json", folder)
    command = [*web.INSTALL.split(), folder]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot install onnxruntime-web: {error}")
    return folder / "node_modules"


@contextmanager
def server(folder: Path, port: int = 0) -> Iterator[int]:
    """Serves a folder; gives the port."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("localhost", port), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield serving.server_port
        finally:
            serving.shutdown()
            thread.join()


@contextmanager
def visit(browser: Any, port: int, **settings: Any) -> Iterator[Any]:
    """Opens the page; in the end there must be no error and no request elsewhere."""
    context = browser.new_context(**settings)
    page, problems = context.new_page(), []
    url = f"http://localhost:{port}/"
    page.on("console", lambda m: problems.append(m.text) if m.type != "info" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda r: r.url.startswith(url) or problems.append(r.url))
    page.problems = problems
    page.goto(url)
    yield page
    context.close()
    assert problems == []


def drop(page: Any, pictures: dict[str, bytes]) -> None:
    """Drops pictures on the page, by their names, and waits for the last answer."""
    content = [[name, as_text(picture)] for name, picture in pictures.items()]
    page.evaluate(DROP, content)
    page.wait_for_selector(f"#status:has-text('{list(pictures)[-1]}:')")


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def answers(page: Any) -> dict[str, dict[str, float]]:
    """What the page shows: by the names of the pictures, classes -> probabilities."""
    return {
        article.locator("h2").inner_text(): {
            row.locator(".name").inner_text(): float(
                row.locator("data").get_attribute("value")
            )
            for row in article.locator("li").all()
        }
        for article in page.locator("article").all()
    }


def as_file(image: Image.Image, kind: str = "png", **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def noise(*shape: int) -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
    return coarse.resize((3 * shape[1], 3 * shape[0]))


@pytest.fixture
def uncompared(monkeypatch) -> None:
    """`export_page` takes less time: that it compares is tested in test_web.py."""
    monkeypatch.setattr(web, "compare", lambda *_: (0.0, 0.0))


@pytest.fixture
def make_page(saved_net, runtime, tmp_path, uncompared) -> Callable[..., Path]:
    """Writes the page of a small net with these metadata."""

    def make(**metadata: Any) -> Path:
        net = saved_net[1]
        classifier = gpwjax.Classifier(
            net.model, net.variables, net.metadata | metadata
        )
        web.export_page(classifier, tmp_path / "page")
        link = tmp_path / "page" / "node_modules"
        if not link.exists():
            link.symlink_to(runtime)
        return tmp_path / "page"

    return make


@pytest.fixture(scope="module")
def authors(shared, tmp_path_factory) -> Path:
    """The weights file of the authors' kMobileNet, 16 channels, for CIFAR-10."""
    builder = tfds.builder_from_directory(shared / "data/tfds/cifar10/3.0.2")
    model = gpwjax.create_model("mobilenet", 10, 16)
    hdf5 = shared / "reference/authors_kmobilenet_16ch_cifar10.hdf5"
    file = tmp_path_factory.mktemp("authors") / "model.safetensors"
    gpwjax.save(
        file,
        model,
        gpwjax.from_keras(model, hdf5),
        classes=builder.info.features["label"].names,
        image_size=224,
        stored_size=32,
    )
    return file


@pytest.fixture(scope="module")
def pictures(shared, tmp_path_factory) -> list[Path]:
    """Three test images of CIFAR-10, and a photograph that is no square."""
    folder = tmp_path_factory.mktemp("pictures")
    builder = tfds.builder_from_directory(shared / "data/tfds/cifar10/3.0.2")
    source = builder.as_data_source("test")
    for number in range(3):
        Image.fromarray(source[number]["image"]).save(folder / f"{number}.png")
    with tarfile.open(shared / "data/oxford_iiit_pet/images.tar.gz") as tar:
        member = next(m for m in tar if m.name.endswith("_1.jpg"))
        (folder / "pet.jpg").write_bytes(tar.extractfile(member).read())
    height, width, _ = read_image(folder / "pet.jpg").shape
    assert width != height
    return sorted(folder.iterdir())


def test_dropped_pictures_get_the_answers_of_predict(
    browser, authors, pictures, runtime, capsys, monkeypatch
):
    monkeypatch.setattr(web, "PICTURES", len(pictures))  # compiles less
    folder = authors.with_suffix(".web")
    assert main(["export", str(authors), "--format", "web"]) == 0
    (folder / "node_modules").symlink_to(runtime)
    capsys.readouterr()
    names = map(str, pictures)
    assert main(["predict", str(authors), *names, "--json", "--top", "10"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    with server(folder) as port, visit(browser, port, **PHONE) as page:
        drop(page, {file.name: file.read_bytes() for file in pictures})
        found = answers(page)
        for file, answer in zip(pictures, predicted, strict=True):
            expected = {p["class"]: p["probability"] for p in answer["predictions"]}
            shown = found[file.name]
            assert list(shown) == list(expected)[:5]
            assert shown == pytest.approx({k: expected[k] for k in shown}, abs=1e-3)
        check_heat_maps(page, gpwjax.load(authors), read_image(pictures[-1]))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_a_page_of_int8_has_the_answers_of_its_file(
    browser, authors, shared, runtime, tmp_path
):
    builder = tfds.builder_from_directory(shared / "data/tfds/cifar10/3.0.2")
    source = builder.as_data_source("test")
    for number in range(LEAST):
        Image.fromarray(source[number]["image"]).save(tmp_path / f"{number}.png")
    args = ["export", str(authors), "--format", "web", "--dtype", "int8", "--force"]
    folder = tmp_path / "page"
    assert main([*args, "--calibrate", str(tmp_path), "--output", str(folder)]) == 0
    (folder / "node_modules").symlink_to(runtime)
    net, files = gpwjax.load(authors), [tmp_path / f"{n}.png" for n in range(2)]
    images = np.stack([fit(read_image(file), 32) for file in files])
    expected = run_onnx(folder / web.NET, images, "probabilities")
    with server(folder) as port, visit(browser, port) as page:
        drop(page, {file.name: file.read_bytes() for file in files})
        found = answers(page)
    for file, of_classes in zip(files, expected, strict=True):
        by_name = dict(zip(net.classes, of_classes.tolist(), strict=True))
        shown = found[file.name]
        assert shown == pytest.approx({k: by_name[k] for k in shown}, abs=0.02)


def check_heat_maps(page: Any, net: gpwjax.Classifier, image: np.ndarray) -> None:
    """Those of the newest picture, for each of the first classes, by the keyboard."""
    article = page.locator("article").first
    names = article.locator(".name").all_inner_texts()[:4]
    numbers = [net.classes.index(name) for name in names]
    maps = gpwjax.class_activation_map(net, [image] * len(names), numbers)
    for number, heat in enumerate(maps):
        article.locator("button").nth(number).focus()
        page.keyboard.press("Enter")
        pressed = article.locator("button[aria-pressed=true]").all_inner_texts()
        assert [text.split()[0] for text in pressed] == [names[number]]
        data = article.locator(".heat").evaluate("canvas => canvas.toDataURL()")
        drawn = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
        colours = 255 * explain.colour(heat)
        np.testing.assert_allclose(np.asarray(drawn)[..., :3], colours, atol=1)


def test_pictures_are_prepared_as_the_classifier_does(browser, make_page):
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter to the right
    files = {
        "wide": as_file(noise(101, 150, 3)),
        "high": as_file(noise(120, 67, 3), "jpeg", quality=90),
        "turned": as_file(noise(90, 61, 3), "jpeg", quality=90, exif=turned),
        "transparent": as_file(noise(40, 50, 4)),
        "grey": as_file(noise(30, 30)),
        "small": as_file(noise(1, 2, 3)),
    }
    with server(make_page()) as port, visit(browser, port) as page:
        for name, file in files.items():
            for size, pad, resize in (
                (8, False, "bilinear"),
                (32, True, "bilinear"),
                (33, False, "nearest"),
            ):
                settings = {"size": size, "pad": pad, "resize": resize}
                found = page.evaluate(PREPARE, [as_text(file), settings])
                image = read_image(io.BytesIO(file))
                expected = fit(image, size, pad, resize)
                found = np.reshape(np.float32(found), expected.shape)
                np.testing.assert_allclose(found, expected, atol=1 / 255, err_msg=name)


def test_it_works_without_its_server_until_there_is_another_net(browser, make_page):
    folder = make_page()
    picture = {"noise.png": as_file(noise(5, 5, 3))}
    with server(folder) as port:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://localhost:{port}/")
        page.wait_for_selector("#offline:visible")
    page.reload()
    drop(page, picture)
    assert set(answers(page)["noise.png"]) == {"cat", "dog", "giraffe"}
    make_page(classes=["owl", "pig", "rat"], license="another")
    with server(folder, port):
        page.reload()
        page.wait_for_selector("#offline:visible")
        # The page loads itself again once the new files are there.
        page.wait_for_selector("#facts:has-text('another')")
        drop(page, picture)
        assert set(answers(page)["noise.png"]) == {"owl", "pig", "rat"}
    context.close()


def test_names_are_text_whatever_is_in_them(browser, make_page):
    name = "<img src=x onerror=alert(1)>"
    folder = make_page(classes=[name, "dog", "x" * 200], license=name)
    with server(folder) as port, visit(browser, port, **PHONE) as page:
        drop(page, {"<b>.png": as_file(noise(5, 5, 3))})
        assert name in answers(page)["<b>.png"]
        assert page.locator("img, b").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_is_no_picture_is_told(browser, make_page):
    with server(make_page()) as port, visit(browser, port) as page:
        page.locator("#files").set_input_files(
            {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no picture"}
        )
        page.wait_for_selector("#status:has-text('a.txt is no picture')")
        assert answers(page) == {}


def test_without_the_runtime_it_says_what_to_run(
    browser, saved_net, tmp_path, uncompared
):
    web.export_page(saved_net[1], tmp_path / "page")
    with server(tmp_path / "page") as port, visit(browser, port) as page:
        page.wait_for_selector("#status.wrong:has-text('run “npm install')")
        assert all("404" in problem for problem in page.problems)
        page.problems.clear()
