"""Prompts of `cloche generate`: from files and templates, with examples, and what contradicts."""

import io
import json
import subprocess
import sys

import pytest

from cloche.cli.generate_options import Generate
from cloche.cli.main import main
from cloche.cli.parse import parse
from cloche.cli.prompts import read_text_file


@pytest.fixture
def ask(random_run, capsys):
    """Has the random run write one token; returns the status, the JSON and the messages."""

    def asked(*arguments: str):
        usual = ("--max-new-tokens", "1", "--seed", "1", "--window", "--json")
        status = main(["generate", str(random_run), *arguments, *usual])
        shown = capsys.readouterr()
        return status, json.loads(shown.out) if status == 0 else shown.out, shown.err

    return asked


def write_file(folder, name: str, text: str, *, encoding: str = "utf-8") -> str:
    (folder / name).write_bytes(text.encode(encoding))
    return str(folder / name)


@pytest.mark.parametrize("text", ["abc\n", "", "a\r\nb"])
def test_a_prompt_file_is_the_prompt_every_character_of_it(ask, tmp_path, text):
    text = text.replace("\r", " ")
    _, values, _ = ask("--prompt-file", write_file(tmp_path, "p.txt", text))
    assert values["prompt"] == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "utf-16"])
def test_files_of_prompts_are_detected_like_other_texts(tmp_path, encoding):
    text = "春眠不觉晓，处处闻啼鸟。\r\n夜来风雨声，花落知多少。\n"
    name = write_file(tmp_path, "p.txt", text, encoding=encoding)
    assert read_text_file(name, encoding=None) == text


def test_standard_input_may_be_the_file_and_in_another_encoding(ask, monkeypatch):
    for encoding, options in (("utf-8", ()), ("utf-16", ("--encoding", "utf-16"))):
        data = io.BytesIO("ab\n".encode(encoding))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
        _, values, _ = ask("--prompt-file", "-", *options)
        assert values["prompt"] == "ab\n"


def test_a_template_takes_the_prompt_and_values(ask, tmp_path):
    _, values, _ = ask("ab", "--template", "{{ prompt }} {{ x }}", "--set", "x=c")
    assert values["prompt"] == "ab c"
    file = write_file(tmp_path, "t.jinja", "{% for letter in x %}\n{{ letter }}\n{% endfor %}\n")
    _, values, _ = ask("--template", file, "--set", "x=abc")
    assert values["prompt"] == "a\nb\nc\n"


def test_system_text_and_examples_stand_before_the_prompt(ask, tmp_path):
    shots = write_file(tmp_path, "shots.csv", "input,output\na,b\nc,d\ne,f\n")
    system = write_file(tmp_path, "system.txt", "gh\n")
    _, values, _ = ask(
        *("k", "--few-shot", shots, "--shots", "2", "--system", f"@{system}"),
        *("--template", "{{ prompt }} i", "--shot-template", "{{ input }} i {{ output }}"),
    )
    assert values["prompt"] == "gh\n\na i b\n\nc i d\n\nk i"


def test_a_prompt_too_long_is_refused_and_windowed_only_when_told(random_run, ask, capsys):
    assert main(["generate", str(random_run), "a" * 30]) == 2
    told = capsys.readouterr().err
    assert "30 tokens, but the context holds 16" in told
    assert "--window" in told
    status, values, told = ask("abc" * 10)
    assert status == 0
    assert (values["prompt"], values["cut_tokens"]) == ("abc" * 10, 15)
    assert "only the last part is read, 15 tokens" in told


def test_that_a_chat_template_is_not_used_is_said(random_run, ask):
    folder = random_run / "checkpoints" / "step-000001"
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    assert "has a chat template, which is not used" in ask("a", "--system", "b")[2]
    assert "chat template" not in ask("a")[2]


