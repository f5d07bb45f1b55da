import pytest
import torch

from cloche.training.machine import allow_short_products


@pytest.mark.parametrize(
    ("device", "precision", "taken"),
    [("cuda", "bfloat16", "tf32"), ("cuda", "float32", "ieee"), ("cpu", "bfloat16", "ieee")],
)
def test_only_a_gpu_that_is_not_to_be_exact_multiplies_in_tf32(
    monkeypatch, device, precision, taken
):
    class Products:
        fp32_precision = "ieee"

    monkeypatch.setattr(torch.backends.cuda, "matmul", Products)
    allow_short_products(device, precision)
    assert Products.fp32_precision == taken
