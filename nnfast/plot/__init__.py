"""Pictures of training, of what a network has learned and of how it decides; needs matplotlib (``nnfast[plot]``).

Every function draws on one Axes and returns it. Common arguments:

    ax : matplotlib Axes to draw on; None makes a new figure through pyplot, which works without a display, too.
    save : path of a file to write the figure to (.png, .pdf, .svg); None writes none.

matplotlib is imported when the first picture is drawn.
"""

from .decisions import activation, confusion_matrix, decision_boundary
from .pixels import feature_maps, filters, images, label_maps, saliency
from .training import descent_path, gradient_norms, history

__all__ = [
    "activation", "confusion_matrix", "decision_boundary", "descent_path", "feature_maps", "filters", "gradient_norms",
    "history", "images", "label_maps", "saliency",
]
