from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cloche.data.batches import IGNORED, Batch
from cloche.errors import SettingError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.tuning.distilling import Distillation, require_same_tokens
from cloche.tuning.options import DistillOptions


def tiny_model(seed, *, width=32) -> Any:
    model: Any = build_model(
        complete(ModelOptions(), vocab_size=13, layers=1, width=width, context=16)
    )
    initialise(model, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    torch.nn.init.normal_(model.lm_head.weight, std=0.3, generator=generator)
    return model


def batch():
    tokens = torch.randint(13, (3, 9), generator=torch.Generator().manual_seed(1))
    targets = tokens[:, 1:].clone()
    targets[:, :4] = IGNORED
    return Batch(tokens[:, :-1].clone(), targets)


def test_the_terms_are_those_of_the_paper_at_learned_places_alone():
    student, teacher = tiny_model(0), tiny_model(1, width=48)
    given = batch()
    losses = Distillation(teacher, share=0.25, temperature=2.0)(student, given)
    places = given.targets != IGNORED
    own, taught = student(given.inputs)[places], teacher(given.inputs)[places]
    plain = F.cross_entropy(own, given.targets[places], reduction="sum")
    softened = F.kl_div(
        (own / 2).log_softmax(-1),
        (taught / 2).log_softmax(-1),
        log_target=True,
        reduction="sum",
    )
    torch.testing.assert_close(losses.terms["loss"].sum, plain)
    torch.testing.assert_close(losses.terms["teacher"].sum, 4 * softened)
    assert (losses.terms["loss"].weight, losses.terms["teacher"].weight) == (0.75, 0.25)
    assert losses.terms["teacher"].count == losses.terms["loss"].count == 12


def test_a_teacher_that_is_the_student_has_nothing_to_teach():
    student = tiny_model(0)
    term = Distillation(tiny_model(0), share=1.0)(student, batch()).terms["teacher"]
    assert float(term.sum.detach()) == pytest.approx(0.0, abs=1e-5)


def test_gradients_reach_the_student_and_no_teacher():
    student, teacher = tiny_model(0), tiny_model(1).requires_grad_(False)
    Distillation(teacher, share=0.5)(student, batch()).terms["teacher"].sum.backward()
    assert all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_a_student_comes_nearer_to_its_teacher():
    student, teacher = tiny_model(0), tiny_model(1)
    objective = Distillation(teacher, share=1.0)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    divergences = []
    for _ in range(20):
        term = objective(student, batch()).terms["teacher"]
        divergences.append(float(term.sum.detach()))
        optimizer.zero_grad()
        term.sum.backward()
        optimizer.step()
    assert divergences[-1] < 0.3 * divergences[0]


def test_a_teacher_of_another_tokenizer_is_refused():
    require_same_tokens("abc", "abc", teacher_name="big")
    with pytest.raises(SettingError, match="big has another tokenizer"):
        require_same_tokens("abc", "abd", teacher_name="big")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (DistillOptions("big", share=0.0), "distill.share must be above 0"),
        (DistillOptions("big", temperature=0.0), "distill.temperature must be above 0"),
        (DistillOptions(share=0.7), "name one by --distill.teacher"),
    ],
)
def test_bad_options_of_distillation_are_told(options, said):
    assert any(said in problem for problem in options.problems())
