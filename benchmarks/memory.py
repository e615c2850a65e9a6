"""Peak resident memory of this process, as Linux counts it (VmHWM)."""


def peak_kib():
    """The highest resident size since the start or the last `reset_peak`; 0 where /proc does not tell."""
    try:
        with open("/proc/self/status") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def reset_peak():
    """Let the peak start again at what is resident now."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
