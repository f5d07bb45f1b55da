from dataclasses import dataclass, field
from typing import Literal

import pytest

from cloche.config import (
    check,
    differences,
    flatten,
    nest,
    read_toml,
    to_toml,
    to_values,
    with_values,
)
from cloche.errors import SettingError
from cloche.training.options import RunOptions


@dataclass(frozen=True)
class Inner:
    size: int | None = None
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"

    def problems(self):
        return [] if self.rate < 1 else [f"rate must be below 1, got {self.rate}"]


@dataclass(frozen=True)
class Outer:
    names: tuple[str, ...] = ()
    loud: bool = False
    inner: Inner = field(default_factory=Inner)


def changed(values):
    return with_values(Outer(), values, source="test")


def test_a_tree_survives_toml(tmp_path):
    tree = Outer(names=("x", "中"), loud=True, inner=Inner(size=3, rate=0.25, kind="b"))
    path = tmp_path / "tree.toml"
    path.write_text(to_toml(tree), encoding="utf-8")
    assert changed(read_toml(path)) == tree


def test_what_is_none_is_left_out_of_toml():
    assert to_values(Outer()) == {"names": [], "loud": False, "inner": {"rate": 0.5, "kind": "a"}}


def test_dashes_and_underscores_are_the_same():
    options = with_values(RunOptions(), {"train": {"learning-rate": 0.1}}, source="test")
    assert options.train.learning_rate == 0.1


def test_a_whole_number_is_a_float_where_one_is_asked_for():
    assert changed({"inner": {"rate": 0}}).inner.rate == 0.0


def test_everything_wrong_is_told_at_once():
    with pytest.raises(SettingError) as caught:
        changed({"loudd": True, "inner": {"siz": 3, "rate": "fast", "kind": "c"}, "names": "x"})
    message = str(caught.value)
    for part in (
        "unknown key loudd: did you mean loud?",
        "unknown key inner.siz: did you mean size?",
        "inner.rate: expected float, got 'fast'",
        "inner.kind: 'c' is none of a, b",
        "names: expected a list, got 'x'",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inner": 3}, "inner is a section"),
        ({"inner": {"size": True}}, "inner.size: expected int, got True"),
        ({"inner": {"size": 1.5}}, "inner.size: expected int"),
        ({"loud": 1}, "loud: expected bool, got 1"),
        ({"zzzzz": 1}, "known are: inner, loud, names"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(values, message):
    with pytest.raises(SettingError) as caught:
        changed(values)
    assert message in str(caught.value)


def test_toml_that_is_none_and_a_missing_file_are_told(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("a = [")
    with pytest.raises(SettingError, match="not valid TOML"):
        read_toml(path)
    with pytest.raises(SettingError, match="there is no file"):
        read_toml(tmp_path / "none.toml")


def test_dotted_names_nest_and_flatten_back():
    dotted = {"a.b.c": 1, "a.d": 2, "e": 3}
    assert nest(dotted) == {"a": {"b": {"c": 1}, "d": 2}, "e": 3}
    assert flatten(nest(dotted)) == dotted


def test_differences_name_each_value_and_skip_the_ignored():
    one, other = Outer(inner=Inner(size=3)), Outer(loud=True, inner=Inner(rate=0.1))
    assert differences(one, other, ignore=["loud"]) == [
        "inner.rate: 0.5 -> 0.1",
        "inner.size: 3 -> not given",
    ]


def test_check_collects_the_problems_of_all_sections():
    with pytest.raises(SettingError, match=r"2 settings(.|\n)*got 2(.|\n)*got 3"):
        check(Inner(rate=2), Inner(rate=3))
    check(Inner(), Inner())


def test_options_of_sections_contradicting_each_other_are_told():
    options = RunOptions(minutes=1.0)
    both = with_values(options, {"train": {"steps": 3}}, source="test")
    assert any("give one of them" in problem for problem in both.problems())
    assert options.problems() == []
