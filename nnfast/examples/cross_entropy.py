"""Cross-entropy of two distributions: the surprise at p for who believes q.

    H(p, q) = -sum_j p_j log q_j  >=  H(p) = H(p, p)

The difference is the Kullback-Leibler divergence, 0 only where q = p. Where p is a certainty, the label of an example,
H(p, q) = -log q_label: the loss of classification, and the negative log likelihood.

Source: Goodfellow, Bengio, Courville, Deep Learning (2016), eq. 3.49 to 3.51.
"""

import numpy as np

from nnfast import functional as F


def main(figure=None):
    for p, q in (((0.3, 0.7), (0.7, 0.3)), ((0.3, 0.7), (0.3, 0.7)), ((1, 0), (0.3, 0.7)), ((1, 0), (0.9, 0.1))):
        print(f"H({list(p)}, {list(q)}) = {F.cross_entropy(p, q):.3f}   of which entropy of p {F.entropy(p):.3f}")

    # The loss of a network computes it from logits z, q = softmax(z), without ever taking log(0).
    z = np.array([[2.0, -1.0, 0.5]])
    p = np.array([[0.2, 0.5, 0.3]])
    loss, _ = F.softmax_cross_entropy(z, p)
    print(f"from logits {loss:.6f}, from probabilities {F.cross_entropy(p, F.softmax(z))[0]:.6f}")

    # Likelihood of three labels under predictions q: its -log, divided by their number, is the cross-entropy.
    q = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    labels = np.array([0, 1, 2])
    likelihood = np.prod(q[np.arange(3), labels])
    print(f"likelihood {likelihood:.3f}: -log / 3 = {-np.log(likelihood) / 3:.6f}, "
          f"mean cross-entropy = {F.cross_entropy(np.eye(3)[labels], q).mean():.6f}")

    if figure is not None:
        ax = figure.subplots()
        q = np.linspace(0.001, 0.999, 999)
        both = np.column_stack([q, 1 - q])
        for first in (0.3, 0.5, 1.0):
            p = np.array([first, 1 - first])
            values = F.cross_entropy(np.broadcast_to(p, both.shape), both)
            (line,) = ax.plot(q, values, label=f"p = ({first}, {1 - first})")
            ax.plot(first, F.entropy(p), "o", color=line.get_color())
        ax.set(xlabel="$q_1$", ylabel="H(p, q) in nats", ylim=(-0.1, 4),
               title="the least cross-entropy is at q = p: the entropy of p")
        ax.legend()
