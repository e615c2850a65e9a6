"""Ready networks, with fresh weights: to compile and train, or to read as examples."""

from .convolutional import lenet5, mnist_cnn, resnet, unet, vgg
from .mobile import efficientnet, mobilenet_v2, mobilenet_v3
from .regression import linear_regression, logistic_regression, softmax_regression
from .tabular import tabular

__all__ = ["efficientnet", "lenet5", "linear_regression", "logistic_regression", "mnist_cnn", "mobilenet_v2",
           "mobilenet_v3", "resnet", "softmax_regression", "tabular", "unet", "vgg"]
