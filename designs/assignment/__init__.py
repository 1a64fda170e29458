"""Which unit gets which arm, and why."""
