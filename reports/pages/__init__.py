"""One module per page: each builds a frozen page model from results and facts."""
