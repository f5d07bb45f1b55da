import lingua
import pytest

from cloche.data.cleaning.steps import ABOUT, LANGUAGES, Step, parse_steps, write_steps
from cloche.data.options import DataOptions
from cloche.errors import SettingError


def test_steps_are_read_in_the_order_given_with_their_values():
    steps = parse_steps("whitespace, nfc,language=en, ZH,near_duplicates=0.5,min-length=20")
    assert steps == (
        Step("whitespace"),
        Step("nfc"),
        Step("language", ("en", "zh")),
        Step("near-duplicates", 0.5),
        Step("min-length", 20),
    )
    assert parse_steps(write_steps(steps)) == steps


def test_nothing_asked_is_nothing_done():
    assert parse_steps("") == parse_steps(" , ") == ()


def test_near_duplicates_have_a_usual_similarity():
    assert parse_steps("near-duplicates") == (Step("near-duplicates", 0.8),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whitespaces", "did you mean whitespace"),
        ("polish", "no cleaning step 'polish'"),
        ("nfc=3", "takes no value"),
        ("min-length", "min-length=200"),
        ("min-length=-3", "takes a number of characters"),
        ("max-length=many", "takes a number of characters"),
        ("near-duplicates=80", "above 0 and at most 1"),
        ("near-duplicates=nan", "above 0 and at most 1"),
        ("language", "two-letter names"),
        ("language=en,xx", "got 'xx'"),
        ("language=english", "got 'english'"),
        ("min-length=9,max-length=5", "at least 9 and at most 5"),
    ],
)
def test_what_cannot_be_a_step_is_told(text, message):
    with pytest.raises(SettingError, match=message):
        parse_steps(text)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(SettingError) as caught:
        parse_steps("nfd,min-length=x,nfkc")
    assert "nfd" in str(caught.value)
    assert "'x'" in str(caught.value)


def test_the_languages_are_those_the_detector_knows():
    known = {language.iso_code_639_1.name.lower() for language in lingua.Language.all()}
    assert known == set(LANGUAGES)


def test_a_language_is_never_the_name_of_a_step():
    assert not set(ABOUT) & set(LANGUAGES)


def test_the_options_tell_unknown_steps_and_a_stride_that_random_windows_have_no_use_for():
    assert DataOptions(clean="nfc,whitespace", windows="random").problems() == []
    (unknown,) = DataOptions(clean="nfcc").problems()
    assert "data.clean" in unknown
    assert "did you mean" in unknown
    (stride,) = DataOptions(windows="random", stride=4).problems()
    assert "data.stride 4" in stride
