"""The long proofs, each a part that counts what it saw; `python -m proof` runs them and writes what they found."""
