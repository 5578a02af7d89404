# Run at the start of each session: what the work needs, and nothing that cannot be run twice.
python3 --version
