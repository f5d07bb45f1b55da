import pytest

from cloche.data.stories.sentences import is_settled, sentence_pairs


@pytest.fixture(scope="module")
def found():
    return sentence_pairs("en", size_bytes=60_000, seed=0)


@pytest.mark.parametrize(
    ("english", "chinese", "settled"),
    [
        ("Sophie had an orange tricycle.", "苏菲有一辆橙色的三轮车。", True),
        ("She felt angry.", "她觉得很生气。", True),
        ("She had slept well the night before.", "前一天晚上，莉莉睡得很香。", False),
        ("Maya's knee was bleeding a little.", "她的膝盖流了一点血。", False),
        ("They rolled three big balls of snow.", "她们滚了三个大雪球。", False),
        ("Lily and the teacher were both very glad.", "莉莉和老师两个人都非常开心。", True),
        ("She put it in the mailing box.", "她把它放进了盒子。", True),  # Lin is in no mailing
    ],
)
def test_a_translation_is_settled_where_both_sentences_name_the_same_people(
    english, chinese, settled
):
    assert is_settled(english, chinese) is settled


def test_no_source_has_two_targets_and_nearly_all_sentences_are_kept(found):
    sources = [source for source, _ in found.pairs]
    assert len(set(sources)) == len(sources)
    assert 0.90 < found.kept_share < 0.96
    assert found.told > len(sources)


def test_the_same_seed_tells_the_same_and_the_other_language_turns_them(found):
    assert sentence_pairs("en", size_bytes=60_000, seed=0) == found
    turned = sentence_pairs("zh", size_bytes=8_000, seed=0)
    assert any("苏菲" in source and "Sophie" in target for source, target in turned.pairs)
