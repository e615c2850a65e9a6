"""Folders of images: labels, sizes, colours, transparency, what is no image."""
import os

import numpy as np
import pytest
from PIL import Image

import nnfast as nf
from nnfast.data import image_folder


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(["cat", "dog"]):
        (tmp_path / name).mkdir()
        for i, ending in enumerate(["png", "PNG", "bmp"]):
            Image.new("RGB", (6, 4), (label * 200, i, 7)).save(tmp_path / name / f"{i}.{ending}")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_images(folder):
    images = image_folder(folder)
    assert repr(images) == "<Images: 6 of 4 x 6 x 3, 2 classes>"
    assert images.x.shape == (6, 4, 6, 3) and images.x.dtype == np.uint8 and images.classes == ["cat", "dog"]
    np.testing.assert_array_equal(images.y, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(images.x[4, 2, 2], [200, 1, 7])
    assert images.paths[0].endswith("0.png")
    assert image_folder(folder, mode="gray", size=(5, 3)).x.shape == (6, 5, 3, 1)
    (folder / "dog").rename(folder / ".dog")
    assert repr(image_folder(folder)) == "<Images: 3 of 4 x 6 x 3, 1 class>"
    (folder / ".dog").rename(folder / "dog")
    np.testing.assert_array_equal(image_folder(folder, classes=["dog", "cow", "cat"]).y, [0, 0, 0, 2, 2, 2])


def test_images_without_labels(folder):
    images = image_folder(folder, labels=False)
    assert repr(images) == "<Images: 6 of 4 x 6 x 3, no labels>" and images.y is images.classes is None
    np.testing.assert_array_equal(images.x, image_folder(folder).x)
    assert image_folder(folder / "cat", labels=False).x.shape[0] == 3          # also where no folders are within
    np.testing.assert_array_equal(image_folder(images.paths[4], labels=False).x, images.x[4:5])
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        image_folder(folder / "nothing", labels=False)
    (folder / "cow").mkdir()
    with pytest.raises(ValueError, match="no images .* in .*cow' or a folder within it"):
        image_folder(folder / "cow", labels=False)
    Image.new("RGB", (6, 4)).save(folder / ".cache" / "thumbnail.png")
    assert image_folder(folder, labels=False).paths == images.paths


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_folders_that_link_to_each_other(folder):
    paths = image_folder(folder, labels=False).paths
    (folder / "cat" / "back").symlink_to(folder, target_is_directory=True)
    (folder / "dog" / "other").symlink_to(folder / "cat", target_is_directory=True)
    (folder / "cat" / "other").symlink_to(folder / "dog", target_is_directory=True)
    found = image_folder(folder, labels=False).paths
    assert sorted(map(os.path.realpath, found)) == sorted(map(os.path.realpath, paths))


def test_grey_values_of_16_bits(tmp_path):
    values = (np.arange(12, dtype=np.uint16) * 5000).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "scan.png")
    np.testing.assert_array_equal(image_folder(tmp_path, mode="gray", labels=False).x[0, :, :, 0], values >> 8)


    Image.fromarray(values).save(tmp_path / "scan.pgm")
    np.testing.assert_array_equal(*image_folder(tmp_path, mode="gray", labels=False).x)


@pytest.mark.parametrize(("values", "kind"), [(np.float32([[0, 0.5], [1, 2]]), "floats"),
                                              (np.int32([[0, 70_000]]), "integers of 32 bits")])
def test_grey_values_without_a_range(tmp_path, values, kind):
    Image.fromarray(values).save(tmp_path / "heights.tif")
    with pytest.raises(ValueError, match=f"heights.tif' cannot be read as an image: its grey values are {kind}, and "):
        image_folder(tmp_path, labels=False)


def test_a_palette_with_transparent_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "icon.png", transparency=b"\x00\x80")
    assert image_folder(tmp_path, labels=False).x.tolist() == [[[[255, 255, 255], [147, 152, 157]]]]    # over white


def test_image_folders_that_are_none(folder):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        image_folder(folder / "nothing")
    with pytest.raises(ValueError, match="has no folders in it; images of class 'cat' belong in"):
        image_folder(folder / "cat")
    with pytest.raises(ValueError, match="folder 'dog' is not among the classes cat"):
        image_folder(folder, classes=["cat"])
    with pytest.raises(ValueError, match="the class 'cat' is named twice; name every class once"):
        image_folder(folder, classes=["cat", "dog", "cat"])
    with pytest.raises(TypeError, match="classes must be a list of names, got the text 'cat'"):
        image_folder(folder, classes="cat")
    Image.new("L", (9, 9)).save(folder / "dog" / "x.png")
    with pytest.raises(ValueError, match=r"sizes \(6 of 4 x 6, 1 of 9 x 9\); scale them to one with size=\(4, 6"):
        image_folder(folder)
    assert image_folder(folder, size=8).x.shape == (7, 8, 8, 3)
    (folder / "dog" / "x.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(ValueError, match="x.png' cannot be read as an image"):
        image_folder(folder)
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="no images .* in .*empty"):
        image_folder(folder)


def test_photos_are_turned_upright(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    (tmp_path / "a").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6        # orientation: the camera was turned to the right
    Image.fromarray(np.array([[0, 255, 0]], np.uint8)).save(tmp_path / "a" / "1.png", exif=exif)
    data = nf.data.image_folder(tmp_path, labels=False)
    assert data.x.shape == (1, 3, 1, 3)
    for i, image in enumerate([Image.new("RGBA", (3, 1)), Image.new("LA", (3, 1)), Image.new("P", (3, 1)),
                               Image.fromarray(np.array([[0, 500, 65_000]], np.uint16))]):
        image.save(tmp_path / "a" / f"2{i}.png", exif=exif)
    assert nf.data.image_folder(tmp_path, labels=False).x.shape == (5, 3, 1, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_images_lie_on_white(mode, tmp_path):
    """What is transparent is often black beneath, and so is what is drawn."""
    image = Image.new(mode, (2, 1), (0,) * len(mode))
    image.putpixel((0, 0), (0,) * (len(mode) - 1) + (255,))
    image.save(tmp_path / "icon.png")
    assert image_folder(tmp_path, labels=False).x.tolist() == [[[[0, 0, 0], [255, 255, 255]]]]
    assert image_folder(tmp_path, mode="gray", labels=False).x.tolist() == [[[[0], [255]]]]
