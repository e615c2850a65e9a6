"""Windows: output sizes and padding by their definitions, and the words for what does not fit."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnfast import geometry


def outputs_by_counting(size, kernel, stride, before, after, dilation):
    """How many steps the window can take, found by taking them."""
    count, at = 0, 0
    while at + (kernel - 1) * dilation < before + size + after:
        count, at = count + 1, at + stride
    return count


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 5), st.integers(0, 5), st.integers(0, 5),
       st.integers(1, 4))
def test_output_size(size, kernel, stride, before, after, dilation):
    expected = outputs_by_counting(size, kernel, stride, before, after, dilation)
    if expected == 0:
        with pytest.raises(ValueError, match="is larger than the input"):
            geometry.window("conv1d", (size,), kernel, stride, (before, after), dilation)
        return
    window = geometry.window("conv1d", (size,), kernel, stride, (before, after), dilation)
    assert window.as_tuple() == (1, size, 1, expected, 1, kernel, 1, stride, 0, before, 0, after, 1, dilation)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 5), st.integers(1, 4))
def test_same_padding(size, kernel, stride, dilation):
    """TensorFlow's: ceil(size / stride) outputs from as few zeros as give them, the odd one after the data."""
    window = geometry.window("conv1d", (size,), kernel, stride, "same", dilation)
    before, after = window.padding[1]
    assert window.output[1] == -(-size // stride)
    assert after - before in (0, 1)
    if before + after > 0:
        assert outputs_by_counting(size, kernel, stride, 0, before + after - 1, dilation) < window.output[1]


def test_same_padding_by_hand():
    def padding(*arguments):
        return geometry.window("conv2d", *arguments).padding

    assert padding((28, 28), 3, 1, "same") == ((1, 1), (1, 1))
    assert padding((28, 28), 3, 2, "same") == ((0, 1), (0, 1))
    assert padding((28, 27), (2, 5), (1, 2), "same") == ((0, 1), (2, 2))
    assert padding((5, 5), 3, 1, "same", 2) == ((2, 2), (2, 2))
    assert padding((5, 5), 1, 3, "same") == ((0, 0), (0, 0))       # stride beyond the kernel: nothing to add


def test_the_forms_of_each_argument():
    window = geometry.window("conv2d", (9, 11), (3, 2), (2, 1), ((1, 0), (2, 3)), (1, 4))
    assert window.as_tuple() == (9, 11, 4, 12, 3, 2, 2, 1, 1, 2, 0, 3, 1, 4)
    lists = geometry.window("conv2d", (9, 11), [3, 2], [2, 1], [[1, 0], [2, 3]], [1, 4])
    assert lists == window and hash(lists) == hash(window)
    assert geometry.window("c", (9, 9), 3, padding=2).padding == ((2, 2), (2, 2))
    assert geometry.window("c", (9,), 3, padding=2).padding == ((0, 0), (2, 2))
    assert geometry.check_padding("c", [1, 2], 1) == (1, 2)
    assert geometry.check_sizes("c", "stride", [3], 1) == 3


@pytest.mark.parametrize("kernel, padding, works", [
    (2, 1, True), (2, 2, False), (3, (2, 2), True), (3, (0, 3), False), (3, "same", True), (1, 0, True), (1, 1, False),
], ids=str)
def test_a_pooling_window_always_holds_something(kernel, padding, works):
    if works:
        assert geometry.pooling_window("pool", (6,), kernel, 1, padding).output[1] > 0
    else:
        with pytest.raises(ValueError, match="pool: padding must be smaller than the kernel, got kernel"):
            geometry.pooling_window("pool", (6,), kernel, 1, padding)


def test_pooling_windows_are_no_larger_than_float32_counts():
    assert geometry.pooling_window("pool", (2**24 + 1,), 2**24).output == (1, 1)
    assert geometry.global_window("pool", (2**12, 2**12, 3)).output == (1, 1)
    for make in (lambda: geometry.pooling_window("pool", (2**24 + 1,), 2**24 + 1),
                 lambda: geometry.global_window("pool", (2**12, 2**12 + 1, 3))):
        with pytest.raises(ValueError, match="pool: a window of .* takes in 16,7.* elements of the input"):
            make()


def test_same_padding_never_reaches_a_pooling_kernel():
    for size in range(1, 12):
        for kernel in range(1, 6):
            for stride in range(1, 7):
                geometry.pooling_window("pool", (size, 1), (kernel, 1), stride, "same")


def test_pooling_steps_by_its_kernel_unless_told_otherwise():
    assert geometry.pooling_window("pool", (8, 9), (2, 3)).stride == (2, 3)
    assert geometry.pooling_window("pool", (8, 9), (2, 3), 1).stride == (1, 1)


def test_global_window():
    assert geometry.global_window("pool", (5, 3)).as_tuple()[:8] == (1, 5, 1, 1, 1, 5, 1, 1)
    assert geometry.global_window("pool", (4, 5, 3)).as_tuple()[:6] == (4, 5, 1, 1, 4, 5)


BIG = 2**31


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: geometry.window("c", (4, 4), (5, 3)), ValueError, "^c: kernel 5 x 3 is larger than the input 4 x 4$"),
    (lambda: geometry.window("c", (1, 8), 3, channels=8), ValueError,
     r'kernel 3 x 3 is larger than the input 1 x 8; .* channels first need data_format="channels_first"$'),
    (lambda: geometry.window("c", (3, 32), 5, channels=32), ValueError, 'data_format="channels_first"$'),
    (lambda: geometry.window("c", (1, 1), 3, channels=8), ValueError, "input 1 x 1$"),      # deep in a network
    (lambda: geometry.window("c", (2, 8), 3, channels=8), ValueError, "input 2 x 8$"),
    (lambda: geometry.window("c", (1, 50), 3), ValueError, "input 1 x 50$"),
    (lambda: geometry.window("c", (4,), 6, padding=(0, 1)), ValueError,
     r"^c: kernel 6 is larger than the input 4 with padding \(0, 1\)$"),
    (lambda: geometry.window("c", (8, 8), 3, 1, ((1, 0), (0, 0)), 5), ValueError,
     r"kernel 3 x 3 with dilation 5 x 5, which spans 11 x 11, is larger than the input 8 x 8 with padding \(\(1, 0\)"),
    (lambda: geometry.window("c", (8, 8), 0), ValueError, "c: kernel_size must be at least 1, got 0"),
    (lambda: geometry.window("c", (8, 8), (3, -1)), ValueError, r"kernel_size \(3, -1\): an entry must be at least 1"),
    (lambda: geometry.window("c", (8, 8), 3, 0), ValueError, "stride must be at least 1, got 0"),
    (lambda: geometry.window("c", (8, 8), 3, (1, -2)), ValueError, "stride .* got -2"),
    (lambda: geometry.window("c", (8, 8), 3, dilation=0), ValueError, "dilation must be at least 1, got 0"),
    (lambda: geometry.window("c", (8, 8), 3, dilation=-1), ValueError, "dilation must be at least 1, got -1"),
    (lambda: geometry.window("c", (8, 8), 2.5), TypeError, r"kernel_size must be an integer or \(h, w\), got float"),
    (lambda: geometry.window("c", (8, 8), True), TypeError, r"kernel_size must be an integer or \(h, w\), got bool"),
    (lambda: geometry.window("c", (8, 8), "3"), TypeError, r"kernel_size must be an integer or \(h, w\), got str"),
    (lambda: geometry.window("c", (8, 8), (1, 2, 3)), ValueError, r"must be an integer or \(h, w\), got \(1, 2, 3\)"),
    (lambda: geometry.window("c", (8,), (1, 2)), ValueError, r"kernel_size must be an integer, got \(1, 2\)"),
    (lambda: geometry.window("c", (8, 8), 3, None), TypeError, r"stride must be an integer or \(h, w\), got NoneType"),
    (lambda: geometry.window("c", (8, 8), 3, padding=-1), ValueError, "padding must be at least 0, got -1"),
    (lambda: geometry.window("c", (8, 8), 3, padding=1.5), TypeError, "padding must be 'valid', .*, got float"),
    (lambda: geometry.window("c", (8, 8), 3, padding="full"), ValueError, "'valid', 'same', .* got 'full'"),
    (lambda: geometry.window("c", (8, 8), 3, padding=(1, 1)), ValueError,
     r"padding must be 'valid', 'same', an integer or \(\(top, bottom\), \(left, right\)\), got \(1, 1\)"),
    (lambda: geometry.window("c", (8, 8), 3, padding=((1, 1),)), ValueError, "padding must be"),
    (lambda: geometry.window("c", (8, 8), 3, padding=((1, 1), "ab")), ValueError, "padding must be"),
    (lambda: geometry.window("c", (8, 8), 3, padding=((1, 1), (0, -1))), ValueError, "padding .* got -1"),
    (lambda: geometry.window("c", (8,), 3, padding=((1, 1), (1, 1))), TypeError, "padding .* integer, got tuple"),
    (lambda: geometry.window("c", (8,), 3, padding=(1, 2, 3)), ValueError, r"or \(left, right\), got \(1, 2, 3\)"),
    (lambda: geometry.window("c", (8,), BIG), ValueError, "kernel_size must be at most 2147483647"),
    (lambda: geometry.window("c", (8,), 1, 2**70), ValueError, "stride must be at most"),
    (lambda: geometry.window("c", (8,), 1, padding=2**40), ValueError, "padding must be at most"),
    (lambda: geometry.window("c", (8,), 1, padding=BIG - 1), ValueError, "more than this library computes"),
    (lambda: geometry.window("c", (8, 8), 1, padding=2**22), ValueError, "are 70,368.* numbers, more than this"),
    (lambda: geometry.global_window("g", (8,)), ValueError, r"g: expected an input of shape \(L, C\) or \(H, W, C\)"),
    (lambda: geometry.spatial("c", (28, 28), 2), ValueError,
     r"\(H, W, C\), channels last, got \(28, 28\); with one channel it is \(28, 28, 1\)"),
    (lambda: geometry.spatial("c", (28,), 1), ValueError, r"\(L, C\), channels last, got \(28,\)"),
    (lambda: geometry.check_groups("c", 3, 4, 6), ValueError, "c: 4 channels cannot be divided into 3 groups"),
    (lambda: geometry.check_groups("c", 3, 6, 4), ValueError, "c: 4 filters cannot be divided into 3 groups"),
    (lambda: geometry.check_groups("c", 0, 6, 4), ValueError, "groups must be at least 1"),
    (lambda: geometry.check_groups("c", 1.0, 6, 4), TypeError, "groups must be an integer"),
])
def test_what_does_not_fit(call, error, text):
    with pytest.raises(error, match=text):
        call()
