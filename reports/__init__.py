"""What people read: prose, numbers, charts and pages, made of results and facts alone."""
