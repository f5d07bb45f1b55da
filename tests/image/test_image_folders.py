"""Where pipelines come from: folders, the cache, the Hub; what is not whole or not safe is told."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cloche.errors import CheckpointError, SettingError
from cloche.image import memory as memory_module
from cloche.image.finding import download_command, fetched_files, find_pipeline
from cloche.image.folder import open_folder
from cloche.image.memory import (
    DrawingMemory,
    Room,
    own_size,
    plan_memory,
    require_download_room,
    require_room,
)

UNET = "diffusion_pytorch_model"
LISTED = {
    "model_index.json": 1,
    "README.md": 10,
    "sd_xl_turbo_1.0.safetensors": 900,
    "scheduler/scheduler_config.json": 2,
    "tokenizer/merges.txt": 3,
    f"unet/{UNET}.safetensors": 400,
    f"unet/{UNET}.fp16.safetensors": 200,
    "unet/model.onnx": 700,
    "unet/config.json": 4,
    f"vae/{UNET}.safetensors": 40,
    "vae/diffusion_pytorch_model.bin": 41,
    "text_encoder/model.fp16-00001-of-00002.safetensors": 30,
    "text_encoder/model.fp16-00002-of-00002.safetensors": 31,
}


@pytest.fixture
def copied(tmp_path, pipelines) -> Path:
    return Path(shutil.copytree(pipelines["sdxl"], tmp_path / "copied"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The Hub's library with an empty cache and no network, until a test gives it one."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)

    def refuse(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    return huggingface_hub


def find(model, *, prefer_half=False, told=None, check=lambda _: None):
    tell = (told if told is not None else []).append
    return find_pipeline(str(model), prefer_half=prefer_half, tell=tell, check=check)


def change_index(folder: Path, **values: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_files_of_16_bits_are_read_where_preferred_or_where_alone(copied):
    assert open_folder(copied, name="a", prefer_half=False).variant is None
    half = open_folder(copied, name="a", prefer_half=True)
    assert half.variant == "fp16"
    assert all(".fp16." in path.name for part in half.components for path in part.files("fp16"))
    (copied / "unet" / f"{UNET}.safetensors").unlink()
    assert open_folder(copied, name="a", prefer_half=False).variant == "fp16"


def test_a_part_without_files_of_16_bits_is_read_in_full(copied):
    (copied / "vae" / f"{UNET}.fp16.safetensors").unlink()
    folder = open_folder(copied, name="a", prefer_half=True)
    files = {part.name: part.files(folder.variant)[0].name for part in folder.components}
    assert files["vae"] == f"{UNET}.safetensors"
    assert files["unet"] == f"{UNET}.fp16.safetensors"


@pytest.mark.parametrize("part", ["unet", "text_encoder_2", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(copied, part):
    shutil.rmtree(copied / part)
    with pytest.raises(CheckpointError, match=f"is not whole: .*{part}.* missing"):
        find(copied)


def test_missing_shards_are_named(copied):
    for path in (copied / "unet").glob("*.safetensors"):
        path.unlink()
    (copied / "unet" / f"{UNET}-00001-of-00002.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"there are only .*00001-of-00002"):
        find(copied)


def test_pickles_are_refused_and_not_opened(copied):
    for path in (copied / "vae").glob("*.safetensors"):
        path.unlink()
    (copied / "vae" / f"{UNET}.bin").write_bytes(b"never read")
    with pytest.raises(CheckpointError, match=r"model\.bin may be a Python pickle"):
        find(copied)
    (copied / "model.ckpt").touch()
    with pytest.raises(CheckpointError, match="may be a Python pickle"):
        find(copied / "model.ckpt")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"_class_name": ["my_pipeline", "Mine"]}, "code of its own: refused"),
        ({"_class_name": None}, "refused"),
        ({"unet": ["my_unet", "Mine"]}, "takes unet from 'my_unet', code of its own"),
        ({"unet": ["os", "system"]}, "takes unet from 'os'"),
        ({"unet": ["../stable_diffusion", "Mine"]}, "code of its own"),
        ({"../../unet": ["diffusers", "UNet2DConditionModel"]}, "leads out of its folder"),
        ({"unet": [1, 2]}, "is damaged: unet"),
    ],
)
def test_code_of_its_own_and_paths_that_lead_out_are_refused(copied, values, message):
    change_index(copied, **values)
    with pytest.raises(CheckpointError, match=message):
        find(copied)


def test_classes_that_pipelines_of_diffusers_bring_are_no_code_of_its_own(copied):
    change_index(copied, vae=["stable_diffusion", "AutoencoderKL"])
    assert len(find(copied).components) == 4


def test_what_is_no_pipeline_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no model_index\.json"):
        find(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is a single model"):
        find(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": ')
    with pytest.raises(CheckpointError, match="is damaged"):
        find(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "Some"}')
    with pytest.raises(CheckpointError, match="names no part"):
        find(tmp_path)
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(CheckpointError, match="is a file, and a pipeline"):
        find(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "/no/such/folder", "a b/c", "../x/y", "a/.."])
def test_what_is_neither_folder_nor_name_is_told(name):
    with pytest.raises(SettingError, match="there is no folder"):
        find(name)


def test_what_cannot_be_had_is_told_with_the_way_to_get_it(tmp_path, hub):
    with pytest.raises(CheckpointError) as caught:
        find("stabilityai/sdxl-turbo", prefer_half=True)
    message = str(caught.value)
    assert "ConnectionError: no route to host" in message
    assert str(tmp_path / "cache") in message
    assert download_command("stabilityai/sdxl-turbo", prefer_half=True) in message
    assert "--local-dir sdxl-turbo" in message
    assert "give --model sdxl-turbo" in message
    assert "HF_ENDPOINT" in message


def test_the_hub_is_asked_once_and_fetched_from_after_the_check(hub, pipelines, monkeypatch):
    asked, checked, told = [], [], []

    def model_info(_self, name, **settings):
        asked.append((name, settings["timeout"]))
        files = [SimpleNamespace(rfilename=path, size=size) for path, size in LISTED.items()]
        return SimpleNamespace(siblings=files, sha="abc")

    def download(name, **settings):
        assert checked
        assert settings["revision"] == "abc"
        assert not any(path.endswith((".bin", ".onnx")) for path in settings["allow_patterns"])
        return str(pipelines["sdxl"])

    monkeypatch.setattr(hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(hub, "snapshot_download", download)
    found = find("someone/pictures", told=told, check=checked.append)
    assert found.path == pipelines["sdxl"]
    assert asked == [("someone/pictures", 10.0)]
    assert checked[0].total == 1 + 2 + 3 + 4 + 400 + 40 + 30 + 31
    assert told == ["downloading someone/pictures: 511 bytes, kept for the next time"]

    def refuse(_files):
        raise SettingError("too large")

    with pytest.raises(SettingError, match="too large"):
        find("someone/pictures", check=refuse)


def test_the_cache_is_used_without_asking_and_what_is_torn_there_is_asked_for(
    hub, copied, monkeypatch
):
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: str(copied / "model_index.json"))
    assert find("someone/pictures").path == copied
    shutil.rmtree(copied / "unet")
    told: list[str] = []
    with pytest.raises(CheckpointError, match="no route to host"):
        find("someone/pictures", told=told)
    assert "unet missing" in told[0]


def test_of_a_repository_only_what_is_loaded_is_fetched():
    plain = fetched_files(LISTED, prefer_half=False)
    assert f"unet/{UNET}.safetensors" in plain
    assert f"unet/{UNET}.fp16.safetensors" not in plain
    assert sum("text_encoder" in path for path in plain) == 2
    half = fetched_files(LISTED, prefer_half=True)
    assert f"unet/{UNET}.fp16.safetensors" in half
    assert f"unet/{UNET}.safetensors" not in half
    assert f"vae/{UNET}.safetensors" in half
    for found in (plain, half):
        assert not {"README.md", "sd_xl_turbo_1.0.safetensors", "unet/model.onnx"} & found.keys()


def test_memory_is_what_the_loaded_pipeline_holds(pipelines):
    from cloche.image.loading import load_painter

    folder = find(pipelines["sdxl"])
    planned = plan_memory(folder, precision="float32", size=None, batch=1)
    pipeline = load_painter(folder, device="cpu", precision="float32", from_picture=False).pipeline
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    held = sum(value.nbytes for part in modules for value in part.parameters())
    assert planned.weights == pytest.approx(held, rel=0.01)
    assert own_size(folder) == (64, 64)
    assert planned.decoder == 6 * 8 * 64 * 64 * 4
    twice = plan_memory(folder, precision="bfloat16", size=(128, 64), batch=3)
    assert twice.weights * 2 == planned.weights
    assert twice.decoder == 6 * 8 * 128 * 64 * 2 * 3


def test_a_refusal_names_what_would_do():
    needed = DrawingMemory(weights=14_000_000_000, decoder=1_600_000_000)
    with pytest.raises(SettingError, match=r"take precision bfloat16 \(7\.8 GB\)"):
        require_room(needed, "float32", room=Room(12_000_000_000))
    with pytest.raises(SettingError, match="fewer at once or smaller ones"):
        require_room(needed, "bfloat16", room=Room(15_000_000_000))
    with pytest.raises(SettingError, match="take a smaller model"):
        require_room(needed, "float32", room=Room(2_000_000_000))
    require_room(needed, "float32", room=Room(16_000_000_000))


def test_a_gpu_needs_room_of_its_own_and_the_host_room_for_the_weights():
    needed = DrawingMemory(weights=7_000_000_000, decoder=800_000_000)
    with pytest.raises(SettingError, match="are free on the GPU"):
        require_room(needed, "float16", room=Room(64_000_000_000, 6_000_000_000))
    with pytest.raises(SettingError, match="this machine's memory"):
        require_room(needed, "float16", room=Room(6_000_000_000, 24_000_000_000))
    require_room(needed, "float16", room=Room(7_500_000_000, 8_000_000_000))


def test_weights_too_large_are_refused_before_they_are_downloaded():
    sizes = {f"unet/{UNET}.fp16.safetensors": 5_000_000_000, "unet/config.json": 1_000}
    files = memory_module.HubFiles("abc", sizes)
    with pytest.raises(SettingError, match=r"takes 10\.0 GB"):
        require_download_room(files, "float32", room=Room(8_000_000_000))
    require_download_room(files, "float16", room=Room(8_000_000_000, 8_000_000_000))
