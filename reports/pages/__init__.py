"""One module per page: a result in, a page model out."""
