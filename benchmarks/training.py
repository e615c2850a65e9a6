"""Training of whole networks, for ``mlp``, ``cnn`` and ``models``: loss curves checked first, then time a step.

The curves must agree with one in float64: NumPy's, or PyTorch's of what `nnfast.numpy_network` does not have.
"""

import math

from .report import best, milliseconds, ratio
from .suite import KEEP_FREED, Suite
from .workloads import WORKLOADS


class Training(Suite):
    """A suite with a table of training steps."""

    needed = ("nnfast", "numpy")
    variables = KEEP_FREED
    workloads = WORKLOADS
    reference = "numpy"

    def train(self, name):
        """Check and time everybody on one workload."""
        workload = self.workloads[name]
        n_batches = workload.quick_batches if self.options.quick else workload.n_batches
        expected = None
        # Without the library that the reference is of nobody can be checked.
        for library in (competitor for competitor in self.started if competitor.name == self.reference):
            entry = self.entry("train", name, library, "reference", "reference")
            answer = self.attempt(entry, library, "reference", workload=name, n_batches=n_batches)
            if answer is None:
                return
            expected = answer["losses"]
            self.entries.remove(entry)
        turns = []
        for competitor in self.competitors:
            for variant, role in competitor.variants.items():
                entry = self.entry("train", name, competitor, variant, role, workload.flops)
                answer = self.attempt(
                    entry, competitor, "prepare_train",
                    workload=name, n_batches=n_batches, variant=variant, seconds=self.seconds,
                )
                if answer is None:
                    continue
                entry.losses, entry.choice = answer["losses"], answer["choice"]
                if expected is not None:
                    entry.problem = disagreement(entry.losses, expected, workload.tolerance)
                if not entry.problem:
                    turns.append((entry, competitor))
        self.rounds(turns)
        self.report.block(f"{name}: {workload.description}", self.of("train", name))

    def training_table(self):
        """nnfast, NumPy, and the fastest peer of each role."""
        entries = [entry for entry in self.entries if entry.table == "train"]
        roles = [role for role in ("step", "scan") if any(entry.role == role for entry in entries)]
        head = ["workload", "nnfast", "numpy"]
        for role in roles:
            head += [f"{role} peer", ""]
        rows = [[*head, *(f"x {role} peer" for role in roles), "x numpy", "GFLOP/s", "peak"]]
        for item in dict.fromkeys(entry.item for entry in entries):
            ours, numpy = best(entries, item, "nnfast"), best(entries, item, "numpy")
            peers = [best(entries, item, role) for role in roles]
            row = [item, milliseconds(ours), milliseconds(numpy)]
            for peer in peers:
                row += [milliseconds(peer), peer.label if peer else ""]
            row += [ratio(peer, ours) for peer in (*peers, numpy)]
            rows.append(row + [self.report.rate(ours), self.report.percent(ours)])
        self.report.table(rows)


def disagreement(losses, reference, tolerance):
    """The reason why a loss curve is not the reference's, or ""."""
    if len(losses) != len(reference):
        return f"DISAGREE: {len(losses)} losses, expected {len(reference)}"
    for step, (loss, expected) in enumerate(zip(losses, reference)):
        if not math.isclose(loss, expected, rel_tol=tolerance):
            return f"DISAGREE: loss at step {step} is {loss:.7g}, in float64 {expected:.7g}"
    return ""
