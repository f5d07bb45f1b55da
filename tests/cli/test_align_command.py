"""The verb align: its kinds, and what is no kind."""

import pytest
from small_tunings import make_place

from cloche.cli.align import KINDS
from cloche.cli.main import main


def test_help_names_every_kind(capsys):
    assert main(["align", "--help"]) == 0
    shown = capsys.readouterr().out
    for kind, what in KINDS.items():
        assert f"  {kind}" in shown
        assert what in shown


def test_without_a_kind_the_kinds_are_told(capsys):
    assert main(["align"]) == 2
    assert "usage: cloche align KIND" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "said"),
    [("dpoo", "did you mean dpo?"), ("rewrd", "did you mean reward?"), ("x", "known are: collect")],
)
def test_an_unknown_kind_names_the_nearest(capsys, kind, said):
    assert main(["align", kind, "base"]) == 2
    printed = capsys.readouterr()
    assert f"there is no cloche align {kind}; {said}" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_help_of_its_own(capsys, kind):
    with pytest.raises(SystemExit) as caught:
        main(["align", kind, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"cloche align {kind}" in shown
    assert "RUN" in shown
    for refused in ("--train.parallel", "--train.average", "--train.z-loss", "from the time when"):
        assert refused not in shown
    assert ("--train.clip" in shown) == (kind != "collect")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dpo"], "name the model"),
        (["dpo", "base"], "name"),
        (["dpo", "base", "records.json"], "records.json: these are conversations with one answer"),
        (["dpo", "bas", "records.json"], "bas does not exist; did you mean base?"),
        (["reward"], "name the model"),
        (["reward", "base", "records.json"], "which cloche tune learns from"),
        (["grpo", "base", "records.json"], "name what is rewarded"),
        (["ppo", "base", "records.json"], "say who judges"),
    ],
)
def test_what_is_missing_is_one_message_and_leaves_no_folder(
    place, capsys, monkeypatch, arguments, said
):
    monkeypatch.chdir(place)
    assert main(["align", *arguments, "--out", "mistake"]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not (place / "mistake").exists()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("align"))


@pytest.mark.parametrize("prompts", ["/nope", "records.json"])
def test_a_mistake_leaves_no_file_of_choices(place, tmp_path, capsys, monkeypatch, prompts):
    monkeypatch.chdir(place)
    out = tmp_path / "choices.db"
    run = "base" if prompts == "/nope" else "nowhere"
    assert main(["align", "collect", run, "--prompts", prompts, "--out", str(out)]) == 2
    assert "does not exist in //" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
