"""What a test can tell before it runs: power, price of peeking, cost, risks, and which one next."""
