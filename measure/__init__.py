"""What the data say: plans in, engines asked for statistics, estimates out."""
