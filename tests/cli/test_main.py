import subprocess
import sys

import pytest

import cloche
from cloche.cli.main import VERBS, main, overview


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb(arguments, capsys):
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(f"  {verb}" in printed for verb in VERBS)


def test_the_help_names_preparing():
    assert "prepare" in VERBS["data"]


def test_no_arguments_show_the_help_and_are_a_mistake(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out.strip() == overview()


def test_an_unknown_verb_names_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "did you mean train?" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("cloche 0.")


def test_every_verb_has_help_without_torch():
    code = (
        "import sys; from cloche.cli.main import VERBS, main\n"
        "for verb in VERBS:\n"
        "    try: status = main([verb, '--help'])\n"
        "    except SystemExit as exc: status = exc.code\n"
        "    assert not status, (verb, status)\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--train.learning-rate" in done.stdout


def test_importing_cloche_loads_no_torch_and_names_are_lazy():
    code = "import sys, cloche; assert 'torch' not in sys.modules; assert 'train' in dir(cloche)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        cloche.trian  # noqa: B018


def test_a_users_mistake_is_one_message_without_a_traceback(capsys, tmp_path):
    assert main(["train", str(tmp_path / "none.txt")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("cloche: ")
    assert "Traceback" not in captured.err


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    monkeypatch.setattr(
        "cloche.cli.eval.main", lambda arguments: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    assert main(["eval", "x"]) == 130
    assert "interrupted" in capsys.readouterr().err
