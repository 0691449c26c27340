#!/usr/bin/env python3
"""Writes names.txt: what PyTorch calls the parameters and statistics of every model, with shapes.

    python3 tests/golden/make_names.py      (needs torch; made with the version in the first line)
"""

import pathlib

import torch

import networks

MODELS = [  # name, channels, size, classes, hidden
    ("mlp", 1, 28, 10, (256, 128)),
    ("cnn", 1, 28, 10, ()),
    ("cnn", 3, 32, 100, ()),
    ("resnet20", 3, 32, 10, ()),
    ("resnet32", 3, 32, 10, ()),
    ("resnet44", 3, 32, 10, ()),
    ("resnet56", 3, 32, 100, ()),
    ("resnet110", 3, 32, 10, ()),
    ("plain18", 3, 224, 1000, ()),
    ("plain34", 3, 32, 10, ()),
    ("resnet18", 3, 224, 1000, ()),
    ("resnet18", 3, 32, 10, ()),
    ("resnet34", 3, 224, 1000, ()),
    ("resnet50", 3, 224, 1000, ()),
    ("resnet50", 3, 32, 100, ()),
]


def lines():
    yield f"# PyTorch {torch.__version__}: tests/golden/make_names.py"
    for name, channels, size, classes, hidden in MODELS:
        module = networks.build(name, channels, size, classes, hidden)
        count = sum(p.numel() for p in module.parameters())
        state = {k: v for k, v in module.state_dict().items() if "num_batches" not in k}
        statistics = sum(v.numel() for k, v in state.items() if "running" in k)
        yield " ".join(map(str, ("model", name, channels, size, classes, count, statistics, *hidden)))
        for key, value in state.items():
            yield " ".join([key, *map(str, value.shape)])


path = pathlib.Path(__file__).parent / "names.txt"
path.write_text("\n".join(lines()) + "\n")
