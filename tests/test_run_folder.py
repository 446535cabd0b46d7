"""The run folder and its small files."""

import dataclasses

import pytest
from made_runs import DIGITS

from train import loop
from train.config import RunError
from train.origin import check_run_folder, make_run_folder
from train.run_folder import (
    COLUMNS,
    read_metrics,
    write_metrics,
    write_skipped,
)


@pytest.fixture
def config(tmp_path):
    return dataclasses.replace(DIGITS, run_dir=tmp_path / "runs" / "one")


def test_the_same_configuration_finds_its_folder_again(config):
    check_run_folder(config)
    make_run_folder(config)
    check_run_folder(config)


def test_where_data_lie_is_no_part_of_the_configuration(config, tmp_path):
    make_run_folder(config)
    check_run_folder(dataclasses.replace(config, data_dir=tmp_path))


def test_another_configuration_is_refused_naming_each_difference(config):
    make_run_folder(config)
    augmentation = dataclasses.replace(config.augmentation, shift=0.2)
    other = dataclasses.replace(config, batch_size=8, augmentation=augmentation)
    with pytest.raises(RunError) as error:
        check_run_folder(other)
    assert "--batch-size was 32, now 8; --shift was 0.1, now 0.2" in str(error.value)


def test_a_finished_run_without_its_result_is_one_error(config, monkeypatch):
    monkeypatch.setattr(loop, "draw_missing", lambda *_: None)
    make_run_folder(config)
    (config.folder / "result.json").write_text("{}")
    with pytest.raises(RunError, match="result.json is damaged: test_accuracy is None"):
        loop.fit(config, None)


def test_a_folder_with_other_things_is_refused(config):
    config.folder.mkdir(parents=True)
    (config.folder / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="not empty and holds no run"):
        check_run_folder(config)


def test_a_folder_that_cannot_be_made_is_an_error(config):
    config.folder.parent.write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot make run folder"):
        make_run_folder(config)


def test_metrics_are_read_as_they_were_written(tmp_path):
    rows = [
        {name: value for value, name in enumerate(COLUMNS, start=10 * i)}
        for i in range(3)
    ]
    write_metrics(tmp_path, rows)
    assert read_metrics(tmp_path) == rows
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_lines_of_metrics_that_are_not_whole_are_left_out(tmp_path, caplog):
    rows = [
        {name: value for value, name in enumerate(COLUMNS, start=10 * i)}
        for i in range(3)
    ]
    write_metrics(tmp_path, rows)
    file = tmp_path / "metrics.csv"
    whole = file.read_bytes()
    head, *lines = whole.splitlines(keepends=True)
    for end in range(len(head), len(whole)):
        file.write_bytes(whole[:end])
        count = whole[:end].count(b"\n") - 1
        assert read_metrics(tmp_path) == rows[:count]
    file.write_bytes(head + lines[0] + b"\xff\0,2\n" + lines[2])
    assert read_metrics(tmp_path) == [rows[0], rows[2]]
    assert "left out line 3 of" in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b'{"epochs": ', b"[1]", b"\xff\xfe", b"[" * 100_000]
)
def test_a_damaged_configuration_is_one_clear_error(config, content):
    make_run_folder(config)
    (config.folder / "config.json").write_bytes(content)
    with pytest.raises(RunError, match="config.json (cannot be read|must hold a JSON)"):
        check_run_folder(config)


def test_what_a_killed_start_leaves_is_no_obstacle(config):
    config.folder.mkdir(parents=True)
    (config.folder / ".config.json.unfinished-1").write_text("{")
    check_run_folder(config)


def test_without_a_file_there_are_no_metrics(tmp_path):
    assert read_metrics(tmp_path) == []


def test_skipped_files_with_any_name_are_listed(tmp_path):
    file = write_skipped(tmp_path, [('a,"b".png', "truncated")])
    assert file.read_text().splitlines() == ["file,reason", '"a,""b"".png",truncated']
