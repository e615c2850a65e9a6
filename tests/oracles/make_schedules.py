"""Writes schedules.npz: the learning rates of torch.optim.lr_scheduler. Run: python tests/oracles/make_schedules.py"""

import json
from pathlib import Path

import numpy as np
import torch
from torch.optim import lr_scheduler as L

STEPS = 60


def rates(initial, make):
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64, requires_grad=True)], lr=initial)
    scheduler = make(optimizer)
    result = []
    for _ in range(STEPS):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(result)


def one_cycle(**arguments):
    return lambda o: L.OneCycleLR(o, max_lr=0.4, total_steps=STEPS + 1, cycle_momentum=False, **arguments)


CASES = {
    "step": (
        {"class": "Step", "config": {"initial": 0.3, "step_size": 7, "gamma": 0.5}},
        rates(0.3, lambda o: L.StepLR(o, 7, 0.5)),
    ),
    "exponential": (
        {"class": "Exponential", "config": {"initial": 0.3, "decay_rate": 0.95}},
        rates(0.3, lambda o: L.ExponentialLR(o, 0.95)),
    ),
    "cosine": (
        {"class": "Cosine", "config": {"initial": 0.3, "total_steps": STEPS, "final": 0.01}},
        rates(0.3, lambda o: L.CosineAnnealingLR(o, STEPS, 0.01)),
    ),
    "inverse_time": (
        {"class": "InverseTime", "config": {"initial": 0.3, "decay_rate": 0.2, "decay_steps": 5}},
        rates(0.3, lambda o: L.LambdaLR(o, lambda t: 1 / (1 + 0.2 * t / 5))),
    ),
    "warm_up": (
        {"class": "WarmUp", "config": {"steps": 10, "then": 0.3, "start": 0.03}},
        rates(0.3, lambda o: L.LinearLR(o, 0.1, 1.0, 10)),
    ),
    "warm_up_exponential": (
        {"class": "WarmUp", "config": {
            "steps": 10, "then": {"class": "Exponential", "config": {"initial": 0.3, "decay_rate": 0.9}}, "start": 0.03,
        }},
        rates(0.3, lambda o: L.SequentialLR(o, [L.LinearLR(o, 0.1, 1.0, 10), L.ExponentialLR(o, 0.9)], [10])),
    ),
    "one_cycle": (
        {"class": "OneCycle", "config": {"max_rate": 0.4, "total_steps": STEPS + 1}},
        rates(0.4, one_cycle()),
    ),
    "one_cycle_late": (
        {"class": "OneCycle", "config": {
            "max_rate": 0.4, "total_steps": STEPS + 1, "pct_start": 0.75, "div_factor": 4.0, "final_div_factor": 50.0,
        }},
        rates(0.4, one_cycle(pct_start=0.75, div_factor=4.0, final_div_factor=50.0)),
    ),
    "one_cycle_down": (
        {"class": "OneCycle", "config": {"max_rate": 0.4, "total_steps": STEPS + 1, "pct_start": 0.01}},
        rates(0.4, one_cycle(pct_start=0.01)),
    ),
}

arrays = {name: values for name, (_, values) in CASES.items()}
configs = json.dumps({name: config for name, (config, _) in CASES.items()})
np.savez_compressed(Path(__file__).with_name("schedules.npz"), configs=configs, torch=torch.__version__, **arrays)
