"""What is decided before the data: experiments, registry, assignment."""
