"""scikit-learn's MLPClassifier and MLPRegressor, float32, without L2 penalty, early stopping or momentum.

Timed is one ``fit`` of several epochs (it shuffles, as ours does); the curve is one ``partial_fit`` a batch.
"""

import warnings

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

VARIANTS = {"mlp": {"": "step"}}


def versions():
    return f"scikit-learn {sklearn.__version__}"


def build(problem):
    """An estimator with the problem's weights and a new optimizer."""
    workload = problem.workload
    kind = MLPClassifier if workload.loss == "cross_entropy" else MLPRegressor
    estimator = kind(
        hidden_layer_sizes=tuple(layer.units for layer in workload.layers[:-1]),
        activation=workload.layers[0].activation,
        solver=workload.optimizer,
        alpha=0.0,
        batch_size=workload.batch_size,
        learning_rate_init=workload.learning_rate,
        momentum=0.0,
        nesterovs_momentum=False,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=0,
    )
    x, y = problem.x[: workload.batch_size], problem.y[: workload.batch_size]
    if kind is MLPClassifier:
        estimator.partial_fit(x, y, classes=np.arange(workload.outputs))
    else:
        estimator.partial_fit(x, y)
    for target, value in zip(estimator.coefs_, problem.parameters[0::2]):
        target[...] = value
    for target, value in zip(estimator.intercepts_, problem.parameters[1::2]):
        target[...] = value
    del estimator._optimizer  # no public way to reset its moments: the next call makes a new one
    return estimator


class Trainer:
    def __init__(self, problem, variant, n_threads, choice="fit"):
        self.problem, self.choice = problem, choice

    def reset(self):
        self.estimator = build(self.problem)

    def losses(self, n_steps):
        """One ``partial_fit`` a batch, its definitions brought to everybody else's.

        The regressor's loss is half a mean over samples and outputs, ours a mean over samples of a sum over outputs.
        Adam's epsilon is added here before the bias correction, in PyTorch after it, so it changes with the step.
        """
        workload, estimator = self.problem.workload, self.estimator
        half, loss_scale = (1.0, 1) if workload.loss == "cross_entropy" else (0.5, 2 * workload.outputs)
        losses = []
        for step, (x, y) in enumerate(self.problem.batches()[:n_steps], 1):
            estimator.epsilon = half * 1e-8 * (1 - estimator.beta_2**step) ** 0.5
            if step > 1 and workload.optimizer == "adam":  # the first call makes the optimizer with that epsilon
                estimator._optimizer.epsilon = estimator.epsilon
            losses.append(loss_scale * float(estimator.partial_fit(x, y).loss_))
        return losses

    def epochs(self, count):
        self.estimator.set_params(max_iter=count, warm_start=True)  # starts from coefs_ as they are
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # max_iter is the number of epochs wanted
            self.estimator.fit(self.problem.x, self.problem.y)
