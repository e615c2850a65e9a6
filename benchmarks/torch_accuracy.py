"""PyTorch in the accuracy table: eager, channels_last, fused Adam, batches gathered by a shuffled index."""

import time

import torch

from .torch_net import OptimizerStep, image_batch, labels, versions
from .workloads import fashion_problem

__all__ = ["VARIANTS", "accuracy", "versions"]

VARIANTS = {"accuracy": {"": "step"}}


def accuracy(path, seed, epochs, n_threads):
    torch.set_num_threads(n_threads)
    torch.manual_seed(seed)
    problem, x_test, y_test = fashion_problem(path, seed)
    x, y = image_batch(problem.x, torch.channels_last), labels(problem.y)
    step = OptimizerStep(problem, compiled=False, memory_format=torch.channels_last, fused=True)
    step.reset()
    n, size = len(x), problem.workload.batch_size
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(step.optimizer, epochs * -(-n // size))
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(n).split(size):
            step(x[rows].contiguous(memory_format=torch.channels_last), y[rows])
            schedule.step()
    seconds = time.perf_counter() - start
    step.model.eval()
    with torch.inference_mode():
        batches = zip(image_batch(x_test, torch.channels_last).split(1000), labels(y_test).split(1000))
        correct = sum(int((step.model(x).argmax(dim=1) == y).sum()) for x, y in batches)
    return {"accuracy": correct / len(y_test), "seconds": seconds}
