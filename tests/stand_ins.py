"""Small classes that take the place of a user's own, or of an accident."""
import nnfast as nf


class Samples:
    """As a PyTorch Dataset."""

    def __init__(self, *arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, i):
        assert type(i) is int
        return tuple(a[i] for a in self.arrays)


class Killed(BaseException):
    pass


class KillAfter(nf.Callback):
    """Ends training as if the process had died, after some batches of this process; called before checkpoints are."""

    def __init__(self, batches):
        self.left = batches

    def on_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise Killed
