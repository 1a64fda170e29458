"""What a treatment caused: checks first, then estimates per metric, arm and cohort."""
