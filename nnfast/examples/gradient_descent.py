"""Gradient descent: walk downhill by the slope.

    x_{n+1} = x_n - lr f'(x_n),  until |x_{n+1} - x_n| <= delta

On f(x) = x^2 with rate lr each step multiplies x by 1 - 2 lr: 0.1 approaches the minimum, 0.9 jumps from side to side
and still arrives, 1.1 runs away.

Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 4.3, eq. 4.5.
"""

import numpy as np

import nnfast as nf


def square(x):
    return x**2


def slope(x):
    return 2 * x


def valley(x):
    """A long valley: ten times as steep in one direction as in the other."""
    return x[0] ** 2 + 10 * x[1] ** 2


def main(figure=None):
    print("f(x) = x^2 from both sides, lr = 0.1")
    sides = [nf.optimize.gradient_descent(square, slope, start, lr=0.1) for start in (-2.0, 2.0)]
    for result in sides:
        print(f"  {', '.join(f'{x:.4g}' for x in result.path[:4])}, ... -> {result.x:.1e} after {result.n_iter} steps")

    print("other rates, from 2")
    for lr in (0.9, 1.0, 1.1):
        result = nf.optimize.gradient_descent(square, slope, 2.0, lr=lr, max_iter=200)
        print(f"  lr = {lr}: converged={result.converged}, {result.reason}")

    # Without a gradient, finite differences stand in.
    narrow = nf.optimize.gradient_descent(valley, None, [-2.0, 1.0], lr=0.08, delta=1e-8)
    print(f"x^2 + 10 y^2 by finite differences: {np.round(narrow.x, 6) + 0.0} after {narrow.n_iter} steps")
    check = nf.optimize.check_gradient(valley, lambda x: np.array([2 * x[0], 20 * x[1]]), [-2.0, 1.0])
    print(f"its gradient (2x, 20y) against finite differences: relative error {check.error:.0e}")

    if figure is not None:
        left, right = figure.subplots(1, 2)
        nf.plot.descent_path(sides[0], square, margin=1.2, ax=left)
        nf.plot.descent_path(sides[1], ax=left)
        left.set(xlim=(-2.5, 2.5), ylim=(-0.3, 6.5), title="$x^2$ from -2 and 2, lr = 0.1")
        nf.plot.descent_path(narrow, valley, ax=right)
        right.set_title("$x_1^2 + 10 x_2^2$, lr = 0.08: zigzag in the steep direction")
