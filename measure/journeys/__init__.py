"""Ordered touches, the paths they form, and outcomes per unit."""
