"""From files and frames to arrays a network takes, and back to what the files say.

======================  ===========================================================================
csv, frame              a table: text columns encoded (as 0 and 1, or as ids), missing values filled, a target of text
                        or numbers
image_folder            images in one folder per class
train_test_split        two parts of arrays, rows in the same order in each
encode_labels           texts to 0, 1, ...
normalization           a layer that brings each column to mean 0 and variance 1, saved with the model
======================  ===========================================================================
"""

from .images import Images, image_folder
from .preparation import encode_labels, normalization, train_test_split
from .tables import Table, TableEncoding, csv, frame

__all__ = [
    "Images",
    "Table",
    "TableEncoding",
    "csv",
    "encode_labels",
    "frame",
    "image_folder",
    "normalization",
    "train_test_split",
]
