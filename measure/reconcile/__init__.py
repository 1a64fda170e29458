"""Activation logs and platform claims held against first-party conversions."""
