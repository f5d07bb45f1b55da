"""`cloche image`: files, seconds, warnings, and mistakes told before anything is loaded."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="pictures need the extra image")

from PIL import Image

from cloche.cli.image import parse_size
from cloche.cli.main import main
from cloche.errors import SettingError


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    source = Path(__file__).parents[1] / "image" / "small_pipelines.py"
    spec = importlib.util.spec_from_file_location("small_pipelines_of_the_command", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.save_pipelines(tmp_path_factory.mktemp("models"))


def test_a_picture_is_drawn_and_the_seconds_are_told(tmp_path, models, capsys):
    out = tmp_path / "sea.png"
    given = ["image", "a sea at dusk", "--model", str(models["sd"]), "--steps", "2"]
    assert main([*given, "--size", "32x48", "--seed", "3", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{out}: 32 x 48, seed 3\ndrawn in ")
    assert "seconds" in captured.out
    assert "step 1 of 2" in captured.err
    assert "step 2 of 2" in captured.err
    with Image.open(out) as image:
        assert image.size == (32, 48)
        assert image.info["prompt"] == "a sea at dusk"


def test_json_is_one_object_and_names_what_was_drawn(tmp_path, models, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["image", "画一个大海", "--model", str(models["sdxl"]), "--count", "2", "--json"]
    assert main([*given, "--seed", "5"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["files"] == ["画一个大海-1.png", "画一个大海-2.png"]
    assert told["seeds"] == [5, 6]
    assert told["model"] == str(models["sdxl"])
    assert told["seconds"] > 0
    assert (told["steps"], told["guidance"]) == (1, 0.0)
    assert "cannot read '画一个大海'" in told["warnings"][0]
    assert told["warnings"][0] in captured.err
    assert all(Path(name).is_file() for name in told["files"])


def test_a_picture_is_drawn_from_a_picture(tmp_path, models, capsys):
    Image.new("RGB", (70, 64), "teal").save(tmp_path / "begin.png")
    given = ["image", "a sea", "--model", str(models["sdxl"]), "--out", str(tmp_path / "out.png")]
    assert main([*given, "--init", str(tmp_path / "begin.png"), "--strength", "0.5"]) == 0
    captured = capsys.readouterr()
    assert "steps 2, guidance 0, strength 0.5" in captured.out
    assert "step 1 of 1" in captured.err
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["strength"] == "0.5"
        assert image.info["init"] == str(tmp_path / "begin.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--width", "100"], "take 96 or 104"),
        (["--size", "100x64"], "take 96 or 104"),
        (["--size", "big"], "--size is one side or WIDTHxHEIGHT"),
        (["--size", "64", "--height", "64"], "--size is width and height at once"),
        (["--out", "sea.jpg"], "take sea.png"),
        (["--negative", "fog"], "no effect with guidance 0.0"),
        (["--init", "none.png"], "init none.png is missing"),
        (["--model", "nowhere"], "there is no folder nowhere"),
        (["--strength", "0.5"], "give init"),
    ],
)
def test_mistakes_are_one_message_and_status_2(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["image", "a sea", *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not list(tmp_path.iterdir())


def test_a_missing_library_names_the_extra(monkeypatch, capsys):
    from cloche.image import extras

    find = importlib.util.find_spec
    monkeypatch.setattr(
        extras.importlib.util,
        "find_spec",
        lambda name: None if name == "diffusers" else find(name),
    )
    assert main(["image", "a sea", "--out", "sea.png"]) == 2
    assert "pictures need diffusers: pip install 'cloche[image]'" in capsys.readouterr().err


def test_an_interrupted_drawing_ends_with_130_and_leaves_no_part(tmp_path, monkeypatch, capsys):
    from cloche.image import drawing

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(drawing, "find_pipeline", interrupt)
    assert main(["image", "a sea", "--out", str(tmp_path / "sea.png")]) == 130
    assert not list(tmp_path.iterdir())


def test_the_options_are_told_without_loading_torch():
    code = (
        "import sys\n"
        "from cloche.cli.main import main\n"
        "try:\n"
        "    main(['image', '--help'])\n"
        "except SystemExit as exc:\n"
        "    assert not exc.code\n"
        "assert not {'torch', 'diffusers', 'PIL'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for option in ("--model", "--size", "--steps", "--guidance", "--seed", "--count", "--negative"):
        assert option in done.stdout
    for option in ("--init", "--strength", "--out", "--anyway", "--json"):
        assert option in done.stdout


@pytest.mark.parametrize(("text", "size"), [("512", (512, 512)), ("768X512", (768, 512))])
def test_sizes_are_one_side_or_two(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "512x", "-8", "8.5", "1x2x3", "9" * 5000])
def test_other_sizes_are_told(text):
    with pytest.raises(SettingError, match="--size is one side"):
        parse_size(text)
