"""What people read: prose, numbers, charts and pages."""