CONTRADICTIONS = [
    (("a", "--prompt-file", "f"), "both PROMPT and --prompt-file f"),
    (("a", "--input", "f", "--out", "g"), "leave PROMPT out"),
    (("--prompt-file", "f", "--input", "f", "--out", "g"), "leave --prompt-file out"),
    (("--input", "f"), "name it with --out"),
    (("--input", "f", "--out", "-"), "name it with --out"),
    (("a", "--out", "f"), "--out belongs to --input"),
    (("a", "--resume"), "--resume belongs to --input"),
    (("a", "--keep-going"), "--keep-going belongs to --input"),
    (("a", "--rows", "0"), "--rows must be at least 1"),
    (("a", "--shots", "2"), "--shots belongs to --few-shot"),
    (("a", "--few-shot", "f", "--shots", "0"), "--shots must be at least 1"),
    (("a", "--shot-template", "{{ a }}"), "--shot-template belongs to --few-shot"),
    (("a", "--set", "x=1"), "--set fills the variables of --template"),
    (("a", "--encoding", "gbk"), "--encoding belongs to files"),
]


@pytest.mark.parametrize(("arguments", "said"), CONTRADICTIONS)
def test_options_that_contradict_are_told(capsys, arguments, said):
    assert main(["generate", "none", *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_all_contradictions_are_told_at_once():
    options = ["a", "--prompt-file", "f", "--input", "i", "--shots", "0", "--rows", "-1"]
    command = parse(Generate, ["RUN", *options], prog="cloche generate")
    assert len(command.problems()) == 7


def test_what_is_right_is_no_contradiction(tmp_path):
    options = ["--input", "i", "--out", "o", "--few-shot", "f", "--shots", "2", "--encoding", "gbk"]
    assert parse(Generate, ["RUN", *options], prog="cloche generate").problems() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a", "--template", "{{ x }}", "--set", "x=b"), "PROMPT would not be used"),
        (("a", "--template", "{{ prompt }}", "--set", "prompt=b"), "leave --set prompt=... out"),
        (("--template", "{{ prompt }}{{ y }}"), "needs {{ prompt }} (line 1), {{ y }} (line 1)"),
        (("a", "--template", "{{ prompt }}", "--set", "y=b"), "'y' would not be used"),
        (("a", "--template", "{{ prompt"), "--template: line 1: unexpected end"),
        (("a", "--template", "none.txt"), "text given as --template holds a {{ variable }}"),
        (("a", "--template", "{{ prompt }}", "--set", "b"), "is not NAME=VALUE"),
        (("--prompt-file", "none.txt"), "none.txt does not exist"),
        (("--prompt-file", "."), "no single file"),
        (("a", "--system", "@none.txt"), "none.txt does not exist"),
        (("a", "--system", ""), "--system '' holds no text"),
        (("a", "--system", "\udcff"), "the text of --system is not valid Unicode"),
        (("a", "--few-shot", "-"), "standard input is no file here"),
        (("a", "--few-shot", "SHOTS", "--shots", "3"), "more than the 2 examples"),
        (("a", "--few-shot", "SHOTS", "--template", "{{ prompt }}"), "2 of 2 examples"),
    ],
)
def test_a_mistake_is_one_message_before_any_model_is_opened(
    tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path, "shots.csv", "input,output\na,b\nc,d\n")
    arguments = [argument.replace("SHOTS", "shots.csv") for argument in arguments]
    assert main(["generate", "no-run", *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("cloche:") == 1


def test_a_file_that_is_no_text_is_refused(tmp_path, capsys):
    for name, data in (("p.pdf", b"%PDF-1.4"), ("p.txt", b"\x89PNG\r\n\x1a\n"), ("q.txt", b"a\0b")):
        (tmp_path / name).write_bytes(data)
        assert main(["generate", "none", "--prompt-file", str(tmp_path / name)]) == 2
        assert name in capsys.readouterr().err


def test_help_loads_neither_torch_nor_templates():
    code = (
        "import sys\n"
        "from cloche.cli.main import main\n"
        "try:\n    main(['generate', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'jinja2', 'numpy'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
