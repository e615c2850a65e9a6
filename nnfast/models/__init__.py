"""Ready networks, with fresh weights: to compile and train, or to read as examples."""

from .convolutional import lenet5, mnist_cnn, resnet, vgg

__all__ = ["lenet5", "mnist_cnn", "resnet", "vgg"]
