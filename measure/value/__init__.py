"""Money: incremental revenue, return and the verdict of a registered rule."""
