#!/usr/bin/env python3
"""Writes mlp.json, cnn.json and resnet20.json: PyTorch's numbers for one SGD step and for evaluation.

    python3 tests/golden/make_golden.py      (needs torch and numpy)

Inputs, weights and statistics come from a formula that the C test computes as well, so that only
results are stored. The truth is PyTorch in float64; "float32" and "bf16" say how far PyTorch's own
float32 and its bfloat16 autocast are from it. The seed is chosen so that no input of a ReLU is nearer to 0 than `margin`: otherwise the
sign of rounding would decide a gradient.
"""

import copy
import json
import pathlib

import numpy as np
import torch
from torch.nn import functional

import networks

LR, WEIGHT_DECAY = 0.1, 1e-4
CASES = {
    "mlp": dict(
        channels=1, size=28, classes=10, hidden=(64, 32), batch=8, margin=1e-5,
        full=("fc1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"),
    ),
    "cnn": dict(
        channels=1, size=28, classes=10, hidden=(), batch=8, margin=1e-6,
        full=("conv1.weight", "conv1.bias", "conv2.bias", "conv3.bias", "fc1.bias", "fc2.weight",
              "fc2.bias"),
    ),
    "resnet20": dict(
        channels=3, size=32, classes=10, hidden=(), batch=8, margin=4e-6,
        full=("conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight",
              "layer2.0.conv1.weight", "layer2.0.bn2.weight", "layer3.2.bn2.bias",
              "linear.weight", "linear.bias"),
    ),
}  # fmt: skip


def stream(seed, name, count):
    """Uniform in [-1,1), 24 bits: splitmix64 counted from FNV-1a of the name."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64((h + seed) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1


def initial(seed, name, tensor):
    """Weights +-sqrt(3/fan_in), batch norm around 1 and 0, statistics that are not the identity."""
    u = stream(seed, name, tensor.numel())
    if name.endswith("running_mean"):
        u = 0.5 * u
    elif name.endswith("running_var"):
        u = 1 + 0.5 * u
    elif tensor.dim() > 1:
        u = np.sqrt(3.0 / (tensor.numel() // tensor.shape[0])) * u
    elif name.endswith("weight"):
        u = 1 + 0.25 * u
    else:
        u = 0.125 * u
    return torch.from_numpy(u.astype(np.float32).reshape(tensor.shape))


def set_up(case, name, seed):
    module = networks.build(name, case["channels"], case["size"], case["classes"], case["hidden"])
    state = module.state_dict()
    for key, value in state.items():
        if "num_batches" not in key:
            value.copy_(initial(seed, key, value))
    shape = (case["batch"], case["channels"], case["size"], case["size"])
    noise = stream(seed, "x", int(np.prod(shape))).reshape(shape)
    colour = stream(seed, "x.mean", shape[0] * shape[1]).reshape(*shape[:2], 1, 1)
    x = torch.from_numpy((noise + 2 * colour).astype(np.float32))
    y = (stream(seed, "y", case["batch"]) + 1) * 0.5 * case["classes"]
    return module, x, torch.from_numpy(y.astype(np.int64))


def relu_margin(module, x):
    """The smallest distance of a ReLU's input from 0, in training."""
    module, smallest = copy.deepcopy(module), []
    for part in module.modules():
        if isinstance(part, torch.nn.ReLU):
            part.register_forward_pre_hook(lambda _, i: smallest.append(i[0].abs().min().item()))
    module.train()(x)
    return min(smallest)


def step(module, x, y, bf16=False):
    """What is compared: evaluation, then loss, logits, gradients of a step, then what it leaves."""
    module, autocast = copy.deepcopy(module), torch.autocast("cpu", torch.bfloat16, enabled=bf16)
    with torch.no_grad(), autocast:
        evaluated = module.eval()(x).to(x.dtype)
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    with autocast:
        logits = module(x).to(x.dtype)
    loss = functional.cross_entropy(logits, y)
    loss.backward()
    gradient = {k: p.grad.clone() for k, p in module.named_parameters()}
    optimizer.step()
    return {
        "evaluation loss": functional.cross_entropy(evaluated, y),
        "evaluation logits": evaluated,
        "loss": loss.detach(),
        "logits": logits.detach(),
        "gradient": gradient,
        "after": {k: v for k, v in module.state_dict().items() if "num_batches" not in k},
    }


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().double().flatten().tolist()]


def probe(seed, name, tensor):
    """A sum with fixed signs and sizes: transposed or permuted tensors do not have it."""
    values = tensor.detach().double().flatten().numpy()
    return float((stream(seed, name + ".probe", values.size) * values).sum())


def far(truth, other):
    """The largest difference over the largest value, or norm over norm, whichever is more."""
    off = other.double() - truth
    error = max(off.abs().max() / truth.abs().max(), off.norm() / truth.norm())
    return float(f"{error:.2g}")


def digest(seed, name, truth, bf16, whole):
    record = dict(norm=truth.norm().item(), probe=probe(seed, name, truth), bf16=far(truth, bf16))
    return record | ({"all": numbers(truth)} if whole else {})


def golden(name, case):
    for seed in range(1, 1000):
        module, x, y = set_up(case, name, seed)
        margin = relu_margin(module.double(), x.double())
        if margin >= case["margin"]:
            break
    module, x, y = set_up(case, name, seed)
    single, half = step(module, x, y), step(module, x, y, bf16=True)
    truth = step(module.double(), x.double(), y)
    plain = [k for k in truth if not isinstance(truth[k], dict)]
    return {
        "made_by": f"tests/golden/make_golden.py, PyTorch {torch.__version__}, float64",
        "model": name, "channels": case["channels"], "size": case["size"],
        "classes": case["classes"], "hidden": case["hidden"], "batch": case["batch"],
        "seed": seed, "lr": LR, "weight_decay": WEIGHT_DECAY, "relu_margin": margin,
        "float32": {k: far(truth[k], single[k]) for k in plain} | {
            kind: max(far(v, single[kind][k]) for k, v in truth[kind].items())
            for kind in ("gradient", "after")
        },
        "bf16": {k: far(truth[k], half[k]) for k in plain},
        **{k: numbers(truth[k]) for k in plain},
        "gradient": {
            k: digest(seed, k, g, half["gradient"][k], k in case["full"])
            for k, g in truth["gradient"].items()
        },
        "after": {
            k: digest(seed, k, v, half["after"][k], "running" in k)
            for k, v in truth["after"].items()
        },
    }  # fmt: skip


torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
for name, case in CASES.items():
    result = golden(name, case)
    path = pathlib.Path(__file__).parent / f"{name}.json"
    path.write_text(json.dumps(result, indent=0).replace(",\n", ",") + "\n")
    print(name, "seed", result["seed"], "margin", result["relu_margin"], result["float32"])
