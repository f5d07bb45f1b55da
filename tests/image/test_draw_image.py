"""Pictures drawn by small pipelines of both shapes, saved, loaded and run."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from small_pipelines import SIDE

from cloche.errors import CheckpointError, SettingError
from cloche.image import drawing as drawing_module
from cloche.image.drawing import draw_image
from cloche.image.memory import Room
from cloche.image.options import DrawingOptions
from cloche.image.painting import StepDone

SHAPES = ("sd", "sdxl")


def draw(pipelines, shape, prompt="a sea at dusk", **settings):
    heard = settings.pop("heard", [])
    given = {name: settings.pop(name) for name in ("out", "report", "tell") if name in settings}
    options = DrawingOptions(model=str(pipelines[shape]), device="cpu", **settings)
    return draw_image(prompt, options, warn=heard.append, **given)


def pixels(drawing, number=0):
    return np.asarray(drawing.pictures[number].image)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_is_a_picture_and_another_seed_is_another(pipelines, shape):
    first = draw(pipelines, shape, seed=7, steps=2)
    again = draw(pipelines, shape, seed=7, steps=2)
    other = draw(pipelines, shape, seed=8, steps=2)
    assert first.pictures[0].image.size == (SIDE, SIDE)
    assert np.array_equal(pixels(first), pixels(again))
    assert not np.array_equal(pixels(first), pixels(other))


def test_it_equals_what_the_pipeline_itself_draws(pipelines):
    from cloche.image.extras import quietly

    ours = draw(pipelines, "sd", seed=3, steps=3, guidance=4.0, negative="dusk")
    with quietly():
        from diffusers.pipelines.auto_pipeline import AutoPipelineForText2Image

        theirs = AutoPipelineForText2Image.from_pretrained(str(pipelines["sd"]))
        theirs.set_progress_bar_config(disable=True)
        image = theirs(
            "a sea at dusk",
            num_inference_steps=3,
            guidance_scale=4.0,
            negative_prompt="dusk",
            generator=torch.Generator("cpu").manual_seed(3),
        ).images[0]
    assert np.array_equal(pixels(ours), np.asarray(image))


@pytest.mark.parametrize("shape", SHAPES)
def test_several_are_the_same_as_each_alone(pipelines, shape):
    three = draw(pipelines, shape, seed=5, steps=1, count=3)
    assert [each.seed for each in three.pictures] == [5, 6, 7]
    for number in range(3):
        alone = draw(pipelines, shape, seed=5 + number, steps=1)
        assert np.array_equal(pixels(three, number), pixels(alone))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("from_picture", [False, True])
def test_several_at_once_are_those_drawn_one_by_one(tmp_path, pipelines, shape, from_picture):
    more = {}
    if from_picture:
        Image.new("RGB", (SIDE, SIDE), "teal").save(tmp_path / "init.png")
        more = {"init": str(tmp_path / "init.png"), "strength": 0.6}
    alone = draw(pipelines, shape, seed=5, steps=2, count=3, **more)
    together = draw(pipelines, shape, seed=5, steps=2, count=3, batch=2, **more)
    for number in range(3):  # rounding apart, which a product of more rows may change
        assert np.abs(pixels(alone, number).astype(int) - pixels(together, number)).max() <= 2


def test_turbo_takes_one_step_without_guidance_and_others_their_own(pipelines):
    turbo = draw(pipelines, "sdxl", seed=1)
    assert (turbo.settled.steps, turbo.settled.guidance) == (1, 0.0)
    other = draw(pipelines, "sd", seed=1, steps=1)
    assert other.settled.guidance == 7.5
    assert turbo.settled.strength is None


def test_every_step_is_reported(pipelines):
    steps: list[StepDone] = []
    draw(pipelines, "sd", steps=3, count=2, report=steps.append)
    assert [(done.picture, done.step, done.steps) for done in steps] == [
        (picture, step, 3) for picture in (1, 2) for step in (1, 2, 3)
    ]
    assert all(done.pictures == 2 and done.seconds > 0 for done in steps)


def test_a_file_says_how_it_was_made_in_any_script(tmp_path, pipelines):
    out = tmp_path / "sea.png"
    drawn = draw(pipelines, "sd", "画一个大海 é", out=out, steps=2, seed=9, negative="雾", width=32)
    with Image.open(out) as image:
        notes = dict(image.info)
        assert np.array_equal(np.asarray(image), pixels(drawn))
    assert notes["prompt"] == "画一个大海 é"
    assert notes["negative"] == "雾"
    assert (notes["seed"], notes["steps"], notes["guidance"]) == ("9", "2", "7.5")
    assert notes["model"] == str(pipelines["sd"])
    assert notes["size"] == f"32x{SIDE}"
    assert notes["Software"].startswith("cloche ")


def test_pictures_drawn_before_a_failure_stay(tmp_path, pipelines):
    def stop(done: StepDone) -> None:
        if done.picture == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(pipelines, "sd", steps=1, count=3, out=tmp_path / "a.png", report=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["a-1.png"]


@pytest.mark.parametrize("shape", SHAPES)
def test_of_a_picture_to_begin_from_less_is_kept_the_more_strength(tmp_path, pipelines, shape):
    for colour in ("black", "white"):
        Image.new("RGB", (SIDE, SIDE), colour).save(tmp_path / f"{colour}.png")

    def apart(strength):
        black, white = (
            draw(
                pipelines,
                shape,
                init=str(tmp_path / f"{colour}.png"),
                strength=strength,
                steps=10,
                seed=1,
            )
            for colour in ("black", "white")
        )
        return np.abs(pixels(black).astype(int) - pixels(white)).mean()

    assert apart(0.1) > 1.5 * apart(0.9)


def test_turbo_from_a_picture_takes_as_many_steps_as_make_one(tmp_path, pipelines):
    Image.new("RGB", (SIDE, SIDE), "navy").save(tmp_path / "init.png")
    steps: list[StepDone] = []
    drawn = draw(
        pipelines, "sdxl", init=str(tmp_path / "init.png"), strength=0.3, report=steps.append
    )
    assert drawn.settled.steps == 4
    assert [(done.step, done.steps) for done in steps] == [(1, 1)]
    assert draw(pipelines, "sdxl", init=str(tmp_path / "init.png")).settled.strength == 0.5


def test_a_picture_to_begin_from_is_brought_to_size(tmp_path, pipelines):
    Image.new("RGB", (3 * SIDE, SIDE + 3), "navy").save(tmp_path / "init.png")
    told: list[str] = []
    init = str(tmp_path / "init.png")
    drawn = draw(pipelines, "sd", init=init, steps=2, tell=told.append)
    width, height = drawn.pictures[0].image.size
    assert width % 8 == height % 8 == 0
    assert width * height <= 1.2 * SIDE * SIDE
    assert f"is drawn in {width} x {height}" in told[0]
    asked = draw(pipelines, "sd", init=init, steps=2, width=40, height=24)
    assert asked.pictures[0].image.size == (40, 24)


@pytest.mark.parametrize(("width", "height"), [(32, None), (None, 48), (96, 40)])
def test_sizes_are_as_asked(pipelines, width, height):
    drawn = draw(pipelines, "sd", steps=1, width=width, height=height)
    assert drawn.pictures[0].image.size == (width or SIDE, height or SIDE)


def test_files_of_16_bits_are_taken_where_wanted(pipelines):
    half = draw(pipelines, "sdxl", seed=1, precision="bfloat16")
    assert half.precision == "bfloat16"
    assert half.memory.weights * 2 == draw(pipelines, "sdxl", seed=1).memory.weights


def test_what_the_prompt_loses_is_told(pipelines):
    heard: list[str] = []
    draw(pipelines, "sdxl", "sea " * 80 + "dusk", steps=1, heard=heard)
    assert len(heard) == 1  # both encoders cut the same
    assert "has 83 tokens" in heard[0]
    assert "reads 77" in heard[0]
    assert "'sea sea sea sea sea dusk'" in heard[0]


def test_a_chinese_prompt_is_drawn_with_a_warning(pipelines):
    heard: list[str] = []
    drawn = draw(pipelines, "sdxl", "画一个大海", steps=1, heard=heard)
    assert drawn.pictures[0].image.size == (SIDE, SIDE)
    assert len(heard) == 1
    assert "'画一个大海' (15 tokens for 5 characters" in heard[0]


def test_a_negative_prompt_that_would_do_nothing_is_refused(pipelines):
    with pytest.raises(SettingError, match=r"no effect with guidance 0\.0"):
        draw(pipelines, "sdxl", negative="fog")
    with pytest.raises(SettingError, match=r"no effect with guidance 1\.0"):
        draw(pipelines, "sd", negative="fog", guidance=1.0)
    one, other = (
        draw(pipelines, "sdxl", negative=text, guidance=5.0, seed=1) for text in ("fog", "dusk sea")
    )
    assert not np.array_equal(pixels(one), pixels(other))


def test_strength_that_leaves_no_step_is_refused(tmp_path, pipelines):
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "init.png")
    with pytest.raises(SettingError, match="take at least 10"):
        draw(pipelines, "sd", init=str(tmp_path / "init.png"), strength=0.1, steps=4)


def test_too_little_memory_is_refused_with_figures_before_loading(pipelines, monkeypatch):
    monkeypatch.setattr(drawing_module, "free_room", lambda _: Room(300_100_000))
    with monkeypatch.context() as patched:
        patched.setattr(drawing_module, "load_painter", None)
        with pytest.raises(SettingError, match=r"kB for the weights in float32.* 300 MB of this"):
            draw(pipelines, "sd", steps=1)
    heard: list[str] = []
    assert draw(pipelines, "sd", steps=1, anyway=True, heard=heard).pictures
    assert heard[0].startswith("going on anyway: drawing takes")


def test_numbers_that_are_none_make_no_picture(tmp_path, pipelines):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(pipelines["sd"], broken)
    path = broken / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["decoder.conv_out.bias"].fill_(math.nan)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        draw({"sd": broken}, "sd", steps=1, out=tmp_path / "a.png")
    assert not list(tmp_path.glob("*.png"))


def test_weights_of_another_shape_are_told(tmp_path, pipelines):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(pipelines["sd"], broken)
    path = broken / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.weight"] = tensors["conv_in.weight"][:, :2].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="cannot be loaded by diffusers"):
        draw({"sd": broken}, "sd", steps=1)


def test_libraries_are_as_loud_afterwards_as_before(pipelines):
    import logging

    import diffusers.utils.logging

    before = (
        [logging.getLogger(name).level for name in ("diffusers", "transformers")],
        diffusers.utils.logging.is_progress_bar_enabled(),
    )
    draw(pipelines, "sd", steps=1)
    after = (
        [logging.getLogger(name).level for name in ("diffusers", "transformers")],
        diffusers.utils.logging.is_progress_bar_enabled(),
    )
    assert before == after


def test_the_result_as_json_tells_all_but_the_pictures(tmp_path, pipelines):
    values = draw(pipelines, "sd", steps=1, seed=4, count=2, out=tmp_path / "a.png").to_json()
    assert values["files"] == [str(tmp_path / "a-1.png"), str(tmp_path / "a-2.png")]
    assert values["seeds"] == [4, 5]
    assert (values["width"], values["height"], values["steps"]) == (SIDE, SIDE, 1)
    assert values["seconds"] > 0
