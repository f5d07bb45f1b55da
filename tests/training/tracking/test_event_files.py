"""TensorBoard's files, read back with TensorBoard's own reader."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from cloche.training.tracking.event_files import (
    EventFiles,
    cut_event_files,
    framed,
    masked_checksum,
    read_records,
)
from cloche.training.tracking.rows import Figures, TrackedRun, Writing

OPTIONS = {"minutes": 5.0, "model.layers": 4, "train.trackers": ["tensorboard"]}


def write(run, steps, *, from_step=0, value=1.0):
    sink = EventFiles(TrackedRun(run, from_step, OPTIONS))
    for step in steps:
        sink.add(Figures(step, 1000.0 + step, {"train/loss": value / step, "eval/loss": value}))
    return sink


def read(run):
    reader = EventAccumulator(str(run / "events"), purge_orphaned_data=True)
    reader.Reload()
    return reader


def steps_of(run, tag="train/loss"):
    return [event.step for event in read(run).Scalars(tag)]


def texts_of(run, tag):
    return [event.tensor_proto.string_val[0].decode() for event in read(run).Tensors(tag)]


def test_tensorboard_reads_scalars_with_their_steps_and_times(tmp_path):
    write(tmp_path, [1, 2, 3]).close(finished=True)
    found = read(tmp_path).Scalars("train/loss")
    assert [(event.step, event.wall_time) for event in found] == [
        (1, 1001.0),
        (2, 1002.0),
        (3, 1003.0),
    ]
    assert [event.value for event in found] == pytest.approx([1.0, 0.5, 1 / 3])
    assert steps_of(tmp_path, "eval/loss") == [1, 2, 3]


def test_tensorboard_shows_numbers_that_are_none(tmp_path):
    sink = write(tmp_path, [])
    sink.add(Figures(1, 0.0, {"train/loss": float("nan"), "train/grad_norm": float("inf")}))
    sink.close(finished=False)
    assert read(tmp_path).Scalars("train/grad_norm")[0].value == float("inf")


def test_samples_and_options_stand_as_they_are(tmp_path):
    sink = write(tmp_path, [1])
    sink.add(Writing(1, 0.0, "床前", "明月光\n**疑**是地上霜 <b>"))
    sink.close(finished=True)
    assert texts_of(tmp_path, "sample") == ["    床前明月光\n    **疑**是地上霜 <b>"]
    (config,) = texts_of(tmp_path, "config")
    assert "minutes = 5.0" in config
    assert "[model]\n    layers = 4" in config


def test_a_text_is_shown_by_the_plugin_for_texts(tmp_path):
    write(tmp_path, []).close(finished=True)
    assert "config" in read(tmp_path).PluginTagToContent("text")


def test_rows_can_be_read_while_the_run_goes_on(tmp_path):
    sink = write(tmp_path, [1, 2])
    sink.flush()
    assert steps_of(tmp_path) == [1, 2]
    sink.close(finished=True)


def test_a_resumed_run_shows_nothing_beyond_its_checkpoint_even_before_a_new_row(tmp_path):
    write(tmp_path, [1, 2, 3, 4, 5]).close(finished=False)
    resumed = write(tmp_path, [], from_step=3)
    assert steps_of(tmp_path) == [1, 2, 3]
    resumed.add(Figures(4, 0.0, {"train/loss": 9.0}))
    resumed.close(finished=True)
    assert steps_of(tmp_path) == [1, 2, 3, 4]
    assert read(tmp_path).Scalars("train/loss")[-1].value == 9.0


def test_a_tensorboard_that_is_open_drops_what_it_has_read_beyond_the_checkpoint(tmp_path):
    write(tmp_path, [1, 2, 3, 4, 5]).close(finished=False)
    watching = read(tmp_path)
    assert [event.step for event in watching.Scalars("train/loss")] == [1, 2, 3, 4, 5]
    write(tmp_path, [], from_step=3).close(finished=True)
    watching.Reload()
    assert [event.step for event in watching.Scalars("train/loss")] == [1, 2, 3]


def test_a_run_resumed_twice_from_one_checkpoint_has_each_step_once(tmp_path):
    write(tmp_path, [1, 2, 3, 4]).close(finished=False)
    for _ in range(2):
        write(tmp_path, [3, 4, 5], from_step=2).close(finished=False)
    write(tmp_path, [2, 3], from_step=1).close(finished=True)
    assert steps_of(tmp_path) == [1, 2, 3]


def test_a_run_that_begins_anew_shows_nothing_of_the_earlier_one(tmp_path):
    earlier = write(tmp_path, [1, 2])
    earlier.add(Figures(0, 0.0, {"eval/loss": 7.0}))
    earlier.close(finished=False)
    write(tmp_path, [1]).close(finished=True)
    assert steps_of(tmp_path) == [1]
    assert [event.value for event in read(tmp_path).Scalars("eval/loss")] == [1.0]


def test_a_file_that_a_killed_run_left_torn_is_cut_to_its_whole_events(tmp_path):
    write(tmp_path, [1, 2]).close(finished=False)
    (path,) = (tmp_path / "events").iterdir()
    whole = path.read_bytes()
    for torn in (framed(b"x" * 40)[:-1], framed(b"y")[:5], b"\xff" * 20):
        path.write_bytes(whole + torn)
        cut_event_files(tmp_path / "events", beyond=2)
        assert path.read_bytes() == whole


def test_a_file_without_a_whole_event_is_removed(tmp_path):
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(b"torn")
    cut_event_files(tmp_path, beyond=10)
    assert not path.exists()


def test_files_of_others_in_the_folder_stay(tmp_path):
    (tmp_path / "events").mkdir()
    other = tmp_path / "events" / "notes.txt"
    other.write_text("mine")
    write(tmp_path, [1]).close(finished=True)
    assert other.read_text() == "mine"


@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(256)) * 3, bytes(range(7, 107))])
def test_the_checksum_is_tensorboards(data):
    assert masked_checksum(data) == masked_crc32c(data)


def test_records_are_read_as_they_were_framed(tmp_path):
    path = tmp_path / "records"
    path.write_bytes(framed(b"one") + framed(b"") + framed(b"three"))
    assert [data for _, data in read_records(path)] == [b"one", b"", b"three"]


def test_a_full_disk_is_an_error(tmp_path):
    sink = write(tmp_path, [1])
    sink._file.close()
    with open("/dev/full", "wb", buffering=0) as full:
        sink._file = full
        with pytest.raises(OSError, match="space"):
            sink.flush()
