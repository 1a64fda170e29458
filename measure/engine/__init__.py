"""The data engine: connections, table contracts, loading, moments, bucketing."""
