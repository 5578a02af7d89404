"""What happened, and what next? Pure code: no I/O, no clock, no chance, no asyncio, no third party."""
