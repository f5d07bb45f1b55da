"""Settings, sizes, names and pictures to begin from: what cannot be used is told beforehand."""

import os

import numpy as np
import pytest
from PIL import Image

from cloche.errors import SettingError
from cloche.image.options import DrawingOptions, own_settings, require_sound, steps_for
from cloche.image.saving import files_for, free_name, name_from, save_picture
from cloche.image.settling import require_early
from cloche.image.start import fit_start, read_start, start_size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 100}, "width must be a multiple of 8, got 100: take 96 or 104"),
        ({"height": 7}, "height must be at least 8 pixels, got 7"),
        ({"width": -512}, "at least 8"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"count": 0}, "count must be at least 1"),
        ({"batch": 4}, "batch 4 is more than the 1"),
        ({"guidance": -1.0}, "guidance must be 0 or above"),
        ({"guidance": float("nan")}, "guidance must be 0 or above"),
        ({"init": "a.png", "strength": 0.0}, "strength must be above 0"),
        ({"init": "a.png", "strength": 1.1}, "strength must be above 0"),
        ({"strength": 0.5}, "give init"),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**63}, "seed must be from 0"),
        ({"negative": " "}, "negative is empty"),
        ({"device": "cpu", "precision": "float16"}, "take bfloat16"),
    ],
)
def test_settings_that_cannot_be_used_are_told(settings, message):
    with pytest.raises(SettingError, match=message):
        require_sound("a sea", DrawingOptions(**settings))


@pytest.mark.parametrize("prompt", ["", " \n", "sea " * 6000, "sea \udcff"])
def test_prompts_that_are_none_are_told(prompt):
    with pytest.raises(SettingError, match="the prompt"):
        require_sound(prompt, DrawingOptions())


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(SettingError, match="3 settings") as caught:
        require_sound("", DrawingOptions(width=9, steps=0))
    assert str(caught.value).count("\n") == 3


@pytest.mark.parametrize("strength", [1.0, 0.5, 1 / 3, 0.3, 0.1, 0.07, 1 / 49, 1e-4, 1e-9])
def test_the_fewest_steps_make_exactly_one(strength):
    steps = steps_for(strength)
    assert int(steps * strength) == 1
    assert steps == 1 or int((steps - 1) * strength) == 0


def test_turbo_is_known_by_its_name_on_the_hub_and_as_a_folder(tmp_path, monkeypatch):
    (tmp_path / "sdxl-turbo").mkdir()
    assert own_settings("stabilityai/sdxl-turbo") == own_settings(f"{tmp_path}/sdxl-turbo/")
    monkeypatch.chdir(tmp_path / "sdxl-turbo")
    assert own_settings(".") is not None
    assert own_settings("stabilityai/stable-diffusion-xl-base-1.0") is None


def test_what_turbo_would_not_heed_is_told_before_it_is_looked_for():
    with pytest.raises(SettingError, match="no effect with guidance"):
        require_early(DrawingOptions(negative="fog"))
    with pytest.raises(SettingError, match="take at least 2"):
        require_early(DrawingOptions(init="a.png", steps=1))
    require_early(DrawingOptions(negative="fog", model="someone/other"))


def test_several_files_are_numbered(tmp_path):
    assert files_for(tmp_path / "sea.png", 1) == (tmp_path / "sea.png",)
    names = [path.name for path in files_for(tmp_path / "sea.PNG", 3)]
    assert names == ["sea-1.PNG", "sea-2.PNG", "sea-3.PNG"]


def test_files_that_cannot_be_written_are_told_beforehand(tmp_path):
    with pytest.raises(SettingError, match=r"take sea\.png"):
        files_for(tmp_path / "sea.jpg", 1)
    with pytest.raises(SettingError, match="make it first"):
        files_for(tmp_path / "no" / "sea.png", 1)
    (tmp_path / "sea.png").mkdir()
    with pytest.raises(SettingError, match="is a folder"):
        files_for(tmp_path / "sea.png", 1)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a Sea, at dusk!", "a-sea-at-dusk.png"),
        ("画一个大海", "画一个大海.png"),
        ("../../etc/passwd", "etc-passwd.png"),
        ("🌊", "picture.png"),
    ],
)
def test_files_are_named_after_the_prompt(prompt, name):
    assert name_from(prompt) == name


