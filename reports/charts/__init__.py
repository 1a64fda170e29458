"""Charts as computed coordinates; templates only place them."""
