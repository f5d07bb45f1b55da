import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cloche.cli.main import main
from cloche.cli.token_tables import print_columns, split_text
from cloche.errors import TokenizerError
from cloche.text.bpe import train_bpe
from cloche.text.visible import TokenReader


@pytest.fixture
def published(shared_data, monkeypatch) -> Path:
    """The published encodings and texts are at hand."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken_cache"))
    return shared_data


@pytest.fixture
def trained(tmp_path) -> Path:
    """A folder with a small trained tokenizer."""
    tokenizer = train_bpe(["low lower lowest 春眠不覺曉 " * 5], vocab_size=280, rule="gpt-2")
    tokenizer.save(tmp_path / "trained")
    return tmp_path / "trained"


@pytest.fixture
def run(capsys):
    """Runs the command, which must succeed; gives what it printed."""

    def printed(*arguments: str) -> str:
        assert main(["tokenize", *arguments]) == 0
        return capsys.readouterr().out

    return printed


@pytest.fixture
def run_json(run):
    def values(*arguments: str) -> dict:
        return json.loads(run(*arguments, "--json"))

    return values


@pytest.fixture
def refused(capsys):
    """Runs the command, which must refuse; gives its one message."""

    def message(*arguments: str) -> str:
        assert main(["tokenize", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        return captured.err

    return message


def typed_in(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_a_text_is_shown_split_with_ids_bytes_and_totals(run):
    shown = run("be bé", "--tokenizer", "characters").splitlines()
    assert shown[0] == "b│e│·│b│é"
    assert [line.split() for line in shown[2:5]] == [
        ["id", "token", "bytes"],
        ["1", "b", "62"],
        ["2", "e", "65"],
    ]
    assert "characters: 5 tokens, 5 characters, 6 bytes" in shown
    assert "  1.20 bytes a token, 1.00 characters" in shown


def test_split_characters_are_hex_and_never_a_replacement_sign(run, published):
    shown = run("龘😀", "--tokenizer", "gpt2")
    assert "\ufffd" not in shown
    assert shown.splitlines()[0] == "<E9 BE>│<98>│<F0 9F 98>│<80>"
    assert "tokens hold a part of a character" in shown


def test_gpt2_is_usual_and_typed_special_tokens_are_text(run_json, published):
    text = "Hello, do you like tea? <|endoftext|> In the sunlit terracesof someunknownPlace."
    plain = run_json(text)
    assert plain["tokenizer"] == "gpt2"
    assert 50256 not in plain["ids"]
    allowed = run_json(text, "--allow-special", "<|endoftext|>")
    assert allowed["ids"] == [
        *(15496, 11, 466, 345, 588, 8887, 30, 220, 50256, 554),
        *(262, 4252, 18250, 8812, 2114, 1659, 617, 34680, 27271, 13),
    ]
    assert allowed["tokens"][8] == {
        "id": 50256,
        "text": "<|endoftext|>",
        "bytes": b"<|endoftext|>".hex(),
    }


def test_standard_input_gives_ids_as_json_and_nothing_else(run_json, trained, monkeypatch):
    typed_in(monkeypatch, "low 龘\n".encode())
    found = run_json("-", "--tokenizer", str(trained))
    data = b"".join(bytes.fromhex(token["bytes"]) for token in found["tokens"])
    assert data.decode() == "low 龘\n"
    assert [token["id"] for token in found["tokens"]] == found["ids"]
    assert (found["characters"], found["utf8_bytes"]) == (6, 8)
    assert found["bytes_per_token"] == 8 / len(found["ids"])
    assert found["tokens"][0]["text"] == "low"
    assert "<98>" in {token["text"] for token in found["tokens"]}


def test_encodings_of_standard_input_are_detected_or_named(run_json, monkeypatch):
    for extra in ([], ["--encoding", "gb18030"]):
        typed_in(monkeypatch, "春眠不覺曉，處處聞啼鳥。".encode("gb18030"))
        assert run_json("-", "--tokenizer", "characters", *extra)["characters"] == 12


def test_a_file_is_read_in_its_encoding(run_json, tmp_path):
    (tmp_path / "poem.txt").write_bytes("春眠不覺曉，處處聞啼鳥。".encode("gbk"))
    found = run_json("--file", str(tmp_path / "poem.txt"), "--tokenizer", "characters")
    assert "".join(token["text"] for token in found["tokens"]) == "春眠不覺曉，處處聞啼鳥。"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", "title,story\nT,ab\nU,cd\n"),
        ("rows.jsonl", '{"story": "ab"}\n{"story": "cd"}\n'),
    ],
)
def test_the_column_of_a_file_of_rows_can_be_named(run_json, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    options = ["--column", "story", "--tokenizer", "characters"]
    ids = run_json("--file", str(tmp_path / name), *options)["ids"]
    assert ids == [0, 1, 4, 2, 3]  # the end-of-text token between the rows


def test_a_text_that_names_a_file_is_text_and_says_so(run_json, tmp_path, monkeypatch, capsys):
    (tmp_path / "book.txt").write_text("much more text")
    monkeypatch.chdir(tmp_path)
    assert main(["tokenize", "book.txt", "--tokenizer", "characters", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["characters"] == 8
    assert "cloche tokenize --file book.txt" in captured.err


def test_of_a_long_text_the_first_tokens_are_shown_and_all_are_counted(run, run_json):
    text = "ab" * 500
    shown = run(text, "--tokenizer", "characters", "--limit", "3").splitlines()
    assert shown[0] == "a│b│a"
    assert "... and 997 tokens more (--limit 1000 shows all)" in shown
    assert "characters: 1,000 tokens, 1,000 characters, 1,000 bytes" in shown
    assert len(run(text, "--tokenizer", "characters").splitlines()) < 210
    assert len(run_json(text, "--tokenizer", "characters")["ids"]) == 1000
    limited = run_json(text, "--tokenizer", "characters", "--limit", "3")
    assert (len(limited["ids"]), len(limited["tokens"])) == (1000, 3)


def test_line_ends_are_visible_and_break_the_line(run):
    shown = run("a\nb", "--tokenizer", "characters").splitlines()
    assert shown[:2] == ["a│↵│", "b"]


def coloured(data: str, **settings) -> str:
    tokenizer = train_bpe(["low lower"], vocab_size=258, rule="gpt-2")
    console = Console(file=io.StringIO(), force_terminal=True, width=80, **settings)
    text = split_text(TokenReader(tokenizer), tokenizer.encode(data), console=console)
    console.print(text, soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("colours", ["256", "standard", "truecolor"])
def test_neighbours_differ_in_colour_on_a_terminal(colours):
    shown = coloured("ab", color_system=colours)
    assert "│" not in shown
    first, second = (part.split("m")[0] for part in shown.split("\x1b[")[1:4:2])
    assert first != second


def test_no_colour_means_a_separator():
    assert coloured("ab", no_color=True, color_system="256") == "a│b\n"


def test_columns_line_up_under_wide_characters(capsys):
    print_columns(("id", "token", "bytes"), [("1", "春眠", "x"), ("22", "a", "y")], right=[0])
    assert capsys.readouterr().out.splitlines() == [
        "id  token  bytes",
        " 1  春眠   x",
        "22  a      y",
    ]


def test_the_merges_of_a_piece_are_told_step_by_step(run, run_json, trained):
    shown = run("low 龘", "--merges", "--tokenizer", str(trained)).splitlines()
    assert shown[0] == "low: 2 merges"
    assert shown[1].split() == ["rank", "id", "merge", "word"]
    assert shown[2].split() == ["l", "o", "w"]
    assert shown[3].split()[2:] == ["l", "+", "o", "lo", "w"]
    assert shown[4].split()[2:] == ["lo", "+", "w", "low"]
    assert "·龘: 0 merges" in shown
    words = run_json("low 龘", "--merges", "--tokenizer", str(trained))["words"]
    assert [word["pieces"] for word in words] == [["low"], [" ", "<E9>", "<BE>", "<98>"]]
    assert words[0]["steps"][-1]["pieces"] == ["low"]


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base"])
def test_published_encodings_have_a_merge_history(run_json, published, name):
    text = " unhappiness, 龘 ééé 12345\n\n"
    words = run_json(text, "--merges", "--tokenizer", name)["words"]
    tokens = run_json(text, "--tokenizer", name)["tokens"]
    assert [piece for word in words for piece in word["pieces"]] == [
        token["text"] for token in tokens
    ]
    ends = [word["steps"][-1]["id"] for word in words if len(word["pieces"]) == 1 and word["steps"]]
    assert set(ends) <= {token["id"] for token in tokens}


def test_the_vocabulary_reads_as_characters_with_counts(run, run_json, trained):
    shown = run(
        "春眠 春", "--vocab", "--tokenizer", str(trained), "--find", "春", "--sort", "count"
    )
    assert shown.splitlines()[0].split() == ["id", "count", "token", "bytes"]
    assert "of them never occur in the text" in shown
    values = run_json("--vocab", "--tokenizer", str(trained))
    assert len(values["tokens"]) == values["vocab_size"] == values["entries"]
    assert values["unused"] is None
    special = [token for token in values["tokens"] if token["special"]]
    assert [token["text"] for token in special] == ["<|endoftext|>"]


def test_a_vocabulary_found_in_part_says_how_much_is_left(run, trained):
    shown = run("--vocab", "--tokenizer", str(trained), "--limit", "2").splitlines()
    assert len(shown) == 3 + 1 + 1 + 1
    assert shown[3].startswith("... and ")


def test_tokenizers_are_compared_side_by_side(run, run_json, trained):
    names = f"characters,{trained}"
    shown = run("low lower", "--compare", names).splitlines()
    assert shown[0].split()[:4] == ["tokenizer", "vocabulary", "used", "tokens"]
    assert [line.split()[0] for line in shown[1:]] == ["characters", str(trained)]
    first, second = run_json("low lower", "--compare", names)["tokenizers"]
    assert (first["tokens"], first["bytes_per_token"]) == (9, 1.0)
    assert second["tokens"] < 9


def test_a_tokenizer_that_cannot_be_opened_is_named_in_the_comparison(refused, tmp_path):
    missing = str(tmp_path / "none")
    assert f"--compare {missing}: " in refused("text", "--compare", f"characters,{missing}")


def test_published_windows_come_out_as_published(run, run_json, published):
    verdict = ["--file", str(published / "the-verdict.txt"), "--windows", "4"]
    (window,) = run_json(*verdict, "--start", "50", "--limit", "1")["windows"]
    assert window["inputs"] == [290, 4920, 2241, 287]
    assert window["targets"] == [4920, 2241, 287, 257]
    lines = [
        " and ----> established",
        " and established ----> himself",
        " and established himself ----> in",
        " and established himself in ----> a",
    ]
    assert [lesson["text"] for lesson in window["lessons"]] == lines
    shown = run(*verdict, "--start", "50", "--limit", "1")
    assert "\n".join(lines) in shown
    assert "[290, 4920] ----> 2241" in shown
    assert "gpt2: 5,145 tokens" in shown


def test_strides_move_the_published_windows(run_json, published):
    verdict = ["--file", str(published / "the-verdict.txt"), "--windows", "4"]
    by_one = run_json(*verdict, "--stride", "1", "--limit", "2")["windows"]
    assert [(window["inputs"], window["targets"]) for window in by_one] == [
        ([40, 367, 2885, 1464], [367, 2885, 1464, 1807]),
        ([367, 2885, 1464, 1807], [2885, 1464, 1807, 3619]),
    ]
    by_four = run_json(*verdict)["windows"]
    assert [window["inputs"] for window in by_four] == [
        [40, 367, 2885, 1464],
        [1807, 3619, 402, 271],
        [10899, 2138, 257, 7026],
        [15632, 438, 2016, 257],
        [922, 5891, 1576, 438],
        [568, 340, 373, 645],
        [1049, 5975, 284, 502],
        [284, 3285, 326, 11],
    ]
    assert by_four[-1]["targets"] == [3285, 326, 11, 287]


def test_the_first_window_of_shakespeare_is_as_published(run_json, published):
    source = ["--file", str(published / "shakespeare.txt"), "--tokenizer", "characters"]
    (window,) = run_json(*source, "--windows", "8", "--limit", "1")["windows"]
    assert window["inputs"] == [18, 47, 56, 57, 58, 1, 15, 47]
    assert window["targets"][-1] == 58


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no text: give it in quotes"),
        (["", "--tokenizer", "bpe"], "no text"),
        (["a\ud800"], "the text is not valid Unicode at character 2"),
        (["x", "--file", "y"], "both TEXT and --file y were given"),
        (["x", "--vocab", "--merges"], "--merges and --vocab are different views"),
        (["x", "--stride", "2"], "--stride belongs to --windows"),
        (["x", "--start", "2"], "--start belongs to --windows"),
        (["x", "--sort", "count"], "--sort belongs to --vocab"),
        (["x", "--find", "a"], "--find belongs to --vocab"),
        (["x", "--compare", "bpe", "--tokenizer", "gpt2"], "add gpt2 to its list"),
        (["x", "--compare", ","], "--compare needs names"),
        (["x", "--vocab-size", "300"], "--vocab-size belongs to --tokenizer bpe"),
        (["x", "--tokenizer", "bpe", "--vocab-size", "3"], "must be at least 257"),
        (["x", "--encoding", "gbk"], "--encoding belongs to --file"),
        (["x", "--column", "story"], "--column belongs to --file"),
        (["x", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["x", "--windows", "0", "--tokenizer", "characters"], "--windows must be at least 1"),
        (["xy", "--windows", "2", "--tokenizer", "characters"], "the text has 2 tokens"),
        (["x", "--merges", "--tokenizer", "characters"], "merges belong to byte-level BPE"),
        (["--vocab", "--tokenizer", "bpe"], "there is no text"),
    ],
)
def test_mistakes_are_one_message(refused, arguments, message):
    assert message in refused(*arguments)


def test_contradictions_are_told_all_at_once(refused):
    told = refused("x", "--stride", "2", "--find", "a", "--limit", "0")
    assert told.startswith("cloche: 3 settings cannot be used:")


def test_where_gpt2_cannot_be_had_a_way_without_a_network_is_told(refused, monkeypatch):
    def unreachable(name):
        raise TokenizerError(f"the encoding {name} is not on this machine")

    monkeypatch.setattr("cloche.text.names.open_tokenizer", unreachable)
    assert "gpt2 is not on this machine. Or make one from the text" in refused("some text")
    assert "Or make one" not in refused("some text", "--tokenizer", "gpt2")


def test_binary_standard_input_is_refused(refused, monkeypatch):
    typed_in(monkeypatch, b"text\x00more\xff\x01")
    assert "NUL" in refused("-", "--tokenizer", "characters")


def test_nothing_on_standard_input_is_refused(refused, monkeypatch):
    typed_in(monkeypatch, b"")
    assert "no text" in refused("-", "--tokenizer", "characters")


def test_counting_without_a_text_is_refused(refused, trained):
    assert "--sort count needs a text" in refused(
        "--vocab", "--sort", "count", "--tokenizer", str(trained)
    )


def test_tokenizing_loads_no_torch(published):
    code = (
        "import sys; from cloche.cli.main import main\n"
        "assert main(['tokenize', 'some text', '--json']) == 0\n"
        "assert main(['tokenize', 'some text', '--windows', '1']) == 0\n"
        "assert main(['tokenize', '--file', sys.argv[1], '--compare', 'gpt2,bpe']) == 0\n"
        "heavy = {'torch', 'transformers', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    verdict = str(published / "the-verdict.txt")
    done = subprocess.run([sys.executable, "-c", code, verdict], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
