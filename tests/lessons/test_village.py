from cloche.lessons.village import NAMES, asked_facts, village_facts, village_text


def test_the_text_tells_every_fact_as_often_as_it_is_told():
    text = village_text(tellings=3)
    lines = text.splitlines()
    facts = village_facts()
    assert all(lines.count(fact.answer) == 3 for fact in facts)
    assert len(facts) == 3 * len(NAMES)


def test_held_out_questions_are_not_learned():
    learned, held_out = asked_facts()
    assert not {fact.question for fact in learned} & {fact.question for fact in held_out}
    assert len(learned) + len(held_out) == len(village_facts())


def test_a_wrong_fact_is_of_the_same_kind_and_never_the_true_one():
    for fact in village_facts():
        wrong = [fact.wrong(number) for number in range(7)]
        assert len({each.value for each in wrong}) == 7
        assert all(each.question == fact.question for each in wrong)
        assert fact not in wrong
