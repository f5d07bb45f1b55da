"""Positions: published values, and the properties they are used for."""

import torch

from cloche.model.positions import rotary_tables, rotate, sinusoidal_positions


def test_sinusoidal_positions_have_the_published_values():
    table = sinusoidal_positions(torch.arange(16)[None], 64)[0]
    first_row = [0.841471, 0.540302, 0.681561, 0.731761, 0.533168, 0.846009, 0.409309, 0.912396]
    torch.testing.assert_close(table[1, :8], torch.tensor(first_row), atol=1e-6, rtol=0)
    assert table[0].tolist() == [0.0, 1.0] * 32
    last = torch.tensor([0.000422, 1.0, 0.000316, 1.0])
    torch.testing.assert_close(table[1, 54:58], last, atol=1e-6, rtol=0)


def test_sinusoidal_positions_of_an_odd_width_end_with_a_sine():
    assert sinusoidal_positions(torch.arange(4)[None], 5).shape == (1, 4, 5)


def test_rotation_keeps_lengths_and_depends_on_distance_only():
    queries, keys = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))

    def match(query_at: int, key_at: int) -> torch.Tensor:
        turned = []
        for vectors, position in ((queries, query_at), (keys, key_at)):
            tables = rotary_tables(torch.tensor([[position]]), 8, theta=10_000.0)
            turned.append(rotate(vectors, *tables))
        torch.testing.assert_close(turned[0].norm(), queries.norm())
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(match(9, 4), match(105, 100), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(match(9, 4), match(9, 5), atol=1e-3)


def test_rotation_at_the_start_changes_nothing():
    vectors = torch.randn(1, 2, 1, 8)
    assert torch.equal(
        rotate(vectors, *rotary_tables(torch.zeros(1, 1).long(), 8, theta=1e4)), vectors
    )
