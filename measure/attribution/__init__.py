"""Credits of channels under named definitions."""
