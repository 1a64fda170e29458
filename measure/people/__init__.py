"""Who people are over time: identities, consent, and what was known of them at a point in time."""
