"""`load` opens what can write, refuses what must not be opened, and says what it fell back to."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cloche.errors import CheckpointError, RequestError, RunError, SettingError, TokenizerError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import load, read_metrics
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.history import point

LETTERS = "abcdefghij \n"


def save(folder: Path, *, seed: int = 0, vocab_size: int | None = None, **more) -> Path:
    tokenizer = CharacterTokenizer(set(LETTERS))
    config = complete(
        ModelOptions(),
        vocab_size=vocab_size or tokenizer.vocab_size,
        layers=1,
        width=32,
        context=16,
    )
    torch.manual_seed(seed)
    save_checkpoint(
        folder, model=build_model(config), config=config, tokenizer=tokenizer, card="", **more
    )
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    run = tmp_path / "book"
    for step in (1, 2, 3):
        save(run / "checkpoints" / f"step-{step:06}", seed=step)
    point(run, "best", run / "checkpoints" / "step-000002")
    point(run, "latest", run / "checkpoints" / "step-000003")
    return run


@pytest.fixture
def lm(tmp_path):
    return load(save(tmp_path / "model"), device="cpu")


def damage(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def no_warning(message: str) -> None:
    pytest.fail(f"unexpected warning: {message}")


@pytest.mark.parametrize(
    ("wanted", "opened"),
    [("best", 2), ("latest", 3), ("step-000001", 1), ("1", 1)],
)
def test_a_run_opens_at_the_asked_checkpoint(run, wanted, opened):
    lm = load(str(run), checkpoint=wanted, warn=no_warning)
    assert lm.folder.name == f"step-{opened:06}"
    assert not lm.model.training


def test_a_checkpoint_and_a_link_to_it_open_too(run):
    assert load(run / "checkpoints" / "step-000001", warn=no_warning).folder.name == "step-000001"
    assert load(run / "latest", warn=no_warning).folder == run / "latest"


def test_a_model_that_begins_with_bos_begins_every_prompt_with_it(tmp_path):
    lm = load(save(tmp_path / "begins", begins_with_bos=True))
    bos = CharacterTokenizer(set(LETTERS)).special_ids.bos
    assert lm.prompt_ids("ab") == (bos, *lm.tokenizer.encode("ab"))
    assert lm.prompt_ids("") == (bos,)
    assert load(save(tmp_path / "not")).prompt_ids("ab") == tuple(lm.tokenizer.encode("ab"))


def test_every_stop_token_of_a_model_ends_its_answers(tmp_path):
    vocabulary = tuple(range(CharacterTokenizer(set(LETTERS)).vocab_size))
    lm = load(save(tmp_path / "stops", stop_ids=vocabulary))
    assert lm.stop_ids == vocabulary
    assert {lm.generate("ab", max_new_tokens=9, seed=seed) for seed in range(5)} == {""}
    other = load(save(tmp_path / "goes on"))
    assert any(other.generate("ab", max_new_tokens=9, seed=seed) for seed in range(5))


def test_without_a_best_one_the_latest_opens_then_the_newest(run):
    (run / "best").unlink()
    point(run, "latest", run / "checkpoints" / "step-000001")
    assert load(run, warn=no_warning).folder.name == "step-000001"
    (run / "latest").unlink()
    assert load(run, warn=no_warning).folder.name == "step-000003"


def test_damaged_weights_are_named_and_the_next_checkpoint_opens(run):
    warnings: list[str] = []
    damage(run / "checkpoints" / "step-000002")
    assert load(run, warn=warnings.append).folder.name == "step-000003"
    damage(run / "checkpoints" / "step-000003")
    assert load(run, warn=warnings.append).folder.name == "step-000001"
    assert "step-000002/model.safetensors is damaged" in warnings[0]
    assert "falling back to step-000003" in warnings[0]
    assert len(warnings) == 3


def test_in_python_the_fallback_is_a_warning(run):
    damage(run / "checkpoints" / "step-000002")
    with pytest.warns(UserWarning, match="falling back to step-000003"):
        load(run)


def test_when_nothing_is_whole_the_damage_is_the_error(run):
    for step in (1, 2, 3):
        damage(run / "checkpoints" / f"step-{step:06}")
    warnings: list[str] = []
    with pytest.raises(CheckpointError, match=r"step-000001/model\.safetensors is damaged"):
        load(run, warn=warnings.append)
    assert len(warnings) == 2


def test_a_named_checkpoint_that_is_damaged_is_not_replaced_by_another(run):
    damage(run / "checkpoints" / "step-000001")
    with pytest.raises(CheckpointError, match="is damaged"):
        load(run, checkpoint="step-000001", warn=no_warning)


def test_a_link_that_leads_nowhere_is_told(run):
    (run / "best").unlink()
    (run / "best").symlink_to("checkpoints/step-000009")
    warnings: list[str] = []
    assert load(run, warn=warnings.append).folder.name == "step-000003"
    assert "best leads nowhere" in warnings[0]


@pytest.mark.parametrize("wanted", ["step-000004", "newest", ""])
def test_an_unknown_checkpoint_is_refused_with_those_that_are_there(run, wanted):
    with pytest.raises(CheckpointError, match="there are best, latest, step-000001"):
        load(run, checkpoint=wanted)


def test_a_checkpoint_of_a_single_model_cannot_be_chosen(tmp_path):
    with pytest.raises(CheckpointError, match="one model"):
        load(save(tmp_path / "m"), checkpoint="latest")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was opened",))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl", ".PT"])
def test_a_pickle_is_refused_and_never_opened(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"refused.*safetensors"):
        load(path)


def test_another_file_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(CheckpointError, match="give the folder it lies in"):
        load(save(tmp_path / "m") / "config.json")


def test_a_missing_folder_names_the_nearest(run):
    with pytest.raises(CheckpointError, match=r"does not exist; did you mean .*book\?"):
        load(run.parent / "bok")
    with pytest.raises(CheckpointError, match=r"does not exist$"):
        load(run.parent / "nowhere" / "bok")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="neither checkpoints/ nor"):
        load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load(tmp_path)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="its tokenizer has 13 tokens, its model 5"):
        load(save(tmp_path / "m", vocab_size=5))


def test_precision_and_device_are_chosen_or_refused(tmp_path):
    folder = save(tmp_path / "m")
    weight = load(folder, device="cpu").model.embed_tokens.weight
    assert (weight.dtype, weight.device.type) == (torch.float32, "cpu")
    rounded = load(folder, device="cpu", precision="bfloat16")
    assert rounded.model.embed_tokens.weight.dtype == torch.bfloat16
    assert rounded.logits([1, 2]).dtype == torch.float32
    with pytest.raises(SettingError, match="'warp' cannot be used here"):
        load(folder, device="warp")
    with pytest.raises(SettingError, match="precision must be"):
        load(folder, precision="int3")


def test_logits_are_those_of_the_model(lm):
    logits = lm.logits([1, 2, 3])
    assert logits.shape == (3, lm.config.vocab_size)
    assert not logits.requires_grad
    with torch.no_grad():
        assert torch.equal(logits, lm.model(torch.tensor([[1, 2, 3]]))[0])


@pytest.mark.parametrize("ids", [[], [0] * 17, [99], [-1]])
def test_logits_of_what_the_model_cannot_read_are_refused(lm, ids):
    with pytest.raises(RequestError, match="got"):
        lm.logits(ids)


def test_greedy_writing_takes_the_likeliest_token(lm):
    ids = list(lm.prompt_ids("abc"))
    while len(ids) < 13:
        ids.append(int(lm.logits(ids)[-1].argmax()))
    end = lm.tokenizer.special_ids.eos
    written = ids[3:]
    if end in written:
        written = written[: written.index(end)]
    assert lm.generate("abc", max_new_tokens=10, greedy=True) == lm.tokenizer.decode(written)


def test_a_seed_settles_what_is_written_and_streaming_writes_the_same(lm):
    first = lm.generate("ab", seed=1, max_new_tokens=50)
    assert first == lm.generate("ab", seed=1, max_new_tokens=50)
    assert first == "".join(lm.stream("ab", seed=1, max_new_tokens=50))
    assert len({lm.generate("ab", seed=seed, max_new_tokens=50) for seed in range(4)}) > 1


def test_writing_ends_before_a_stop_text(lm):
    whole = lm.generate("ab", seed=3, max_new_tokens=40)
    assert len(whole) > 8
    stop = whole[5:7]
    expected = whole[: whole.index(stop)]
    assert lm.generate("ab", seed=3, max_new_tokens=40, stop=stop) == expected
    assert lm.generate("ab", seed=3, max_new_tokens=40, stop=["zz", stop]) == expected


def test_an_empty_prompt_starts_from_the_beginning_of_text(lm):
    assert lm.prompt_ids("") == (lm.tokenizer.special_ids.bos,)
    assert isinstance(lm.generate(max_new_tokens=3), str)


def test_a_model_that_never_saw_a_beginning_starts_from_a_newline(lm, monkeypatch):
    untaught = replace(lm, bos=None)
    assert untaught.prompt_ids("") == tuple(lm.tokenizer.encode("\n"))

    def knows_nothing(self, text):
        raise TokenizerError("no newline")

    monkeypatch.setattr(CharacterTokenizer, "encode", knows_nothing)
    with pytest.raises(RequestError, match="give it a prompt"):
        untaught.prompt_ids("")


def test_an_unknown_character_in_a_prompt_is_named(lm):
    with pytest.raises(TokenizerError, match="Q"):
        lm.generate("abQ")


def test_metrics_are_read_row_by_row(tmp_path):
    rows = [{"step": 1, "train/loss": 2.5}, {"step": 2, "train/loss": 2.25}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 3, "trai')
    assert read_metrics(tmp_path) == rows


def test_a_damaged_row_of_metrics_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2"):
        read_metrics(tmp_path)
    with pytest.raises(RunError, match="does not exist"):
        read_metrics(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors"])
def test_a_file_of_weights_is_told_how_to_come_in(tmp_path, name):
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=f"cloche import .*{name} --out RUN"):
        load(tmp_path / name)
