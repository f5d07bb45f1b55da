import json

import pytest

from cloche.cli.data import main


@pytest.mark.parametrize(
    ("form", "keys"),
    [
        ("chat", {"messages"}),
        ("preferences", {"prompt", "chosen", "rejected"}),
        ("prompts", {"prompt", "answer", "kind"}),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_stories_are_shown_as_records_to_tune_on(capsys, form, keys, language):
    arguments = ["show", "stories", "--format", form, "--lang", language, "--bytes", "2KB"]
    assert main(arguments) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) > 1
    assert all(row.keys() == keys for row in rows)
