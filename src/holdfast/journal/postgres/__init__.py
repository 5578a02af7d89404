"""The journal in a schema of a Postgres database: what several machines share. Needs `holdfast[postgres]`."""
