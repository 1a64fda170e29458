"""Where people work: the command line."""
