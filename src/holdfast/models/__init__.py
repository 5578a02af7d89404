"""Model calls as steps: recorded, replayed, retried and charged at the wire, below an unmodified SDK."""
