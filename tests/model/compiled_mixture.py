"""A program: trains a compiled mixture of experts, and prints what was compiled as JSON.

By itself, because the type checker of the tests stands between the compiler and the model.
"""

import json
from typing import Any

import torch

from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.model.record import RouterRecord

LAYERS, STEPS = 3, 5


def main() -> None:
    options = ModelOptions(family="moe", heads=2, experts=4, experts_used=2)
    config = complete(options, vocab_size=29, layers=LAYERS, width=16, context=8)
    torch.manual_seed(0)
    model = build_model(config)
    graphs: list[int] = []
    operations: set[str] = set()

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Any:
        graphs[-1] += 1
        operations.update(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    # one function may be compiled for two cases and no more: each layer by itself would be three
    torch._dynamo.config.recompile_limit = 2
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    compiled = torch.compile(model, backend=backend)
    largest_error, routings, told = 0.0, set(), 0
    for _ in range(STEPS):
        graphs.append(0)
        ids, router = torch.randint(29, (2, 8)), RouterRecord()
        logits = compiled(ids, record=router)
        logits.sum().backward()
        told = len(router.router_logits)
        routings.add(tuple(router.router_logits[0].argmax(-1).flatten().bincount().tolist()))
        largest_error = max(largest_error, float((logits - model(ids)).detach().abs().max()))
    print(
        json.dumps(
            {
                "graphs": graphs,
                "routings": len(routings),
                "routers_told": told,
                "attention_compiled": any("softmax" in name for name in operations),
                "largest_error": largest_error,
            }
        )
    )


if __name__ == "__main__":
    main()
