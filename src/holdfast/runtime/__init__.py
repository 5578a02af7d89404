"""Who does it? Drivers, workers and the objects that users hold; decisions come from `core`."""