def test_no_name_is_too_long_for_a_disk(tmp_path):
    for letter in "a海𠀀":
        path = tmp_path / name_from(letter * 300)
        save_picture(Image.new("RGB", (8, 8)), path, notes={})
        assert path.is_file()


def test_a_name_from_a_prompt_is_never_that_of_a_file(tmp_path):
    assert free_name(tmp_path, "sea", count=1).name == "sea.png"
    (tmp_path / "sea.png").touch()
    assert free_name(tmp_path, "sea", count=1).name == "sea_2.png"
    (tmp_path / "sea-2.png").touch()
    assert free_name(tmp_path, "sea", count=2).name == "sea_2.png"


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    class Torn:
        def save(self, file, **_):
            file.write(b"half")
            raise OSError(28, "No space left on device")

    (tmp_path / "a.png").write_bytes(b"earlier")
    with pytest.raises(SettingError, match="No space left"):
        save_picture(Torn(), tmp_path / "a.png", notes={})
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"earlier"


def test_pictures_to_begin_from_are_read_upright_on_white(tmp_path):
    clear = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert np.asarray(read_start(tmp_path / "clear.png")).min() == 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (4, 2), "red").save(tmp_path / "turned.jpg", exif=exif)
    assert read_start(tmp_path / "turned.jpg").size == (2, 4)
    for mode in ("L", "P", "CMYK", "1", "LA"):
        Image.new(mode, (8, 8)).save(tmp_path / "other.tiff")
        assert read_start(tmp_path / "other.tiff").mode == "RGB"


def test_pictures_that_cannot_be_read_are_told(tmp_path, monkeypatch):
    def refused(name: str, content: bytes | None = None) -> str:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingError) as caught:
            read_start(path)
        return str(caught.value)

    assert "is missing" in refused("none.png")
    assert "cannot be read as a picture" in refused("text.png", b"hello")
    assert "cannot be read as a picture" in refused("empty.png", b"")
    Image.effect_noise((64, 64), 9).save(tmp_path / "whole.png")
    assert "cannot be read" in refused("half.png", (tmp_path / "whole.png").read_bytes()[:900])
    (tmp_path / "folder.png").mkdir()
    assert "cannot be read" in refused("folder.png")
    Image.new("I;16", (8, 8)).save(tmp_path / "deep.png")
    assert "more than 8 bits" in refused("deep.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "too large" in refused("whole.png")


@pytest.mark.parametrize(
    ("start", "asked", "own", "size"),
    [
        ((512, 512), {}, (512, 512), (512, 512)),
        ((4000, 3000), {}, (512, 512), (592, 440)),
        ((300, 200), {}, (512, 512), (304, 200)),
        ((300, 200), {}, None, (304, 200)),
        ((1000, 500), {"width": 64}, (512, 512), (64, 32)),
        ((1000, 500), {"height": 64}, None, (128, 64)),
        ((1000, 1), {"width": 64, "height": 64}, None, (64, 64)),
        ((1000, 1), {}, (64, 64), (1000, 8)),
    ],
)
def test_a_picture_to_begin_from_gives_the_size(start, asked, own, size):
    wanted = {"width": None, "height": None} | asked
    assert start_size(start, **wanted, own=own) == size


def test_a_picture_is_cut_evenly_to_its_size():
    image = Image.new("RGB", (30, 10), "red")
    image.paste("blue", (10, 0, 20, 10))
    assert fit_start(image, (8, 8)).getpixel((4, 4)) == (0, 0, 255)
