"""Whom do we ask? People, channels and chains as they are declared, and how a question reaches somebody."""
